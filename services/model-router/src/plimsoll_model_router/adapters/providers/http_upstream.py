"""Providers behind HTTP: one try at one endpoint, in any dialect, on the shared transport."""

from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from plimsoll_runtime.usage import Usage

from plimsoll_model_router.adapters.providers import failures
from plimsoll_model_router.adapters.providers.conversation import conform
from plimsoll_model_router.adapters.providers.http import HttpTransport, Patience, ProviderRefused
from plimsoll_model_router.adapters.providers.wire import Codec, Decoder, WireRefusal
from plimsoll_model_router.domain.conversion import Report
from plimsoll_model_router.domain.endpoints import Ask, EmbeddingAsk, Embeddings, Feature, Timers
from plimsoll_model_router.domain.features import needed
from plimsoll_model_router.domain.generation import Chunk, Finished, Hear, Question, Reply, TextDelta
from plimsoll_model_router.domain.messages import Effort, Opaque, Reasoning
from plimsoll_model_router.errors import ProviderError, Remedy

_THINKING = 4.0  # a model that thinks before it speaks may be silent for so many times as long


@dataclass(slots=True)
class _Try:
    """One try while it goes on."""

    ask: Ask
    report: Report = field(default_factory=Report)

    @property
    def where(self) -> str:
        return self.ask.endpoint.full_name


class HttpUpstream:
    """Asks endpoints of one dialect."""

    def __init__(self, codec: Codec, transport: HttpTransport) -> None:
        self._codec = codec
        self._transport = transport

    async def ask(self, ask: Ask, hear: Hear) -> Reply:
        """The reply; deltas are heard as they come, none when the ask is not streaming. Raises ProviderError."""
        one = _Try(_within_limits(ask))
        lacking = needed(ask.question) - ask.endpoint.features
        if lacking:
            raise failures.unsupported(one.where, f"the model does not take {', '.join(sorted(lacking))}")
        if one.ask is not ask:
            one.report.approximated("max_output_tokens", f"the model writes {ask.endpoint.max_output_tokens} at the most")
        try:
            if ask.streaming and Feature.STREAMING in ask.endpoint.features:
                return await self._streamed(one, hear)
            return await self._whole(one, hear)
        except ProviderRefused as refused:
            raise self._judged(refused.refusal, ask.question, one.where) from refused
        except ProviderError as error:
            if error.remedy is Remedy.WITHOUT_REASONING and not _holds_reasoning(ask.question):
                raise failures.without_reasoning_sent(error) from error
            raise

    async def embed(self, ask: EmbeddingAsk) -> Embeddings:
        """The vectors. Raises ProviderError."""
        where = ask.endpoint.full_name
        if Feature.EMBEDDINGS not in ask.endpoint.features:
            raise failures.unsupported(where, "the model makes no embeddings")
        try:
            body = await self._transport.answer(self._codec.embedding_request(ask), ask.timers, where)
        except ProviderRefused as refused:
            raise self._judged(refused.refusal, None, where) from refused
        return self._codec.embeddings(body, ask)

    async def _whole(self, one: _Try, hear: Hear) -> Reply:
        """The answer at once. Where a stream was wanted, its text comes as one piece."""
        if one.ask.streaming:
            one.report.emulated("stream", "the provider answers at once")
        sent = replace(one.ask, streaming=False) if one.ask.streaming else one.ask
        body = await self._transport.answer(self._codec.request(sent, one.report), one.ask.timers, one.where)
        return await _at_once(self._codec.decode(body, sent, one.report), one, hear)

    async def _streamed(self, one: _Try, hear: Hear) -> Reply:
        timers = _timers(one.ask)
        patience = Patience(timers, one.where)
        decoder = self._codec.decoder(one.ask, one.report)
        request = self._codec.request(one.ask, one.report)
        try:
            async with aclosing(self._transport.events(request, patience, timers, one.where)) as batches:
                async for batch in batches:
                    if isinstance(batch, dict):
                        one.report.emulated("stream", "the provider answers at once")
                        return await _at_once(self._codec.decode(batch, one.ask, one.report), one, hear)
                    for chunk in _together(chunk for event in batch for chunk in decoder.feed(event)):
                        patience.heard()
                        if isinstance(chunk, Finished):
                            return conform(chunk.reply, one.ask, one.report)
                        await hear(chunk)
        except ProviderError as error:
            raise _with_usage(error, decoder) from error
        for chunk in decoder.end():
            if isinstance(chunk, Finished):
                return conform(chunk.reply, one.ask, one.report)
            await hear(chunk)
        raise failures.malformed(one.where, "it ended without its end", decoder.usage)

    def _judged(self, refusal: WireRefusal, question: Question | None, where: str) -> ProviderError:
        error = self._codec.refusal(refusal, where)
        if error.remedy is Remedy.WITHOUT_REASONING and (question is None or not _holds_reasoning(question)):
            return failures.without_reasoning_sent(error)
        if error.remedy is Remedy.RETRY and refusal.headers.get("x-should-retry", "").lower() == "false":
            return ProviderError(error.failure, Remedy.NEXT_PROVIDER, usage=error.usage)
        return error


def _within_limits(ask: Ask) -> Ask:
    """The ask, its answer no longer than the model writes."""
    most = ask.endpoint.max_output_tokens
    if not 0 < most < ask.question.max_output_tokens:
        return ask
    return replace(ask, question=replace(ask.question, max_output_tokens=most))


def _together(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    """Pieces of text that came in one read are one piece: nobody could have seen them apart, and each costs its way."""
    held: list[str] = []
    try:
        for chunk in chunks:
            if isinstance(chunk, TextDelta):
                held.append(chunk.text)
                continue
            if held:
                yield TextDelta(text="".join(held))
                held.clear()
            yield chunk
    except ProviderError:  # what came before the break was said
        if held:
            yield TextDelta(text="".join(held))
        raise
    if held:
        yield TextDelta(text="".join(held))


def _timers(ask: Ask) -> Timers:
    """Those of the ask, with time to think where the model does; not every provider shows that it is at it."""
    if ask.timers.exact or Feature.REASONING not in ask.endpoint.features or ask.question.effort is Effort.NONE:
        return ask.timers
    return replace(ask.timers, first_token_s=ask.timers.first_token_s * _THINKING, silence_s=ask.timers.silence_s * _THINKING)


async def _at_once(reply: Reply, one: _Try, hear: Hear) -> Reply:
    if one.ask.streaming and reply.message.text:
        await hear(TextDelta(text=reply.message.text))
    return conform(reply, one.ask, one.report)


def _with_usage(error: ProviderError, decoder: Decoder) -> ProviderError:
    """What came before the stream broke will be billed, whoever noticed the break."""
    return failures.billed(error, decoder.usage) if error.usage == Usage() and error.sent else error


def _holds_reasoning(question: Question) -> bool:
    """Whether earlier thinking went with the question, so that it can be its fault."""
    return question.replay_reasoning and any(
        isinstance(part, Reasoning | Opaque) for message in question.messages for part in message.parts
    )
