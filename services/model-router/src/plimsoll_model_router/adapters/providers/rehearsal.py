"""The built-in rehearsal model as a provider, with faults on demand under further model names."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from plimsoll_runtime.failures import Category, Failure

from plimsoll_model_router.adapters.providers import failures
from plimsoll_model_router.domain.generation import Chunk, Finished, Question, Reply, TextDelta
from plimsoll_model_router.domain.messages import Message, Refusal, Role, StopReason
from plimsoll_model_router.domain.pricing import FREE
from plimsoll_model_router.domain.rehearsal.fits import Fits
from plimsoll_model_router.domain.rehearsal.model import NAME, RehearsalModel, pieces
from plimsoll_model_router.domain.routing import Model
from plimsoll_model_router.errors import ProviderError, Remedy

_CONTEXT_TOKENS = 200_000
_IN_THREAD = 6_000  # characters: learning from more would hold up the event loop for tens of milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What a model name stands for.

    Attributes:
    pause_s    before the answer, and between the pieces of a stream
    error      ends the call at once
    cut        the answer ends in its middle
    refuses    the answer is a refusal
    """

    pause_s: float = 0.0
    error: tuple[Category, str, Remedy] | None = None
    cut: bool = False
    refuses: bool = False


FAULTS: Mapping[str, Fault] = MappingProxyType(
    {
        NAME: Fault(),
        f"{NAME}-slow": Fault(pause_s=2.0),
        f"{NAME}-fail": Fault(error=(Category.UPSTREAM_UNAVAILABLE, "PROVIDER_ERROR", Remedy.RETRY)),
        f"{NAME}-limited": Fault(error=(Category.RATE_LIMITED, "RATE_LIMITED", Remedy.RETRY)),
        f"{NAME}-cut": Fault(cut=True),
        f"{NAME}-refuse": Fault(refuses=True),
    }
)


class RehearsalProvider:
    """Asks the rehearsal model in this process. Which fault to show is told by the model's name alone, never by a prompt."""

    def __init__(self, fits: Fits) -> None:
        self._model = RehearsalModel(fits)

    @property
    def models(self) -> Sequence[Model]:
        return (Model(provider=NAME, name=NAME, price=FREE, context_tokens=_CONTEXT_TOKENS, rehearsal=True, variants=tuple(FAULTS)),)

    async def generate(self, question: Question) -> Reply:
        fault = FAULTS[question.model]
        await self._begin(question, fault)
        reply = await self._reply(question, fault)
        if fault.cut:
            raise failures.broken(f"{NAME}/{question.model}", reply.usage)
        return reply

    async def stream(self, question: Question) -> AsyncGenerator[Chunk, None]:
        fault = FAULTS[question.model]
        await self._begin(question, fault)
        reply = await self._reply(question, fault)
        spoken = pieces(reply.message.text)
        for piece in spoken[: len(spoken) // 2] if fault.cut else spoken:
            yield TextDelta(text=piece)
            await asyncio.sleep(fault.pause_s / 10)
        if fault.cut:
            raise failures.broken(f"{NAME}/{question.model}", reply.usage)
        yield Finished(reply=reply)

    async def _begin(self, question: Question, fault: Fault) -> None:
        if fault.pause_s:
            await asyncio.sleep(fault.pause_s)
        if fault.error is not None:
            category, reason, remedy = fault.error
            where = f"{NAME}/{question.model}"
            message = f"{where} fails, as its name asks for"
            raise ProviderError(Failure(category=category, reason=reason, message=message, retryable=True, where=where), remedy)

    async def _reply(self, question: Question, fault: Fault) -> Reply:
        heavy = sum(len(message.text) for message in question.messages) > _IN_THREAD
        reply = await asyncio.to_thread(self._model.reply, question) if heavy else self._model.reply(question)
        if not fault.refuses:
            return reply
        refusal = Message(role=Role.ASSISTANT, parts=(Refusal(text="The rehearsal model refuses, as its name asks for."),))
        return Reply(message=refusal, stop_reason=StopReason.REFUSAL, usage=reply.usage, model=question.model)
