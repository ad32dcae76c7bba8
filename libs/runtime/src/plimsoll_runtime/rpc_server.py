"""The gRPC server: mutual TLS, one interceptor for caller, deadline, trace, errors and the log line, health and reflection."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import grpc
from grpc_health.v1 import _async as aio_health
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from grpc_status import rpc_status
from opentelemetry.trace import SpanKind

from plimsoll_runtime import logs, names, telemetry, tls
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.deadline import expiring
from plimsoll_runtime.errors import Cancelled, Denied, ErrorKind, PlimsollError, Unauthenticated
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.settings import ServerSettings
from plimsoll_runtime.status import code_name, known, status_of

Context: TypeAlias = Any  # grpc.aio.ServicerContext; its stubs lack abort_with_status
Message: TypeAlias = Any  # a protobuf message; the interceptor never looks inside

_PUBLIC = ("/grpc.health.v1.", "/grpc.reflection.")
_STREAMING_CAP_S = 24 * 3600.0


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


Authenticate: TypeAlias = Callable[[str, Context], Awaitable[Identity]]


class PeerCertificates:
    """Authenticates callers inside the mesh: the certificate names the service, the metadata the tenant it works for."""

    def __init__(self, callers: frozenset[str], *, insecure: bool = False) -> None:
        self._callers = callers
        self._insecure = insecure

    async def __call__(self, method: str, context: Context) -> Identity:
        """Raises Unauthenticated without a certificate, Denied for a service that is not on the list or sends no tenant."""
        metadata = dict(context.invocation_metadata() or ())
        service = tls.peer_name(context)
        if not service and not self._insecure:
            raise Unauthenticated("no client certificate", reason="NO_CERTIFICATE")
        if service not in self._callers and not self._insecure:
            raise Denied(f"{service} may not call {method}", reason="CALLER_NOT_ALLOWED")
        tenant = str(metadata.get(names.TENANT_KEY, ""))
        if not tenant:
            raise Denied("the call names no tenant", reason="NO_TENANT")
        return Identity(service=service or "insecure", tenant=tenant, principal=str(metadata.get(names.PRINCIPAL_KEY, "")))


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
    ) -> None:
        self._listen = listen or settings.grpc_listen
        self._credentials = None if plaintext or not settings.tls.enabled else tls.server_credentials(settings.tls)
        self._services = services
        cap = settings.max_message_mib * 1024 * 1024
        self._interceptor = _Edge(authenticate, settings.request_cap_s, metrics, log)
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
        server = grpc.aio.server(interceptors=[self._interceptor], options=self._options)
        for service in self._services:
            service.register(server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection([s.full_name for s in self._services] + [health.SERVICE_NAME, reflection.SERVICE_NAME], server)
        try:
            self.port = (
                server.add_secure_port(self._listen, self._credentials) if self._credentials else server.add_insecure_port(self._listen)
            )
        except RuntimeError as error:
            raise OSError(f"cannot listen on {self._listen}: is the port taken?") from error
        await server.start()
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


class _Edge(grpc.aio.ServerInterceptor):  # type: ignore[type-arg] # the stub is generic, the class is not
    """Who calls, until when, in which trace; what went wrong; one line in the log."""

    def __init__(self, authenticate: Authenticate, cap_s: float, metrics: Metrics, log: logs.Log) -> None:
        self._authenticate = authenticate
        self._cap_s = cap_s
        self._metrics = metrics
        self._log = log

    async def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        handler = await continuation(details)
        method = details.method
        if handler is None or method.startswith(_PUBLIC):
            return handler
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(
                self._unary(method, handler.unary_unary), handler.request_deserializer, handler.response_serializer
            )
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(
                self._stream(method, handler.unary_stream), handler.request_deserializer, handler.response_serializer
            )
        return handler

    def _unary(self, method: str, behaviour: Callable[[Message, Context], Awaitable[Message]]) -> Any:
        async def answer(request: Message, context: Context) -> Message:
            async with _call(self, method, context, self._cap_s) as call:
                return await call.guard(behaviour(request, context))

        return answer

    def _stream(self, method: str, behaviour: Callable[[Message, Context], AsyncGenerator[Message, None]]) -> Any:
        # Writes instead of yielding: a client that leaves then cancels this coroutine, which closes the behaviour in its own task.
        # grpc would leave a cancelled generator to the garbage collector, and its clean-up to another task.
        async def answer(request: Message, context: Context) -> None:
            async with _call(self, method, context, _STREAMING_CAP_S), aclosing(behaviour(request, context)) as messages:
                async for message in messages:
                    await context.write(message)

        return answer


class _call:  # noqa: N801 - reads as a statement: `async with _call(...)`
    """The frame around one call."""

    def __init__(self, edge: _Edge, method: str, context: Context, cap_s: float) -> None:
        self._edge = edge
        self._method = method
        self._context = context
        self._cap_s = cap_s

    async def guard(self, answer: Awaitable[Message]) -> Message:
        """Await the answer under the call's deadline; the transport enforces one that the client sent."""
        async with asyncio.timeout(self._seconds):
            return await answer

    async def __aenter__(self) -> Self:
        self._started = time.perf_counter()
        left = self._context.time_remaining()
        self._seconds = min(left, self._cap_s) if left is not None else self._cap_s
        try:
            identity = await self._edge._authenticate(self._method, self._context)  # noqa: SLF001 - one unit in two classes
        except PlimsollError as error:
            await self._refuse(error, tenant="")
            raise
        self._tenant = identity.tenant
        metadata = dict(self._context.invocation_metadata() or ())
        self._frames = [
            acting_for(identity.tenant, identity.principal, service=identity.service),
            expiring(self._seconds),
            telemetry.span(self._method.lstrip("/"), SpanKind.SERVER, str(metadata.get(names.TRACE_KEY, ""))),
        ]
        for frame in self._frames:
            self._trace_id = frame.__enter__() or ""
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        for frame in reversed(self._frames):
            frame.__exit__(None, None, None)
        if error is None:
            self._finish("OK", self._tenant)
        elif isinstance(error, asyncio.CancelledError | GeneratorExit):
            self._finish(code_name(Cancelled()), self._tenant)
        elif isinstance(error, Exception):
            await self._refuse(error, self._tenant)

    async def _refuse(self, error: Exception, tenant: str) -> None:
        ours = known(error)
        if ours.kind is ErrorKind.INTERNAL:
            self._edge._log.error("rpc.failed", {"method": self._method}, error=error)  # noqa: SLF001
        self._finish(code_name(ours), tenant, ours.reason)
        await self._context.abort_with_status(rpc_status.to_status(status_of(ours)))

    def _finish(self, code: str, tenant: str, reason: str = "") -> None:
        seconds = time.perf_counter() - self._started
        self._edge._metrics.rpc_seconds.labels(self._method, code).observe(seconds)  # noqa: SLF001
        fields: dict[str, logs.Field] = {"method": self._method, "code": code, "ms": round(seconds * 1e3, 2), names.TENANT: tenant}
        if reason:
            fields["reason"] = reason
        if getattr(self, "_trace_id", ""):
            fields[names.TRACE_ID] = self._trace_id
        self._edge._log.info("rpc.answered", fields)  # noqa: SLF001
