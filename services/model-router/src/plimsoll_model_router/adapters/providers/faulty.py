"""The fault point before every provider, the built-in one too: what a fault plan asks for, told as truly as a real one would be."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from plimsoll_runtime.faults import Edge, Fault, FaultKind, fault_at
from plimsoll_runtime.usage import Usage

from plimsoll_model_router.adapters.providers import failures
from plimsoll_model_router.adapters.providers.http import Patience
from plimsoll_model_router.domain.endpoints import Ask, EmbeddingAsk, Embeddings
from plimsoll_model_router.domain.generation import Chunk, Delta, Finished, ReasoningDelta, TextDelta, ToolCallDelta
from plimsoll_model_router.errors import ProviderError
from plimsoll_model_router.ports import Upstream


class FaultyUpstream:
    """An Upstream whose tries meet faults; the operation is the provider's name."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    def ask(self, ask: Ask) -> AsyncGenerator[Chunk, None]:
        """As every upstream does. Raises ProviderError."""
        fault = fault_at(Edge.PROVIDER, ask.endpoint.provider)
        return self._upstream.ask(ask) if fault is None else _asked(fault, self._upstream, ask)

    async def embed(self, ask: EmbeddingAsk) -> Embeddings:
        """As every upstream does. Raises ProviderError."""
        fault, where = fault_at(Edge.PROVIDER, ask.endpoint.provider), ask.endpoint.full_name
        if fault is None:
            return await self._upstream.embed(ask)
        patience = Patience(ask.timers, where)
        await _before(fault, patience, where)
        made = await self._upstream.embed(ask)
        if fault.kind is FaultKind.SLOW:
            await patience.wait(asyncio.sleep(fault.seconds))
        elif fault.kind is not FaultKind.LATENCY:
            raise _lost(fault, where, made.usage)
        return made


async def _asked(fault: Fault, upstream: Upstream, ask: Ask) -> AsyncGenerator[Chunk, None]:
    where = ask.endpoint.full_name
    patience = Patience(ask.timers, where)
    if ask.streaming:
        patience.expect_words()
    await _before(fault, patience, where)
    async with aclosing(upstream.ask(ask)) as chunks:
        if fault.kind in {FaultKind.CUT, FaultKind.MALFORMED}:
            async with aclosing(_broken(fault, chunks, where)) as pieces:
                async for piece in pieces:
                    yield piece
            return
        late = fault.kind is FaultKind.SLOW
        async for chunk in chunks:
            if late:
                await patience.wait(asyncio.sleep(fault.seconds))
                late = False
            yield chunk


async def _broken(fault: Fault, chunks: AsyncGenerator[Chunk, None], where: str) -> AsyncGenerator[Delta, None]:
    """The beginning of an answer, never all of it. The rest was given, and will be billed, but nobody hears it."""
    spoken = False
    async for chunk in chunks:
        if isinstance(chunk, Finished):
            raise _lost(fault, where, chunk.reply.usage)
        if not spoken:
            yield _half(chunk)
            spoken = True


async def _before(fault: Fault, patience: Patience, where: str) -> None:
    """What goes wrong before anything was done, so that nothing is owed. Raises ProviderError."""
    match fault.kind:
        case FaultKind.ERROR:
            raise failures.refused(where, 503, code="fault_on_demand")
        case FaultKind.LATENCY:
            await patience.wait(asyncio.sleep(fault.seconds))
        case FaultKind.TIMEOUT:
            await patience.wait(asyncio.sleep(fault.seconds))
            raise failures.late(where, "PROVIDER_TIMEOUT", "did not answer in time (a fault on demand)")
        case _:
            pass


def _lost(fault: Fault, where: str, usage: Usage) -> ProviderError:
    if fault.kind is FaultKind.MALFORMED:
        return failures.malformed(where, "it is garbled (a fault on demand)", usage)
    return failures.broken(where, usage)


def _half(delta: Delta) -> Delta:
    match delta:
        case TextDelta(text=text):
            return TextDelta(text=text[: len(text) // 2])
        case ReasoningDelta(text=text):
            return ReasoningDelta(text=text[: len(text) // 2])
        case ToolCallDelta(arguments=written):
            return replace(delta, arguments=written[: len(written) // 2])
