"""The gRPC client: channels to peers, and calls that carry tenant, deadline and trace and bring errors back as ours."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import grpc

from plimsoll_runtime import names, telemetry, tls
from plimsoll_runtime.context import current_caller
from plimsoll_runtime.deadline import budget_s
from plimsoll_runtime.settings import TlsSettings
from plimsoll_runtime.status import error_from_rpc

# A call that fails before it reached the peer is tried again by the transport itself; nothing else is.
_SERVICE_CONFIG = '{"loadBalancingConfig": [{"round_robin": {}}]}'
_PLAIN = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")  # what metadata carries as it is; names need not be English


@asynccontextmanager
async def open_channel(
    address: str, tls_settings: TlsSettings, server_name: str, *, max_message_mib: int = 64
) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a peer. `server_name` is the peer's folder name, which its certificate must carry. Connects when first used."""
    cap = max_message_mib * 1024 * 1024
    options: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", cap),
        ("grpc.max_send_message_length", cap),
        ("grpc.service_config", _SERVICE_CONFIG),
        ("grpc.enable_retries", 1),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1_000),  # despite its name, the time that one attempt to connect has
        ("grpc.max_reconnect_backoff_ms", 2_000),
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.enable_http_proxy", 0),
    ]
    if tls_settings.enabled:
        options.append(("grpc.ssl_target_name_override", server_name))
        channel = grpc.aio.secure_channel(address, tls.channel_credentials(tls_settings), options=options)
    else:
        channel = grpc.aio.insecure_channel(address, options=options)
    try:
        yield channel
    finally:
        await channel.close(grace=1.0)


async def call(method: Callable[..., Any], request: Any, *, cap_s: float, target: str = "") -> Any:
    """Call a unary method for the present caller, within `cap_s` seconds or what is left of the deadline.

    Raises the PlimsollError that the peer raised, with the same reason, or Unavailable and DeadlineExpired of the transport.
    """
    try:
        return await method(request, timeout=budget_s(cap_s), metadata=_metadata())
    except grpc.aio.AioRpcError as error:
        raise error_from_rpc(error, target or _target(method)) from error


async def stream(method: Callable[..., Any], request: Any, *, cap_s: float, target: str = "") -> AsyncGenerator[Any, None]:
    """The same for a method that answers with a stream; closing the generator cancels the call, so use it under `aclosing`."""
    answers = method(request, timeout=budget_s(cap_s), metadata=_metadata())
    try:
        async for answer in answers:
            yield answer
    except grpc.aio.AioRpcError as error:
        raise error_from_rpc(error, target or _target(method)) from error
    finally:
        answers.cancel()


def _metadata() -> tuple[tuple[str, str], ...]:
    caller = current_caller()
    metadata = [(names.TENANT_KEY, quote(caller.tenant, safe=_PLAIN))]
    if caller.principal:
        metadata.append((names.PRINCIPAL_KEY, quote(caller.principal, safe=_PLAIN)))
    traceparent = telemetry.outgoing()
    if traceparent:
        metadata.append((names.TRACE_KEY, traceparent))
    return tuple(metadata)


def _target(method: Callable[..., Any]) -> str:
    """The method's own name for messages: grpc keeps it as bytes on its callable."""
    name = getattr(method, "_method", b"")
    return name.decode().lstrip("/") if isinstance(name, bytes) else str(name)
