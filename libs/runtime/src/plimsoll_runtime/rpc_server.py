"""The gRPC server: mutual TLS, one frame around every call for caller, deadline, trace, errors and the log line, health and reflection."""

import asyncio
import inspect
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, TypeAlias, cast
from urllib.parse import unquote

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import _async as aio_health
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from grpc_status import rpc_status
from opentelemetry.trace import SpanKind

from plimsoll_runtime import logs, names, poller, telemetry, tls
from plimsoll_runtime.context import Caller, work_for
from plimsoll_runtime.deadline import budget_s, expire
from plimsoll_runtime.errors import (
    Cancelled,
    DeadlineExpired,
    Denied,
    ErrorKind,
    Exhausted,
    FieldProblem,
    Invalid,
    PlimsollError,
    Unauthenticated,
)
from plimsoll_runtime.faults import Edge, Fault, FaultKind, fault_at
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.settings import ServerSettings
from plimsoll_runtime.status import code_name, cut_off, known, status_of, unreachable

Context: TypeAlias = Any  # grpc.aio.ServicerContext; its stubs lack abort_with_status
Message: TypeAlias = Any  # a protobuf message; the frame never looks inside
Behaviour: TypeAlias = Callable[[Message, Context], Awaitable[Message]]
Read: TypeAlias = Callable[[Any], Any]
"""Makes of the bytes that came a message, or of their stream a stream of messages."""

_PUBLIC = ("/grpc.health.v1.", "/grpc.reflection.")
_STREAMING_CAP_S = 24 * 3600.0
_COME_AGAIN = "read on as it comes, and ask again from where you are"


@dataclass(frozen=True, slots=True)
class RpcService:
    """A servicer to serve: its full name, and the call that adds it to a server."""

    full_name: str
    register: Callable[[grpc.aio.Server], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who calls, as an Authenticate finds out."""

    service: str
    tenant: str
    principal: str = ""


EVERY_METHOD = frozenset({"*"})
"""What a caller may call that may call everything."""

Callers: TypeAlias = Mapping[str, frozenset[str]]
"""Which methods each service may call: the names behind the last slash, or EVERY_METHOD."""

Authenticate: TypeAlias = Callable[[str, Context], Awaitable[Identity]]


class PeerCertificates:
    """Authenticates callers inside the mesh: the certificate names the service, the metadata the tenant it works for."""

    def __init__(self, callers: Callers | frozenset[str], *, insecure: bool = False) -> None:
        self._callers = callers if isinstance(callers, Mapping) else dict.fromkeys(callers, EVERY_METHOD)
        self._insecure = insecure

    async def __call__(self, method: str, context: Context) -> Identity:
        """Raises Unauthenticated without a certificate, Denied for a service that is not on the method's list or sends no tenant."""
        metadata = dict(context.invocation_metadata() or ())
        service = tls.peer_name(context)
        if not service and not self._insecure:
            raise Unauthenticated("no client certificate", reason="NO_CERTIFICATE")
        if not self._insecure and not self._allows(service, method):
            raise Denied(f"{service} may not call {method}", reason="CALLER_NOT_ALLOWED")
        tenant = _unquoted(str(metadata.get(names.TENANT_KEY, "")))
        if not tenant:
            raise Denied("the call names no tenant", reason="NO_TENANT")
        return Identity(service=service or "insecure", tenant=tenant, principal=_unquoted(str(metadata.get(names.PRINCIPAL_KEY, ""))))

    def _allows(self, service: str, method: str) -> bool:
        allowed = self._callers.get(service, frozenset())
        return allowed is EVERY_METHOD or method.rpartition("/")[2] in allowed


class RpcServer:
    """Serves gRPC on one address. `authenticate` decides who may call; health and reflection are open to every peer."""

    def __init__(
        self,
        settings: ServerSettings,
        services: Sequence[RpcService],
        authenticate: Authenticate,
        metrics: Metrics,
        log: logs.Log,
        *,
        listen: str = "",
        plaintext: bool = False,
        write_cap_s: float | None = None,
    ) -> None:
        """`write_cap_s` is how long whoever is streamed to may leave an answer unread; for ever when none."""
        self._listen = listen or settings.grpc_listen
        self._credentials = None if plaintext or not settings.tls.enabled else tls.server_credentials(settings.tls)
        self._services = services
        cap = settings.max_message_mib * 1024 * 1024
        self._edge = _Edge(authenticate, settings.request_cap_s, write_cap_s, metrics, log)
        self._options = [
            ("grpc.max_receive_message_length", cap),
            ("grpc.max_send_message_length", cap),
            ("grpc.so_reuseport", 0),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ]
        self._server: grpc.aio.Server | None = None
        self._health = aio_health.HealthServicer()
        self.port = 0

    async def start(self) -> None:
        """Bind and serve. Raises OSError when the address is taken."""
        server = grpc.aio.server(options=self._options)
        served: Any = _Served(self._edge)
        for service in self._services:
            service.register(served)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, served)
        reflection.enable_server_reflection([s.full_name for s in self._services] + [health.SERVICE_NAME, reflection.SERVICE_NAME], served)
        server.add_generic_rpc_handlers((served,))
        try:
            self.port = (
                server.add_secure_port(self._listen, self._credentials) if self._credentials else server.add_insecure_port(self._listen)
            )
        except RuntimeError as error:
            raise OSError(f"cannot listen on {self._listen}: is the port taken?") from error
        await server.start()
        poller.let_events_gather()
        self._server = server

    async def set_serving(self, serving: bool) -> None:
        """Tell health checks whether to send work here."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ["", *(s.full_name for s in self._services)]:
            await self._health.set(service, status)

    async def stop(self, grace_s: float) -> None:
        """Refuse new calls, let those in flight finish within `grace_s`, then cancel them."""
        if self._server is not None:
            await self._server.stop(grace_s)


class _Served(grpc.GenericRpcHandler):  # type: ignore[type-arg] # the stub is generic, the class is not
    """All methods of a server, each in the frame of the edge, found by their names alone.

    An interceptor would be asked about every call anew, which costs a short one a fiftieth of its time. A server to which methods are
    registered one by one would wait for the next call of each by itself, and turn to all of them at every call.
    """

    def __init__(self, edge: "_Edge") -> None:
        self._edge = edge
        self._handlers: list[Any] = []
        self._framed: dict[str, Any] = {}  # what a method is served by never changes

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        self._handlers += handlers

    def add_registered_method_handlers(self, service_name: str, handlers: Mapping[str, Any]) -> None:
        """They are among the generic ones already."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """What serves the method; None when nothing does."""
        method = handler_call_details.method
        framed = self._framed.get(method)
        if framed is None:
            found = next(filter(None, (handler.service(handler_call_details) for handler in self._handlers)), None)
            if found is None:
                return None
            framed = self._framed[method] = found if method.startswith(_PUBLIC) else self._edge.framed(method, found)
        return framed


class _Edge:
    """Who calls, until when, in which trace; what went wrong; one line in the log."""

    def __init__(self, authenticate: Authenticate, cap_s: float, write_cap_s: float | None, metrics: Metrics, log: logs.Log) -> None:
        self._authenticate = authenticate
        self._cap_s = cap_s
        self._write_cap_s = write_cap_s
        self._metrics = metrics
        self._log = log

    def framed(self, method: str, handler: Any) -> Any:
        """A handler that works as the given one, inside the frame; so does the reading of its requests, which gRPC hands on as bytes."""
        read = partial(_message, handler.request_deserializer or bytes)
        match handler.request_streaming, handler.response_streaming:
            case False, False:
                serve, method_handler = (
                    partial(self._serve, method, read, handler.unary_unary, self._cap_s),
                    grpc.unary_unary_rpc_method_handler,
                )
            case False, True:
                told = _written(handler.unary_stream, self._write_cap_s)
                serve, method_handler = partial(self._serve, method, read, told, _STREAMING_CAP_S), grpc.unary_stream_rpc_method_handler
            case True, True:
                told, each = _written(handler.stream_stream, self._write_cap_s), partial(_messages, read)
                serve, method_handler = partial(self._serve, method, each, told, _STREAMING_CAP_S), grpc.stream_stream_rpc_method_handler
            case _:  # no contract of ours has one; served unseen it would pass the authentication by
                return grpc.stream_unary_rpc_method_handler(_not_served)
        return method_handler(serve, None, handler.response_serializer)

    async def _serve(self, method: str, read: Read, behaviour: Behaviour, cap_s: float, request: Any, context: Context) -> Message:
        """One call. Aborts it when the behaviour fails."""
        started = time.perf_counter()
        fields: dict[str, logs.Field] = {"method": method}
        try:
            answer = await self._answered(method, read, behaviour, cap_s, request, context, fields)
        except asyncio.CancelledError:  # the transport's doing: the client left, its time is up, or the server ends
            self._finish(time.perf_counter() - started, fields, DeadlineExpired() if _expired(context) else Cancelled())
            raise
        except Exception as error:  # noqa: BLE001 - the edge: nothing leaves but what `known` makes of it
            ours = known(error)
            if ours.kind is ErrorKind.INTERNAL:
                self._log.error("rpc.failed", fields, error=error)
            self._finish(time.perf_counter() - started, fields, ours)
            ours.trace_id = ours.trace_id or str(fields.get(names.TRACE_ID, ""))
            await _abort(context, ours)
        else:  # the caller does not wait for our own notes
            asyncio.get_running_loop().call_soon(self._finish, time.perf_counter() - started, fields, None)
            return answer

    async def _answered(
        self, method: str, read: Read, behaviour: Behaviour, cap_s: float, request: Any, context: Context, fields: dict[str, logs.Field]
    ) -> Message:
        """What the behaviour answers, for whom it is asked and in the time that there is. The task is this call's own: what is set for its
        rest ends with it."""
        left = context.time_remaining()
        seconds = cap_s if left is None else left
        operation = method.lstrip("/")
        with telemetry.span(operation, SpanKind.SERVER, _traceparent(context)) as trace_id:
            if trace_id:
                fields[names.TRACE_ID] = trace_id
            async with asyncio.timeout(seconds):
                identity = await self._authenticate(method, context)
                fields[names.TENANT] = identity.tenant
                work_for(Caller(service=identity.service, tenant=identity.tenant, principal=identity.principal))
                expire(seconds)
                logs.begin_line(fields, alone="method")
                fault = fault_at(Edge.RPC_SERVER, operation)
                if fault is not None:
                    await _before(fault, method)
                answer = await behaviour(read(request), context)
                if fault is not None:
                    await _after(fault, method)
                return answer

    def _finish(self, seconds: float, fields: Mapping[str, logs.Field], error: PlimsollError | None) -> None:
        ending: dict[str, logs.Field] = {"code": code_name(error) if error else "OK", "ms": round(seconds * 1e3, 2)}
        if error is not None:
            ending["reason"] = error.reason
        self._metrics.rpc_seconds.labels(fields["method"], ending["code"]).observe(seconds)
        self._log.info("rpc.answered", {**fields, **ending})


def _message(parse: Callable[[bytes], Message], request: bytes) -> Message:
    """Raises Invalid: what cannot be read is the fault of who sent it, whoever that is."""
    try:
        return parse(request)
    except DecodeError as error:
        raise Invalid(
            problems=(FieldProblem("request", "is no message of the contract", "send what the contract says, in protobuf"),),
            reason="MALFORMED_REQUEST",
        ) from error


async def _messages(read: Read, requests: AsyncIterable[bytes]) -> AsyncIterator[Message]:
    async for request in requests:
        yield read(request)


def _written(behaviour: Any, cap_s: float | None) -> Behaviour:
    """Writes instead of yielding: a client that leaves then cancels this coroutine, which closes the behaviour in its own task.
    grpc would leave a cancelled generator to the garbage collector, and its clean-up to another task."""
    if inspect.iscoroutinefunction(behaviour):  # it writes by itself
        return cast("Behaviour", behaviour)

    async def answer(request: Message, context: Context) -> None:
        async with aclosing(behaviour(request, context)) as messages:
            async for message in messages:
                try:
                    async with asyncio.timeout(cap_s):
                        await write(context, message)
                except TimeoutError:
                    raise Exhausted(f"an answer was not read within {cap_s:g} s", reason="READS_TOO_SLOWLY", remedy=_COME_AGAIN) from None

    return answer


async def write(context: Context, message: Message) -> None:
    """Send one message of a stream; for methods that write instead of yielding."""
    await _told(context.write(message))


def _traceparent(context: Context) -> str:
    return next((str(value) for key, value in context.invocation_metadata() or () if key == names.TRACE_KEY), "")


_unquoted = lru_cache(4096)(unquote)  # tenant and principal of every call, of a few


async def _abort(context: Context, error: PlimsollError) -> None:
    await _told(context.abort_with_status(rpc_status.to_status(status_of(error))))


async def _told(telling: Awaitable[None]) -> None:
    """The client may have left, or its time be up, and the cancellation still be on its way to us: no fault of the server."""
    try:
        await telling
    except grpc.aio.InternalError as error:
        raise asyncio.CancelledError from error


async def _not_served(_: Message, context: Context) -> None:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "streams from the client are served only where the answer is one, too")


async def _before(fault: Fault, method: str) -> None:
    match fault.kind:
        case FaultKind.ERROR:
            raise unreachable(method)
        case FaultKind.LATENCY:
            await asyncio.sleep(fault.seconds)
        case FaultKind.TIMEOUT:
            await asyncio.sleep(budget_s(fault.seconds))
            raise DeadlineExpired(f"{method} did not answer in time")
        case _:
            pass


async def _after(fault: Fault, method: str) -> None:
    """The work is done; what becomes of its answer."""
    match fault.kind:
        case FaultKind.CUT:
            raise cut_off(method)
        case FaultKind.SLOW:
            await asyncio.sleep(fault.seconds)
        case _:
            pass


def _expired(context: Context) -> bool:
    left = context.time_remaining()
    return left is not None and left <= 0
