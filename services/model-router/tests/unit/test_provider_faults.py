"""Faults on demand before a provider: what is heard, and what is owed, is what a real fault would have left."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from model_router_asks import endpoint
from model_router_conversations import LOOKUP, question
from model_router_misfortunes import Misfortunes
from plimsoll_model_router.adapters.providers.faulty import FaultyUpstream
from plimsoll_model_router.adapters.providers.rehearsal import RehearsalUpstream
from plimsoll_model_router.domain.endpoints import Ask, Dialect, EmbeddingAsk, Timers
from plimsoll_model_router.domain.generation import Chunk, Delta, Finished, Question, TextDelta, ToolCallDelta
from plimsoll_model_router.domain.messages import user
from plimsoll_model_router.domain.rehearsal.fits import Fits
from plimsoll_model_router.errors import ProviderError, Remedy
from plimsoll_runtime.faults import FaultKind
from plimsoll_runtime.usage import Usage

ASKED = question(user("How long does a refund take?\n\n[returns.md] A refund takes a week after the goods are back with us."))
WHERE = endpoint(Dialect.REHEARSAL, "rehearsal")
AMPLE, HASTY = Timers(), Timers(first_token_s=0.05, silence_s=0.05, total_s=0.2)
BOTH = pytest.mark.parametrize("streaming", [False, True])
TEXTS = EmbeddingAsk(texts=("Where is my parcel?",), endpoint=WHERE)


@pytest.fixture
def faults(tmp_path: Path) -> Iterator[Misfortunes]:
    found = Misfortunes(tmp_path)
    with found.possible():
        yield found


class Heard:
    """What came of one try."""

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []
        self.error: ProviderError | None = None

    async def listen(self, what: Question, *, streaming: bool, timers: Timers = AMPLE) -> "Heard":
        upstream = FaultyUpstream(RehearsalUpstream(Fits()))
        try:
            reply = await upstream.ask(Ask(question=what, endpoint=WHERE, timers=timers, streaming=streaming), self.hear)
            self.chunks.append(Finished(reply=reply))
        except ProviderError as error:
            self.error = error
        return self

    async def hear(self, delta: Delta) -> None:
        self.chunks.append(delta)

    @property
    def text(self) -> str:
        return "".join(chunk.text for chunk in self.chunks if isinstance(chunk, TextDelta))

    @property
    def broke(self) -> ProviderError:
        assert self.error is not None
        assert not any(isinstance(chunk, Finished) for chunk in self.chunks)
        return self.error


async def whole(*, streaming: bool = False, timers: Timers = AMPLE) -> Heard:
    return await Heard().listen(ASKED, streaming=streaming, timers=timers)


def usage_of(heard: Heard) -> Usage:
    last = heard.chunks[-1]
    assert isinstance(last, Finished)
    return last.reply.usage


@BOTH
@pytest.mark.parametrize(
    ("kind", "reason", "remedy"),
    [
        (FaultKind.ERROR, "PROVIDER_ERROR", Remedy.RETRY),
        (FaultKind.TIMEOUT, "PROVIDER_TIMEOUT", Remedy.NEXT_PROVIDER),
    ],
)
async def test_where_nothing_was_done_nothing_is_owed(
    faults: Misfortunes, kind: FaultKind, reason: str, remedy: Remedy, streaming: bool
) -> None:
    with faults.meeting(kind):
        broke = (await whole(streaming=streaming)).broke
    assert (broke.failure.reason, broke.remedy, broke.usage) == (reason, remedy, Usage())


@BOTH
@pytest.mark.parametrize(("kind", "reason"), [(FaultKind.CUT, "ANSWER_CUT"), (FaultKind.MALFORMED, "MALFORMED_ANSWER")])
async def test_an_answer_that_was_given_and_lost_is_owed_whole_and_never_heard_whole(
    faults: Misfortunes, kind: FaultKind, reason: str, streaming: bool
) -> None:
    with faults.meeting(kind):
        heard = await whole(streaming=streaming)
    given = await whole(streaming=True)
    assert (heard.broke.failure.reason, heard.broke.remedy, heard.broke.usage) == (reason, Remedy.RETRY, usage_of(given))
    assert given.text.startswith(heard.text)
    assert (0 < len(heard.text) < len(given.text)) is streaming


@pytest.mark.parametrize("kind", [FaultKind.CUT, FaultKind.MALFORMED])
async def test_a_call_that_is_cut_in_its_middle_has_no_whole_arguments(faults: Misfortunes, kind: FaultKind) -> None:
    calling = question(user("Look up ann@example.com"), tools=(LOOKUP,))
    with faults.meeting(kind):
        heard = await Heard().listen(calling, streaming=True)
    [delta] = heard.chunks
    assert isinstance(delta, ToolCallDelta)
    assert delta.arguments
    assert not delta.arguments.endswith("}")
    assert heard.broke.usage.output_tokens > 0


@BOTH
@pytest.mark.parametrize("kind", [FaultKind.LATENCY, FaultKind.SLOW])
async def test_what_is_late_is_whole_when_it_is_in_time(faults: Misfortunes, kind: FaultKind, streaming: bool) -> None:
    with faults.meeting(kind, seconds=0.01):
        assert (await whole(streaming=streaming)).chunks == (await whole(streaming=streaming)).chunks


@BOTH
@pytest.mark.parametrize("kind", [FaultKind.LATENCY, FaultKind.SLOW, FaultKind.TIMEOUT])
async def test_what_is_too_late_meets_the_timers_of_the_call(faults: Misfortunes, kind: FaultKind, streaming: bool) -> None:
    with faults.meeting(kind, seconds=60.0):
        broke = (await whole(streaming=streaming, timers=HASTY)).broke
    assert broke.failure.reason == ("SLOW_START" if streaming else "TOO_SLOW")


async def test_only_the_provider_that_is_named_meets_the_fault(faults: Misfortunes) -> None:
    with faults.meeting(FaultKind.ERROR, "openai"):
        assert (await whole()).error is None


@pytest.mark.parametrize(
    ("kind", "reason", "owed"),
    [
        (FaultKind.ERROR, "PROVIDER_ERROR", False),
        (FaultKind.TIMEOUT, "PROVIDER_TIMEOUT", False),
        (FaultKind.CUT, "ANSWER_CUT", True),
        (FaultKind.MALFORMED, "MALFORMED_ANSWER", True),
    ],
)
async def test_vectors_meet_the_same_faults(faults: Misfortunes, kind: FaultKind, reason: str, owed: bool) -> None:
    upstream = FaultyUpstream(RehearsalUpstream(Fits()))
    with faults.meeting(kind), pytest.raises(ProviderError) as caught:
        await upstream.embed(TEXTS)
    given = (await upstream.embed(TEXTS)).usage
    assert (caught.value.failure.reason, caught.value.usage) == (reason, given if owed else Usage())


@pytest.mark.parametrize("kind", [FaultKind.LATENCY, FaultKind.SLOW])
async def test_late_vectors_are_whole_or_too_late(faults: Misfortunes, kind: FaultKind) -> None:
    upstream = FaultyUpstream(RehearsalUpstream(Fits()))
    with faults.meeting(kind):
        assert await upstream.embed(TEXTS) == await upstream.embed(TEXTS)
    with faults.meeting(kind, seconds=60.0), pytest.raises(ProviderError) as caught:
        await upstream.embed(replace(TEXTS, timers=HASTY))
    assert caught.value.failure.reason == "TOO_SLOW"
