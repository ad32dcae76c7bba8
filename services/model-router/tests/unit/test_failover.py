"""Which candidate is asked when, and what the caller hears of it."""

from dataclasses import replace

from model_router_desks import PRICE, Wallet, desk, refused
from model_router_samples import question, reply
from plimsoll_model_router.domain.generation import Answer, Began, Progress, Unanswered
from plimsoll_model_router.domain.messages import StopReason
from plimsoll_model_router.domain.pricing import Price
from plimsoll_model_router.errors import Remedy
from plimsoll_model_router.failover.inquiry import Delivery
from plimsoll_runtime.breaker import Verdict
from plimsoll_runtime.failures import Category
from plimsoll_runtime.usage import Usage
from plimsoll_testkit.clock import FakeClock


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
