"""Upkeep: collections learn, change their embedder and get their index in the background, while searches go on."""

import asyncio
from dataclasses import dataclass

from plimsoll_runtime import logs
from plimsoll_runtime.errors import ErrorKind, PlimsollError
from plimsoll_runtime.retry import pause

from plimsoll_memory.domain.embedding import Projections, is_learned
from plimsoll_memory.domain.upkeep import Begin, Chore, Fill, Index, Learn, Rest, Rules, Step, Unindex, next_step
from plimsoll_memory.ports import Embedders, Learner, Workshop

_LEASE_S = 60.0  # lengthened with every piece of work; what was held by who died waits as long
_LEARN_S, _INDEX_S = 900.0, 3600.0  # pieces that take longer
_POLL_S = 1.0
_RETRY_S = 30.0
_FILL_BATCH = 256
_MOST_WORDS, _MOST_PASSAGES = 30_000, 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    """Works on one collection at a time. Any number may run; none works on what another has."""

    workshop: Workshop
    learner: Learner
    embedders: Embedders
    rules: Rules
    log: logs.Log

    async def run(self, stop: asyncio.Event) -> None:
        """Tend what is due until `stop`, whatever fails."""
        while not stop.is_set():
            try:
                busy = await self.tend_next(stop)
            except PlimsollError as error:
                self._complain(error)
                busy = False
            if not busy:
                await pause(_POLL_S, stop)

    async def tend_next(self, stop: asyncio.Event) -> bool:
        """Tend the collection that is due; returns whether there was one."""
        chore = await self.workshop.take(_LEASE_S)
        if chore is None:
            return False
        try:
            await self.workshop.put_off(chore, await self._tend(chore, stop))
        except PlimsollError as error:
            self._complain(error)
            await self.workshop.put_off(chore, _RETRY_S)
        return True

    async def _tend(self, chore: Chore, stop: asyncio.Event) -> float | None:
        """Step by step until all is as it should be; returns in how many seconds to look again, None for when something changes."""
        await self.workshop.tidy(chore)
        while not stop.is_set():
            state = await self.workshop.state(chore)
            if state is None:
                await self.workshop.forget(chore)
                return None
            step = next_step(state, self.rules)
            if isinstance(step, Rest):
                return None
            self.log.info("upkeep.step", {"collection": chore.collection, "step": type(step).__name__.lower()})
            if not await self._do(chore, step, stop):
                return _RETRY_S
        return 0.0

    async def _do(self, chore: Chore, step: Step, stop: asyncio.Event) -> bool:
        """Do one step; returns False when it cannot be done for now."""
        match step:
            case Learn(embedder):
                await self.workshop.hold(chore, _LEARN_S)
                return await self._learn(chore, embedder)
            case Begin(embedder):
                if embedder not in self.embedders:
                    return False
                await self.workshop.begin(chore, embedder)
            case Fill(embedder):
                return await self._fill(chore, embedder, stop)
            case Index(embedder):
                await self.workshop.hold(chore, _INDEX_S)
                await self.workshop.index(chore, embedder)
            case Unindex():
                await self.workshop.unindex(chore)
            case Rest():
                pass
        return True

    async def _learn(self, chore: Chore, embedder: str) -> bool:
        projections = await self._projections(chore)
        return projections is not None and await self.workshop.put_learned(chore, embedder, projections)

    async def _projections(self, chore: Chore) -> Projections | None:
        """What a sample teaches; the sample itself is let go of. None when no word occurs twice."""
        corpus = await self.workshop.corpus(chore, most_words=_MOST_WORDS, most_passages=_MOST_PASSAGES)
        return await self.learner.learn(corpus) if corpus.passages and corpus.lexemes else None

    async def _fill(self, chore: Chore, embedder: str, stop: asyncio.Event) -> bool:
        """Embed what is missing, then let it serve; with what came meanwhile among passages that were passed already, it does not yet."""
        if not is_learned(embedder) and embedder not in self.embedders:
            return False
        after = ""
        while not stop.is_set():
            await self.workshop.hold(chore, _LEASE_S)
            after = await self._fill_some(chore, embedder, after)
            if not after:
                return await self.workshop.switch(chore, embedder) or not stop.is_set()
        return True

    async def _fill_some(self, chore: Chore, embedder: str, after: str) -> str:
        """Embed some of what is missing behind `after`; returns the id of the last one, '' when nothing was left."""
        if is_learned(embedder):
            return await self.workshop.project(chore, embedder, after=after, limit=_FILL_BATCH)
        missing = await self.workshop.missing(chore, embedder, after=after, limit=_FILL_BATCH)
        if not missing:
            return ""
        ids = [chunk_id for chunk_id, _ in missing]
        vectors = await self.embedders[embedder].embed_passages([text for _, text in missing])
        await self.workshop.put_vectors(chore, embedder, ids, vectors)
        return ids[-1]

    def _complain(self, error: PlimsollError) -> None:
        fault = error if error.kind is ErrorKind.INTERNAL else None
        self.log.warning("upkeep.paused", {"reason": error.reason, "message": error.message}, error=fault)
