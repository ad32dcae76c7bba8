"""The built-in rehearsal model as an upstream, with faults on demand under further model names."""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.json_types import dump_json
from plimsoll_runtime.usage import Usage

from plimsoll_model_router.adapters.providers import failures
from plimsoll_model_router.adapters.providers.conversation import conform
from plimsoll_model_router.adapters.providers.http import Patience
from plimsoll_model_router.domain.conversion import Report
from plimsoll_model_router.domain.endpoints import Ask, EmbeddingAsk, Embeddings
from plimsoll_model_router.domain.generation import Delta, Hear, Question, Reply, TextDelta, ToolCallDelta
from plimsoll_model_router.domain.messages import Media, Message, Refusal, Role, StopReason, Text, ToolChoice
from plimsoll_model_router.domain.rehearsal.fits import Fits
from plimsoll_model_router.domain.rehearsal.model import NAME, RehearsalModel, pieces
from plimsoll_model_router.domain.rehearsal.vectors import DIMENSIONS, vector
from plimsoll_model_router.domain.tokens import count_tokens
from plimsoll_model_router.errors import ProviderError, Remedy

_IN_THREAD = 6_000  # characters: learning from more would hold up the event loop for tens of milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What a model name stands for.

    Attributes:
    pause_s  before the answer, and a tenth of it between the pieces of a stream
    error    ends the call at once
    cut      the answer ends in its middle
    stall    the answer falls silent in its middle
    refuses  the answer is a refusal
    """

    pause_s: float = 0.0
    error: tuple[Category, str, Remedy] | None = None
    cut: bool = False
    stall: bool = False
    refuses: bool = False


FAULTS: Mapping[str, Fault] = MappingProxyType(
    {
        NAME: Fault(),
        f"{NAME}-slow": Fault(pause_s=2.0),
        f"{NAME}-fail": Fault(error=(Category.UPSTREAM_UNAVAILABLE, "PROVIDER_ERROR", Remedy.RETRY)),
        f"{NAME}-limited": Fault(error=(Category.RATE_LIMITED, "RATE_LIMITED", Remedy.RETRY)),
        f"{NAME}-cut": Fault(cut=True),
        f"{NAME}-stall": Fault(stall=True),
        f"{NAME}-refuse": Fault(refuses=True),
    }
)


class RehearsalUpstream:
    """Asks the rehearsal model in this process. Which fault to show is told by the model's name alone, never by a prompt."""

    def __init__(self, fits: Fits) -> None:
        self._model = RehearsalModel(fits)

    async def ask(self, ask: Ask, hear: Hear) -> Reply:
        """As every upstream does; its timers run as well. Raises ProviderError."""
        where, fault = ask.endpoint.full_name, FAULTS.get(ask.endpoint.model)
        if fault is None:
            raise failures.refused(where, 404, code="model_not_found")
        patience = Patience(ask.timers, where)
        if ask.streaming:
            patience.expect_words()
        await patience.wait(_begin(ask, fault))
        report = Report()
        reply = conform(await self._reply(_understood(ask.question, report), fault), ask, report)
        reply = replace(reply, model=ask.endpoint.model)
        for delta in _deltas(reply, fault) if ask.streaming else ():
            patience.heard()
            await hear(delta)
            await patience.wait(asyncio.sleep(fault.pause_s / 10))
        if fault.stall:
            await patience.wait(asyncio.Event().wait())
        if fault.cut:
            raise failures.broken(where, reply.usage)
        return reply

    async def embed(self, ask: EmbeddingAsk) -> Embeddings:
        """Vectors of the words' pieces; texts that share many are near each other. Raises ProviderError."""
        if ask.dimensions not in {0, DIMENSIONS}:
            raise failures.unsupported(ask.endpoint.full_name, f"vectors of {ask.dimensions} dimensions; it makes {DIMENSIONS}")
        vectors = await asyncio.to_thread(lambda: tuple(map(vector, ask.texts)))
        usage = Usage(input_tokens=sum(map(count_tokens, ask.texts)))
        return Embeddings(vectors=vectors, usage=usage, model=ask.endpoint.model)

    async def _reply(self, question: Question, fault: Fault) -> Reply:
        heavy = sum(len(message.text) for message in question.messages) > _IN_THREAD
        reply = await asyncio.to_thread(self._model.reply, question) if heavy else self._model.reply(question)
        if not fault.refuses:
            return _stopped(reply, question.sampling.stop)
        refusal = Message(role=Role.ASSISTANT, parts=(Refusal(text="The rehearsal model refuses, as its name asks for."),))
        return Reply(message=refusal, stop_reason=StopReason.REFUSAL, usage=reply.usage, model=NAME)


async def _begin(ask: Ask, fault: Fault) -> None:
    if fault.pause_s:
        await asyncio.sleep(fault.pause_s)
    if fault.error is not None:
        category, reason, remedy = fault.error
        where = ask.endpoint.full_name
        message = f"{where} fails, as its name asks for"
        raise ProviderError(Failure(category=category, reason=reason, message=message, retryable=True, where=where), remedy)


def _understood(question: Question, report: Report) -> Question:
    """What the model makes of the question."""
    sampling = question.sampling
    for name, value in (("temperature", sampling.temperature), ("top_p", sampling.top_p), ("seed", sampling.seed)):
        if value is not None:
            report.dropped(name, "the rehearsal model picks nothing at random")
    if question.effort is not None:
        report.dropped("effort", "the rehearsal model does not think")
    if any(isinstance(part, Media) for message in question.messages for part in message.parts):
        report.dropped("media", "the rehearsal model reads text only")
    if question.tool_choice is ToolChoice.NAMED:
        named = tuple(tool for tool in question.tools if tool.name == question.tool_name)
        return replace(question, tools=named, tool_choice=ToolChoice.REQUIRED)
    return question


def _stopped(reply: Reply, stops: tuple[str, ...]) -> Reply:
    """The reply, ended before the first of the texts that end it."""
    text = reply.message.text
    ends = [at for stop in stops if stop and (at := text.find(stop)) >= 0]
    if not ends:
        return reply
    parts = (Text(text=text[: min(ends)]),)
    return replace(reply, message=replace(reply.message, parts=parts), stop_reason=StopReason.STOP_SEQUENCE)


def _deltas(reply: Reply, fault: Fault) -> Iterator[Delta]:
    spoken = pieces(reply.message.text) if reply.message.text else []
    for piece in spoken[: len(spoken) // 2] if fault.cut or fault.stall else spoken:
        yield TextDelta(text=piece)
    for index, call in enumerate(() if fault.cut or fault.stall else reply.message.tool_calls):
        yield ToolCallDelta(index=index, call_id=call.call_id, tool=call.tool, arguments=dump_json(call.arguments))
