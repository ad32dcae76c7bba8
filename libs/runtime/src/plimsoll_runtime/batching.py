"""Batching: what many tasks want at the same time is done in one go, so that they share its cost."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from plimsoll_runtime.errors import ErrorKind, PlimsollError
from plimsoll_runtime.status import known

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

_QUEUE_CAP = 4096
_LONGEST_GAP_S = 0.1
_WEIGHT = 0.1


class Batcher(Generic[Item, Outcome]):
    """Takes what has gathered as soon as a flusher is free, so a single item never waits for company.

    Only with `linger_s`, and while items come so fast that `company` of them are expected within that time, does a batch wait so long to
    grow: a process that busy gains more from fewer, larger batches than its callers lose. Few callers who wait for their answers never
    come that fast, and so are not made to wait.

    `flush` does a batch and returns an outcome per item, in order, or does none of it and raises. A batch that cannot be done is
    split until the items at fault are alone with their error; one that failed for a passing reason fails as a whole.
    `flushers` work side by side: while one waits for an answer, the next batch gathers.

    With `at_once`, an item that comes alone is done in the task that hands it in, which saves it two turns of the loop, and ends with it.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[Item]], Awaitable[Sequence[Outcome]]],
        *,
        flushers: int = 2,
        batch_cap: int = 512,
        linger_s: float = 0.0,
        company: int = 2,
        at_once: bool = False,
    ) -> None:
        self._flush = flush
        self._flushers = flushers
        self._batch_cap = batch_cap
        self._linger_s = linger_s
        self._company = company
        self._at_once = at_once
        self._busy = 0
        self._gap_s = _LONGEST_GAP_S  # between two items, on a moving average
        self._last = 0.0
        self._gathering = asyncio.Lock()
        self._queue: asyncio.Queue[tuple[Item, asyncio.Future[Outcome]]] = asyncio.Queue(_QUEUE_CAP)

    async def submit(self, item: Item) -> Outcome:
        """The item's outcome. Raises what its batch raised: whether it was done is then unknown."""
        if not self._at_once or self._busy or not self._queue.empty() or self._expects_company():
            return await (await self.begin(item))
        self._note_arrival()
        self._busy += 1
        try:
            [outcome] = await self._flush([item])
        except Exception as error:
            raise known(error) from error
        finally:
            self._busy -= 1
        return outcome

    async def begin(self, item: Item) -> "asyncio.Future[Outcome]":
        """Hand the item in, and come back for its outcome: as of `submit`, for callers that have something to do meanwhile."""
        self._note_arrival()
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        await self._queue.put((item, future))
        return future

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Flush inside the block; who still waits at its end is cancelled."""
        async with asyncio.TaskGroup() as group:
            flushers = [group.create_task(self._flush_for_ever()) for _ in range(self._flushers)]
            try:
                yield
            finally:
                for flusher in flushers:
                    flusher.cancel()
                while not self._queue.empty():
                    self._queue.get_nowait()[1].cancel()

    async def _flush_for_ever(self) -> None:
        while True:
            async with self._gathering:  # one at a time, or they would share out what should become one batch
                batch = [await self._queue.get()]
                await self._linger()
                while len(batch) < self._batch_cap and not self._queue.empty():
                    batch.append(self._queue.get_nowait())
            self._busy += 1
            try:
                await self._flush_one([(item, future) for item, future in batch if not future.done()])  # who gave up wants nothing
            finally:  # nobody is left waiting, whatever ends this flusher
                self._busy -= 1
                for _, future in batch:
                    future.cancel()

    def _note_arrival(self) -> None:
        if self._linger_s:
            now = asyncio.get_running_loop().time()
            self._gap_s += (min(now - self._last, _LONGEST_GAP_S) - self._gap_s) * _WEIGHT
            self._last = now

    def _expects_company(self) -> bool:
        return self._gap_s * self._company < self._linger_s

    async def _linger(self) -> None:
        if self._expects_company() and self._queue.qsize() < self._batch_cap:
            await asyncio.sleep(self._linger_s)

    async def _flush_one(self, batch: Sequence[tuple[Item, "asyncio.Future[Outcome]"]]) -> None:
        if not batch:
            return
        try:
            outcomes = await self._flush([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001 - whatever one item does must not end the flusher, and with it everybody else's work
            if len(batch) > 1 and not _passing(error):
                middle = len(batch) // 2
                await self._flush_one(batch[:middle])
                await self._flush_one(batch[middle:])
                return
            for _, future in batch:
                if not future.done():
                    future.set_exception(known(error))
            return
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            if not future.done():
                future.set_result(outcome)


def _passing(error: Exception) -> bool:
    """Whether the error is of the moment, not of what was in the batch."""
    return isinstance(error, PlimsollError) and error.kind in {ErrorKind.UNAVAILABLE, ErrorKind.TIMEOUT, ErrorKind.EXHAUSTED}
