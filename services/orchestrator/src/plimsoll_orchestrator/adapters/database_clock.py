"""The database's clock, carried forward by our own monotonic one: leases and expiries are judged by one clock only."""

from datetime import datetime, timedelta

from plimsoll_runtime.clock import Clock


class DatabaseClock:
    def __init__(self, local: Clock) -> None:
        self._local = local
        self._at, self._since = local.now(), local.monotonic()

    def set(self, at: datetime) -> None:
        """The database said that it is `at` now."""
        self._at, self._since = at, self._local.monotonic()

    def now(self) -> datetime:
        return self._at + timedelta(seconds=self._local.monotonic() - self._since)

    def monotonic(self) -> float:
        return self._local.monotonic()
