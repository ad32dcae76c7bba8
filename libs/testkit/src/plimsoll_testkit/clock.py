"""A clock that stands still until a test moves it."""

import asyncio
from datetime import UTC, datetime, timedelta


class FakeClock:
    """Time as a test sets it; sleepers wake when the test moves time past them."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = start
        self._elapsed_s = 0.0
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def now(self) -> datetime:
        """The wall clock, in UTC."""
        return self._now

    def monotonic(self) -> float:
        """Seconds that only go forward."""
        return self._elapsed_s

    async def sleep(self, seconds: float) -> None:
        """Wait until the test has moved time by `seconds`."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        due = (self._elapsed_s + seconds, asyncio.Event())
        self._sleepers.append(due)
        try:
            await due[1].wait()
        finally:
            self._sleepers.remove(due)

    def advance(self, seconds: float) -> None:
        """Move time forward and wake those whose time has come."""
        self._elapsed_s += seconds
        self._now += timedelta(seconds=seconds)
        for at, event in self._sleepers:
            if at <= self._elapsed_s:
                event.set()

    def set(self, now: datetime) -> None:
        """Set the wall clock alone, as an administrator or a time server would."""
        self._now = now

    @property
    def sleepers(self) -> int:
        """How many wait for time to pass."""
        return len(self._sleepers)
