"""The three bundles as their files say, and a way to load their handlers."""

import importlib.util
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

AGENTS = Path(__file__).parents[1]
NAMES = ("support", "documents", "pipeline")
KINDS = ("model", "agent", "tool", "retrieve", "decide", "set", "map", "approve", "handle")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """One agent's files, parsed."""

    name: str
    folder: Path
    graph: dict[str, Any]
    prompts: dict[str, dict[str, Any]]
    categories: dict[str, dict[str, Any]]

    @property
    def tools(self) -> dict[str, dict[str, Any]]:
        return {tool["name"]: tool for category in self.categories.values() for tool in category["tools"]}

    @property
    def collections(self) -> set[str]:
        return {path.name for path in self.folder.glob("knowledge/*")}

    @property
    def nodes(self) -> dict[str, dict[str, Any]]:
        nodes: dict[str, dict[str, Any]] = self.graph["nodes"]
        return nodes

    def steps(self) -> Iterator[tuple[str, str, Any]]:
        """(node, kind, body) of every node, and of what a map does for each item."""
        for name, node in self.nodes.items():
            kind = next(key for key in KINDS if key in node)
            yield name, kind, node[kind]
            if kind == "map":
                inner = next(key for key in KINDS if key in node[kind]["do"])
                yield name, inner, node[kind]["do"][inner]


@cache
def load_bundle(name: str) -> Bundle:
    folder = AGENTS / name
    prompts = [yaml.safe_load(path.read_text()) for path in sorted(folder.glob("prompts/*.yaml"))]
    return Bundle(
        name=name,
        folder=folder,
        graph=yaml.safe_load((folder / "agent.yaml").read_text()),
        prompts={prompt["prompt"]: prompt for prompt in prompts},
        categories={path.stem: yaml.safe_load(path.read_text()) for path in sorted(folder.glob("tools/*.yaml"))},
    )


@pytest.fixture(params=NAMES)
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return load_bundle(request.param)


@pytest.fixture(scope="session")
def open_bundle() -> Callable[[str], Bundle]:
    return load_bundle


@pytest.fixture(scope="session")
def handlers() -> Callable[[str, str], ModuleType]:
    """Loads a handler file the way a worker process does: by its path, under a name of its own."""
    loaded: dict[tuple[str, str], ModuleType] = {}

    def load(agent: str, category: str) -> ModuleType:
        if (agent, category) not in loaded:
            path = AGENTS / agent / "tools" / f"{category}.py"
            spec = importlib.util.spec_from_file_location(f"bundle_{agent}_{category}", path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            loaded[agent, category] = module
        return loaded[agent, category]

    return load


@pytest.fixture(scope="session")
def is_handler() -> Callable[[object], bool]:
    """Whether something is an async function of (arguments, context)."""
    return lambda found: inspect.iscoroutinefunction(found) and list(inspect.signature(found).parameters) == ["arguments", "context"]
