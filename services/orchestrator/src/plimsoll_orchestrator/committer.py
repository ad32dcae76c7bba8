"""Group commit: appends of many runs become one statement, so that they share the cost of being durable."""

import asyncio
from datetime import datetime

from plimsoll_runtime import logs
from plimsoll_runtime.errors import PlimsollError, Unavailable

from plimsoll_orchestrator.ports import Append, ClaimStore, Signals

_QUEUE_CAP = 4096
_BATCH_CAP = 512


class Committer:
    """Runs `flushers` at a time: while one waits for the disk, the next batch fills."""

    def __init__(self, store: ClaimStore, signals: Signals, log: logs.Log, *, flushers: int = 2) -> None:
        self._store = store
        self._signals = signals
        self._log = log
        self._flushers = flushers
        self._queue: asyncio.Queue[tuple[Append, asyncio.Future[datetime | None]]] = asyncio.Queue(_QUEUE_CAP)

    async def append(self, append: Append) -> datetime | None:
        """Commit; returns the database's time, or None when the run is no longer ours. Raises Unavailable: the outcome is then unknown."""
        future: asyncio.Future[datetime | None] = asyncio.get_running_loop().create_future()
        await self._queue.put((append, future))
        return await future

    async def run(self, stop: asyncio.Event) -> None:
        """Flush until `stop` is set; the worker sets it when nothing is left to commit."""
        async with asyncio.TaskGroup() as group:
            flushers = [group.create_task(self._flush_for_ever()) for _ in range(self._flushers)]
            await stop.wait()
            for flusher in flushers:
                flusher.cancel()

    async def _flush_for_ever(self) -> None:
        while True:
            batch = [await self._queue.get()]
            while len(batch) < _BATCH_CAP and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            await self._flush(batch)

    async def _flush(self, batch: list[tuple[Append, "asyncio.Future[datetime | None]"]]) -> None:
        try:
            committed = await self._store.append([append for append, _ in batch])
        except PlimsollError as error:
            self._log.warning("commit.failed", {"reason": error.reason, "runs": len(batch)})
            for _, future in batch:
                if not future.done():
                    future.set_exception(Unavailable("the step could not be committed", reason=error.reason))
            return
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()
            raise
        for append, future in batch:
            if not future.done():
                future.set_result(committed.get(append.run_id))
        await self._signals.journals_grew(list(committed))
