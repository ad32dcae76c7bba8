"""The tools on board as the dispatcher reads them, and their handlers as a worker process loads them."""

import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType

from plimsoll_tool_dispatcher.domain.declaration import parse_declaration
from plimsoll_tool_dispatcher.domain.tool import Tool

FOLDER = Path(__file__).parents[1]
CATEGORIES = ("database", "files", "mail", "reckoning", "sheets", "web")


@cache
def load(category: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"tools_on_board_{category}", FOLDER / f"{category}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def declared() -> dict[str, Tool]:
    """Every tool on board, read as the dispatcher reads it."""
    tools: dict[str, Tool] = {}
    for category in CATEGORIES:
        path = FOLDER / f"{category}.yaml"
        code = path.with_suffix(".py")
        declaration = parse_declaration(path.read_text(), stem=category, code=code.read_text(), code_path=str(code))
        assert declaration.problems == (), declaration.problems
        tools |= {tool.name: tool for tool in declaration.tools}
    return tools
