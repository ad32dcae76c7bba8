"""The whole service in this process, on real servers, with a way to cut it off from its database."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import urlsplit

import asyncpg
from plimsoll.feedback.v1 import feedback_service_pb2_grpc as rpc
from plimsoll_feedback.config import Settings
from plimsoll_feedback.main import build
from plimsoll_feedback.transport.consumers import EventConsumers
from plimsoll_runtime.health import AdminServer
from plimsoll_runtime.lifecycle import App, serve
from plimsoll_runtime.rpc_client import open_channel
from plimsoll_runtime.rpc_server import RpcServer
from plimsoll_runtime.settings import TlsSettings
from plimsoll_testkit.waiting import eventually

Stub: TypeAlias = "rpc.FeedbackServiceAsyncStub"


@dataclass
class Outage:
    """A way to the database that a test can close: new connections are refused, open ones cut."""

    dsn: str
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _server: asyncio.Server | None = None
    _port: int = 0

    @property
    def dsn_through(self) -> str:
        """The same database, by the way that can be closed."""
        there = urlsplit(self.dsn)
        return self.dsn.replace(f"{there.hostname}:{there.port}", f"127.0.0.1:{self._port}")

    async def end(self) -> None:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def begin(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = urlsplit(self.dsn)
        far_reader, far_writer = await asyncio.open_connection(there.hostname, there.port)
        self._writers |= {writer, far_writer}
        async with asyncio.TaskGroup() as group:
            group.create_task(_pump(reader, far_writer))
            group.create_task(_pump(far_reader, writer))
        self._writers -= {writer, far_writer}


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningFeedback:
    """The service and a client of it."""

    app: App
    stub: Stub

    async def gauge(self, name: str, durable: str) -> float:
        """The value of a metric of one consumer, measured now; NaN when there is none."""
        loop = self.app.loops["watch the lag"]
        consumers: EventConsumers = loop.__self__  # type: ignore[attr-defined]  # the loop is a bound method
        await consumers.measure()
        value = self.app.metrics.registry.get_sample_value(name, {"durable": durable})
        return float("nan") if value is None else value


Start: TypeAlias = Callable[[], AbstractAsyncContextManager[RunningFeedback]]


@asynccontextmanager
async def running(settings: Settings, client: TlsSettings | None = None) -> AsyncIterator[RunningFeedback]:
    """Build, serve and drain; the stub shows the certificate of `client`."""
    async with AsyncExitStack() as stack:
        app = await build(settings, stack)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(serve(app, AdminServer("127.0.0.1:0"), stop, drain_s=settings.server.drain_s))
            try:
                yield RunningFeedback(app=app, stub=await _connect(app, stack, client or TlsSettings()))
            finally:
                stop.set()


async def _connect(app: App, stack: AsyncExitStack, client: TlsSettings) -> Stub:
    [server] = app.servers
    assert isinstance(server, RpcServer)
    port = await eventually(lambda: server.port)
    channel = await stack.enter_async_context(open_channel(f"127.0.0.1:{port}", client, "feedback"))
    return rpc.FeedbackServiceStub(channel)


async def settled(pool: asyncpg.Pool) -> None:
    """Until whatever was stored so far can be followed: transactions of other tests on the same server hold followers up as well."""
    stored = await pool.fetchval("select pg_current_xact_id()::text")
    await eventually(lambda: pool.fetchval("select pg_snapshot_xmin(pg_current_snapshot()) > $1::text::xid8", stored))
