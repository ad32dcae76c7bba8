"""The database's clock, carried forward by our own monotonic one: leases and expiries are judged by one clock only."""

from datetime import datetime, timedelta

from plimsoll_runtime.clock import Clock

_CHANGED_S = 60.0  # longer than any statement may take


class DatabaseClock:
    def __init__(self, local: Clock) -> None:
        self._local = local
        self._at, self._since = local.now(), local.monotonic()
        self._told = False

    def set(self, at: datetime) -> None:
        """The database said that it was `at` when a transaction began: it is at least that late now. So what it says of the past, such as
        after a wait for a lock, does not set the clock back; when it is far off, the database's clock was changed."""
        behind = (self.now() - at).total_seconds()
        if not self._told or behind < 0 or behind > _CHANGED_S:
            self._at, self._since, self._told = at, self._local.monotonic(), True

    def now(self) -> datetime:
        return self._at + timedelta(seconds=self._local.monotonic() - self._since)

    def monotonic(self) -> float:
        return self._local.monotonic()
