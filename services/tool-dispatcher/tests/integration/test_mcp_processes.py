"""MCP servers that are processes, of which some do what processes should not."""

import os
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import orjson
import plimsoll_testkit.hostile_mcp_process
import psutil
import pytest
from plimsoll_runtime import logs
from plimsoll_runtime.clock import SystemClock
from plimsoll_runtime.errors import PlimsollError, Unavailable
from plimsoll_runtime.failures import Category
from plimsoll_testkit.waiting import eventually
from plimsoll_tool_dispatcher.adapters.sources.mcp.server import McpServer
from plimsoll_tool_dispatcher.domain.effects import Mishap
from plimsoll_tool_dispatcher.domain.execution import Answered, Attempt, Invocation, Stopped
from plimsoll_tool_dispatcher.domain.remote_tools import tools_of
from plimsoll_tool_dispatcher.domain.source_declaration import DeclaredMcpProcess, parse_source
from plimsoll_tool_dispatcher.domain.sources import McpSource

FOUND = Answered(result={"text": "found", "parts": []})
SCRIPT = plimsoll_testkit.hostile_mcp_process.__file__
BOTH = pytest.mark.parametrize("revision", ["modern", "legacy"])


@pytest.fixture
def revision() -> str:
    return "legacy"


@pytest.fixture
def declared(tmp_path: Path, revision: str) -> DeclaredMcpProcess:
    command = orjson.dumps([sys.executable, "-I", SCRIPT, str(tmp_path / "note"), revision]).decode()
    text = (
        f"source: files\nkind: mcp\ncommand: {command}\ntools: all\nanswer_kib: 64\nmemory_mib: 256\ncpu_s: 1\nenvironment: {{MODE: quiet}}\n"
        "credentials: [{name: token, variable: TOKEN}]"
    )
    source, problems = parse_source(text, stem="files")
    assert isinstance(source, DeclaredMcpProcess), problems
    return source


@pytest.fixture
async def mcp(declared: DeclaredMcpProcess) -> AsyncIterator[McpServer]:
    environment = {"PATH": os.environ["PATH"], "PLIMSOLL_SECRET": "ours"}
    async with McpServer(declared, lambda: {"token": "t0p-secret"}, environment, SystemClock(), logs.get("test")) as mcp:
        yield mcp


async def called(mcp: McpServer, declared: DeclaredMcpProcess, name: str, timeout_s: float = 60.0) -> Attempt:
    found, _ = await mcp.listing()
    tools, _ = tools_of(declared.settings, "mcp", found)
    [tool] = [one for one in tools if isinstance(one.source, McpSource) and one.source.tool == name]
    return await mcp.execute(tool, Invocation(tenant="acme", call_key="key_1", arguments={}, timeout_s=timeout_s))


def children() -> list[psutil.Process]:
    return [one for one in psutil.Process().children(recursive=True) if SCRIPT in command(one)]


def command(process: psutil.Process) -> list[str]:
    """What a process runs; nothing once it has ended."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:  # a zombie too
        return []


@BOTH
async def test_a_call_is_answered(mcp: McpServer, declared: DeclaredMcpProcess) -> None:
    assert await called(mcp, declared, "fine") == FOUND


@BOTH
async def test_what_is_no_message_is_passed_over(mcp: McpServer, declared: DeclaredMcpProcess) -> None:
    assert await called(mcp, declared, "garbage") == FOUND


async def test_the_process_gets_what_is_declared_and_nothing_of_ours(mcp: McpServer, declared: DeclaredMcpProcess) -> None:
    attempt = await called(mcp, declared, "environment")
    assert isinstance(attempt, Answered)
    assert isinstance(attempt.result, dict)
    seen = orjson.loads(str(attempt.result["text"]))
    assert {name: seen["environment"].get(name) for name in ("MODE", "TOKEN", "HOME", "PLIMSOLL_SECRET")} == {
        "MODE": "quiet",
        "TOKEN": "t0p-secret",
        "HOME": "/",
        "PLIMSOLL_SECRET": None,
    }
    assert (seen["session"], seen["cwd"]) == (True, "/")


@pytest.mark.parametrize("name", ["die", "long_line", "close_output"])
async def test_a_process_that_fails_in_a_call_leaves_it_open_and_is_started_again(
    mcp: McpServer, declared: DeclaredMcpProcess, name: str
) -> None:
    attempt = await called(mcp, declared, name)
    assert isinstance(attempt, Stopped)
    assert attempt.mishap is Mishap.LOST
    assert await eventually(lambda: _fine(mcp, declared))


@pytest.mark.parametrize("name", ["hang", "flood"])
async def test_a_process_that_never_answers_ends_one_call_in_time(mcp: McpServer, declared: DeclaredMcpProcess, name: str) -> None:
    attempt = await called(mcp, declared, name, 0.5)
    assert isinstance(attempt, Stopped)
    assert (attempt.failure.category, attempt.mishap) == (Category.TIMEOUT, Mishap.LOST)
    assert await eventually(lambda: _fine(mcp, declared))


async def test_a_process_that_died_while_nothing_was_asked_costs_no_call(mcp: McpServer, declared: DeclaredMcpProcess) -> None:
    found, _ = await mcp.listing()
    tools, _ = tools_of(declared.settings, "mcp", found)
    [fine] = [one for one in tools if isinstance(one.source, McpSource) and one.source.tool == "fine"]
    [process] = children()
    process.kill()
    asked = Invocation(tenant="acme", call_key="key_1", arguments={}, timeout_s=60.0)
    await eventually(lambda: mcp._connections._present is None or mcp._connections._present.ended)
    assert await mcp.execute(fine, asked) == FOUND


async def test_no_process_outlives_its_source(declared: DeclaredMcpProcess) -> None:
    async with McpServer(declared, dict, {}, SystemClock(), logs.get("test")) as mcp:
        await called(mcp, declared, "fine")
        assert len(children()) == 1
        await called(mcp, declared, "hang", 0.2)
    assert children() == []


async def test_a_command_that_cannot_be_started_is_told_as_nothing_sent() -> None:
    source, _ = parse_source("source: files\nkind: mcp\ncommand: [/nowhere/server]\ntools: all", stem="files")
    assert isinstance(source, DeclaredMcpProcess)
    async with McpServer(source, dict, {}, SystemClock(), logs.get("test")) as mcp:
        with pytest.raises(Unavailable, match="FileNotFoundError"):
            await mcp.listing()


async def _fine(mcp: McpServer, declared: DeclaredMcpProcess) -> bool:
    try:
        return await called(mcp, declared, "fine", 2.0) == FOUND
    except PlimsollError:
        return False


@pytest.mark.parametrize("greed", ["eat_memory", "spin", "many_files"])
async def test_a_process_that_takes_too_much_ends_and_the_next_call_finds_a_new_one(
    mcp: McpServer, declared: DeclaredMcpProcess, greed: str
) -> None:
    """Memory, processor time and open files are bounded by the operating system, in the process itself."""
    assert await called(mcp, declared, "fine") == FOUND
    attempt = await called(mcp, declared, greed, timeout_s=10.0)
    assert isinstance(attempt, Stopped)
    assert attempt.mishap is Mishap.LOST
    assert await called(mcp, declared, "fine") == FOUND


async def test_a_program_that_is_not_there_is_told_as_one_that_cannot_be_started(declared: DeclaredMcpProcess) -> None:
    gone = replace(declared, command=("/nowhere/server",))
    async with McpServer(gone, lambda: {"token": "t0p-secret"}, {}, SystemClock(), logs.get("test")) as mcp:
        with pytest.raises(PlimsollError):
            await mcp.listing()
