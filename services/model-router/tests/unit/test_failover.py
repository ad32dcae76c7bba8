"""Which candidate is asked when, and what the caller hears of it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from model_router_fakes import FakeGate, FakeUpstream
from model_router_samples import INTENTS, failure, question, reply
from plimsoll_model_router.domain.budgets import Estimate
from plimsoll_model_router.domain.endpoints import Credential, Dialect, Timers
from plimsoll_model_router.domain.generation import Answer, Began, Outcome, Progress, Question, Unanswered
from plimsoll_model_router.domain.messages import StopReason
from plimsoll_model_router.domain.pace import Pace
from plimsoll_model_router.domain.pricing import Price
from plimsoll_model_router.domain.routing import Candidate, Model
from plimsoll_model_router.domain.schemas import compiled
from plimsoll_model_router.domain.tokens import question_tokens
from plimsoll_model_router.errors import ProviderError, Remedy
from plimsoll_model_router.failover.attempts import Attempts
from plimsoll_model_router.failover.credentials import CredentialLimits, Credentials
from plimsoll_model_router.failover.delivery import buffered
from plimsoll_model_router.failover.failover import Failover
from plimsoll_model_router.failover.inquiry import Course, Delivery, Inquiry
from plimsoll_runtime.breaker import BreakerPolicy, Verdict
from plimsoll_runtime.deadline import expiring
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.settings import Secret
from plimsoll_runtime.usage import Usage
from plimsoll_testkit.clock import FakeClock

PRICE = Price(input_micros=1_000_000, output_micros=2_000_000, cached_input_micros=0)


def refused(
    remedy: Remedy,
    category: Category = Category.UPSTREAM_UNAVAILABLE,
    *,
    after_s: float | None = None,
    usage: Usage | None = None,
    reason: str = "",
) -> ProviderError:
    told = failure(category, retry_after_s=after_s)
    return ProviderError(replace(told, reason=reason or told.reason), remedy, usage=usage)


class Wallet:
    """A purse with so many tokens in it."""

    def __init__(self, tokens: int = 0) -> None:
        self.tokens = tokens
        self.covered: list[tuple[int, Estimate]] = []
        self.freed: list[int] = []

    @property
    def capped(self) -> bool:
        return bool(self.tokens)

    async def cover(self, number: int, wanted: Estimate, spent: Usage) -> None:
        if wanted.tokens + spent.input_tokens + spent.output_tokens > self.tokens:
            over = Failure(category=Category.BUDGET_EXCEEDED, reason="BUDGET_USED_UP", message="no room")
            raise ProviderError(over, Remedy.NEXT_PROVIDER, sent=False)
        self.covered.append((number, wanted))

    def free(self, number: int) -> None:
        self.freed.append(number)


@dataclass
class Desk:
    """A failover over one fake upstream with a model for each candidate; pauses pass at once and are noted."""

    clock: FakeClock
    upstream: FakeUpstream
    names: Sequence[str]
    price: Price | None = None
    contexts: dict[str, int] = field(default_factory=dict)
    keys: Sequence[str] = ()
    limits: CredentialLimits = field(default_factory=CredentialLimits)
    pauses: list[float] = field(default_factory=list)
    wallet: Wallet = field(default_factory=Wallet)
    course: Course = field(default_factory=Course)

    def __post_init__(self) -> None:
        self.gate = FakeGate(self.clock)
        attempts = Attempts(
            dict.fromkeys(Dialect, self.upstream),
            self.gate,
            self.clock,
            Pace(),
            timers=Timers(),
            breaker=BreakerPolicy(),
            limits={"p": self.limits},
        )
        self.attempts = attempts
        keys = [Credential(name=name, secret=Secret(name)) for name in self.keys]
        self.failover = Failover(attempts, Credentials({"p": keys}, self.clock), self.clock, cap_s=60.0, sleep=self.pause)

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.clock.advance(seconds)

    def candidate(self, name: str) -> Candidate:
        model = Model(provider="p", name=name, price=self.price, context_tokens=self.contexts.get(name, 0))
        return Candidate(model=model, ask_for=name)

    async def steps(
        self,
        delivery: Delivery = Delivery.WHOLE,
        *,
        schema: bool = False,
        max_cost: int = 0,
        asked: Question | None = None,
        hedge_after_s: float = 0.0,
        refusal_moves_on: bool = False,
    ) -> list[Progress | Outcome]:
        told = asked or question()
        inquiry = Inquiry(
            call_id="call_1",
            question=told,
            candidates=[self.candidate(name) for name in self.names],
            schema=compiled(INTENTS) if schema else None,
            prompt_digest="d",
            input_tokens=question_tokens(told),
            purse=self.wallet,
            max_cost_micros=max_cost,
            delivery=delivery,
            hedge_after_s=hedge_after_s,
            refusal_moves_on=refusal_moves_on,
        )
        self.course = Course()
        running = self.failover.run(inquiry, self.course)
        return [step async for step in (buffered(running) if delivery is Delivery.BUFFERED else running)]

    async def outcome(
        self, *, schema: bool = False, max_cost: int = 0, asked: Question | None = None, refusal_moves_on: bool = False
    ) -> Outcome:
        [outcome] = await self.steps(schema=schema, max_cost=max_cost, asked=asked, refusal_moves_on=refusal_moves_on)
        assert not isinstance(outcome, Progress)
        return outcome


def desk(clock: FakeClock, *, keys: Sequence[str] = (), **steps: Sequence[object]) -> Desk:
    return Desk(clock, FakeUpstream(**steps), tuple(steps), keys=keys)  # type: ignore[arg-type]


async def test_the_first_candidate_answers_when_it_can(clock: FakeClock) -> None:
    room = desk(clock, a=[reply()], b=[reply("Other.")])
    outcome = await room.outcome()
    assert isinstance(outcome, Answer)
    assert (outcome.provider, outcome.message.text, len(outcome.attempts), outcome.call_id) == ("p", "It is here.", 1, "call_1")
    assert room.upstream.models_asked() == ["a"]
    assert room.gate.reports == [("p/a", Verdict.SUCCEEDED)]


async def test_a_passing_fault_is_tried_again_where_it_happened(clock: FakeClock) -> None:
    room = desk(clock, a=[refused(Remedy.RETRY), reply()], b=[reply()])
    outcome = await room.outcome()
    assert isinstance(outcome, Answer)
    assert room.upstream.models_asked() == ["a", "a"]
    assert [attempt.failure is None for attempt in outcome.attempts] == [False, True]
    assert 0.1 <= room.pauses[0] <= 0.5


async def test_the_pause_asked_for_is_kept_when_it_is_short_and_left_to_others_when_it_is_long(clock: FakeClock) -> None:
    short = desk(clock, a=[refused(Remedy.RETRY, after_s=2.0), reply()], b=[reply()])
    assert (await short.outcome()).attempts[-1].model == "a"
    assert 2.0 <= short.pauses[0] <= 2.2  # never earlier than asked, and not all at once
    long = desk(clock, a=[refused(Remedy.RETRY, after_s=30.0), reply()], b=[reply()])
    assert (await long.outcome()).attempts[-1].model == "b"
    assert long.pauses == []


async def test_a_pause_beyond_the_deadline_is_not_waited_for(clock: FakeClock) -> None:
    room = desk(clock, a=[refused(Remedy.RETRY, after_s=61.0), reply()])
    outcome = await room.outcome()
    assert isinstance(outcome, Unanswered)
    assert outcome.failure.retry_after_s == 61.0
    assert room.pauses == []


async def test_a_candidate_is_tried_a_bounded_number_of_times(clock: FakeClock) -> None:
    room = desk(clock, a=[refused(Remedy.RETRY)], b=[refused(Remedy.RETRY)])
    outcome = await room.outcome()
    assert isinstance(outcome, Unanswered)
    assert room.upstream.models_asked() == ["a", "a", "b", "b", "b"]
    assert len(outcome.attempts) == 5


async def test_an_upstream_that_fails_for_all_is_not_buried_under_repeats(clock: FakeClock) -> None:
    """Repeats keep to a share of the calls: 200 calls to a model that is down make far fewer than the 600 attempts they might."""
    room = desk(clock, a=[refused(Remedy.RETRY)])
    clock_stands = [await room.outcome() for _ in range(200)]
    assert len(clock_stands) == 200
    assert len(room.upstream.asked) < 450


async def test_a_fault_of_the_provider_moves_on_at_once(clock: FakeClock) -> None:
    room = desk(clock, a=[refused(Remedy.NEXT_PROVIDER)], b=[reply()])
    assert (await room.outcome()).attempts[-1].model == "b"
    assert (room.upstream.models_asked(), room.pauses) == (["a", "b"], [])


async def test_a_fault_of_the_question_ends_the_matter(clock: FakeClock) -> None:
    room = desk(clock, a=[refused(Remedy.NEVER, Category.UPSTREAM_REJECTED)], b=[reply()])
    outcome = await room.outcome()
    assert isinstance(outcome, Unanswered)
    assert outcome.failure.category is Category.UPSTREAM_REJECTED
    assert room.upstream.models_asked() == ["a"]
    assert room.gate.reports == [("p/a", Verdict.SUCCEEDED)]  # it works: it said no


async def test_a_refusal_is_taken_elsewhere_only_where_the_route_says_so(clock: FakeClock) -> None:
    refusing = reply(stop=StopReason.REFUSAL)
    outcome = await (room := desk(clock, a=[refusing], b=[reply()])).outcome()
    assert isinstance(outcome, Unanswered)
    assert outcome.failure.category is Category.MODEL_REFUSED
    assert outcome.usage.input_tokens == 10
    assert room.upstream.models_asked() == ["a"]
    elsewhere = await desk(clock, a=[refusing], b=[reply()]).outcome(refusal_moves_on=True)
    assert isinstance(elsewhere, Answer)
    assert (elsewhere.attempts[-1].model, elsewhere.usage.input_tokens) == ("b", 20)


async def test_a_context_that_is_too_small_leads_only_to_a_larger_one(clock: FakeClock) -> None:
    room = desk(clock, a=[refused(Remedy.LARGER_CONTEXT, Category.CONTEXT_TRUNCATED)], b=[reply()], c=[reply()])
    room.contexts = {"a": 10, "b": 10, "c": 10_000}
    outcome = await room.outcome()
    assert isinstance(outcome, Answer)
    assert room.upstream.models_asked() == ["a", "c"]


async def test_nothing_is_sent_that_could_cost_more_than_it_may(clock: FakeClock) -> None:
    dear = Price(input_micros=10_000_000, output_micros=10_000_000, cached_input_micros=0)
    room = desk(clock, a=[reply()])
    room.price = dear
    outcome = await room.outcome(max_cost=5)
    assert isinstance(outcome, Unanswered)
    assert outcome.failure.category is Category.BUDGET_EXCEEDED
    assert room.upstream.asked == []
    assert isinstance(await room.outcome(max_cost=5000), Answer)
    assert 0 < room.upstream.asked[0].question.max_output_tokens < 500  # an answer without a limit gets the one that can be paid


async def test_one_cost_budget_holds_for_all_attempts_together(clock: FakeClock) -> None:
    broken = refused(Remedy.NEXT_PROVIDER, usage=Usage(input_tokens=900))
    room = desk(clock, a=[broken], b=[reply()])
    room.price = PRICE
    outcome = await room.outcome(max_cost=910, asked=replace(question(), max_output_tokens=5))
    assert isinstance(outcome, Unanswered)
    assert (outcome.failure.reason, outcome.usage.cost_micros) == ("TOO_EXPENSIVE", 900)
    assert room.upstream.models_asked() == ["a"]


async def test_every_attempt_is_covered_before_it_is_made_and_freed_after(clock: FakeClock) -> None:
    room = desk(clock, a=[refused(Remedy.NEXT_PROVIDER)], b=[reply()])
    room.wallet = Wallet(10_000)
    assert isinstance(await room.outcome(), Answer)
    assert [number for number, _ in room.wallet.covered] == room.wallet.freed == [1, 2]
    assert room.upstream.asked[0].question.max_output_tokens == 4096  # a cap needs an end to every answer
    poor = desk(clock, a=[reply()])
    poor.wallet = Wallet(20)
    outcome = await poor.outcome()
    assert isinstance(outcome, Unanswered)
    assert (outcome.failure.reason, poor.upstream.asked) == ("BUDGET_USED_UP", [])


async def test_all_attempts_are_billed_at_the_price_of_their_model(clock: FakeClock) -> None:
    room = desk(clock, a=[refused(Remedy.NEXT_PROVIDER, usage=Usage(input_tokens=5))], b=[reply()])
    room.price = PRICE
    outcome = await room.outcome()
    assert [attempt.usage.cost_micros for attempt in outcome.attempts] == [5, 18]
    assert (outcome.usage.cost_micros, outcome.priced) == (23, True)
    room.price = None
    assert not (await room.outcome()).priced


async def test_an_output_that_breaks_its_schema_is_asked_for_once_more(clock: FakeClock) -> None:
    room = desk(clock, a=[reply("nonsense"), reply('{"intent":"refund"}')])
    outcome = await room.outcome(schema=True)
    assert isinstance(outcome, Answer)
    assert (outcome.output, outcome.has_output, len(outcome.attempts)) == ({"intent": "refund"}, True, 2)


async def test_a_stream_that_breaks_starts_anew_under_a_higher_attempt(clock: FakeClock) -> None:
    steps = await desk(clock, a=[refused(Remedy.NEXT_PROVIDER)], b=[reply()]).steps(Delivery.RETRACTABLE)
    told = [(step.attempt, step.delta if isinstance(step.delta, Began) else step.text) for step in steps if isinstance(step, Progress)]
    assert told[:3] == [(1, Began(provider="p", model="a")), (1, "half an ans"), (2, Began(provider="p", model="b"))]
    assert "".join(step.text for step in steps if isinstance(step, Progress) and step.attempt == 2) == "It is here."
    assert isinstance(steps[-1], Answer)
    assert len(steps[-1].attempts) == 2


async def test_who_cannot_retract_hears_only_the_attempt_that_answered(clock: FakeClock) -> None:
    steps = await desk(clock, a=[refused(Remedy.NEXT_PROVIDER)], b=[reply()]).steps(Delivery.BUFFERED)
    assert "".join(step.text for step in steps if isinstance(step, Progress)) == "It is here."
    assert isinstance(steps[-1], Answer)
    [failed] = await desk(clock, a=[refused(Remedy.NEXT_PROVIDER)]).steps(Delivery.BUFFERED)
    assert isinstance(failed, Unanswered)


async def test_who_wants_it_strictly_gets_an_error_and_no_second_attempt(clock: FakeClock) -> None:
    room = desk(clock, a=[refused(Remedy.RETRY)], b=[reply()])
    steps = await room.steps(Delivery.STRICT)
    assert [step.text for step in steps if isinstance(step, Progress)] == ["", "half an ans"]
    assert isinstance(steps[-1], Unanswered)
    assert room.upstream.models_asked() == ["a"]


async def test_a_refused_key_is_left_alone_and_the_others_are_used(clock: FakeClock) -> None:
    bad = refused(Remedy.NEXT_CREDENTIAL, Category.UPSTREAM_REJECTED)
    room = desk(clock, keys=("k1", "k2"), a=[bad, reply()])
    outcome = await room.outcome()
    assert isinstance(outcome, Answer)
    first, second = (attempt.credential for attempt in outcome.attempts)
    assert {first, second} == {"k1", "k2"}
    assert room.pauses == []
    for _ in range(4):
        assert (await room.outcome()).attempts[-1].credential == second
    clock.advance(301)
    assert {(await room.outcome()).attempts[-1].credential for _ in range(4)} == {first, second}


async def test_a_limited_key_cools_down_for_as_long_as_it_was_told(clock: FakeClock) -> None:
    room = desk(clock, keys=("k1", "k2"), a=[refused(Remedy.RETRY, Category.RATE_LIMITED, after_s=20.0), reply()])
    limited = (await room.outcome()).attempts
    assert [attempt.failure is None for attempt in limited] == [False, True]
    assert limited[0].credential != limited[1].credential
    assert room.pauses == []
    clock.advance(19)
    assert {(await room.outcome()).attempts[-1].credential for _ in range(3)} == {limited[1].credential}
    clock.advance(2)
    assert {(await room.outcome()).attempts[-1].credential for _ in range(3)} == {"k1", "k2"}


async def test_a_single_limited_key_is_waited_for(clock: FakeClock) -> None:
    room = desk(clock, keys=("k1",), a=[refused(Remedy.RETRY, Category.RATE_LIMITED, after_s=2.0), reply()])
    assert isinstance(await room.outcome(), Answer)
    assert 2.0 <= room.pauses[0] <= 2.2
    assert len(room.upstream.asked) == 2


async def test_reasoning_that_is_not_taken_is_left_out_once(clock: FakeClock) -> None:
    room = desk(clock, a=[refused(Remedy.WITHOUT_REASONING, Category.UPSTREAM_REJECTED), reply()])
    assert isinstance(await room.outcome(), Answer)
    assert [ask.question.replay_reasoning for ask in room.upstream.asked] == [True, False]
    stubborn = desk(clock, a=[refused(Remedy.WITHOUT_REASONING, Category.UPSTREAM_REJECTED)], b=[reply()])
    assert (await stubborn.outcome()).attempts[-1].model == "b"
    assert stubborn.upstream.models_asked() == ["a", "a", "b"]


async def test_a_model_whose_breaker_is_open_is_passed_by_without_being_asked(clock: FakeClock) -> None:
    room = desk(clock, a=[reply()], b=[reply()])
    room.gate.open = {"p/a"}
    outcome = await room.outcome()
    assert (outcome.attempts[-1].model, room.upstream.models_asked()) == ("b", ["b"])
    assert room.attempts.is_open("p/a")
    clock.advance(8)
    assert not room.attempts.is_open("p/a")
    room.gate.open = {"p/a", "p/b"}
    failed = await room.outcome()
    assert isinstance(failed, Unanswered)
    assert (failed.failure.reason, failed.failure.retry_after_s, failed.usage) == ("BREAKER_OPEN", 7.0, Usage())


async def test_limits_of_a_key_are_kept_before_the_provider_has_to_say_so(clock: FakeClock) -> None:
    room = Desk(clock, FakeUpstream(a=[reply()]), ("a",), keys=("k1", "k2"), limits=CredentialLimits(requests=1))
    assert {(await room.outcome()).attempts[-1].credential for _ in range(2)} == {"k1", "k2"}
    third = await room.outcome()
    assert len(room.upstream.asked) == 2
    assert isinstance(third, Unanswered)
    assert (third.failure.reason, third.failure.category) == ("LIMIT_REACHED", Category.RATE_LIMITED)
    assert third.failure.retry_after_s is not None


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (refused(Remedy.RETRY), Verdict.FAILED),
        (refused(Remedy.NEXT_PROVIDER, Category.TIMEOUT, reason="SILENT"), Verdict.FAILED),
        (refused(Remedy.RETRY, Category.MODEL_MALFORMED, reason="MALFORMED_ANSWER"), Verdict.FAILED),
        (refused(Remedy.NEXT_PROVIDER, Category.TIMEOUT, reason="CONNECT_TIMEOUT"), Verdict.FAILED),
        (refused(Remedy.NEXT_PROVIDER, Category.TIMEOUT, reason="TOO_SLOW"), Verdict.NEUTRAL),  # of a caller in a hurry
        (refused(Remedy.RETRY, Category.RATE_LIMITED), Verdict.NEUTRAL),
        (refused(Remedy.NEVER, Category.UPSTREAM_REJECTED, reason="INVALID_REQUEST"), Verdict.SUCCEEDED),
        (refused(Remedy.NEVER, Category.MODEL_REFUSED, reason="REFUSED"), Verdict.SUCCEEDED),
    ],
)
async def test_breakers_count_what_is_broken_and_not_what_says_no(clock: FakeClock, error: ProviderError, verdict: Verdict) -> None:
    room = desk(clock, a=[error])
    await room.outcome()
    assert room.gate.reports[0] == ("p/a", verdict)


@pytest.mark.parametrize("delivery", [Delivery.WHOLE, Delivery.RETRACTABLE])
async def test_a_hedge_answers_for_a_model_that_says_nothing(clock: FakeClock, delivery: Delivery) -> None:
    room = desk(clock, a=[reply("Late.")], b=[reply()], c=[reply()])
    room.upstream.silent = {"a"}
    steps = await room.steps(delivery, hedge_after_s=0.01)
    answer = steps[-1]
    assert isinstance(answer, Answer)
    assert (answer.message.text, [attempt.model for attempt in answer.attempts]) == ("It is here.", ["a", "b"])
    assert (room.upstream.given_up, answer.attempts[0].failure and answer.attempts[0].failure.reason) == (["a"], "ABANDONED")
    assert answer.attempts[0].usage.input_tokens > 0  # it was asked, and will be billed
    assert {step.attempt for step in steps if isinstance(step, Progress)} <= {2}


async def test_a_hedge_is_not_started_for_a_model_that_answers_in_time(clock: FakeClock) -> None:
    room = desk(clock, a=[reply()], b=[reply()])
    await room.steps(hedge_after_s=5.0)
    assert room.upstream.models_asked() == ["a"]


async def test_a_hedge_that_fails_leaves_the_race_to_the_other_and_both_failing_to_the_next(clock: FakeClock) -> None:
    room = desk(clock, a=[reply()], b=[refused(Remedy.NEXT_PROVIDER)], c=[reply()])
    room.upstream.silent = {"a"}
    with expiring(0.4):
        steps = await room.steps(hedge_after_s=0.01)
    assert isinstance(steps[-1], Unanswered | Answer)
    assert room.upstream.models_asked()[:2] == ["a", "b"]
    assert "c" in room.upstream.models_asked()


@pytest.mark.parametrize("delivery", [Delivery.WHOLE, Delivery.RETRACTABLE])
async def test_a_provider_that_never_answers_is_left_at_the_deadline(clock: FakeClock, delivery: Delivery) -> None:
    room = desk(clock, a=[reply()])
    room.upstream.silent = {"a"}
    with expiring(0.1):
        steps = await room.steps(delivery)
    assert isinstance(steps[-1], Unanswered)
    assert (steps[-1].failure.category, steps[-1].failure.reason) == (Category.TIMEOUT, "TOO_SLOW")


async def test_a_silent_provider_leaves_time_for_the_one_behind_it(clock: FakeClock) -> None:
    room = desk(clock, a=[reply()], b=[reply()])
    room.upstream.silent = {"a"}
    with expiring(0.2):
        outcome = await room.outcome()
    assert isinstance(outcome, Answer)
    assert outcome.attempts[-1].model == "b"


async def test_what_was_said_is_owed_when_the_caller_leaves(clock: FakeClock) -> None:
    room = desk(clock, a=[reply()])
    room.price = PRICE
    told = question()
    inquiry = Inquiry(
        call_id="c",
        question=told,
        candidates=[room.candidate("a")],
        schema=None,
        prompt_digest="",
        input_tokens=question_tokens(told),
        purse=room.wallet,
        delivery=Delivery.RETRACTABLE,
    )
    running = room.failover.run(inquiry, room.course)
    async for step in running:
        if step.text if isinstance(step, Progress) else False:
            break
    await running.aclose()
    [attempt] = room.course.attempts
    assert attempt.failure is not None
    assert (attempt.failure.reason, attempt.usage.input_tokens, attempt.usage.output_tokens) == ("ABANDONED", question_tokens(told), 1)
    assert room.upstream.given_up == ["a"]
    await asyncio.sleep(0)
