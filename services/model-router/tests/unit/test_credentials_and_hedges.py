"""Keys used in turn, breakers and limits kept, hedges run, deadlines shared, and what is owed when a caller leaves."""

import asyncio

import pytest
from model_router_desks import PRICE, Desk, Told, desk, refused
from model_router_fakes import FakeUpstream
from model_router_samples import question, reply
from plimsoll_model_router.domain.generation import Answer, Progress, Unanswered
from plimsoll_model_router.domain.tokens import question_tokens
from plimsoll_model_router.errors import ProviderError, Remedy
from plimsoll_model_router.failover.credentials import CredentialLimits
from plimsoll_model_router.failover.inquiry import Delivery, Inquiry
from plimsoll_runtime.breaker import Verdict
from plimsoll_runtime.deadline import expiring
from plimsoll_runtime.failures import Category
from plimsoll_runtime.usage import Usage
from plimsoll_testkit.clock import FakeClock


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
    with pytest.raises(asyncio.CancelledError):
        await room.failover.run(inquiry, room.course, Told(enough=lambda step: bool(step.text)).note)
    [attempt] = room.course.attempts
    assert attempt.failure is not None
    assert (attempt.failure.reason, attempt.usage.input_tokens, attempt.usage.output_tokens) == ("ABANDONED", question_tokens(told), 1)
    assert room.upstream.given_up == ["a"]
    await asyncio.sleep(0)
