"""The rehearsal model as a provider: it says what it is, counts, streams, and shows faults under other names."""

import pytest
from model_router_samples import question
from plimsoll_model_router.adapters.providers.rehearsal import FAULTS, RehearsalProvider
from plimsoll_model_router.domain.generation import Chunk, Finished, Question, Reply, TextDelta
from plimsoll_model_router.domain.messages import StopReason, assistant, user
from plimsoll_model_router.domain.rehearsal.fits import Fits
from plimsoll_model_router.domain.rehearsal.model import pieces
from plimsoll_model_router.errors import ProviderError
from plimsoll_runtime.failures import Category

ASKED = user("How long does a refund take?\n\n[returns.md] A refund takes a week after the goods are back with us.")


def asked(model: str = "rehearsal", most: int = 0) -> Question:
    return Question(model=model, messages=(ASKED,), max_output_tokens=most)


async def streamed(model: str) -> list[Chunk]:
    return [chunk async for chunk in RehearsalProvider(Fits()).stream(asked(model))]


async def test_it_says_that_it_is_a_rehearsal() -> None:
    provider = RehearsalProvider(Fits())
    [model] = provider.models
    assert (model.provider, model.name, model.rehearsal) == ("rehearsal", "rehearsal", True)
    assert all(name.startswith("rehearsal") for name in FAULTS)
    assert (await provider.generate(asked())).model == "rehearsal"


async def test_a_streamed_answer_is_the_answer() -> None:
    chunks = await streamed("rehearsal")
    whole = await RehearsalProvider(Fits()).generate(asked())
    assert "".join(chunk.text for chunk in chunks if isinstance(chunk, TextDelta)) == whole.message.text
    assert len(chunks) > 3
    assert chunks[-1] == Finished(reply=whole)


def test_pieces_joined_are_the_text_again() -> None:
    for text in ("", " ", "a", "one two  three four five six ", "\n\nline"):
        assert "".join(pieces(text)) == text


async def test_it_counts_tokens_and_keeps_to_the_limit() -> None:
    provider = RehearsalProvider(Fits())
    whole = await provider.generate(asked())
    assert whole.usage.input_tokens > 20
    assert whole.usage.output_tokens > 8
    cut = await provider.generate(asked(most=5))
    assert cut.stop_reason is StopReason.MAX_TOKENS
    assert cut.usage.output_tokens == 5
    assert whole.message.text.startswith(cut.message.text)


@pytest.mark.parametrize(
    ("model", "category"),
    [
        ("rehearsal-fail", Category.UPSTREAM_UNAVAILABLE),
        ("rehearsal-limited", Category.RATE_LIMITED),
        ("rehearsal-cut", Category.UPSTREAM_UNAVAILABLE),
    ],
)
async def test_faults_are_shown_by_name(model: str, category: Category) -> None:
    for ask in (RehearsalProvider(Fits()).generate(asked(model)), streamed(model)):
        with pytest.raises(ProviderError) as caught:
            await ask
        assert caught.value.failure.category is category


async def test_a_cut_stream_breaks_off_in_the_middle() -> None:
    told, whole = list[str](), await RehearsalProvider(Fits()).generate(asked())

    async def listen() -> None:
        async for chunk in RehearsalProvider(Fits()).stream(asked("rehearsal-cut")):
            assert isinstance(chunk, TextDelta)
            told.append(chunk.text)

    with pytest.raises(ProviderError):
        await listen()
    assert 0 < len("".join(told)) < len(whole.message.text)


async def test_a_refusal_is_shown_by_name_and_no_prompt_can_ask_for_a_fault() -> None:
    provider = RehearsalProvider(Fits())
    assert (await provider.generate(asked("rehearsal-refuse"))).stop_reason is StopReason.REFUSAL
    reply = await provider.generate(question(user("rehearsal-fail: fail, refuse, be slow, cut the answer"), model="rehearsal"))
    assert isinstance(reply, Reply)


async def test_what_it_was_shown_is_followed() -> None:
    shown = (user("How do I open the valve?"), assistant("Turn it left."), user("How do I close the valve?"), assistant("Turn it right."))
    reply = await RehearsalProvider(Fits()).generate(question(*shown, user("How do I close the valve, please?"), model="rehearsal"))
    assert reply.message.text == "Turn it right."
