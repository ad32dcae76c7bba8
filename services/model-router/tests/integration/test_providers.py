"""Both HTTP providers against a scripted upstream: what the caller gets, and what the upstream saw."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import TypeAlias

import pytest
from model_router_samples import LOOKUP, question
from model_router_upstream import ANSWER, ARGUMENTS, CALL_ID, TOOL, ScriptedUpstream, serving
from plimsoll_model_router.adapters.providers.anthropic import AnthropicDialect
from plimsoll_model_router.adapters.providers.http import HttpTransport, Timers, open_session
from plimsoll_model_router.adapters.providers.http_provider import HttpProvider
from plimsoll_model_router.adapters.providers.openai_compatible import OpenAiDialect
from plimsoll_model_router.domain.generation import Finished, Question, Reply, TextDelta
from plimsoll_model_router.domain.messages import Refusal, StopReason, ToolCall
from plimsoll_model_router.domain.routing import Model
from plimsoll_model_router.errors import ProviderError, Remedy
from plimsoll_runtime.deadline import expiring
from plimsoll_runtime.failures import Category
from plimsoll_runtime.settings import Secret
from plimsoll_testkit.clock import FakeClock

MakeProvider: TypeAlias = Callable[[str, Timers], HttpProvider]
PATIENT = Timers(connect_s=2.0, first_token_s=2.0, silence_s=2.0, total_s=5.0)
HASTY = Timers(connect_s=0.2, first_token_s=0.2, silence_s=0.2, total_s=5.0)


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with serving() as upstream:
        yield upstream


@pytest.fixture(params=["anthropic", "openai"])
async def make(request: pytest.FixtureRequest, upstream: ScriptedUpstream, clock: FakeClock) -> AsyncIterator[MakeProvider]:
    """Providers of one dialect; the model's name chooses the upstream's fault."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(open_session())

        def provider(model: str, timers: Timers) -> HttpProvider:
            transport = HttpTransport(session, timers, clock)
            named = Model(provider=request.param, name=model)
            if request.param == "anthropic":
                return HttpProvider(named, AnthropicDialect(base_url=upstream.url, api_key=Secret("sk-secret")), transport)
            return HttpProvider(named, OpenAiDialect(base_url=f"{upstream.url}/v1", api_key=Secret("sk-secret")), transport)

        yield provider


async def streamed(provider: HttpProvider, asked: Question) -> tuple[str, Reply]:
    """The text as it came, and the reply at the verified end."""
    text, replies = "", list[Reply]()
    async for chunk in provider.stream(asked):
        match chunk:
            case TextDelta():
                text += chunk.text
            case Finished():
                replies.append(chunk.reply)
    [reply] = replies
    return text, reply


async def failing(provider: HttpProvider, asked: Question, *, streaming: bool) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await (streamed(provider, asked) if streaming else provider.generate(asked))
    return caught.value


async def test_an_answer_comes_whole_with_its_usage_in_one_meaning(make: MakeProvider) -> None:
    reply = await make("fine", PATIENT).generate(question(model="fine"))
    assert (reply.message.text, reply.stop_reason, reply.model) == (ANSWER, StopReason.END_TURN, "fine")
    assert (reply.usage.input_tokens, reply.usage.cached_input_tokens, reply.usage.output_tokens) == (25, 5, 12)


async def test_a_streamed_answer_equals_the_one_that_came_at_once(make: MakeProvider) -> None:
    text, reply = await streamed(make("fine", PATIENT), question(model="fine"))
    assert text == ANSWER
    assert reply == await make("fine", PATIENT).generate(question(model="fine"))


@pytest.mark.parametrize("streaming", [False, True])
async def test_tool_calls_come_with_their_arguments(make: MakeProvider, streaming: bool) -> None:
    asked = question(model="tools", tools=(LOOKUP,))
    provider = make("tools", PATIENT)
    reply = (await streamed(provider, asked))[1] if streaming else await provider.generate(asked)
    assert reply.stop_reason is StopReason.TOOL_CALLS
    assert reply.message.tool_calls == (ToolCall(call_id=CALL_ID, tool=TOOL, arguments=ARGUMENTS),)


@pytest.mark.parametrize("streaming", [False, True])
async def test_an_answer_cut_at_the_limit_says_so(make: MakeProvider, streaming: bool) -> None:
    provider = make("capped", PATIENT)
    asked = question(model="capped")
    reply = (await streamed(provider, asked))[1] if streaming else await provider.generate(asked)
    assert reply.stop_reason is StopReason.MAX_TOKENS


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_refusal_is_a_refusal(make: MakeProvider, streaming: bool) -> None:
    provider = make("refusing", PATIENT)
    asked = question(model="refusing")
    reply = (await streamed(provider, asked))[1] if streaming else await provider.generate(asked)
    assert reply.stop_reason is StopReason.REFUSAL
    assert isinstance(reply.message.parts[-1], Refusal)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("fault", "category", "reason", "remedy"),
    [
        ("limited", Category.RATE_LIMITED, "RATE_LIMITED", Remedy.RETRY),
        ("quota", Category.UPSTREAM_REJECTED, "QUOTA_USED_UP", Remedy.NEXT_PROVIDER),
        ("broken", Category.UPSTREAM_UNAVAILABLE, "PROVIDER_ERROR", Remedy.RETRY),
        ("overloaded", Category.UPSTREAM_UNAVAILABLE, "OVERLOADED", Remedy.NEXT_PROVIDER),
        ("bad-key", Category.UPSTREAM_REJECTED, "KEY_REFUSED", Remedy.NEXT_PROVIDER),
        ("no-model", Category.UPSTREAM_REJECTED, "MODEL_NOT_FOUND", Remedy.NEXT_PROVIDER),
        ("too-long", Category.CONTEXT_TRUNCATED, "CONTEXT_TOO_LONG", Remedy.LARGER_CONTEXT),
        ("bad-request", Category.UPSTREAM_REJECTED, "INVALID_REQUEST", Remedy.NEVER),
        ("html", Category.UPSTREAM_UNAVAILABLE, "PROVIDER_ERROR", Remedy.RETRY),
        ("html-200", Category.UPSTREAM_UNAVAILABLE, "NOT_JSON", Remedy.NEXT_PROVIDER),
        ("error-inside", Category.UPSTREAM_UNAVAILABLE, "PROVIDER_ERROR", Remedy.RETRY),
        ("hang-up", Category.UPSTREAM_UNAVAILABLE, "ANSWER_CUT", Remedy.RETRY),
        ("cut", Category.UPSTREAM_UNAVAILABLE, "ANSWER_CUT", Remedy.RETRY),
    ],
)
async def test_every_refusal_is_classified_once_and_tried_once(
    make: MakeProvider, upstream: ScriptedUpstream, fault: str, category: Category, reason: str, remedy: Remedy, streaming: bool
) -> None:
    error = await failing(make(fault, PATIENT), question(model=fault), streaming=streaming)
    assert (error.failure.category, error.failure.reason, error.remedy) == (category, reason, remedy)
    assert len(upstream.attempts) == 1
    assert "sk-secret" not in str(error)


@pytest.mark.parametrize(("fault", "seconds"), [("limited", 2.0), ("limited-ms", 0.03)])
async def test_the_pause_that_a_provider_asks_for_is_told(make: MakeProvider, fault: str, seconds: float) -> None:
    error = await failing(make(fault, PATIENT), question(model=fault), streaming=False)
    assert error.failure.retry_after_s == seconds


@pytest.mark.parametrize(
    ("fault", "category", "reason"),
    [
        ("clean-cut", Category.UPSTREAM_UNAVAILABLE, "ANSWER_CUT"),
        ("malformed", Category.MODEL_MALFORMED, "MALFORMED_ANSWER"),
        ("late-error", Category.UPSTREAM_UNAVAILABLE, "OVERLOADED"),
        ("stall", Category.TIMEOUT, "SILENT"),
        ("silent", Category.TIMEOUT, "SILENT"),
    ],
)
async def test_a_stream_that_does_not_come_to_its_verified_end_is_a_failure(
    make: MakeProvider, fault: str, category: Category, reason: str
) -> None:
    error = await failing(make(fault, HASTY), question(model=fault), streaming=True)
    assert (error.failure.category, error.failure.reason) == (category, reason)


async def test_a_silent_answer_ends_with_the_deadline_of_the_caller(make: MakeProvider) -> None:
    with expiring(0.2):
        error = await failing(make("silent", PATIENT), question(model="silent"), streaming=False)
    assert (error.failure.category, error.failure.reason) == (Category.TIMEOUT, "TOO_SLOW")


async def test_nothing_is_sent_when_no_time_is_left(make: MakeProvider, upstream: ScriptedUpstream) -> None:
    with expiring(-1.0):
        error = await failing(make("fine", PATIENT), question(model="fine"), streaming=False)
    assert error.failure.reason == "NO_TIME_LEFT"
    assert upstream.attempts == []


async def test_a_provider_that_is_not_there_is_unreachable(make: MakeProvider, upstream: ScriptedUpstream, clock: FakeClock) -> None:
    async with open_session() as session:
        dialect = OpenAiDialect(base_url="http://127.0.0.1:1/v1", api_key=Secret(""))
        provider = HttpProvider(Model(provider="openai", name="m"), dialect, HttpTransport(session, PATIENT, clock))
        error = await failing(provider, question(model="m"), streaming=False)
    assert (error.failure.reason, error.remedy) == ("UNREACHABLE", Remedy.RETRY)


async def test_requests_carry_the_key_and_the_dialects_own_fields(make: MakeProvider, upstream: ScriptedUpstream) -> None:
    await make("fine", PATIENT).generate(question(model="fine", tools=(LOOKUP,)))
    [attempt] = upstream.attempts
    if attempt.path.endswith("messages"):
        assert attempt.headers["x-api-key"] == "sk-secret"
        assert attempt.body["max_tokens"] > 0
        assert attempt.body["tools"][0]["input_schema"]["type"] == "object"
    else:
        assert attempt.headers["authorization"] == "Bearer sk-secret"
        assert attempt.body["tools"][0]["function"]["parameters"]["type"] == "object"


async def test_empty_choices_and_a_missing_finish_reason_are_malformed(upstream: ScriptedUpstream, clock: FakeClock) -> None:
    async with open_session() as session:
        dialect = OpenAiDialect(base_url=f"{upstream.url}/v1", api_key=Secret(""))
        for fault in ("no-choices", "no-finish"):
            provider = HttpProvider(Model(provider="openai", name=fault), dialect, HttpTransport(session, PATIENT, clock))
            error = await failing(provider, question(model=fault), streaming=True)
            assert (error.failure.category, error.failure.reason) == (Category.MODEL_MALFORMED, "MALFORMED_ANSWER")
        provider = HttpProvider(Model(provider="openai", name="no-choices"), dialect, HttpTransport(session, PATIENT, clock))
        assert (await failing(provider, question(model="no-choices"), streaming=False)).failure.reason == "MALFORMED_ANSWER"


async def test_a_missing_end_mark_is_forgiven_only_behind_a_finish_reason(upstream: ScriptedUpstream, clock: FakeClock) -> None:
    async with open_session() as session:
        transport = HttpTransport(session, PATIENT, clock)
        openai = HttpProvider(
            Model(provider="openai", name="no-end"), OpenAiDialect(base_url=f"{upstream.url}/v1", api_key=Secret("")), transport
        )
        assert (await streamed(openai, question(model="no-end")))[0] == ANSWER
        anthropic = HttpProvider(
            Model(provider="anthropic", name="no-end"), AnthropicDialect(base_url=upstream.url, api_key=Secret("k")), transport
        )
        assert (await failing(anthropic, question(model="no-end"), streaming=True)).failure.reason == "ANSWER_CUT"
