"""Retention: what finished long ago goes, in small pieces, so that nobody who works notices it."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from plimsoll_runtime import logs
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.retry import Backoff, pause

from plimsoll_orchestrator.ports.retention import Retention

_EVERY_S = 60.0
_BETWEEN_S = 0.05  # pieces, so that others get their turn
_RUNS = 100
_ERASED_RUNS, _ERASED_ENTRIES = 20, 500
_DAY_S = 86400.0


class Caretaker:
    """Finished runs keep their journals for `journals_days` and are kept at all for `runs_days`; 0 means for ever."""

    def __init__(self, store: Retention, log: logs.Log, *, journals_days: float, runs_days: float) -> None:
        self._store = store
        self._log = log
        self._journals_s = journals_days * _DAY_S
        self._runs_s = runs_days * _DAY_S

    async def run(self, stop: asyncio.Event) -> None:
        """Tidy up now and then until `stop`."""
        backoff = Backoff(1.0, _EVERY_S)
        while not stop.is_set():
            try:
                await self.tidy(stop)
                backoff.reset()
            except PlimsollError as error:
                self._log.warning("retention.waiting", {"reason": error.reason})
                await backoff.pause(stop)
                continue
            await pause(random.uniform(0.5, 1.0) * _EVERY_S, stop)  # noqa: S311 - jitter, so that processes do not work in step

    async def tidy(self, stop: asyncio.Event) -> None:
        """Do all that there is to do now."""
        store = self._store
        counts = {"journals": 0, "runs": 0, "deliveries": 0}
        if self._journals_s:
            counts["journals"] = await self._all(stop, lambda: store.retire_journals(self._journals_s, _RUNS), _RUNS)
            counts["deliveries"] = await self._all(stop, lambda: store.forget_deliveries(self._journals_s, _RUNS), _RUNS)
        if self._runs_s:
            counts["runs"] = await self._all(stop, lambda: store.forget_runs(self._runs_s, _RUNS), _RUNS)
        await self._all(stop, lambda: store.erase_journals(_ERASED_RUNS, _ERASED_ENTRIES), 1)
        if any(counts.values()):
            self._log.info("retention.tidied", dict(counts))

    async def _all(self, stop: asyncio.Event, piece: Callable[[], Awaitable[int]], full: int) -> int:
        """Piece by piece, as long as there is enough for one."""
        total = 0
        while not stop.is_set():
            done = await piece()
            total += done
            if done < full:
                break
            await pause(_BETWEEN_S, stop)
        return total
