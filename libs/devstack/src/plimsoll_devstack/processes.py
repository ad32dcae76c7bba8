"""Child processes: how each is started, watched, and stopped without ever naming it by anything but its own id."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from plimsoll_devstack.account import Account

_POLL_S = 0.02
_LAUNCH = Path(__file__).with_name("launch.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Everything needed to start one process and to ask it to end."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    log: Path
    account: Account | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_within_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessId:
    """A process that cannot be confused with a later one of the same number."""

    pid: int
    started_at: float


class Child:
    """One started process. It ends when its starter does (Linux); elsewhere the next start cleans up by `id`."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._process = spawn(command_line(program), env=program.env, cwd=program.cwd, log=program.log)
        self.id = ProcessId(pid=self._process.pid, started_at=psutil.Process(self._process.pid).create_time())

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative is the signal that ended it."""
        return self._process.poll()

    async def wait(self) -> int:
        """Wait until it ends; put it under `asyncio.timeout`."""
        await until(lambda: self.exit_code is not None)
        return self._process.returncode

    async def stop(self) -> int:
        """Ask it to end, and end it when it does not within the program's time."""
        self.send(self.program.stop_signal)
        try:
            async with asyncio.timeout(self.program.stop_within_s):
                return await self.wait()
        except TimeoutError:
            self.send(signal.SIGKILL)
            return await self.wait()

    def send(self, number: signal.Signals) -> None:
        """Send a signal; an ended process gets none."""
        if self._process.poll() is None:
            self._process.send_signal(number)


def command_line(program: Program) -> list[str]:
    """The program behind the launcher that drops root where needed and ties its life to this process."""
    return launch_line(program.argv, die_with=program.stop_signal, account=program.account)


def launch_line(argv: Sequence[str], *, die_with: signal.Signals, account: Account | None = None) -> list[str]:
    """The launcher's command line; `die_with` is the signal sent when this process ends (Linux)."""
    account = account or Account(uid=-1, gid=-1, pass_search=False)
    launch = (os.getpid(), int(die_with), account.uid, account.gid, int(account.pass_search))
    return [sys.executable, "-I", "-S", str(_LAUNCH), *(str(value) for value in launch), *argv]


def spawn(argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path, inherit: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own that appends what it says to `log`."""
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - every command line here is composed by us
            argv,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=inherit,
            start_new_session=True,  # Ctrl-C belongs to the supervisor, which stops its children in order
        )


def run_to_end(program: Program, *, within_s: float) -> int:
    """Run a program that ends by itself, and return its exit code; it is killed when it takes longer."""
    process = spawn(command_line(program), env=program.env, cwd=program.cwd, log=program.log)
    try:
        return process.wait(timeout=within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that only looking can tell, such as the end of a process; put it under `asyncio.timeout`."""
    while not condition():  # noqa: ASYNC110 - nobody sets an event when another process ends or writes a file
        await asyncio.sleep(_POLL_S)


def find(process: ProcessId) -> psutil.Process | None:
    """The process if it still runs and is the same one, not a later one that got its number."""
    try:
        found = psutil.Process(process.pid)
        same = abs(found.create_time() - process.started_at) < 0.5
        return found if same and found.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


async def end_leftover(process: ProcessId, stop_signal: signal.Signals, *, within_s: float) -> bool:
    """End a process that an earlier supervisor left behind; False when there was none."""
    if (leftover := find(process)) is None:
        return False
    leftover.send_signal(stop_signal)
    try:
        async with asyncio.timeout(within_s):
            await until(lambda: find(process) is None)
    except TimeoutError:
        leftover.kill()
        async with asyncio.timeout(within_s):
            await until(lambda: find(process) is None)
    return True
