"""The waiting work as metrics, by which dashboards, alerts and whatever scales the workers see it."""

import asyncio
import math
from contextlib import suppress

from plimsoll_runtime.errors import PlimsollError
from prometheus_client import CollectorRegistry, Gauge

from plimsoll_orchestrator.service.load import LoadWatch

RUNS_WAITING = "plimsoll_orchestrator_runs_waiting"
OLDEST_WAIT = "plimsoll_orchestrator_oldest_wait_seconds"
_EVERY_S = 5.0


class LoadMetrics:
    """Every replica counts for itself and all count the same: take the greatest, not the sum."""

    def __init__(self, load: LoadWatch, registry: CollectorRegistry, *, every_s: float = _EVERY_S) -> None:
        self._load = load
        self._every_s = every_s
        self._waiting = Gauge(RUNS_WAITING, "Runs that could go on and that no worker has; NaN when unknown", registry=registry)
        self._oldest = Gauge(OLDEST_WAIT, "How long the one that waits longest has waited; NaN when unknown", registry=registry)

    async def run(self, stop: asyncio.Event) -> None:
        """Count until `stop` is set, whatever happens to the database meanwhile."""
        while not stop.is_set():
            try:
                load = await self._load.now()
            except PlimsollError:
                self._waiting.set(math.nan)
                self._oldest.set(math.nan)
            else:
                self._waiting.set(load.waiting)
                self._oldest.set(load.oldest_wait_s)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._every_s):
                    await stop.wait()
