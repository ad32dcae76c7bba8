"""Waiting before the next try: a pause that ends early when the work is to stop, and pauses that grow."""

import asyncio
import random
from contextlib import suppress


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
