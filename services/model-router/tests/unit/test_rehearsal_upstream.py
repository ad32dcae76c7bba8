"""The rehearsal model as an upstream: it says what it is, counts, streams, and shows faults under other names."""

from dataclasses import replace

import pytest
from model_router_asks import endpoint
from model_router_conversations import LOOKUP, PICTURE, question
from plimsoll_model_router.adapters.providers.rehearsal import FAULTS, RehearsalUpstream
from plimsoll_model_router.domain.endpoints import Ask, Dialect, EmbeddingAsk, Timers
from plimsoll_model_router.domain.generation import Chunk, Delta, Finished, Question, Reply, TextDelta, ToolCallDelta
from plimsoll_model_router.domain.messages import Effort, Message, Role, Sampling, StopReason, Text, ToolChoice, assistant, user
from plimsoll_model_router.domain.rehearsal.fits import Fits
from plimsoll_model_router.domain.rehearsal.model import pieces
from plimsoll_model_router.errors import ProviderError
from plimsoll_runtime.failures import Category

ASKED = question(user("How long does a refund take?\n\n[returns.md] A refund takes a week after the goods are back with us."))
HASTY = Timers(first_token_s=0.05, silence_s=0.05, total_s=1.0)
BOTH = pytest.mark.parametrize("streaming", [False, True])


async def chunks_of(what: Question = ASKED, model: str = "rehearsal", *, streaming: bool = True, timers: Timers = HASTY) -> list[Chunk]:
    ask = Ask(question=what, endpoint=endpoint(Dialect.REHEARSAL, model), streaming=streaming, timers=timers)
    chunks: list[Chunk] = []

    async def hear(delta: Delta) -> None:
        chunks.append(delta)

    reply = await RehearsalUpstream(Fits()).ask(ask, hear)
    return [*chunks, Finished(reply=reply)]


async def reply_of(what: Question = ASKED, model: str = "rehearsal") -> Reply:
    [finished] = await chunks_of(what, model, streaming=False)
    assert isinstance(finished, Finished)
    return finished.reply


async def test_it_says_that_it_is_a_rehearsal() -> None:
    assert (await reply_of()).model == "rehearsal"
    assert all(name.startswith("rehearsal") for name in FAULTS)


async def test_a_streamed_answer_is_the_answer() -> None:
    chunks, whole = await chunks_of(), await reply_of()
    assert "".join(chunk.text for chunk in chunks if isinstance(chunk, TextDelta)) == whole.message.text
    assert len(chunks) > 3
    assert chunks[-1] == Finished(reply=whole)


def test_pieces_joined_are_the_text_again() -> None:
    for text in ("", " ", "a", "one two  three four five six ", "\n\nline"):
        assert "".join(pieces(text)) == text


async def test_it_counts_tokens_and_keeps_to_the_limit() -> None:
    whole = await reply_of()
    assert whole.usage.input_tokens > 20
    assert whole.usage.output_tokens > 8
    cut = await reply_of(replace(ASKED, max_output_tokens=5))
    assert cut.stop_reason is StopReason.MAX_TOKENS
    assert cut.usage.output_tokens == 5
    assert whole.message.text.startswith(cut.message.text)


@BOTH
@pytest.mark.parametrize(
    ("model", "category", "reason"),
    [
        ("rehearsal-fail", Category.UPSTREAM_UNAVAILABLE, "PROVIDER_ERROR"),
        ("rehearsal-limited", Category.RATE_LIMITED, "RATE_LIMITED"),
        ("rehearsal-cut", Category.UPSTREAM_UNAVAILABLE, "ANSWER_CUT"),
        ("rehearsal-nonsense", Category.UPSTREAM_REJECTED, "MODEL_NOT_FOUND"),
    ],
)
async def test_faults_are_shown_by_name(model: str, category: Category, reason: str, streaming: bool) -> None:
    with pytest.raises(ProviderError) as caught:
        await chunks_of(model=model, streaming=streaming)
    assert (caught.value.failure.category, caught.value.failure.reason) == (category, reason)


@pytest.mark.parametrize(("model", "reason"), [("rehearsal-slow", "SLOW_START"), ("rehearsal-stall", "SILENT")])
async def test_the_timers_run_for_it_as_for_any_provider(model: str, reason: str) -> None:
    with pytest.raises(ProviderError) as caught:
        await chunks_of(model=model)
    assert (caught.value.failure.category, caught.value.failure.reason) == (Category.TIMEOUT, reason)


async def test_a_cut_stream_breaks_off_in_the_middle() -> None:
    told, whole = list[str](), await reply_of()
    ask = Ask(question=ASKED, endpoint=endpoint(Dialect.REHEARSAL, "rehearsal-cut"), streaming=True)

    async def hear(delta: Delta) -> None:
        assert isinstance(delta, TextDelta)
        told.append(delta.text)

    with pytest.raises(ProviderError):
        await RehearsalUpstream(Fits()).ask(ask, hear)
    assert 0 < len("".join(told)) < len(whole.message.text)


async def test_a_refusal_is_shown_by_name_and_no_prompt_can_ask_for_a_fault() -> None:
    assert (await reply_of(model="rehearsal-refuse")).stop_reason is StopReason.REFUSAL
    asking = question(user("rehearsal-fail: fail, refuse, be slow, cut the answer"))
    assert (await reply_of(asking)).stop_reason is not StopReason.REFUSAL


async def test_what_it_was_shown_is_followed() -> None:
    shown = (user("How do I open the valve?"), assistant("Turn it left."), user("How do I close the valve?"), assistant("Turn it right."))
    assert (await reply_of(question(*shown, user("How do I close the valve, please?")))).message.text == "Turn it right."


async def test_a_named_tool_is_called_and_told_in_pieces() -> None:
    what = replace(question(user("Look up ann@example.com"), tools=(LOOKUP,)), tool_choice=ToolChoice.NAMED, tool_name="find_account")
    *deltas, last = await chunks_of(what)
    assert isinstance(last, Finished)
    [call] = last.reply.message.tool_calls
    assert deltas == [ToolCallDelta(index=0, call_id=call.call_id, tool="find_account", arguments='{"email":"ann@example.com"}')]


async def test_texts_that_end_an_answer_end_it() -> None:
    whole = (await reply_of()).message.text
    reply = await reply_of(replace(ASKED, sampling=Sampling(stop=("week",))))
    assert (reply.message.text, reply.stop_reason) == (whole[: whole.index("week")], StopReason.STOP_SEQUENCE)


async def test_what_it_cannot_do_it_says() -> None:
    picture = Message(role=Role.USER, parts=(Text(text="What is it?"), PICTURE))
    reply = await reply_of(replace(question(picture), sampling=Sampling(temperature=1.0), effort=Effort.HIGH))
    assert {told.subject for told in reply.report} == {"temperature", "effort", "media"}


async def test_its_vectors_put_texts_of_the_same_words_near_each_other() -> None:
    texts = ("The parcel is late.", "Is the parcel late?", "I want my money back.", "")
    ask = EmbeddingAsk(texts=texts, endpoint=endpoint(Dialect.REHEARSAL, "rehearsal"))
    one, like, unlike, nothing = (await RehearsalUpstream(Fits()).embed(ask)).vectors
    assert sum(a * b for a, b in zip(one, like, strict=True)) > 0.5 > sum(a * b for a, b in zip(one, unlike, strict=True))
    assert all(abs(sum(x * x for x in vector) - 1) < 1e-9 for vector in (one, like, unlike, nothing))
    with pytest.raises(ProviderError, match="dimensions"):
        await RehearsalUpstream(Fits()).embed(replace(ask, dimensions=7))
