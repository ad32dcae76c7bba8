"""The fault point before every provider, the built-in one too: what a fault plan asks for, told as truly as a real one would be."""

import asyncio
from dataclasses import replace

from plimsoll_runtime.faults import Edge, Fault, FaultKind, fault_at
from plimsoll_runtime.usage import Usage

from plimsoll_model_router.adapters.providers import failures
from plimsoll_model_router.adapters.providers.http import Patience
from plimsoll_model_router.domain.endpoints import Ask, EmbeddingAsk, Embeddings
from plimsoll_model_router.domain.generation import Delta, Hear, ReasoningDelta, Reply, TextDelta, ToolCallDelta
from plimsoll_model_router.errors import ProviderError
from plimsoll_model_router.ports import Upstream


class FaultyUpstream:
    """An Upstream whose tries meet faults; the operation is the provider's name."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def ask(self, ask: Ask, hear: Hear) -> Reply:
        """As every upstream does. Raises ProviderError."""
        fault = fault_at(Edge.PROVIDER, ask.endpoint.provider)
        return await (self._upstream.ask(ask, hear) if fault is None else _asked(fault, self._upstream, ask, hear))

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


async def _asked(fault: Fault, upstream: Upstream, ask: Ask, hear: Hear) -> Reply:
    where, spoken = ask.endpoint.full_name, False
    patience = Patience(ask.timers, where)
    if ask.streaming:
        patience.expect_words()
    await _before(fault, patience, where)

    async def hear_half(delta: Delta) -> None:
        nonlocal spoken
        if not spoken:
            spoken = True
            await hear(_half(delta))

    async def hear_late(delta: Delta) -> None:
        nonlocal spoken
        if not spoken:
            spoken = True
            await patience.wait(asyncio.sleep(fault.seconds))
        await hear(delta)

    match fault.kind:
        case FaultKind.CUT | FaultKind.MALFORMED:  # the rest was given, and will be billed, but nobody hears it
            raise _lost(fault, where, (await upstream.ask(ask, hear_half)).usage)
        case FaultKind.SLOW:
            reply = await upstream.ask(ask, hear_late)
            if not spoken:
                await patience.wait(asyncio.sleep(fault.seconds))
            return reply
        case _:
            return await upstream.ask(ask, hear)


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
