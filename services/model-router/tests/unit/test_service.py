"""The verbs: prompts resolved and rendered, answers recorded and remembered."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from model_router_fakes import FakeCallLedger, FakePromptStore, FakeProvider
from model_router_samples import ACME, INTENTS, REFERENCE, TEMPLATE, UMBRELLA, failure, generation, reply
from plimsoll_model_router.domain.generation import Answer, Generation, Progress, Unanswered
from plimsoll_model_router.domain.messages import ToolCall, ToolResult, assistant, results, user
from plimsoll_model_router.errors import (
    InvalidGeneration,
    InvalidPrompt,
    InvalidVariables,
    ProviderError,
    Remedy,
    RequestKeyReused,
    UnknownModel,
    UnknownPrompt,
)
from plimsoll_model_router.failover import Failover
from plimsoll_model_router.service import ModelRouter
from plimsoll_testkit.clock import FakeClock
from plimsoll_testkit.ids import FakeIds

FAILED = ProviderError(failure(), Remedy.NEXT_PROVIDER)


class Room:
    """A router on fakes."""

    def __init__(self, clock: FakeClock, provider: FakeProvider, routes: Mapping[str, Sequence[str]] | None = None) -> None:
        self.provider = provider
        self.ledger = FakeCallLedger(clock)
        self.router = ModelRouter(
            prompts=FakePromptStore(),
            ledger=self.ledger,
            failover=Failover({"fake": provider}, clock, cap_s=60.0),
            models=provider.models,
            routes=routes or {},
            clock=clock,
            ids=FakeIds(),
        )


@pytest.fixture
def room(clock: FakeClock) -> Room:
    return Room(clock, FakeProvider(reply()))


async def test_a_prompt_is_looked_up_rendered_and_followed_by_the_conversation(room: Room) -> None:
    prompt, _ = await room.router.register_prompt(ACME, TEMPLATE, ["production"])
    conversation = (
        assistant(ToolCall(call_id="a", tool="t", arguments={})),
        results(ToolResult(call_id="a", tool="t", content=1)),
    )
    outcome = await room.router.generate(ACME, Generation(prompt=REFERENCE, variables={"message": "Hello"}, messages=conversation))
    assert isinstance(outcome, Answer)
    assert outcome.prompt_digest == prompt.digest
    [asked] = room.provider.asked
    assert [message.role for message in asked.messages] == ["system", "user", "assistant", "user", "assistant", "tool"]
    assert asked.messages[3] == user("Hello")


async def test_every_call_is_recorded_with_its_outcome(room: Room) -> None:
    await room.router.generate(ACME, generation())
    [call] = room.ledger.calls
    assert (call.call_id, call.tenant, call.generation) == ("call_000001", ACME, generation())
    assert isinstance(call.outcome, Answer)


async def test_a_failed_call_is_a_value_and_recorded_too(clock: FakeClock) -> None:
    room = Room(clock, FakeProvider(FAILED))
    outcome = await room.router.generate(ACME, generation(key="k"))
    assert isinstance(outcome, Unanswered)
    assert len(room.ledger.calls) == 1
    await room.router.generate(ACME, generation(key="k"))
    assert len(room.provider.asked) == 2


async def test_a_repeat_under_its_request_key_asks_nobody(room: Room) -> None:
    first = await room.router.generate(ACME, generation(key="k"))
    again = await room.router.generate(ACME, generation(key="k"))
    assert isinstance(first, Answer)
    assert again == replace(first, recorded=True)
    assert len(room.provider.asked) == len(room.ledger.calls) == 1


async def test_a_repeat_is_answered_though_the_label_has_moved_meanwhile(room: Room) -> None:
    await room.router.register_prompt(ACME, TEMPLATE, ["production"])
    asked = Generation(request_key="k", prompt=REFERENCE, variables={"message": "Hello"})
    await room.router.generate(ACME, asked)
    await room.router.register_prompt(ACME, replace(TEMPLATE, system="Be brief."), ["production"])
    again = await room.router.generate(ACME, asked)
    assert isinstance(again, Answer)
    assert again.recorded


async def test_a_request_key_belongs_to_one_question_of_one_tenant(room: Room) -> None:
    await room.router.generate(ACME, generation(key="k"))
    with pytest.raises(RequestKeyReused):
        await room.router.generate(ACME, generation("Something else?", key="k"))
    other = await room.router.generate(UMBRELLA, generation("Something else?", key="k"))
    assert isinstance(other, Answer)
    assert not other.recorded


async def test_a_stream_ends_with_its_outcome_and_a_repeat_is_the_outcome_alone(room: Room) -> None:
    steps = [step async for step in room.router.generate_stream(ACME, generation(key="k"))]
    assert "".join(step.text for step in steps if isinstance(step, Progress)) == "It is here."
    assert isinstance(steps[-1], Answer)
    assert [step async for step in room.router.generate_stream(ACME, generation(key="k"))] == [replace(steps[-1], recorded=True)]


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        (Generation(), InvalidGeneration),
        (Generation(prompt=REFERENCE), UnknownPrompt),
        (generation(model="nobody"), UnknownModel),
        (generation(schema={"type": "nonsense"}), InvalidGeneration),
    ],
)
async def test_what_cannot_be_asked_is_refused_before_anybody_is_asked(room: Room, asked: Generation, error: type[Exception]) -> None:
    with pytest.raises(error):
        await room.router.generate(ACME, asked)
    assert (room.provider.asked, room.ledger.calls) == ([], [])


async def test_variables_must_be_exactly_those_of_the_prompt(room: Room) -> None:
    await room.router.register_prompt(ACME, TEMPLATE, ["production"])
    with pytest.raises(InvalidVariables, match="history"):
        await room.router.generate(ACME, Generation(prompt=REFERENCE, variables={"message": "Hello", "history": []}))


async def test_a_prompt_that_makes_no_sense_is_not_registered(room: Room) -> None:
    with pytest.raises(InvalidPrompt):
        await room.router.register_prompt(ACME, replace(TEMPLATE, variables=()), ["production"])
    assert await room.router.list_prompts(ACME, "", 10) == []


async def test_an_output_is_checked_against_its_schema(clock: FakeClock) -> None:
    room = Room(clock, FakeProvider(reply('{"intent":"refund"}')))
    outcome = await room.router.generate(ACME, generation(schema=INTENTS))
    assert isinstance(outcome, Answer)
    assert outcome.output == {"intent": "refund"}
