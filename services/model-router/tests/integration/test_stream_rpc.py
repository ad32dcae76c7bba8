"""The contract of streams, over gRPC: attempts that begin and are voided, pieces of every kind, one last event, and what clients can choose."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from model_router_conversations import LOOKUP
from model_router_rooms import plain, running, settings_for
from plimsoll.model_router.v1 import message_pb2, routing_pb2
from plimsoll.model_router.v1 import model_router_service_pb2 as pb
from plimsoll_model_router.config import ProviderSettings, Settings, TimerSettings
from plimsoll_runtime.rpc_client import call, stream
from plimsoll_runtime.settings import Secret
from plimsoll_runtime.wire import json_to_proto
from plimsoll_testkit.upstream import ANSWER, ARGUMENTS, THOUGHT, TOOL, Outcome, ScriptedUpstream, serving
from plimsoll_testkit.waiting import eventually


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with serving() as upstream:
        yield upstream


@pytest.fixture
def settings(postgres_dsn: str, nats_url: str, redis_url: str) -> Settings:
    return settings_for(postgres_dsn, nats_url, redis_url)


HASTE_S = 2.0


def hasty(settings: Settings) -> Settings:
    """For tests in which an upstream falls silent: in all others a slow machine must not look like one."""
    return replace(settings, timers=TimerSettings(first_token_s=HASTE_S, silence_s=HASTE_S))


def before(settings: Settings, upstream: ScriptedUpstream, first: str, second: str = "fine") -> Settings:
    return replace(
        settings,
        anthropic=ProviderSettings(api_key=Secret("k"), base_url=upstream.url, model=first),
        openai=ProviderSettings(api_key=Secret("k"), base_url=f"{upstream.url}/v1", model=second),
    )


async def events_of(
    settings: Settings, generation: pb.Generation, delivery: "pb.Delivery.ValueType" = pb.DELIVERY_UNSPECIFIED
) -> list[pb.GenerateStreamResponse]:
    async with running(settings) as stub:
        request = pb.GenerateStreamRequest(generation=generation, delivery=delivery)
        return [event async for event in stream(stub.GenerateStream, request, cap_s=60)]


def kinds(events: list[pb.GenerateStreamResponse], attempt: int) -> list[str]:
    """The kinds of an attempt's events, neighbours of one kind told once."""
    found = [str(event.WhichOneof("event")) for event in events if event.attempt == attempt]
    return [kind for at, kind in enumerate(found) if at == 0 or found[at - 1] != kind]


@pytest.mark.parametrize("fault", ["cut-once", "stall", "late-error"])
async def test_a_broken_attempt_is_voided_by_the_next_which_begins_anew(settings: Settings, upstream: ScriptedUpstream, fault: str) -> None:
    events = await events_of(before(hasty(settings) if fault == "stall" else settings, upstream, fault), plain("Hello?"))
    assert kinds(events, 1) == ["began", "text"]
    assert kinds(events, 2) == ["began", "text", "answer"]
    assert [event.attempt for event in events] == sorted(event.attempt for event in events)
    assert "".join(event.text for event in events if event.attempt == 2) == ANSWER
    assert events[-1].answer.message.parts[0].text.text == ANSWER


async def test_thinking_and_calls_come_in_pieces_and_whole_at_the_end(settings: Settings, upstream: ScriptedUpstream) -> None:
    tool = message_pb2.ToolDefinition(
        name=LOOKUP.name, description=LOOKUP.description, arguments_schema=json_to_proto(LOOKUP.arguments_schema)
    )
    asked = plain("Hello?")
    asked.tools.append(tool)
    events = await events_of(before(settings, upstream, "thinking-tools"), asked)
    assert kinds(events, 1) == ["began", "reasoning", "text", "tool_call", "answer"]
    assert "".join(event.reasoning for event in events) == THOUGHT
    first, *rest = [event.tool_call for event in events if event.HasField("tool_call")]
    assert (first.tool, bool(first.call_id), [piece.tool for piece in rest]) == (TOOL, True, [""] * len(rest))
    [told] = [part.tool_call for part in events[-1].answer.message.parts if part.HasField("tool_call")]
    assert (told.tool, told.call_id, told.arguments.text) == (TOOL, first.call_id, '{"email":"ann@example.com"}')
    assert ARGUMENTS == {"email": "ann@example.com"}


async def test_a_client_that_cannot_take_back_gets_the_pieces_of_the_answer_alone(settings: Settings, upstream: ScriptedUpstream) -> None:
    events = await events_of(before(settings, upstream, "cut-once"), plain("Hello?"), pb.DELIVERY_BUFFERED)
    assert {event.attempt for event in events} == {2}
    assert "".join(event.text for event in events) == ANSWER
    assert events[-1].HasField("answer")


async def test_a_strict_client_hears_of_a_break_as_a_failure_and_nothing_behind_it(settings: Settings, upstream: ScriptedUpstream) -> None:
    events = await events_of(before(settings, upstream, "cut"), plain("Hello?"), pb.DELIVERY_STRICT)
    assert kinds(events, 1) == ["began", "text", "failure"]
    assert events[-1].failure.failure.reason == "ANSWER_CUT"
    assert upstream.outcomes() == [("cut", Outcome.FAILED)]


async def test_a_unary_caller_is_rescued_from_silence_long_before_its_deadline(settings: Settings, upstream: ScriptedUpstream) -> None:
    async with running(before(hasty(settings), upstream, "silent")) as stub:
        answer = (await call(stub.Generate, pb.GenerateRequest(generation=plain("Hello?")), cap_s=60)).answer
    assert answer.message.parts[0].text.text == ANSWER
    assert [attempt.failure.reason for attempt in answer.attempts] == ["SLOW_START", ""]
    await eventually(lambda: upstream.outcomes() == [("silent", Outcome.ABANDONED), ("fine", Outcome.ANSWERED)])


async def test_what_was_converted_on_the_way_is_told_with_the_attempt(settings: Settings, upstream: ScriptedUpstream) -> None:
    asked = plain("Hello?")
    asked.sampling.temperature = 0.0
    asked.effort = message_pb2.EFFORT_HIGH
    [answer] = [event.answer for event in await events_of(before(settings, upstream, "fine"), asked) if event.HasField("answer")]
    told = {(one.subject, one.kind) for one in answer.attempts[0].conversions}
    assert told == {("temperature", message_pb2.CONVERSION_KIND_DROPPED), ("effort", message_pb2.CONVERSION_KIND_DROPPED)}


async def test_a_model_may_have_timers_of_its_own_and_a_route_others(settings: Settings, upstream: ScriptedUpstream) -> None:
    """The configuration waits for an hour: whoever waits less does so by its own timers. The one that answers is not hurried by any."""
    endless = replace(settings, timers=TimerSettings(first_token_s=3600.0, total_s=3600.0))
    async with running(before(endless, upstream, "silent")) as stub:

        async def rescued_after_s(model_s: float, route_s: float, name: str) -> float:
            model = routing_pb2.ModelEntry(name=name, provider="anthropic", model="silent")
            model.timers.first_token.FromTimedelta(timedelta(seconds=model_s))
            route = routing_pb2.Route(name=name, candidates=[routing_pb2.RouteCandidate(model=one) for one in (name, "openai/fine")])
            if route_s:
                route.timers.first_token.FromTimedelta(timedelta(seconds=route_s))
            await call(stub.RegisterModel, pb.RegisterModelRequest(model=model, labels=["production"]), cap_s=60)
            await call(stub.RegisterRoute, pb.RegisterRouteRequest(route=route, labels=["production"]), cap_s=60)
            asked = plain("Hello?")
            asked.task = name
            answer = (await call(stub.Generate, pb.GenerateRequest(generation=asked), cap_s=60)).answer
            assert [attempt.failure.reason for attempt in answer.attempts] == ["SLOW_START", ""]
            return answer.attempts[0].duration.ToTimedelta().total_seconds()

        assert await rescued_after_s(0.6, 0.0, "own") >= 0.6
        assert await rescued_after_s(3600.0, 2.0, "routed") >= 2.0
