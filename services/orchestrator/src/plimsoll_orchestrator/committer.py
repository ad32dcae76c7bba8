"""Group commit: appends of many runs become one statement, so that they share the cost of being durable."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from plimsoll_orchestrator.batcher import Batcher
from plimsoll_orchestrator.ports import Append, Appended, ClaimStore, Signals


class Committer:
    def __init__(self, store: ClaimStore, signals: Signals) -> None:
        self._store = store
        self._signals = signals
        self._batcher: Batcher[Append, Appended | None] = Batcher(self._flush)

    async def append(self, append: Append) -> Appended | None:
        """Commit; None when the run is no longer ours. Raises Unavailable: the outcome is then unknown."""
        return await self._batcher.submit(append)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Commit inside the block."""
        async with self._batcher.running():
            yield

    async def _flush(self, batch: Sequence[Append]) -> Sequence[Appended | None]:
        committed = await self._store.append(batch)
        await self._signals.journals_grew(list(committed.appended))
        if committed.readied:
            await self._signals.runs_readied(committed.readied)
        return [committed.appended.get(append.run_id) for append in batch]
