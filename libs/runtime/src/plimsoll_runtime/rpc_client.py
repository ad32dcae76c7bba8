"""The gRPC client: channels to peers, and calls that carry tenant, deadline and trace and bring errors back as ours."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import grpc

from plimsoll_runtime import names, telemetry, tls
from plimsoll_runtime.context import current_caller
from plimsoll_runtime.deadline import budget_s
from plimsoll_runtime.errors import DeadlineExpired
from plimsoll_runtime.faults import Edge, Fault, FaultKind, are_possible, fault_at, garbled, through
from plimsoll_runtime.rpc_channel import RenewableChannel
from plimsoll_runtime.settings import TlsSettings
from plimsoll_runtime.status import cut_off, error_from_rpc, unreachable

# A call that fails before it reached the peer is tried again by the transport itself; nothing else is.
_SERVICE_CONFIG = '{"loadBalancingConfig": [{"round_robin": {}}]}'
_PLAIN = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")  # what metadata carries as it is; names need not be English


@asynccontextmanager
async def open_channel(
    address: str, tls_settings: TlsSettings, server_name: str, *, max_message_mib: int = 64
) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a peer. `server_name` is the peer's folder name, which its certificate must carry. Connects when first used.

    When our certificate is renewed, calls from then on go over a new connection.
    """
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
        channel: grpc.aio.Channel = RenewableChannel(
            lambda: grpc.aio.secure_channel(address, tls.channel_credentials(tls_settings), options=options), tls.RenewedFiles(tls_settings)
        )
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
    if are_possible():
        return await through(
            Edge.RPC_CLIENT,
            _target(method),
            lambda: _call(method, request, cap_s, target),
            away=lambda: unreachable(target or _target(method)),
            lost=lambda: cut_off(target or _target(method)),
        )
    return await _call(method, request, cap_s, target)


async def _call(method: Callable[..., Any], request: Any, cap_s: float, target: str) -> Any:
    try:
        return await method(request, timeout=budget_s(cap_s), metadata=_metadata())
    except grpc.aio.AioRpcError as error:
        raise error_from_rpc(error, target or _target(method)) from error


async def stream(method: Callable[..., Any], request: Any, *, cap_s: float, target: str = "") -> AsyncGenerator[Any, None]:
    """The same for a method that answers with a stream; closing the generator cancels the call, so use it under `aclosing`."""
    fault = fault_at(Edge.RPC_CLIENT, _target(method))
    if fault is not None:
        await _before(fault, target or _target(method))
    answers = method(request, timeout=budget_s(cap_s), metadata=_metadata())
    try:
        async for answer in answers:
            yield answer
            if fault is not None:
                _after_one(fault, target or _target(method))
    except grpc.aio.AioRpcError as error:
        raise error_from_rpc(error, target or _target(method)) from error
    finally:
        answers.cancel()


async def _before(fault: Fault, target: str) -> None:
    """What a fault does to a stream that is about to begin."""
    match fault.kind:
        case FaultKind.ERROR:
            raise unreachable(target)
        case FaultKind.LATENCY | FaultKind.SLOW:
            await asyncio.sleep(fault.seconds)
        case FaultKind.TIMEOUT:
            await asyncio.sleep(budget_s(fault.seconds))
            raise DeadlineExpired(f"{target} did not answer in time")
        case _:
            pass


def _after_one(fault: Fault, target: str) -> None:
    """What it does to one that has begun."""
    match fault.kind:
        case FaultKind.CUT:
            raise cut_off(target)
        case FaultKind.MALFORMED:
            raise garbled()
        case _:
            pass


_quoted = lru_cache(4096)(quote)  # with every call, of a few tenants and principals


def _metadata() -> tuple[tuple[str, str], ...]:
    caller = current_caller()
    metadata = [(names.TENANT_KEY, _quoted(caller.tenant, _PLAIN))]
    if caller.principal:
        metadata.append((names.PRINCIPAL_KEY, _quoted(caller.principal, _PLAIN)))
    traceparent = telemetry.outgoing()
    if traceparent:
        metadata.append((names.TRACE_KEY, traceparent))
    return tuple(metadata)


def _target(method: Callable[..., Any]) -> str:
    """The method's own name for messages: grpc keeps it as bytes on its callable."""
    name = getattr(method, "_method", b"")
    return name.decode().lstrip("/") if isinstance(name, bytes) else str(name)
