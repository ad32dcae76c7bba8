"""Which candidate is asked when, and what the caller hears of it."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field, replace

import pytest
from model_router_fakes import FakeProvider
from model_router_samples import INTENTS, failure, question, reply
from plimsoll_model_router.domain.generation import Answer, Chunk, Finished, Outcome, Progress, Question, Reply, Unanswered
from plimsoll_model_router.domain.messages import StopReason
from plimsoll_model_router.domain.pricing import Price
from plimsoll_model_router.domain.routing import Candidate, Model
from plimsoll_model_router.domain.schemas import compiled
from plimsoll_model_router.errors import ProviderError, Remedy
from plimsoll_model_router.failover import Failover, Inquiry
from plimsoll_runtime.deadline import expiring
from plimsoll_runtime.failures import Category
from plimsoll_runtime.usage import Usage
from plimsoll_testkit.clock import FakeClock


def refused(
    remedy: Remedy, category: Category = Category.UPSTREAM_UNAVAILABLE, *, after_s: float | None = None, usage: Usage | None = None
) -> ProviderError:
    return ProviderError(failure(category, retry_after_s=after_s), remedy, usage=usage)


@dataclass
class Desk:
    """A failover over fake providers; pauses pass at once and are noted."""

    clock: FakeClock
    providers: Sequence[FakeProvider]
    pauses: list[float] = field(default_factory=list)

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.clock.advance(seconds)

    async def steps(
        self, *, streaming: bool = False, schema: bool = False, max_cost: int = 0, asked: Question | None = None
    ) -> list[Progress | Outcome]:
        by_name = {provider.models[0].provider: provider for provider in self.providers}
        inquiry = Inquiry(
            question=asked or question(),
            candidates=[Candidate(model=one.models[0], ask_for=one.models[0].name) for one in self.providers],
            schema=compiled(INTENTS) if schema else None,
            prompt_digest="d",
            max_cost_micros=max_cost,
            streaming=streaming,
        )
        return [step async for step in Failover(by_name, self.clock, cap_s=60.0, sleep=self.pause).run(inquiry)]

    async def outcome(self, *, schema: bool = False, max_cost: int = 0, asked: Question | None = None) -> Outcome:
        [outcome] = await self.steps(schema=schema, max_cost=max_cost, asked=asked)
        assert not isinstance(outcome, Progress)
        return outcome


def provider(name: str, *steps: Reply | ProviderError, price: Price | None = None, context_tokens: int = 0) -> FakeProvider:
    return FakeProvider(*steps, model=Model(provider=name, name="m-1", price=price, context_tokens=context_tokens))


async def test_the_first_candidate_answers_when_it_can(clock: FakeClock) -> None:
    first, second = provider("a", reply()), provider("b", reply("Other."))
    outcome = await Desk(clock, [first, second]).outcome()
    assert isinstance(outcome, Answer)
    assert (outcome.provider, outcome.message.text, len(outcome.attempts)) == ("a", "It is here.", 1)
    assert second.asked == []


async def test_a_passing_fault_is_tried_again_where_it_happened(clock: FakeClock) -> None:
    desk = Desk(clock, [provider("a", refused(Remedy.RETRY), reply()), provider("b", reply())])
    outcome = await desk.outcome()
    assert isinstance(outcome, Answer)
    assert outcome.provider == "a"
    assert [attempt.failure is None for attempt in outcome.attempts] == [False, True]
    assert 0.1 <= desk.pauses[0] <= 0.25


async def test_the_pause_asked_for_is_kept_when_it_is_short_and_left_to_others_when_it_is_long(clock: FakeClock) -> None:
    short = Desk(clock, [provider("a", refused(Remedy.RETRY, after_s=2.0), reply()), provider("b", reply())])
    assert (await short.outcome()).attempts[-1].provider == "a"
    assert short.pauses == [2.0]
    long = Desk(clock, [provider("a", refused(Remedy.RETRY, after_s=30.0), reply()), provider("b", reply())])
    assert (await long.outcome()).attempts[-1].provider == "b"
    assert long.pauses == []


async def test_a_pause_beyond_the_deadline_is_not_waited_for(clock: FakeClock) -> None:
    desk = Desk(clock, [provider("a", refused(Remedy.RETRY, after_s=61.0), reply())])
    outcome = await desk.outcome()
    assert isinstance(outcome, Unanswered)
    assert outcome.failure.retry_after_s == 61.0
    assert desk.pauses == []


async def test_a_candidate_is_tried_a_bounded_number_of_times(clock: FakeClock) -> None:
    first, last = provider("a", refused(Remedy.RETRY)), provider("b", refused(Remedy.RETRY))
    outcome = await Desk(clock, [first, last]).outcome()
    assert isinstance(outcome, Unanswered)
    assert (len(first.asked), len(last.asked), len(outcome.attempts)) == (2, 3, 5)


async def test_a_fault_of_the_provider_moves_on_at_once(clock: FakeClock) -> None:
    first, second = provider("a", refused(Remedy.NEXT_PROVIDER)), provider("b", reply())
    desk = Desk(clock, [first, second])
    assert (await desk.outcome()).attempts[-1].provider == "b"
    assert (len(first.asked), desk.pauses) == (1, [])


async def test_a_fault_of_the_question_ends_the_matter(clock: FakeClock) -> None:
    second = provider("b", reply())
    outcome = await Desk(clock, [provider("a", refused(Remedy.NEVER, Category.UPSTREAM_REJECTED)), second]).outcome()
    assert isinstance(outcome, Unanswered)
    assert outcome.failure.category is Category.UPSTREAM_REJECTED
    assert second.asked == []


async def test_a_refusal_is_never_taken_elsewhere(clock: FakeClock) -> None:
    second = provider("b", reply())
    outcome = await Desk(clock, [provider("a", reply(stop=StopReason.REFUSAL)), second]).outcome()
    assert isinstance(outcome, Unanswered)
    assert outcome.failure.category is Category.MODEL_REFUSED
    assert outcome.usage.input_tokens == 10
    assert second.asked == []


async def test_a_context_that_is_too_small_leads_only_to_a_larger_one(clock: FakeClock) -> None:
    small, same, large = (provider(name, reply(), context_tokens=size) for name, size in (("a", 10), ("b", 10), ("c", 10_000)))
    long = question()
    long = replace(long, max_output_tokens=100)
    outcome = await Desk(clock, [small, same, large]).outcome(asked=long)
    assert isinstance(outcome, Answer)
    assert [attempt.provider for attempt in outcome.attempts] == ["a", "c"]
    assert (small.asked, same.asked) == ([], [])


async def test_nothing_is_sent_that_could_cost_more_than_it_may(clock: FakeClock) -> None:
    price = Price(input_micros=10_000_000, output_micros=10_000_000, cached_input_micros=0)
    dear = provider("a", reply(), price=price)
    outcome = await Desk(clock, [dear]).outcome(max_cost=5)
    assert isinstance(outcome, Unanswered)
    assert outcome.failure.category is Category.BUDGET_EXCEEDED
    assert dear.asked == []
    assert isinstance(await Desk(clock, [dear]).outcome(max_cost=5000), Answer)
    assert 0 < dear.asked[0].max_output_tokens < 500  # an answer without a limit of its own gets the one that can be paid


async def test_all_attempts_are_billed_at_the_price_of_their_model(clock: FakeClock) -> None:
    price = Price(input_micros=1_000_000, output_micros=2_000_000, cached_input_micros=0)
    broken = refused(Remedy.NEXT_PROVIDER, usage=Usage(input_tokens=5))
    outcome = await Desk(clock, [provider("a", broken, price=price), provider("b", reply(), price=price)]).outcome()
    assert [attempt.usage.cost_micros for attempt in outcome.attempts] == [5, 18]
    assert outcome.usage.cost_micros == 23


async def test_an_output_that_breaks_its_schema_is_asked_for_once_more(clock: FakeClock) -> None:
    outcome = await Desk(clock, [provider("a", reply("nonsense"), reply('{"intent":"refund"}'))]).outcome(schema=True)
    assert isinstance(outcome, Answer)
    assert (outcome.output, outcome.has_output, len(outcome.attempts)) == ({"intent": "refund"}, True, 2)


async def test_a_stream_that_breaks_starts_anew_under_a_higher_attempt(clock: FakeClock) -> None:
    steps = await Desk(clock, [provider("a", refused(Remedy.NEXT_PROVIDER)), provider("b", reply())]).steps(streaming=True)
    told = [(step.attempt, step.text) for step in steps if isinstance(step, Progress)]
    assert told[0] == (1, "half an ans")
    assert "".join(text for attempt, text in told if attempt == 2) == "It is here."
    assert isinstance(steps[-1], Answer)
    assert len(steps[-1].attempts) == 2


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_provider_that_never_answers_is_left_at_the_deadline(clock: FakeClock, streaming: bool) -> None:
    class Silent(FakeProvider):
        async def generate(self, question: Question) -> Reply:
            await asyncio.Event().wait()
            raise AssertionError

        async def stream(self, question: Question) -> AsyncGenerator[Chunk, None]:
            await asyncio.Event().wait()
            yield Finished(reply=reply())

    silent = Silent(reply(), model=Model(provider="a", name="m-1"))
    with expiring(0.1):
        steps = await Desk(clock, [silent]).steps(streaming=streaming)
    assert isinstance(steps[-1], Unanswered)
    assert (steps[-1].failure.category, steps[-1].failure.reason) == (Category.TIMEOUT, "TOO_SLOW")
