"""Group commit: appends of many runs become one statement, so that they share the cost of being durable."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from plimsoll_runtime.batching import Batcher
from plimsoll_runtime.errors import PlimsollError

from plimsoll_orchestrator.ports import Append, Appended, ClaimStore, Committed, Signals, growths

_TELL_CAP = 100  # commits of which others have not been told yet; those who wait for later ones find out by themselves
_TURNS_OF_OTHERS = 3  # of the event loop: so many it takes until a commit that was asked for is on its way


class Committer:
    """Commits, and tells others of it: behind the back of those who wait for the commit, so that they get on meanwhile."""

    def __init__(self, store: ClaimStore, signals: Signals) -> None:
        self._store = store
        self._signals = signals
        self._batcher: Batcher[Append, Appended | None] = Batcher(self._flush)
        self._untold: list[tuple[Sequence[Append], Committed]] = []
        self._news = asyncio.Event()

    async def append(self, append: Append, meanwhile: Callable[[], None]) -> Appended | None:
        """Commit, and do `meanwhile` while that is under way; None when the run is no longer ours. Raises Unavailable: the outcome is
        then unknown."""
        waiting = await self._batcher.begin(append)
        try:
            await _let_others_go_first()
            meanwhile()
            return await waiting
        finally:
            waiting.cancel()  # of no effect once it is done

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Commit inside the block."""
        async with asyncio.TaskGroup() as group:
            telling = group.create_task(self._tell_for_ever())
            try:
                async with self._batcher.running():
                    yield
            finally:
                telling.cancel()
                with suppress(PlimsollError):
                    await self._tell()

    async def _flush(self, batch: Sequence[Append]) -> Sequence[Appended | None]:
        committed = await self._store.append(batch)
        if len(self._untold) < _TELL_CAP:
            self._untold.append((batch, committed))
            self._news.set()
        return [committed.appended.get(append.run_id) for append in batch]

    async def _tell_for_ever(self) -> None:
        while True:
            await self._news.wait()
            await _let_others_go_first()
            with suppress(PlimsollError):  # none of these calls may be relied on
                await self._tell()

    async def _tell(self) -> None:
        self._news.clear()
        untold, self._untold = self._untold, []
        readied = [run_id for _, committed in untold for run_id in committed.readied]
        grown = [growth for batch, committed in untold for growth in growths(batch, committed)]
        if readied:
            await self._signals.runs_readied(readied)
        if grown:
            await self._signals.journals_grew(grown)


async def _let_others_go_first() -> None:
    for _ in range(_TURNS_OF_OTHERS):
        await asyncio.sleep(0)
