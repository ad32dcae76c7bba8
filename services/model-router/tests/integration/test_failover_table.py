"""The failover table: every fault of a provider, judged by what the caller heard and by what the upstream logged."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
from model_router_asks import HTTP_DIALECTS
from model_router_conversations import question
from model_router_fakes import FakeGate
from model_router_provider_desk import FINE, Desk, Heard, failover_over
from plimsoll_model_router.adapters.providers.connections import open_connections
from plimsoll_model_router.adapters.providers.http import HttpTransport
from plimsoll_model_router.domain.endpoints import Dialect
from plimsoll_model_router.domain.messages import Opaque, Reasoning, assistant, user
from plimsoll_model_router.failover.inquiry import Delivery
from plimsoll_runtime import logs
from plimsoll_runtime.clock import SystemClock
from plimsoll_runtime.guard import open_guard
from plimsoll_runtime.redis import open_redis
from plimsoll_runtime.settings import RedisSettings, Secret
from plimsoll_runtime.usage import Usage
from plimsoll_testkit.clock import FakeClock
from plimsoll_testkit.upstream import ANSWER, SIGNATURE, ScriptedUpstream, serving
from plimsoll_testkit.upstream import Outcome as Seen
from plimsoll_testkit.waiting import eventually

EACH = pytest.mark.parametrize(
    "dialect", [dialect for dialect in HTTP_DIALECTS if dialect is not Dialect.OPENAI_COMPATIBLE]
)  # one codec for both
STREAMED = pytest.mark.parametrize("delivery", [Delivery.RETRACTABLE, Delivery.BUFFERED])
EVERY = pytest.mark.parametrize("delivery", [Delivery.WHOLE, Delivery.RETRACTABLE, Delivery.BUFFERED])


@pytest.fixture
async def served() -> AsyncIterator[ScriptedUpstream]:
    async with serving() as upstream:
        yield upstream


@pytest.fixture
def keys() -> Sequence[str]:
    return ("sk-good",)


@pytest.fixture
async def desk(dialect: Dialect, served: ScriptedUpstream, clock: FakeClock, keys: Sequence[str]) -> AsyncIterator[Desk]:
    pauses: list[float] = []
    async with open_connections() as connections:
        failover = failover_over(FakeGate(clock), HttpTransport(connections, clock), clock, pauses, keys)
        yield Desk(failover=failover, served=served, dialect=dialect, pauses=pauses)


def assert_whole(heard: Heard, provider: str) -> None:
    """The whole answer from that provider, and in the end nothing else was heard."""
    assert heard.answer.provider == provider
    assert heard.answer.message.text == ANSWER
    if heard.pieces:
        assert heard.pieces[max(heard.pieces)] == ANSWER


RESCUED_BY_PRIMARY = {
    "limited-once": [Seen.REFUSED, Seen.ANSWERED],
    "limited-soon-once": [Seen.REFUSED, Seen.ANSWERED],
    "limited-ms-once": [Seen.REFUSED, Seen.ANSWERED],
    "limited-date-once": [Seen.REFUSED, Seen.ANSWERED],
    "limited-skewed-once": [Seen.REFUSED, Seen.ANSWERED],
    "broken-once": [Seen.REFUSED, Seen.ANSWERED],
    "unavailable-once": [Seen.REFUSED, Seen.ANSWERED],
    "hang-up-once": [Seen.FAILED, Seen.ANSWERED],
    "error-inside-once": [Seen.FAILED, Seen.ANSWERED],
    "html-once": [Seen.REFUSED, Seen.ANSWERED],
    "cut-once": [Seen.FAILED, Seen.ANSWERED],
    "malformed-once": [Seen.FAILED, Seen.ANSWERED],
}
RESCUED_BY_SECONDARY = {
    "limited-long": [Seen.REFUSED],
    "limited-bare": [Seen.REFUSED],
    "quota": [Seen.REFUSED],
    "unavailable": [Seen.REFUSED, Seen.REFUSED],
    "broken": [Seen.REFUSED, Seen.REFUSED],
    "no-retry": [Seen.REFUSED],
    "overloaded": [Seen.REFUSED],
    "bad-key": [Seen.REFUSED],
    "no-model": [Seen.REFUSED],
    "hang-up": [Seen.FAILED, Seen.FAILED],
    "html": [Seen.REFUSED, Seen.REFUSED],
    "html-200": [Seen.FAILED],
    "error-inside": [Seen.FAILED, Seen.FAILED],
    "cut": [Seen.FAILED, Seen.FAILED],
    "malformed": [Seen.FAILED, Seen.FAILED],
    "silent": [Seen.ABANDONED],
    "slow-start": [Seen.ABANDONED],
    "stall": [Seen.ABANDONED],
}
BROKEN_STREAMS = {
    "clean-cut": [Seen.FAILED, Seen.FAILED],
    "late-error": [Seen.FAILED],
    "chatter": [Seen.ABANDONED],
}


@EACH
@EVERY
@pytest.mark.parametrize(("fault", "seen"), RESCUED_BY_PRIMARY.items())
async def test_what_passes_is_waited_for_at_the_same_provider(desk: Desk, delivery: Delivery, fault: str, seen: list[Seen]) -> None:
    assert_whole(await desk.ask(fault, delivery), "primary")
    await desk.settled()
    assert desk.seen(fault) == seen
    assert desk.seen(FINE) == []
    assert len(desk.pauses) == 1


@EACH
@EVERY
@pytest.mark.parametrize(("fault", "seen"), RESCUED_BY_SECONDARY.items())
async def test_what_stays_is_rescued_by_the_next_provider(desk: Desk, delivery: Delivery, fault: str, seen: list[Seen]) -> None:
    heard = await desk.ask(fault, delivery)
    assert_whole(heard, "secondary")
    await desk.settled()
    assert desk.seen(fault) == seen
    assert desk.seen(FINE) == [Seen.ANSWERED]
    assert all(attempt.failure is not None for attempt in heard.answer.attempts[:-1])


@EACH
@STREAMED
@pytest.mark.parametrize(("fault", "seen"), BROKEN_STREAMS.items())
async def test_a_stream_that_breaks_in_its_middle_is_rescued(desk: Desk, delivery: Delivery, fault: str, seen: list[Seen]) -> None:
    heard = await desk.ask(fault, delivery)
    assert_whole(heard, "secondary")
    await desk.settled()
    assert desk.seen(fault) == seen
    if delivery is Delivery.RETRACTABLE:
        first = heard.pieces[1]
        assert ANSWER.startswith(first)
        assert first != ANSWER
    else:
        assert list(heard.pieces.values()) == [ANSWER]


@EACH
@pytest.mark.parametrize("fault", ["cut", "clean-cut", "late-error", "stall", "chatter", "malformed"])
async def test_a_caller_that_cannot_take_back_hears_a_clear_failure_and_nobody_else_is_asked(desk: Desk, fault: str) -> None:
    heard = await desk.ask(fault, Delivery.STRICT)
    assert heard.reason in {"ANSWER_CUT", "OVERLOADED", "SILENT", "MALFORMED_ANSWER"}
    assert len(desk.served.attempts) == 1
    assert ANSWER not in heard.pieces[1]


@EACH
@pytest.mark.parametrize("fault", ["unavailable", "silent", "hang-up", "overloaded"])
async def test_a_caller_that_cannot_take_back_is_rescued_before_the_first_word(desk: Desk, fault: str) -> None:
    assert_whole(await desk.ask(fault, Delivery.STRICT), "secondary")


@EACH
@EVERY
@pytest.mark.parametrize(
    ("fault", "reason"), [("refusing", "REFUSED"), ("bad-request", "INVALID_REQUEST"), ("too-long", "CONTEXT_TOO_LONG")]
)
async def test_what_is_no_fault_of_the_provider_is_told_and_nobody_else_is_asked(
    desk: Desk, delivery: Delivery, fault: str, reason: str
) -> None:
    heard = await desk.ask(fault, delivery, contexts=(100_000, 50_000))
    assert heard.reason == reason
    await desk.settled()
    assert len(desk.served.attempts) == 1


@EACH
@EVERY
async def test_a_question_that_is_too_long_goes_to_a_model_that_reads_more(desk: Desk, delivery: Delivery) -> None:
    assert_whole(await desk.ask("too-long", delivery, contexts=(50_000, 100_000)), "secondary")
    assert desk.seen("too-long") == [Seen.REFUSED]


@EACH
@STREAMED
async def test_a_missing_end_mark_is_forgiven_only_where_the_dialect_says_the_end_before_it(desk: Desk, delivery: Delivery) -> None:
    heard = await desk.ask("no-end", delivery)
    told_twice = desk.dialect in {Dialect.ANTHROPIC, Dialect.OPENAI_RESPONSES}  # their last event is the only sign of the end
    assert_whole(heard, "secondary" if told_twice else "primary")


@EACH
@pytest.mark.parametrize(
    ("fault", "least", "most"), [("limited-once", 2.0, 2.2), ("limited-skewed-once", 2.0, 2.2), ("limited-ms-once", 0.03, 0.04)]
)
async def test_the_pause_is_the_one_that_the_provider_asked_for(desk: Desk, fault: str, least: float, most: float) -> None:
    await desk.ask(fault)
    assert least <= desk.pauses[0] <= most


@pytest.mark.parametrize("dialect", [Dialect.GEMINI])
async def test_the_pause_may_stand_in_the_body(desk: Desk) -> None:
    await desk.ask("limited-body-once")
    assert 0.05 <= desk.pauses[0] <= 0.06


@EACH
@EVERY
@pytest.mark.parametrize("keys", [("sk-revoked", "sk-good"), ("sk-limited", "sk-good"), ("sk-empty", "sk-good")])
async def test_a_key_that_does_not_work_costs_no_provider(desk: Desk, delivery: Delivery) -> None:
    for _ in range(3):
        assert_whole(await desk.ask(FINE, delivery), "primary")
    bad = [attempt for attempt in desk.served.attempts if attempt.outcome is Seen.REFUSED]
    assert len(bad) <= 1  # then it rests
    assert desk.pauses == []


@pytest.mark.parametrize("dialect", [Dialect.ANTHROPIC, Dialect.OPENAI_RESPONSES, Dialect.GEMINI])
@EVERY
async def test_thinking_whose_signature_is_refused_is_left_out_at_the_same_provider(desk: Desk, delivery: Delivery) -> None:
    made_by = "primary/bad-signature" + ("" if desk.dialect is Dialect.ANTHROPIC else "#org-1")
    if desk.dialect is Dialect.OPENAI_RESPONSES:
        item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": SIGNATURE}
        thought: Reasoning | Opaque = Opaque(provenance=made_by, content=item)
    else:
        words = "hm" if desk.dialect is Dialect.ANTHROPIC else ""
        thought = Reasoning(text=words, signature=SIGNATURE, provenance=made_by)
    heard = await desk.ask("bad-signature", delivery, question(user("?"), assistant(thought, "A."), user("And?")))
    assert_whole(heard, "primary")
    assert desk.seen("bad-signature") == [Seen.REFUSED, Seen.ANSWERED]
    assert [SIGNATURE in str(attempt.body) for attempt in desk.served.attempts] == [True, False]
    assert heard.answer.attempts[-1].report
    assert desk.pauses == []


@pytest.mark.parametrize("dialect", [Dialect.OPENAI_RESPONSES, Dialect.GEMINI])
async def test_thinking_sealed_under_another_organisations_key_is_not_sent(desk: Desk) -> None:
    sealed = Opaque(provenance="primary/bad-signature#org-9", content={"type": "reasoning", "encrypted_content": SIGNATURE})
    heard = await desk.ask("bad-signature", asked=question(user("?"), assistant(sealed, "A."), user("And?")))
    assert_whole(heard, "primary")
    assert desk.seen("bad-signature") == [Seen.ANSWERED]
    assert [told.subject for told in heard.answer.attempts[0].report] == ["opaque"]


@EACH
@EVERY
@pytest.mark.parametrize("fault", ["no-ids", "same-ids", "parallel-tools"])
async def test_calls_can_be_told_apart_whatever_ids_they_came_with(desk: Desk, delivery: Delivery, fault: str) -> None:
    heard = await desk.ask(fault, delivery)
    ids = {call.call_id for call in heard.answer.message.tool_calls}
    assert len(ids) == 2
    assert "" not in ids
    assert desk.seen(fault) == [Seen.ANSWERED]


@EACH
@STREAMED
async def test_a_rescue_asks_the_whole_question_anew_and_never_lets_a_model_finish_anothers_sentence(
    desk: Desk, delivery: Delivery
) -> None:
    await desk.ask("cut", delivery)
    bodies = [{key: value for key, value in attempt.body.items() if key != "model"} for attempt in desk.served.attempts]
    assert bodies[0] == bodies[1] == bodies[2]


@EACH
async def test_every_attempt_is_in_the_account_and_none_that_was_refused_costs_anything(desk: Desk) -> None:
    heard = await desk.ask("cut")
    cut, again, answered = heard.answer.attempts
    assert min(cut.usage.output_tokens, again.usage.output_tokens) > 0
    assert answered.usage == Usage(
        input_tokens=25, output_tokens=12, cached_input_tokens=5, reasoning_tokens=answered.usage.reasoning_tokens
    )
    assert heard.answer.usage == cut.usage + again.usage + answered.usage
    free = (await desk.ask("unavailable")).answer
    assert free.usage == free.attempts[-1].usage
    assert [attempt.usage for attempt in free.attempts[:-1]] == [Usage(), Usage()]


@pytest.mark.parametrize("dialect", [Dialect.OPENAI_CHAT])
async def test_a_provider_that_is_down_for_a_while_is_left_alone_and_taken_back(
    desk: Desk, served: ScriptedUpstream, redis_url: str
) -> None:
    clock = SystemClock()
    async with (
        open_redis(RedisSettings(url=Secret(redis_url))) as redis,
        open_guard(redis, clock, logs.get("test"), space="model_router") as guard,
        open_connections() as connections,
    ):
        desk = replace(desk, failover=failover_over(guard, HttpTransport(connections, clock), clock, [], ("sk-good",)))
        served.down = True
        for _ in range(15):
            assert_whole(await desk.ask("flap"), "secondary")
        assert len(desk.seen("flap")) <= 6
        served.down = False

        async def back() -> bool:
            return (await desk.ask("flap")).answer.provider == "primary"

        await eventually(back)
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(desk.ask("flap")) for _ in range(10)]
        assert {call.result().answer.provider for call in calls} == {"primary"}
