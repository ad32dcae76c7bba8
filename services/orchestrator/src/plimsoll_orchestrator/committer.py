"""Group commit: appends of many runs become one statement, so that they share the cost of being durable."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

from plimsoll_orchestrator.batcher import Batcher
from plimsoll_orchestrator.ports import Append, ClaimStore, Signals


class Committer:
    def __init__(self, store: ClaimStore, signals: Signals) -> None:
        self._store = store
        self._signals = signals
        self._batcher: Batcher[Append, datetime | None] = Batcher(self._flush)

    async def append(self, append: Append) -> datetime | None:
        """Commit; returns the database's time, or None when the run is no longer ours. Raises Unavailable: the outcome is then unknown."""
        return await self._batcher.submit(append)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Commit inside the block."""
        async with self._batcher.running():
            yield

    async def _flush(self, batch: Sequence[Append]) -> Sequence[datetime | None]:
        committed = await self._store.append(batch)
        await self._signals.journals_grew(list(committed))
        return [committed.get(append.run_id) for append in batch]
