"""A tiny gRPC service whose answers each test decides, behind the real server and the real client."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import grpc
from plimsoll_devstack.authority import certificate_files, ensure_certificates
from plimsoll_runtime import logs
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.rpc_client import open_channel
from plimsoll_runtime.rpc_server import Authenticate, Context, PeerCertificates, RpcServer, RpcService
from plimsoll_runtime.settings import ServerSettings, TlsSettings

SERVICE = "plimsoll.test.v1.ProbeService"
ASK = f"/{SERVICE}/Ask"
PLAIN = TlsSettings()

Ask = Callable[[bytes, Context], Awaitable[bytes]]
Watch = Callable[[bytes, Context], AsyncIterator[bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A server that runs."""

    server: RpcServer
    metrics: Metrics

    @property
    def address(self) -> str:
        return f"localhost:{self.server.port}"


async def echo(request: bytes, _: Context) -> bytes:
    return request


async def count(request: bytes, _: Context) -> AsyncIterator[bytes]:
    for number in range(int(request)):
        yield str(number).encode()


def probe_service(ask: Ask = echo, watch: Watch = count) -> RpcService:
    """`Ask` answers once, `Watch` with a stream, `Tell` would take a stream; all of bytes."""
    methods = {
        "Ask": grpc.unary_unary_rpc_method_handler(ask),
        "Watch": grpc.unary_stream_rpc_method_handler(watch),
        "Tell": grpc.stream_unary_rpc_method_handler(ask),
    }
    handler = grpc.method_handlers_generic_handler(SERVICE, methods)
    return RpcService(SERVICE, lambda server: server.add_generic_rpc_handlers((handler,)))


def settings(tls: TlsSettings = PLAIN, *, request_cap_s: float = 60.0) -> ServerSettings:
    return ServerSettings(grpc_listen="localhost:0", tls=tls, insecure=not tls.enabled, request_cap_s=request_cap_s)


@asynccontextmanager
async def serving(
    *,
    ask: Ask = echo,
    watch: Watch = count,
    tls: TlsSettings = PLAIN,
    authenticate: Authenticate | None = None,
    request_cap_s: float = 60.0,
    services: tuple[RpcService, ...] = (),
) -> AsyncIterator[Served]:
    """The probe behind our server, on a free port."""
    metrics = Metrics()
    who = authenticate or PeerCertificates(frozenset({"gateway", "worker"}), insecure=not tls.enabled)
    known = [probe_service(ask, watch), *services]
    server = RpcServer(settings(tls, request_cap_s=request_cap_s), known, who, metrics, logs.get("probe"))
    await server.start()
    try:
        yield Served(server=server, metrics=metrics)
    finally:
        await server.stop(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """The probe's methods, as a generated stub would have them."""

    channel: grpc.aio.Channel
    ask: grpc.aio.UnaryUnaryMultiCallable
    watch: grpc.aio.UnaryStreamMultiCallable


@asynccontextmanager
async def asking(address: str, tls: TlsSettings = PLAIN, server_name: str = "memory") -> AsyncIterator[Asker]:
    """A channel of our client to the probe."""
    async with open_channel(address, tls, server_name) as channel:
        yield Asker(channel=channel, ask=channel.unary_unary(ASK), watch=channel.unary_stream(f"/{SERVICE}/Watch"))


def certificates(directory: Path, service: str) -> TlsSettings:
    """The files of `service`, signed by the authority of `directory`, which is made when it is not there."""
    ensure_certificates(directory, (service,), datetime.now(UTC))
    files = certificate_files(directory, service)
    return TlsSettings(ca=str(files.ca), certificate=str(files.certificate), key=str(files.key))
