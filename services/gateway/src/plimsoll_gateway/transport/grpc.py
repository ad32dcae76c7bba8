"""The public gRPC server: API keys and tokens instead of certificates, everything else as inside the mesh."""

from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import TypeAlias

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from plimsoll.gateway.v1 import gateway_service_pb2
from plimsoll_runtime import logs
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.rpc_server import Context, Identity, RpcServer, RpcService
from plimsoll_runtime.settings import ServerSettings

from plimsoll_gateway.errors import BadHeader, BodyTooLarge
from plimsoll_gateway.service.doorway import Doorway, Visit
from plimsoll_gateway.transport.desk import Desk
from plimsoll_gateway.transport.quotas import quota_headers
from plimsoll_gateway.transport.servicer import GatewayServicer

SERVICE = gateway_service_pb2.DESCRIPTOR.services_by_name["GatewayService"]
REPLAYED = "idempotent-replayed"

_Answer: TypeAlias = Callable[[Message, Context], Awaitable[Message]]


class Callers:
    """Lets a call in by its `authorization` metadata, and gives it a place until it ends."""

    def __init__(self, doorway: Doorway) -> None:
        self._doorway = doorway

    async def __call__(self, method: str, context: Context) -> Identity:
        """Raises what the doorway raises."""
        name = method.rpartition("/")[2]
        stack, visit = ExitStack(), Visit()
        context.add_done_callback(lambda _: stack.close())
        try:
            streaming = SERVICE.methods_by_name[name].server_streaming
            principal = await self._doorway.enter(visit, _told(context, "authorization"), name, stack, streaming=streaming)
        finally:
            headers = quota_headers(visit.quotas)
            if headers:
                context.set_trailing_metadata(tuple((key.lower(), value) for key, value in headers.items()))
        return Identity(service="", tenant=principal.tenant, principal=principal.actor)


class Rpcs:
    """The methods of the contract as gRPC serves them: unary ones at the desk, streams straight."""

    def __init__(self, desk: Desk, servicer: GatewayServicer, *, request_bytes: int) -> None:
        """`request_bytes` bounds a request over gRPC as the body limit does over REST."""
        self._desk = desk
        self._servicer = servicer
        self._request_bytes = request_bytes

    def register(self, server: grpc.aio.Server) -> None:
        handlers = {method.name: self._handler(method) for method in SERVICE.methods}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE.full_name, handlers),))

    def _handler(self, method: MethodDescriptor) -> "grpc.RpcMethodHandler[Message, Message]":
        request, response = message_factory.GetMessageClass(method.input_type), message_factory.GetMessageClass(method.output_type)
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(
                getattr(self._servicer, method.name), request.FromString, response.SerializeToString
            )
        return grpc.unary_unary_rpc_method_handler(self._unary(method.name), request.FromString, response.SerializeToString)

    def _unary(self, method: str) -> _Answer:
        async def answer(request: Message, context: Context) -> Message:
            if request.ByteSize() > self._request_bytes:
                raise BodyTooLarge(self._request_bytes)
            served = await self._desk.serve(method, request, _told(context, "idempotency-key"))
            if served.replayed:
                await context.send_initial_metadata(((REPLAYED, "true"),))
            return served.message

        return answer


def public_server(
    settings: ServerSettings, listen: str, rpcs: Rpcs, doorway: Doorway, metrics: Metrics, log: logs.Log, *, write_cap_s: float
) -> RpcServer:
    """The server for clients: plaintext, because TLS towards clients ends at the ingress, for REST and gRPC alike."""
    service = RpcService(SERVICE.full_name, rpcs.register)
    return RpcServer(settings, [service], Callers(doorway), metrics, log, listen=listen, plaintext=True, write_cap_s=write_cap_s)


def _told(context: Context, name: str) -> str:
    """What the metadata say under a name. Raises BadHeader when it is said twice."""
    values = [str(value) for key, value in context.invocation_metadata() or () if key == name]
    if len(values) > 1:
        raise BadHeader(name, "comes more than once", "send it once")
    return values[0] if values else ""
