"""Waiting before the next try: pauses that grow and end early when the work is to stop, and retries that keep to a budget."""

import asyncio
import math
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from plimsoll_runtime.clock import Clock


async def pause(seconds: float, stop: asyncio.Event) -> None:
    """Wait `seconds`, or until `stop` is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()


class Backoff:
    """Pauses that double from `first_s` to `most_s`, each shortened by up to half so that many who wait do not come back together."""

    def __init__(self, first_s: float, most_s: float, *, tries: int = 0) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._tries = tries

    def reset(self) -> None:
        """Begin anew: it works again."""
        self._tries = 0

    def next_s(self) -> float:
        """How long the next pause is."""
        longest = min(self._most_s, self._first_s * 2.0 ** min(self._tries, 30))
        self._tries += 1
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret

    async def pause(self, stop: asyncio.Event) -> None:
        """Take the next pause, or wait until `stop` is set."""
        await pause(self.next_s(), stop)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """`attempts` in all, the first one included. Pauses double from `first_s` up to `most_s`, each drawn anywhere below (full jitter).

    What an upstream asks for by Retry-After is waited for in full; when it asks for more than `most_asked_s`, there is no retry: to come
    back earlier would be rude, and to hold a caller that long would be worse.
    """

    attempts: int = 3
    first_s: float = 0.2
    most_s: float = 10.0
    most_asked_s: float = 30.0

    def pause_s(self, made: int, *, left_s: float, draw: Callable[[], float], asked_s: float | None = None) -> float | None:
        """How long to wait after `made` attempts, None to give up: no attempt left, or the pause would outlast `left_s`."""
        asked_s = max(0.0, asked_s or 0.0)
        if made >= self.attempts or asked_s > self.most_asked_s:
            return None
        seconds = asked_s + draw() * min(self.most_s, self.first_s * 2.0 ** min(made - 1, 30))
        return seconds if seconds < left_s else None


class RetryBudget:
    """Keeps retries to a share of the calls, so that an upstream that fails is not buried under them.

    Each call earns `share` of a retry, each retry spends one; `least_per_s` lets a quiet upstream be retried too. What is earned is
    kept for `window_s` at the most. One budget for one upstream and process.
    """

    def __init__(self, clock: Clock, *, share: float = 0.2, least_per_s: float = 1.0, window_s: float = 10.0) -> None:
        self._clock = clock
        self._share = share
        self._least_per_s = least_per_s
        self._window_s = window_s
        self._earned = least_per_s * window_s
        self._calls = 0.0  # of the last seconds: older ones fade
        self._at = clock.monotonic()

    def note_call(self) -> None:
        """A call begins, by its first attempt."""
        self._pass_time()
        self._calls += 1
        self._earned = min(self._earned + self._share, self._most())

    def allows_retry(self) -> bool:
        """Spend one retry, if there is one to spend."""
        self._pass_time()
        if self._earned < 1:
            return False
        self._earned -= 1
        return True

    def _pass_time(self) -> None:
        now = self._clock.monotonic()
        passed, self._at = now - self._at, now
        self._calls *= math.exp(-passed / self._window_s)
        self._earned = min(self._earned + passed * self._least_per_s, self._most())

    def _most(self) -> float:
        return self._window_s * self._least_per_s + self._calls * self._share


def retry_after_s(text: str | None, now: datetime) -> float | None:
    """Seconds that a Retry-After header asks for, in either of its forms; 0 for a time that has passed, None for anything else."""
    text = (text or "").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    if not text[:3].isalpha():  # RFC 9110 knows no fractions, signs or zones but GMT
        return None
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return max(0.0, ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds())
