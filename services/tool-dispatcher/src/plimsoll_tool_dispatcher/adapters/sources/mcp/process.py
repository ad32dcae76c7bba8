"""How the MCP library reaches a server that is a process: lines of JSON over its standard input and output, bounded both ways."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TypeAlias

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter
from plimsoll_runtime.logs import Log

from plimsoll_tool_dispatcher.adapters.python_handlers.output import log_output

Streams: TypeAlias = tuple[MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]]

_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
_QUEUE = 16
_OPEN_FILES, _FILE_BYTES = 256, 256 * 1024 * 1024
# Runs between our process and the server's own: limits are set in the process that they bind, after the fork and before its code.
# RLIMIT_DATA, not RLIMIT_AS: some run-times reserve far more addresses than they ever use. The processor time ends a process that spins.
_CONFINED = """
import os, resource, sys
for name, limit in zip(("DATA", "CPU", "NOFILE", "FSIZE", "CORE"), (*map(int, sys.argv[1:5]), 0)):
    hard = resource.getrlimit(getattr(resource, "RLIMIT_" + name))[1]
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(getattr(resource, "RLIMIT_" + name), (limit, limit))
os.execv(sys.argv[5], sys.argv[5:])
"""
_END_GRACE_S = 2.0
_LINES_AT_ONCE, _LINES_PER_S = 2000.0, 500.0  # a server that talks without end must not have this process to itself


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerProcess:
    """What to start. `given` are the variables of the dispatcher; few of them are handed on, and none of ours."""

    name: str
    command: tuple[str, ...]
    variables: Mapping[str, str]
    credentials: Mapping[str, str]
    given: Mapping[str, str]
    line_bytes: int
    memory_bytes: int
    cpu_s: int


@asynccontextmanager
async def process_transport(server: ServerProcess, ended: Callable[[], None], log: Log) -> AsyncIterator[Streams]:
    """The two streams that the library talks over, while the process lives. Raises OSError when it cannot be started.

    `ended` is told when the process is silent for good, so that no further call is sent to it.
    """
    process = await asyncio.to_thread(_spawn, server)
    try:
        loop = asyncio.get_running_loop()
        output, errors = asyncio.StreamReader(limit=server.line_bytes), asyncio.StreamReader()
        output_pipe, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(output), process.stdout)
        errors_pipe, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(errors), process.stderr)
        transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, process.stdin)
        writer = asyncio.StreamWriter(transport, protocol, None, loop)
        to_session, heard = anyio.create_memory_object_stream[SessionMessage | Exception](_QUEUE)
        to_server, said = anyio.create_memory_object_stream[SessionMessage](_QUEUE)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_hear(output, to_session, ended), name=f"hear {server.name}"),
                group.create_task(_say(writer, said, to_session), name=f"tell {server.name}"),
                group.create_task(log_output(errors, server.name, server.credentials, log), name=f"errors of {server.name}"),
            ]
            try:
                yield heard, to_server
            finally:
                for task in tasks:
                    task.cancel()
                for one in (heard, to_session, to_server, said, writer, output_pipe, errors_pipe):
                    one.close()
    finally:
        await asyncio.shield(asyncio.to_thread(_end, process))


async def _hear(
    output: asyncio.StreamReader, to_session: MemoryObjectSendStream[SessionMessage | Exception], ended: Callable[[], None]
) -> None:
    """Until the process ends or says a line that is too long; then the session learns that the connection is closed."""
    budget, at = _LINES_AT_ONCE, asyncio.get_running_loop().time()
    with to_session, suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, ConnectionError, ValueError):
        while line := await output.readline():
            now = asyncio.get_running_loop().time()
            budget, at = min(_LINES_AT_ONCE, budget + (now - at) * _LINES_PER_S) - 1, now
            if budget < 0:
                await asyncio.sleep(1 / _LINES_PER_S)
            try:
                message = jsonrpc_message_adapter.validate_json(line, by_name=False)
            except ValueError:  # servers print all sorts of things
                continue
            await to_session.send(SessionMessage(message))
    ended()


async def _say(
    writer: asyncio.StreamWriter,
    said: MemoryObjectReceiveStream[SessionMessage],
    to_session: MemoryObjectSendStream[SessionMessage | Exception],
) -> None:
    try:
        async for one in said:
            writer.write(one.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
            await writer.drain()
    except (ConnectionError, anyio.ClosedResourceError, anyio.BrokenResourceError):
        to_session.close()


def _spawn(server: ServerProcess) -> "subprocess.Popen[bytes]":
    """By `subprocess`, which uses vfork: the event loop would fork a process with gRPC's threads in it."""
    if not os.access(server.command[0], os.X_OK):
        raise FileNotFoundError(errno.ENOENT, "there is no such program", server.command[0])
    kept = {name: server.given[name] for name in _KEPT_VARIABLES if name in server.given}
    limits = map(str, (server.memory_bytes, server.cpu_s, _OPEN_FILES, _FILE_BYTES))
    return subprocess.Popen(  # noqa: S603 - the operator's own command, by absolute path and without a shell
        [sys.executable, "-I", "-S", "-c", _CONFINED, *limits, *server.command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=kept | {"HOME": "/"} | dict(server.variables),
        cwd="/",
        start_new_session=True,
    )


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Its input is closed; give it a moment, then end it and whatever it started."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(_END_GRACE_S)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
