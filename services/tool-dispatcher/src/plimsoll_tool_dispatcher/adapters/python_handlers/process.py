"""A worker process and the three ways to it: the socket, its output, and the lifeline that tells it when the dispatcher is dead."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from plimsoll_tool_dispatcher.adapters.python_handlers.wire import Wire

_CHILD = "plimsoll_tool_dispatcher.adapters.python_handlers.child"
_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")


@dataclass(frozen=True, slots=True, eq=False)
class WorkerProcess:
    """Just started; it speaks first when it was spoken to."""

    wire: Wire
    output: asyncio.StreamReader
    _process: "subprocess.Popen[bytes]"
    _pipe: asyncio.BaseTransport

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """End the process, and whatever it started, at once."""
        if self._process.returncode is None:  # afterwards the number may be another's
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def bury(self) -> int:
        """Kill it, wait for its end and let go of everything; returns its exit code, negative for a signal."""
        self.kill()
        code = await asyncio.to_thread(self._process.wait)
        self.wire.close()
        assert self._process.stdin is not None
        self._process.stdin.close()
        return code


async def start_process(environment: Mapping[str, str], make_wire: Callable[[], Wire]) -> WorkerProcess:
    """Raises OSError.

    Started by `subprocess` rather than by the event loop: it uses vfork, where the loop forks, and a fork of a process with
    gRPC's threads and handlers in it may crash before it becomes anything else.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = await asyncio.to_thread(_spawn, theirs.fileno(), _kept(environment))
        except BaseException:
            ours.close()
            raise
    _, wire = await asyncio.get_running_loop().create_connection(make_wire, sock=ours)
    output = asyncio.StreamReader()
    pipe, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(output), process.stdout)
    return WorkerProcess(wire, output, process, pipe)


def _spawn(fd: int, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(  # noqa: S603 - our own interpreter with our own module
        [sys.executable, "-I", "-u", "-m", _CHILD, str(fd)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=(fd,),
        env=environment,
        cwd="/",
        start_new_session=True,  # a signal for the dispatcher is not for it, and its own children end with it
    )


def _kept(given: Mapping[str, str]) -> dict[str, str]:
    """Nothing of ours, and no secret."""
    return {name: given[name] for name in _KEPT_VARIABLES if name in given} | {"HOME": "/", "MALLOC_ARENA_MAX": "2"}
