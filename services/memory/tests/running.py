"""The whole service in this process, on real servers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeAlias

from plimsoll.memory.v1 import memory_service_pb2_grpc as rpc
from plimsoll_memory.config import Settings
from plimsoll_memory.main import build
from plimsoll_runtime.health import AdminServer
from plimsoll_runtime.lifecycle import serve
from plimsoll_runtime.rpc_client import open_channel
from plimsoll_runtime.rpc_server import RpcServer
from plimsoll_runtime.settings import TlsSettings
from plimsoll_testkit.waiting import eventually

Stub: TypeAlias = "rpc.MemoryServiceAsyncStub"


@asynccontextmanager
async def running(settings: Settings, client: TlsSettings | None = None) -> AsyncIterator[Stub]:
    """Build, serve and drain; the stub shows the certificate of `client`."""
    async with AsyncExitStack() as stack:
        app = await build(settings, stack)
        [server] = app.servers
        assert isinstance(server, RpcServer)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(serve(app, AdminServer("127.0.0.1:0"), stop, drain_s=settings.server.drain_s))
            try:
                port = await eventually(lambda: server.port)
                channel = await stack.enter_async_context(open_channel(f"127.0.0.1:{port}", client or TlsSettings(), "memory"))
                yield rpc.MemoryServiceStub(channel)
            finally:
                stop.set()
