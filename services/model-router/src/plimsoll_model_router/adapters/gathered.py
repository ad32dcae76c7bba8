"""Waking somebody once for many reasons: what comes within a few milliseconds of each other is told together."""

import asyncio
from collections.abc import Callable

_WITHIN_S = 0.02


class Gathered:
    """Calls `wake` a little after the first reason; further ones until then are covered by it."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._is_due = False

    def __call__(self) -> None:
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_later(_WITHIN_S, self._now)

    def _now(self) -> None:
        self._is_due = False
        self._wake()
