"""The five services behind the gateway as far as their contracts go: served over real gRPC, answering what a test says."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from plimsoll.common.v1 import audit_service_pb2
from plimsoll.feedback.v1 import (
    dataset_service_pb2,
    evaluation_service_pb2,
    feedback_service_pb2,
    improvement_service_pb2,
    monitor_service_pb2,
)
from plimsoll.memory.v1 import memory_service_pb2
from plimsoll.model_router.v1 import model_router_service_pb2
from plimsoll.orchestrator.v1 import orchestrator_service_pb2
from plimsoll.tool_dispatcher.v1 import tool_dispatcher_service_pb2
from plimsoll_runtime import logs
from plimsoll_runtime.context import Caller, current_caller
from plimsoll_runtime.deadline import remaining_s
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.rpc_server import PeerCertificates, RpcServer, RpcService
from plimsoll_runtime.settings import ServerSettings, TlsSettings

SERVICES: dict[str, ServiceDescriptor] = {
    "orchestrator": orchestrator_service_pb2.DESCRIPTOR.services_by_name["OrchestratorService"],
    "tool_dispatcher": tool_dispatcher_service_pb2.DESCRIPTOR.services_by_name["ToolDispatcherService"],
    "model_router": model_router_service_pb2.DESCRIPTOR.services_by_name["ModelRouterService"],
    "memory": memory_service_pb2.DESCRIPTOR.services_by_name["MemoryService"],
    "feedback": feedback_service_pb2.DESCRIPTOR.services_by_name["FeedbackService"],
}
_AUDIT = audit_service_pb2.DESCRIPTOR.services_by_name["AuditService"]
ALSO: dict[str, tuple[ServiceDescriptor, ...]] = {
    "model_router": (_AUDIT,),
    "feedback": (
        _AUDIT,
        monitor_service_pb2.DESCRIPTOR.services_by_name["MonitorService"],
        dataset_service_pb2.DESCRIPTOR.services_by_name["DatasetService"],
        evaluation_service_pb2.DESCRIPTOR.services_by_name["EvaluationService"],
        improvement_service_pb2.DESCRIPTOR.services_by_name["ImprovementService"],
    ),
}
"""Further services that a peer serves at the same address."""
Answer = Message | PlimsollError | asyncio.Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A call that arrived."""

    method: str
    request: Message
    caller: Caller
    left_s: float | None


@dataclass(slots=True)
class Stream:
    """One follower: what it asked, and whether it is still there."""

    request: Message
    open: bool = True


@dataclass(slots=True)
class Peer:
    """One service. `answers` says what each method answers: a message, an error, or an event to wait for; else an empty message.

    `journal` is what a follower gets: entries, then the end, unless it holds an error, or an event to wait for.
    """

    service: ServiceDescriptor
    also: tuple[ServiceDescriptor, ...] = ()
    answers: dict[str, Answer] = field(default_factory=dict)
    journal: Iterable[Answer] = ()
    heard: list[Heard] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
    address: str = ""

    @asynccontextmanager
    async def served(self, listen: str = "127.0.0.1:0") -> AsyncIterator[str]:
        settings = ServerSettings(insecure=True, tls=TlsSettings())
        rpcs = [RpcService(service.full_name, partial(self._register, service)) for service in (self.service, *self.also)]
        server = RpcServer(settings, rpcs, PeerCertificates(frozenset(), insecure=True), Metrics(), logs.get("peer"), listen=listen)
        await server.start()
        try:
            yield f"127.0.0.1:{server.port}"
        finally:
            await server.stop(0)

    def _register(self, service: ServiceDescriptor, server: grpc.aio.Server) -> None:
        handlers = {method.name: self._handler(method) for method in service.methods}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))

    def _handler(self, method: MethodDescriptor) -> grpc.RpcMethodHandler:
        request, response = message_factory.GetMessageClass(method.input_type), message_factory.GetMessageClass(method.output_type)
        make: Callable[..., grpc.RpcMethodHandler]
        if method.server_streaming:
            make, behaviour = grpc.unary_stream_rpc_method_handler, partial(self._stream, method.name)
        else:
            make, behaviour = grpc.unary_unary_rpc_method_handler, partial(self._answer, method.name, response())
        return make(behaviour, request.FromString, response.SerializeToString)

    async def _answer(self, name: str, empty: Message, request: Message, _: object) -> Message:
        self.heard.append(Heard(method=name, request=request, caller=current_caller(), left_s=remaining_s()))
        return await _given(self.answers.get(name, empty)) or empty

    async def _stream(self, name: str, request: Message, _: object) -> AsyncIterator[Message]:
        self.heard.append(Heard(method=name, request=request, caller=current_caller(), left_s=remaining_s()))
        stream = Stream(request)
        self.streams.append(stream)
        try:
            for given in self.journal:
                entry = await _given(given)
                if entry is not None and (name != "FollowRun" or entry.event.seq > request.after_seq):
                    yield entry
        finally:
            stream.open = False


async def _given(answer: Answer) -> Message | None:
    match answer:
        case PlimsollError():
            raise answer
        case asyncio.Event():
            await answer.wait()
            return None
        case _:
            return answer
