"""Bodies come from those who keep them, for the caller's tenant, and what is not kept is named."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import grpc
import pytest
from feedback_samples import ACME, operation
from plimsoll.common.v1 import json_pb2
from plimsoll.model_router.v1 import message_pb2, model_router_service_pb2, model_router_service_pb2_grpc
from plimsoll.orchestrator.v1 import orchestrator_service_pb2, orchestrator_service_pb2_grpc, run_events_pb2
from plimsoll.tool_dispatcher.v1 import tool_dispatcher_service_pb2, tool_dispatcher_service_pb2_grpc
from plimsoll_feedback.adapters.call_bodies import CallBodies
from plimsoll_feedback.domain.body import Body
from plimsoll_feedback.domain.operation import OperationKind
from plimsoll_runtime.errors import Unavailable
from plimsoll_runtime.settings import TlsSettings


class Owners(
    model_router_service_pb2_grpc.ModelRouterServiceServicer,
    tool_dispatcher_service_pb2_grpc.ToolDispatcherServiceServicer,
    orchestrator_service_pb2_grpc.OrchestratorServiceServicer,
):
    """The three services, which know one call each, and one run."""

    def __init__(self) -> None:
        self.tenants: list[str] = []

    def _note(self, context: grpc.aio.ServicerContext) -> None:
        self.tenants += [str(value) for name, value in context.invocation_metadata() or () if name == "plimsoll-tenant"]

    async def GetCall(self, request: object, context: grpc.aio.ServicerContext) -> object:  # noqa: N802 - the name in the contract
        self._note(context)
        match request:
            case model_router_service_pb2.GetCallRequest(call_id="call_1"):
                answer = model_router_service_pb2.Answer(
                    message=message_pb2.Message(), output=json_pb2.JsonValue(text='{"intent":"refund"}')
                )
                asked = model_router_service_pb2.Generation(task="classification", variables=json_pb2.JsonValue(text='{"message":"hi"}'))
                return model_router_service_pb2.GetCallResponse(call_id="call_1", generation=asked, answer=answer)
            case model_router_service_pb2.GetCallRequest(call_id="call_old"):
                return model_router_service_pb2.GetCallResponse(call_id="call_old")
            case tool_dispatcher_service_pb2.GetCallRequest(call_key="key_1"):
                call = tool_dispatcher_service_pb2.ToolCall(
                    effective_arguments=json_pb2.JsonValue(text='{"id":7}'), result=json_pb2.JsonValue(text='{"found":true}')
                )
                return tool_dispatcher_service_pb2.GetCallResponse(call=call)
            case _:
                await context.abort(grpc.StatusCode.NOT_FOUND, "no such call")
                raise AssertionError

    async def FollowRun(  # noqa: N802 - as above
        self, request: orchestrator_service_pb2.FollowRunRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[object]:
        self._note(context)
        for seq in range(request.after_seq + 1, 4):
            event = run_events_pb2.RunEvent(run_id=request.run_id, seq=seq)
            match seq:
                case 1:
                    event.run_started.input.text = '{"message":"hello"}'
                case 2:
                    event.step_finished.delta.text = '{"intent":"refund"}'
                case 3:
                    event.run_finished.output.text = '{"answer":"done"}'
            yield orchestrator_service_pb2.FollowRunResponse(event=event)


@pytest.fixture
def owners() -> Owners:
    return Owners()


@pytest.fixture
async def bodies(owners: Owners) -> AsyncIterator[CallBodies]:
    """Each service on a server of its own."""
    adders = (
        model_router_service_pb2_grpc.add_ModelRouterServiceServicer_to_server,
        tool_dispatcher_service_pb2_grpc.add_ToolDispatcherServiceServicer_to_server,
        orchestrator_service_pb2_grpc.add_OrchestratorServiceServicer_to_server,
    )
    async with AsyncExitStack() as stack:
        ports = []
        for add in adders:
            server = grpc.aio.server()
            add(owners, server)
            ports.append(server.add_insecure_port("127.0.0.1:0"))
            await server.start()
            stack.push_async_callback(server.stop, None)
        addresses = [f"127.0.0.1:{port}" for port in ports]
        yield await stack.enter_async_context(CallBodies.opened(*addresses, TlsSettings()))


def kept(kind: OperationKind, step: int = 1, **facts: str) -> object:
    return replace(operation(1, kind=kind), step=step, facts=facts)


async def test_a_model_calls_question_and_answer_come_from_the_router(bodies: CallBodies, owners: Owners) -> None:
    body = await bodies.of(ACME, kept(OperationKind.MODEL_CALL, call_id="call_1"))
    assert body.owner == "model-router"
    assert body.input == {"task": "classification", "variables": {"text": '{"message":"hi"}'}}
    assert body.output == {"message": {}, "output": {"intent": "refund"}}
    assert owners.tenants == [ACME]


async def test_a_tool_calls_arguments_and_result_come_from_the_dispatcher(bodies: CallBodies, owners: Owners) -> None:
    body = await bodies.of(ACME, kept(OperationKind.TOOL_CALL, call_key="key_1"))
    assert body == Body(owner="tool-dispatcher", input={"id": 7}, output={"found": True})
    assert owners.tenants == [ACME]


async def test_steps_and_runs_come_from_the_journal(bodies: CallBodies) -> None:
    assert await bodies.of(ACME, kept(OperationKind.TRANSITION, step=2)) == Body(owner="orchestrator", output={"intent": "refund"})
    run = await bodies.of(ACME, kept(OperationKind.RUN, step=3))
    assert run == Body(owner="orchestrator", input={"message": "hello"}, output={"answer": "done"})
    assert (await bodies.of(ACME, kept(OperationKind.TRANSITION, step=9))).missing == "it is kept no longer"


async def test_what_is_kept_no_longer_or_never_was_is_named(bodies: CallBodies) -> None:
    for call_id in ("call_old", "call_absent"):
        assert (await bodies.of(ACME, kept(OperationKind.MODEL_CALL, call_id=call_id))).missing == "it is kept no longer"
    refused = await bodies.of(ACME, kept(OperationKind.TOOL_CALL, call_key="key_absent"))
    assert refused.missing == "it was refused before it began, or is kept no longer"
    assert "no passages" in (await bodies.of(ACME, kept(OperationKind.RETRIEVAL))).missing


async def test_an_owner_that_is_away_is_unavailable() -> None:
    async with CallBodies.opened("127.0.0.1:9", "", "", TlsSettings()) as bodies:
        with pytest.raises(Unavailable):
            await bodies.of(ACME, kept(OperationKind.MODEL_CALL, call_id="call_1"))
        assert (
            await bodies.of(ACME, kept(OperationKind.TOOL_CALL, call_key="key_1"))
        ).missing == "the address of the tool-dispatcher is not set"
