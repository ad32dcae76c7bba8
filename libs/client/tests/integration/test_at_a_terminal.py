"""The command line at a real terminal: people are asked, and Ctrl-C stops the watching but not the run."""

import asyncio
import os
import pty
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from client_fakes import FakeGateway, question, step
from plimsoll.orchestrator.v1 import agent_pb2, run_pb2

PROGRAM = "from plimsoll_client.cli.main import main; main()"


class Terminal:
    """One command at a terminal of its own."""

    def __init__(self, process: asyncio.subprocess.Process, screen: int) -> None:
        self.process = process
        self._screen = screen
        self.shown = ""

    async def until(self, text: str) -> None:
        """Read until the screen has shown `text`."""
        async with asyncio.timeout(60):
            while text not in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.shown):
                self.shown += (await asyncio.to_thread(os.read, self._screen, 4096)).decode(errors="replace")

    def type(self, keys: str) -> None:
        os.write(self._screen, keys.encode())

    async def end(self) -> int:
        async with asyncio.timeout(60):
            return await self.process.wait()


@asynccontextmanager
async def terminal(*argv: str) -> AsyncIterator[Terminal]:
    """Start a command with a terminal for input, progress and Ctrl-C; its answer goes elsewhere."""
    screen, line = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, *argv, stdin=line, stderr=line, stdout=asyncio.subprocess.PIPE, preexec_fn=os.setsid
    )
    os.close(line)
    try:
        yield Terminal(process, screen)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(screen)


@pytest.fixture
def message(tmp_path: Path) -> str:
    path = tmp_path / "message.txt"
    path.write_text("I want my money back")
    return str(path)


@pytest.fixture
def asking(gateway: FakeGateway) -> FakeGateway:
    gateway.add_agent(
        "support", accepts=agent_pb2.FileMapping(text_field="message"), script=[step("classify"), question("apr_1", {"amount_cents": 8605})]
    )
    return gateway


@pytest.mark.parametrize(("keys", "status"), [("a\n", run_pb2.APPROVAL_STATUS_APPROVED), ("what\nr\n", run_pb2.APPROVAL_STATUS_REJECTED)])
async def test_a_person_sees_the_exact_call_and_decides(
    asking: FakeGateway, message: str, keys: str, status: "run_pb2.ApprovalStatus.ValueType"
) -> None:
    async with terminal("run", "support", "--input", message) as at:
        await at.until("[l]ater: ")
        assert '"amount_cents": 8605' in at.shown
        at.type(keys)
        await at.until("steps")
        assert await at.end() == 0
        assert at.process.stdout is not None
        assert await at.process.stdout.read() == b"Done.\n"
    assert asking.approvals["apr_1"].status == status


async def test_later_leaves_the_run_parked(asking: FakeGateway, message: str) -> None:
    async with terminal("run", "support", "--input", message) as at:
        await at.until("[l]ater: ")
        at.type("l\n")
        await at.until("plimsoll approvals show apr_1")
        assert await at.end() == 7
    assert asking.approvals["apr_1"].status == run_pb2.APPROVAL_STATUS_PENDING


async def test_ctrl_c_while_being_asked_stops_the_watching_and_not_the_run(asking: FakeGateway, message: str) -> None:
    async with terminal("run", "support", "--input", message) as at:
        await at.until("[l]ater: ")
        at.process.send_signal(2)
        await at.until("the run goes on")
        assert await at.end() == 130
    assert "Traceback" not in at.shown
    assert asking.runs["run_1"].message.status == run_pb2.RUN_STATUS_RUNNING
