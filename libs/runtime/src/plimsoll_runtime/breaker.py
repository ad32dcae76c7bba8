"""The circuit breaker: so many failures within a rolling window open it; after a cool-down one probe decides for everybody.

In Redis the breaker of an upstream is one for the whole fleet (`guard.Guard` asks it); `LocalBreaker` means the same for one process
while Redis is away. Cancellations and errors of the caller are neutral: they never count.
"""

from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from aiobreaker import CircuitBreaker, CircuitBreakerError
from aiobreaker.state import CircuitBreakerState

from plimsoll_runtime.clock import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """`failures` within `window_s` open the breaker for `cooldown_s`; a probe that says nothing for `probe_s` is replaced by another."""

    failures: int = 5
    window_s: float = 60.0
    cooldown_s: float = 30.0
    probe_s: float = 30.0


class Verdict(StrEnum):
    """What a call says about its upstream."""

    SUCCEEDED = "succeeded"  # it answered, be it with a no
    FAILED = "failed"  # time-out, broken connection, 5xx, an answer that makes no sense
    NEUTRAL = "neutral"  # cancelled, or the caller's own mistake: it says nothing


class Change(StrEnum):
    """What a report did to the breaker."""

    OPENED = "opened"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Refused: the breaker is open, or its one probe is under way; ask again after `retry_after_s`."""

    retry_after_s: float


class LocalBreaker:
    """One upstream's breaker within one process.

    aiobreaker keeps the states and their transitions; the rolling window, the clock and the gate that lets a single probe pass are ours.
    """

    def __init__(self, policy: BreakerPolicy, clock: Clock) -> None:
        self._policy = policy
        self._clock = clock
        self._window = _Window(policy, clock)
        self._breaker = CircuitBreaker(
            fail_max=policy.failures, timeout_duration=timedelta(seconds=policy.cooldown_s), state_storage=self._window
        )
        self._cooled_at = 0.0
        self._probe = ""
        self._probe_until = 0.0

    def enter(self, token: str) -> Open | bool:
        """Whether the call that `token` names is the probe; Open when it may not pass."""
        if self._window.state is CircuitBreakerState.CLOSED:
            return False
        now = self._clock.monotonic()
        blocked_until = max(self._cooled_at, self._probe_until if self._probe else 0.0)
        if now < blocked_until:
            return Open(retry_after_s=blocked_until - now)
        self._breaker.half_open()
        self._probe, self._probe_until = token, now + self._policy.probe_s
        return True

    def report(self, token: str, verdict: Verdict) -> Change | None:
        """Count what became of a call; the same token counts once."""
        if self._window.state is not CircuitBreakerState.CLOSED and token != self._probe:
            return None  # of a call from before it opened, or of a probe that was given up
        if verdict is Verdict.FAILED:
            return self._failed(token)
        probed, self._probe = self._probe, ""
        if probed and verdict is Verdict.SUCCEEDED:
            self._breaker.close()
            return Change.CLOSED
        return None  # one success among failures changes nothing; a neutral probe makes room for another

    def _failed(self, token: str) -> Change | None:
        self._window.token = token
        with suppress(CircuitBreakerError, _Reported):
            self._breaker.call(_fail)
        if self._window.state is not CircuitBreakerState.OPEN:
            return None
        self._probe = ""
        self._cooled_at = self._clock.monotonic() + self._policy.cooldown_s
        return Change.OPENED


class _Reported(Exception):
    """Stands for a failure that happened elsewhere, when aiobreaker is told of it."""


def _fail() -> None:
    raise _Reported


class _Window:
    """What aiobreaker stores: the state, and the failures of the last seconds where it would count only those in a row."""

    def __init__(self, policy: BreakerPolicy, clock: Clock) -> None:
        self.state = CircuitBreakerState.CLOSED
        self.token = ""
        self.opened_at: datetime | None = None  # written by aiobreaker, in its own time; ours is monotonic
        self._window_s = policy.window_s
        self._clock = clock
        self._failures: deque[tuple[float, str]] = deque(maxlen=max(policy.failures, 1))

    @property
    def counter(self) -> int:
        since = self._clock.monotonic() - self._window_s
        while self._failures and self._failures[0][0] <= since:
            self._failures.popleft()
        return len(self._failures)

    def increment_counter(self) -> None:
        if all(token != self.token for _, token in self._failures):
            self._failures.append((self._clock.monotonic(), self.token))

    def reset_counter(self) -> None:
        """Called when the breaker closes, and only then: a success in between does not wipe out failures."""
        self._failures.clear()
