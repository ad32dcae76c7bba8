"""The load of the whole mesh, as the gateways ask for it: counted once for all who ask at about the same time."""

import asyncio

from plimsoll_runtime.clock import Clock

from plimsoll_orchestrator.ports.load import Load, LoadGauge

_GOOD_FOR_S = 0.5


class LoadWatch:
    def __init__(self, gauge: LoadGauge, clock: Clock) -> None:
        self._gauge = gauge
        self._clock = clock
        self._counting = asyncio.Lock()
        self._last: Load | None = None
        self._counted_at = 0.0

    async def now(self) -> Load:
        """At most half a second old."""
        async with self._counting:
            if self._last is None or self._clock.monotonic() - self._counted_at >= _GOOD_FOR_S:
                self._last = await self._gauge.read()
                self._counted_at = self._clock.monotonic()
            return self._last
