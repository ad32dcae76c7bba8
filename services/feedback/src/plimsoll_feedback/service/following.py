"""A loop that follows a feed: one batch after another, a pause when there is nothing new, patience while something is away."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from plimsoll_runtime.errors import ErrorKind, PlimsollError
from plimsoll_runtime.logs import Log
from plimsoll_runtime.retry import Backoff, pause

POLL_S = 0.5
_RETRY_FIRST_S, _RETRY_MOST_S = 0.5, 30.0

Step: TypeAlias = Callable[[], Awaitable[bool]]
"""Handles one batch; False when there was none."""


class Follower:
    """Runs a step again and again until it is told to stop, whatever happens to what the step needs."""

    def __init__(self, name: str, step: Step, log: Log) -> None:
        self._name = name
        self._step = step
        self._log = log
        self._backoff = Backoff(_RETRY_FIRST_S, _RETRY_MOST_S)

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                busy = await self._step()
            except PlimsollError as error:
                fault = error if error.kind is ErrorKind.INTERNAL else None
                self._log.warning("feedback.follower_paused", {"follower": self._name, "reason": error.reason}, error=fault)
                await self._backoff.pause(stop)
                continue
            self._backoff.reset()
            if not busy:
                await pause(POLL_S, stop)
