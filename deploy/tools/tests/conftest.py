"""Calls the tools on board as the dispatcher would."""

import asyncio
import importlib.util
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from plimsoll_tool_dispatcher.domain.defaults import with_defaults
from plimsoll_tool_dispatcher.domain.tool import Tool
from plimsoll_tool_dispatcher.handler import ToolContext

_SPEC = importlib.util.spec_from_file_location("tools_on_board", Path(__file__).with_name("tools_on_board.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
tools_on_board = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = tools_on_board
_SPEC.loader.exec_module(tools_on_board)

Call: TypeAlias = Callable[..., Awaitable[Any]]


@pytest.fixture
def tools() -> dict[str, Tool]:
    found: dict[str, Tool] = tools_on_board.declared()
    return found


@pytest.fixture
def credentials(tmp_path: Path) -> dict[str, str]:
    return {"workspace_directory": str(tmp_path / "workspaces")}


@pytest.fixture
def call(credentials: dict[str, str]) -> Call:
    """Validates and completes the arguments, runs the handler, validates its result."""

    async def run(tool_name: str, /, *, tenant: str = "acme", deadline_s: float = 20.0, **arguments: Any) -> Any:
        tool = tools_on_board.declared()[tool_name]
        effective = with_defaults(arguments, tool.arguments.document)
        problems = tool.arguments.problems(effective, "arguments")
        assert problems == (), problems
        context = ToolContext(tenant=tenant, call_key="key_1", deadline_s=deadline_s, credentials=credentials)
        async with asyncio.timeout(deadline_s):
            result = await getattr(tools_on_board.load(tool.category), tool_name)(effective, context)
        assert tool.result.problems(result, "result") == (), tool.result.problems(result, "result")
        return result

    return run
