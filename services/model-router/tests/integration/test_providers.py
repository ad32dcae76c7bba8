"""Every dialect over HTTP against a scripted upstream: what the caller gets, and what the upstream saw."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import TypeAlias

import pytest
from model_router_asks import ALL, HTTP_DIALECTS, KEY, endpoint
from model_router_conversations import LOOKUP, question
from plimsoll_model_router.adapters.providers.connections import open_connections
from plimsoll_model_router.adapters.providers.dialects import upstreams
from plimsoll_model_router.adapters.providers.http import HttpTransport
from plimsoll_model_router.domain.conversion import ConversionKind
from plimsoll_model_router.domain.endpoints import Ask, Dialect, EmbeddingAsk, Feature, Timers
from plimsoll_model_router.domain.generation import Delta, Question, ReasoningDelta, Reply, TextDelta, ToolCallDelta
from plimsoll_model_router.domain.messages import Effort, Reasoning, Refusal, StopReason, ToolResult, assistant, results, user
from plimsoll_model_router.domain.rehearsal.fits import Fits
from plimsoll_model_router.errors import ProviderError, Remedy
from plimsoll_model_router.ports import Upstream
from plimsoll_runtime.deadline import expiring
from plimsoll_runtime.failures import Category
from plimsoll_runtime.usage import Usage
from plimsoll_testkit.clock import FakeClock
from plimsoll_testkit.ports import free_address
from plimsoll_testkit.upstream import ANSWER, Outcome, ScriptedUpstream, script, serving
from plimsoll_testkit.waiting import eventually

PATIENT = Timers(connect_s=60.0, first_token_s=60.0, silence_s=60.0, total_s=60.0)
ENDED_BY = {"stall": "silence_s", "chatter": "silence_s", "slow-start": "first_token_s", "silent": "first_token_s"}
BOTH = pytest.mark.parametrize("streaming", [False, True])
Asking: TypeAlias = Callable[..., Ask]


@pytest.fixture
async def served() -> AsyncIterator[ScriptedUpstream]:
    async with serving() as upstream:
        yield upstream


@pytest.fixture(params=HTTP_DIALECTS)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    return Dialect(request.param)


@pytest.fixture
async def asked(dialect: Dialect, clock: FakeClock) -> AsyncIterator[Upstream]:
    async with open_connections() as connections:
        yield upstreams(HttpTransport(connections, clock), Fits())[dialect]


@pytest.fixture
def asking(dialect: Dialect, served: ScriptedUpstream) -> Asking:
    """Asks in the dialect; the model's name chooses what the upstream does."""

    def made(model: str, asked: Question | None = None, *, timers: Timers = PATIENT, streaming: bool = False) -> Ask:
        where = endpoint(dialect, model, url=served.url, features=ALL - {Feature.REASONING})
        return Ask(question=asked or question(), endpoint=where, credential=KEY, timers=timers, streaming=streaming)

    return made


async def chunks_of(upstream: Upstream, ask: Ask) -> tuple[list[Delta], Reply]:
    """The deltas, and the reply at the verified end."""
    deltas: list[Delta] = []

    async def hear(delta: Delta) -> None:
        deltas.append(delta)

    reply = await upstream.ask(ask, hear)
    assert ask.streaming or not deltas
    return deltas, reply


async def reply_of(upstream: Upstream, ask: Ask) -> Reply:
    return (await chunks_of(upstream, ask))[1]


async def failing(upstream: Upstream, ask: Ask) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await chunks_of(upstream, ask)
    return caught.value


def text_in(chunks: list[Delta]) -> str:
    return "".join(chunk.text for chunk in chunks if isinstance(chunk, TextDelta))


async def test_an_answer_comes_whole_with_its_usage_in_one_meaning(asked: Upstream, asking: Asking) -> None:
    reply = await reply_of(asked, asking("fine"))
    assert (reply.message.text, reply.stop_reason, reply.model) == (ANSWER, StopReason.END_TURN, "fine")
    assert (reply.usage.input_tokens, reply.usage.cached_input_tokens, reply.usage.output_tokens) == (25, 5, 12)
    assert not reply.estimated
    assert reply.raw_usage
    assert reply.report == ()


@pytest.mark.parametrize(
    "model", ["fine", "tools", "parallel-tools", "thinking", "thinking-tools", "capped", "refusing", "no-ids", "same-ids"]
)
async def test_a_streamed_answer_equals_the_one_that_came_at_once(asked: Upstream, asking: Asking, model: str) -> None:
    deltas, streamed = await chunks_of(asked, asking(model, question(tools=(LOOKUP,)), streaming=True))
    whole = await reply_of(asked, asking(model, question(tools=(LOOKUP,))))
    assert streamed == whole
    assert text_in(deltas) == whole.message.text


async def test_a_stream_tells_thinking_and_calls_as_they_are_written(asked: Upstream, asking: Asking) -> None:
    deltas, reply = await chunks_of(asked, asking("thinking-tools", question(tools=(LOOKUP,)), streaming=True))
    thought = "".join(chunk.text for chunk in deltas if isinstance(chunk, ReasoningDelta))
    assert thought == script.THOUGHT
    first, *rest = [chunk for chunk in deltas if isinstance(chunk, ToolCallDelta)]
    [call] = reply.message.tool_calls
    assert (first.index, first.call_id, first.tool) == (0, call.call_id, script.TOOL)
    assert all((piece.index, piece.call_id, piece.tool) == (0, "", "") for piece in rest)
    assert first.arguments + "".join(piece.arguments for piece in rest) == '{"email":"ann@example.com"}'
    assert text_in(deltas) == script.SHORT


@BOTH
async def test_tool_calls_come_with_their_arguments(asked: Upstream, asking: Asking, streaming: bool) -> None:
    reply = await reply_of(asked, asking("tools", question(tools=(LOOKUP,)), streaming=streaming))
    assert reply.stop_reason is StopReason.TOOL_CALLS
    [call] = reply.message.tool_calls
    assert (call.call_id, call.tool, call.arguments) == ("call_01", script.TOOL, script.ARGUMENTS)


@BOTH
@pytest.mark.parametrize("model", ["parallel-tools", "no-ids", "same-ids"])
async def test_parallel_calls_have_ids_of_their_own_whatever_the_provider_gave(
    asked: Upstream, asking: Asking, model: str, streaming: bool
) -> None:
    reply = await reply_of(asked, asking(model, question(tools=(LOOKUP,)), streaming=streaming))
    ids = [call.call_id for call in reply.message.tool_calls]
    assert len(ids) == len(set(ids)) == 2
    assert all(ids)
    told = {conversion.subject for conversion in reply.report}
    assert told == (set() if model == "parallel-tools" else {"call_id"})


@BOTH
async def test_one_call_at_the_most_is_what_a_caller_gets_that_asks_for_one(asked: Upstream, asking: Asking, streaming: bool) -> None:
    one = replace(question(tools=(LOOKUP,)), single_call=True)
    reply = await reply_of(asked, asking("parallel-tools", one, streaming=streaming))
    assert len(reply.message.tool_calls) == 1
    assert any(told.kind is ConversionKind.DROPPED and told.subject == "tool_calls" for told in reply.report)


@BOTH
async def test_an_answer_cut_at_the_limit_says_so(asked: Upstream, asking: Asking, streaming: bool) -> None:
    assert (await reply_of(asked, asking("capped", streaming=streaming))).stop_reason is StopReason.MAX_TOKENS


@BOTH
async def test_a_refusal_is_a_refusal(asked: Upstream, asking: Asking, dialect: Dialect, streaming: bool) -> None:
    reply = await reply_of(asked, asking("refusing", streaming=streaming))
    assert reply.stop_reason is StopReason.REFUSAL
    refusal = reply.message.parts[-1]
    assert isinstance(refusal, Refusal)
    assert refusal.text == ("" if dialect in {Dialect.ANTHROPIC, Dialect.GEMINI} else script.REFUSAL)


@BOTH
@pytest.mark.parametrize(
    ("fault", "category", "reason", "remedy"),
    [
        ("limited", Category.RATE_LIMITED, "RATE_LIMITED", Remedy.RETRY),
        ("quota", Category.UPSTREAM_REJECTED, "QUOTA_USED_UP", Remedy.NEXT_CREDENTIAL),
        ("broken", Category.UPSTREAM_UNAVAILABLE, "PROVIDER_ERROR", Remedy.RETRY),
        ("no-retry", Category.UPSTREAM_UNAVAILABLE, "PROVIDER_ERROR", Remedy.NEXT_PROVIDER),
        ("unavailable", Category.UPSTREAM_UNAVAILABLE, "PROVIDER_ERROR", Remedy.RETRY),
        ("overloaded", Category.UPSTREAM_UNAVAILABLE, "OVERLOADED", Remedy.NEXT_PROVIDER),
        ("bad-key", Category.UPSTREAM_REJECTED, "KEY_REFUSED", Remedy.NEXT_CREDENTIAL),
        ("no-model", Category.UPSTREAM_REJECTED, "MODEL_NOT_FOUND", Remedy.NEXT_PROVIDER),
        ("too-long", Category.CONTEXT_TRUNCATED, "CONTEXT_TOO_LONG", Remedy.LARGER_CONTEXT),
        ("bad-request", Category.UPSTREAM_REJECTED, "INVALID_REQUEST", Remedy.NEVER),
        ("html", Category.UPSTREAM_UNAVAILABLE, "PROVIDER_ERROR", Remedy.RETRY),
        ("html-200", Category.UPSTREAM_UNAVAILABLE, "NOT_JSON", Remedy.NEXT_PROVIDER),
        ("error-inside", Category.UPSTREAM_UNAVAILABLE, "PROVIDER_ERROR", Remedy.RETRY),
        ("hang-up", Category.UPSTREAM_UNAVAILABLE, "ANSWER_CUT", Remedy.RETRY),
    ],
)
async def test_every_refusal_is_classified_once_tried_once_and_costs_nothing(
    asked: Upstream, asking: Asking, served: ScriptedUpstream, fault: str, category: Category, reason: str, remedy: Remedy, streaming: bool
) -> None:
    error = await failing(asked, asking(fault, streaming=streaming))
    assert (error.failure.category, error.failure.reason, error.remedy) == (category, reason, remedy)
    assert error.usage == Usage()
    assert len(served.attempts) == 1
    assert "sk-secret" not in str(error)


@BOTH
@pytest.mark.parametrize("fault", ["cut", "malformed", "no-finish"])
async def test_half_an_answer_is_never_an_answer(asked: Upstream, asking: Asking, fault: str, streaming: bool) -> None:
    error = await failing(asked, asking(fault, streaming=streaming))
    assert (error.failure.category, error.failure.reason) in {
        (Category.UPSTREAM_UNAVAILABLE, "ANSWER_CUT"),
        (Category.MODEL_MALFORMED, "MALFORMED_ANSWER"),
    }
    assert error.remedy is Remedy.RETRY


@BOTH
async def test_an_answer_without_choices_is_malformed_or_empty_and_nothing_else(
    asked: Upstream, asking: Asking, dialect: Dialect, streaming: bool
) -> None:
    if dialect is Dialect.ANTHROPIC:  # which has no choices, only content
        assert (await reply_of(asked, asking("no-choices", streaming=streaming))).message.parts == ()
        return
    error = await failing(asked, asking("no-choices", streaming=streaming))
    assert error.failure.reason in {"MALFORMED_ANSWER", "ANSWER_CUT"}
    assert error.remedy is Remedy.RETRY


@pytest.mark.parametrize(("fault", "seconds"), [("limited", 2.0), ("limited-ms", 0.03), ("limited-bare", None)])
async def test_the_pause_that_a_provider_asks_for_is_told(asked: Upstream, asking: Asking, fault: str, seconds: float | None) -> None:
    assert (await failing(asked, asking(fault))).failure.retry_after_s == seconds


@pytest.mark.parametrize("fault", ["limited-date", "limited-skewed"])
async def test_a_pause_until_a_date_is_measured_by_the_providers_own_clock(asked: Upstream, asking: Asking, fault: str) -> None:
    assert (await failing(asked, asking(fault))).failure.retry_after_s == 2.0


@pytest.mark.parametrize(
    ("fault", "category", "reason"),
    [
        ("cut", Category.UPSTREAM_UNAVAILABLE, "ANSWER_CUT"),
        ("clean-cut", Category.UPSTREAM_UNAVAILABLE, "ANSWER_CUT"),
        ("malformed", Category.MODEL_MALFORMED, "MALFORMED_ANSWER"),
        ("late-error", Category.UPSTREAM_UNAVAILABLE, "OVERLOADED"),
        ("stall", Category.TIMEOUT, "SILENT"),
        ("chatter", Category.TIMEOUT, "SILENT"),
        ("slow-start", Category.TIMEOUT, "SLOW_START"),
        ("silent", Category.TIMEOUT, "SLOW_START"),
    ],
)
async def test_a_stream_that_does_not_come_to_its_verified_end_is_a_failure(
    asked: Upstream, asking: Asking, served: ScriptedUpstream, fault: str, category: Category, reason: str
) -> None:
    hasty = {ENDED_BY[fault]: 0.2} if fault in ENDED_BY else {}
    error = await failing(asked, asking(fault, timers=replace(PATIENT, **hasty), streaming=True))
    assert (error.failure.category, error.failure.reason) == (category, reason)
    assert len(served.attempts) == 1
    if fault in {"stall", "chatter", "slow-start", "silent"}:
        await eventually(lambda: served.attempts[0].outcome is Outcome.ABANDONED)


async def test_a_model_that_thinks_is_given_time_to_think_unless_it_is_told_not_to(
    asked: Upstream, asking: Asking, served: ScriptedUpstream
) -> None:
    thinking = asking("slow-start", timers=replace(PATIENT, first_token_s=0.1), streaming=True)
    thinking = replace(thinking, endpoint=replace(thinking.endpoint, features=ALL))

    async def let_go() -> None:
        await eventually(lambda: served.attempts and time.monotonic() - served.attempts[0].at > 0.2)
        served.gate.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(let_go())
        assert (await reply_of(asked, thinking)).message.text == ANSWER
    served.gate.clear()
    hurried = replace(thinking, question=replace(thinking.question, effort=Effort.NONE))
    assert (await failing(asked, hurried)).failure.reason == "SLOW_START"


async def test_what_came_before_a_stream_broke_is_told_as_used(asked: Upstream, asking: Asking) -> None:
    error = await failing(asked, asking("cut", streaming=True))
    assert error.usage.input_tokens > 0
    assert error.usage.output_tokens > 1


async def test_a_stream_that_takes_its_time_but_goes_on_is_waited_for(asked: Upstream, asking: Asking, served: ScriptedUpstream) -> None:
    served.pace_s = 0.01  # so that the whole takes longer than any silence may
    deltas, reply = await chunks_of(asked, asking("fine-paced", timers=replace(PATIENT, silence_s=0.5), streaming=True))
    assert text_in(deltas) == reply.message.text == ANSWER


async def test_a_slow_stream_ends_with_the_time_for_the_whole(asked: Upstream, asking: Asking) -> None:
    error = await failing(asked, asking("slow", timers=replace(PATIENT, total_s=0.3), streaming=True))
    assert (error.failure.category, error.failure.reason) == (Category.TIMEOUT, "TOO_SLOW")


async def test_a_consumer_that_takes_its_time_is_not_taken_for_a_silent_provider(
    asked: Upstream, asking: Asking, served: ScriptedUpstream
) -> None:
    timers = replace(PATIENT, silence_s=0.05, first_token_s=0.3)
    spoken: list[Delta] = []

    async def hear(delta: Delta) -> None:
        if not spoken:
            await eventually(lambda: served.attempts[0].outcome is Outcome.ANSWERED)
            with pytest.raises(AssertionError):
                await eventually(lambda: False, within_s=0.1)
        spoken.append(delta)

    await asked.ask(asking("fine", timers=timers, streaming=True), hear)
    assert text_in(spoken) == ANSWER


async def test_a_caller_that_goes_away_drops_the_connection(asked: Upstream, asking: Asking, served: ScriptedUpstream) -> None:
    async def leave(_: Delta) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await asked.ask(asking("fine-paced", streaming=True), leave)
    await eventually(lambda: served.attempts[0].outcome is Outcome.ABANDONED)


@BOTH
async def test_a_silent_answer_ends_with_the_deadline_of_the_caller(asked: Upstream, asking: Asking, streaming: bool) -> None:
    with expiring(0.2):
        error = await failing(asked, asking("silent", streaming=streaming))
    assert (error.failure.category, error.failure.reason) == (Category.TIMEOUT, "TOO_SLOW")


@BOTH
async def test_nothing_is_sent_when_no_time_is_left(asked: Upstream, asking: Asking, served: ScriptedUpstream, streaming: bool) -> None:
    with expiring(-1.0):
        error = await failing(asked, asking("fine", streaming=streaming))
    assert error.failure.reason == "NO_TIME_LEFT"
    assert not error.sent
    assert served.attempts == []


async def test_a_provider_that_is_not_there_is_unreachable_and_was_sent_nothing(asked: Upstream, asking: Asking) -> None:
    error = await failing(asked, replace(there := asking("fine"), endpoint=replace(there.endpoint, base_url=f"http://{free_address()}")))
    assert (error.failure.reason, error.remedy, error.sent) == ("UNREACHABLE", Remedy.RETRY, False)


async def test_a_key_that_cannot_be_sent_is_no_key(asked: Upstream, asking: Asking) -> None:
    error = await failing(asked, replace(asking("fine"), credential=replace(KEY, secret=type(KEY.secret)("sk\r\nx: y"))))
    assert (error.failure.reason, error.remedy, error.sent) == ("KEY_REFUSED", Remedy.NEXT_CREDENTIAL, False)


async def test_requests_carry_the_key_and_where_they_go(
    asked: Upstream, asking: Asking, dialect: Dialect, served: ScriptedUpstream
) -> None:
    await reply_of(asked, asking("fine", question(tools=(LOOKUP,))))
    [attempt] = served.attempts
    assert attempt.key == "sk-secret"
    assert (
        attempt.path
        == {
            Dialect.ANTHROPIC: "/v1/messages",
            Dialect.OPENAI_CHAT: "/v1/chat/completions",
            Dialect.OPENAI_COMPATIBLE: "/v1/chat/completions",
            Dialect.OPENAI_RESPONSES: "/v1/responses",
            Dialect.GEMINI: "/v1beta/models/fine:generateContent",
        }[dialect]
    )


async def test_a_server_that_does_not_stream_is_heard_all_the_same(asked: Upstream, asking: Asking) -> None:
    deltas, reply = await chunks_of(asked, asking("json", streaming=True))
    assert text_in(deltas) == reply.message.text == ANSWER
    assert [told.subject for told in reply.report] == ["stream"]


@BOTH
async def test_a_whole_tool_loop_is_accepted_by_the_provider_in_its_own_terms(asked: Upstream, asking: Asking, streaming: bool) -> None:
    first = await reply_of(asked, asking("thinking-tools", question(tools=(LOOKUP,)), streaming=streaming))
    [call] = first.message.tool_calls
    found = ToolResult(call_id=call.call_id, tool=call.tool, content={"name": "Ann"})
    again = question(user("Hello?"), first.message, results(found), tools=(LOOKUP,))
    assert (await reply_of(asked, asking("thinking-tools", again, streaming=streaming))).message == first.message


@BOTH
async def test_thinking_that_a_provider_refuses_is_left_out_on_demand(
    asked: Upstream, asking: Asking, dialect: Dialect, served: ScriptedUpstream, streaming: bool
) -> None:
    if dialect in {Dialect.OPENAI_CHAT, Dialect.OPENAI_COMPATIBLE}:  # which take none back
        return
    signed = await reply_of(asked, asking("thinking", streaming=streaming))
    made_here = replace(
        signed.message,
        parts=tuple(
            replace(part, provenance=part.provenance.replace("thinking", "bad-signature")) if hasattr(part, "provenance") else part
            for part in signed.message.parts
        ),
    )
    again = question(user("Hello?"), made_here, user("And now?"))
    error = await failing(asked, asking("bad-signature", again, streaming=streaming))
    assert (error.failure.reason, error.remedy) == ("REASONING_REFUSED", Remedy.WITHOUT_REASONING)
    assert script.SIGNATURE in str(served.attempts[-1].body)
    reply = await reply_of(asked, asking("bad-signature", replace(again, replay_reasoning=False), streaming=streaming))
    assert reply.message.text == ANSWER
    assert script.SIGNATURE not in str(served.attempts[-1].body)
    assert {told.subject for told in reply.report} <= {"reasoning", "opaque"}
    assert reply.report


async def test_a_question_without_thinking_is_never_asked_again_without_it(asked: Upstream, asking: Asking, dialect: Dialect) -> None:
    unsigned = question(user("Hello?"), assistant(Reasoning(text="hm", signature="x", provenance="another/model"), "A."), user("?"))
    reply = await reply_of(asked, asking("bad-signature", unsigned))
    assert [told.subject for told in reply.report] == ["reasoning"]


async def test_texts_become_vectors_in_order(asked: Upstream, asking: Asking, dialect: Dialect) -> None:
    ask = EmbeddingAsk(texts=("one", "two", "three"), endpoint=asking("embed").endpoint, credential=KEY, dimensions=4)
    if dialect is Dialect.ANTHROPIC:
        with pytest.raises(ProviderError, match="embeddings"):
            await asked.embed(ask)
        return
    found = await asked.embed(ask)
    assert [len(vector) for vector in found.vectors] == [4, 4, 4]
    assert len(set(found.vectors)) == 3
    assert found.usage.input_tokens > 0
