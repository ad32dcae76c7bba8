"""Calls that nobody waits for: settled a little later, many in one go, and all of them before the end."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

from plimsoll_runtime import logs
from plimsoll_runtime.errors import PlimsollError

from plimsoll_model_router.domain.calls import CompletedCall


@dataclass(frozen=True, slots=True)
class Finished:
    """A call that is to be settled; `trace` is the traceparent of the work that it was part of."""

    call: CompletedCall
    trace: str


Settle: TypeAlias = Callable[[Sequence[Finished]], Awaitable[None]]
_CAP = 10_000
_ROUND = 256
_GATHER_S = 0.05  # what comes within this of each other shares a statement, and its wait for the disk
_RETRY_S = 1.0
_CATCH_UP_CAP_S = 2.0
_LAST_CAP_S = 3.0


class LateSettling:
    """`settle` settles some calls, all or none of them; `lost` is told of a call that cannot be."""

    def __init__(self, settle: Settle, lost: Callable[[CompletedCall], None], log: logs.Log) -> None:
        self._settle = settle
        self._lost = lost
        self._log = log
        self._queue: asyncio.Queue[Finished] = asyncio.Queue(_CAP)
        self._hurry, self._progress = asyncio.Event(), asyncio.Condition()
        self._batch: list[Finished] = []
        self._put = self._done = 0

    async def put(self, finished: Finished) -> None:
        """Settle it soon. Waits only while far too much is behind."""
        await self._queue.put(finished)
        self._put += 1

    def put_nowait(self, finished: Finished) -> None:
        """The same for who cannot wait: with far too much behind, the call is lost, and the log says so."""
        try:
            self._queue.put_nowait(finished)
            self._put += 1
        except asyncio.QueueFull:
            self._give_up(finished.call, "QUEUE_FULL")

    @property
    def is_behind(self) -> bool:
        return self._done < self._put

    async def catch_up(self) -> None:
        """Wait until what was put so far is settled; a moment at the most."""
        wanted = self._put
        self._hurry.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CATCH_UP_CAP_S), self._progress:
                await self._progress.wait_for(lambda: self._done >= wanted)

    async def run(self) -> None:
        """Settle what comes, for ever."""
        while True:
            self._batch.append(await self._queue.get())
            await self._gather()
            await self._round(last=False)

    async def finish(self) -> None:
        """Settle what is left after `run` was ended, as far as there is time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_CAP_S):
                while self._batch or not self._queue.empty():
                    await self._round(last=True)

    async def _round(self, *, last: bool) -> None:
        """A batch that is under way when this is cancelled stays; it may be settled twice, which counts once."""
        while len(self._batch) < _ROUND and not self._queue.empty():
            self._batch.append(self._queue.get_nowait())
        await self._settled(self._batch, last=last)
        async with self._progress:
            self._done += len(self._batch)
            self._batch = []
            self._progress.notify_all()

    async def _gather(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_GATHER_S):
                await self._hurry.wait()
        self._hurry.clear()

    async def _settled(self, batch: Sequence[Finished], *, last: bool) -> None:
        """All of them, in as many tries as it takes; what can never be settled takes nobody with it."""
        while True:
            try:
                await self._settle(batch)
            except PlimsollError as error:
                if error.retryable and not last:
                    self._log.warning("ledger.behind", {"calls": self._put - self._done, "reason": error.reason})
                    await asyncio.sleep(_RETRY_S)
                    continue
                if len(batch) == 1:
                    self._give_up(batch[0].call, error.reason)
                else:
                    for finished in batch:
                        await self._settled([finished], last=last)
            return

    def _give_up(self, call: CompletedCall, reason: str) -> None:
        self._log.error("ledger.call_lost", {"call": call.call_id, "cost_micros": call.outcome.usage.cost_micros, "reason": reason})
        self._lost(call)
