"""Bodies from their owners over gRPC: model calls from the model-router, tool calls from the dispatcher, steps from the orchestrator."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, Self

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from plimsoll.common.v1 import json_pb2
from plimsoll.model_router.v1 import model_router_service_pb2, model_router_service_pb2_grpc
from plimsoll.orchestrator.v1 import orchestrator_service_pb2, orchestrator_service_pb2_grpc, run_events_pb2
from plimsoll.tool_dispatcher.v1 import tool_dispatcher_service_pb2, tool_dispatcher_service_pb2_grpc
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.errors import NotFound
from plimsoll_runtime.json_types import JsonValue, parse_json
from plimsoll_runtime.rpc_client import call, open_channel, stream
from plimsoll_runtime.settings import TlsSettings

from plimsoll_feedback.domain.body import Body
from plimsoll_feedback.domain.operation import Operation, OperationKind

_CAP_S: Final = 10.0
_FORGOTTEN: Final = "it is kept no longer"


class CallBodies:
    """The Bodies. A service whose address is not set keeps nothing that we could ask for, and the body says so."""

    def __init__(
        self,
        models: "model_router_service_pb2_grpc.ModelRouterServiceAsyncStub | None",
        tools: "tool_dispatcher_service_pb2_grpc.ToolDispatcherServiceAsyncStub | None",
        runs: "orchestrator_service_pb2_grpc.OrchestratorServiceAsyncStub | None",
    ) -> None:
        self._models = models
        self._tools = tools
        self._runs = runs

    @classmethod
    @asynccontextmanager
    async def opened(cls, model_router: str, tool_dispatcher: str, orchestrator: str, tls: TlsSettings) -> AsyncIterator[Self]:
        """Channels inside the block, to those whose address is not empty."""
        async with AsyncExitStack() as stack:
            models = tools = runs = None
            if model_router:
                channel = await stack.enter_async_context(open_channel(model_router, tls, "model-router"))
                models = model_router_service_pb2_grpc.ModelRouterServiceStub(channel)
            if tool_dispatcher:
                channel = await stack.enter_async_context(open_channel(tool_dispatcher, tls, "tool-dispatcher"))
                tools = tool_dispatcher_service_pb2_grpc.ToolDispatcherServiceStub(channel)
            if orchestrator:
                channel = await stack.enter_async_context(open_channel(orchestrator, tls, "orchestrator"))
                runs = orchestrator_service_pb2_grpc.OrchestratorServiceStub(channel)
            yield cls(models, tools, runs)

    async def of(self, tenant: str, operation: Operation) -> Body:
        """Asks by the key that the operation's facts hold."""
        with acting_for(tenant):
            match operation.kind:
                case OperationKind.MODEL_CALL:
                    return await self._model_call(_fact(operation, "call_id"))
                case OperationKind.TOOL_CALL:
                    return await self._tool_call(_fact(operation, "call_key"))
                case OperationKind.TRANSITION | OperationKind.APPROVAL | OperationKind.RUN:
                    return await self._journal(operation)
                case OperationKind.RETRIEVAL | OperationKind.QUALITY:
                    return Body(owner="memory", missing="memory keeps the receipt of a search, which the facts hold, and no passages")

    async def _model_call(self, call_id: str) -> Body:
        if self._models is None:
            return _unasked("model-router")
        request = model_router_service_pb2.GetCallRequest(call_id=call_id)
        try:
            kept = await call(self._models.GetCall, request, cap_s=_CAP_S)
        except NotFound:
            return Body(owner="model-router", missing=_FORGOTTEN)
        asked = _plain(kept.generation) if kept.HasField("generation") else None
        answered = _plain(kept.answer.message) if kept.HasField("answer") else None
        if kept.HasField("answer") and kept.answer.HasField("output"):
            answered = {"message": answered, "output": _value(kept.answer.output)}
        return Body(owner="model-router", input=asked, output=answered, missing="" if asked is not None else _FORGOTTEN)

    async def _tool_call(self, call_key: str) -> Body:
        if self._tools is None:
            return _unasked("tool-dispatcher")
        request = tool_dispatcher_service_pb2.GetCallRequest(call_key=call_key)
        try:
            kept = (await call(self._tools.GetCall, request, cap_s=_CAP_S)).call
        except NotFound:
            return Body(owner="tool-dispatcher", missing="it was refused before it began, or is kept no longer")
        arguments = _value(kept.effective_arguments) if kept.HasField("effective_arguments") else None
        result = _value(kept.result) if kept.HasField("result") else None
        return Body(owner="tool-dispatcher", input=arguments, output=result)

    async def _journal(self, operation: Operation) -> Body:
        """The journal's entry itself; of a run also what it began with."""
        if self._runs is None:
            return _unasked("orchestrator")
        began = await self._entry(operation.run_id, 1) if operation.kind is OperationKind.RUN else None
        entry = await self._entry(operation.run_id, operation.step)
        if entry is None:
            return Body(owner="orchestrator", missing=_FORGOTTEN)
        given = _value(began.run_started.input) if began is not None and began.HasField("run_started") else None
        return Body(owner="orchestrator", input=given, output=_said(entry))

    async def _entry(self, run_id: str, seq: int) -> run_events_pb2.RunEvent | None:
        assert self._runs is not None  # the caller looked
        request = orchestrator_service_pb2.FollowRunRequest(run_id=run_id, after_seq=seq - 1)
        try:
            async for answer in stream(self._runs.FollowRun, request, cap_s=_CAP_S):
                return answer.event if answer.event.seq == seq else None
        except NotFound:
            return None
        return None


def _said(entry: run_events_pb2.RunEvent) -> JsonValue:
    match entry.WhichOneof("event"):
        case "step_finished":
            return _value(entry.step_finished.delta)
        case "run_finished":
            return _value(entry.run_finished.output)
        case "approval_decided":
            return _plain(entry.approval_decided)
        case _:
            return None


def _unasked(owner: str) -> Body:
    return Body(owner=owner, missing=f"the address of the {owner} is not set")


def _fact(operation: Operation, name: str) -> str:
    fact = operation.facts.get(name)
    return fact if isinstance(fact, str) else ""


def _value(message: json_pb2.JsonValue) -> JsonValue:
    return parse_json(message.text, field="body") if message.text else None


def _plain(message: Message) -> JsonValue:
    """As ProtoJSON has it."""
    plain: JsonValue = MessageToDict(message, preserving_proto_field_name=True)
    return plain
