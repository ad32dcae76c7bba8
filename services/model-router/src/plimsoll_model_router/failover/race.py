"""Hedging: two attempts side by side, and whoever speaks first goes on."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from plimsoll_model_router.domain.generation import Delta, Hear
from plimsoll_model_router.errors import ProviderError
from plimsoll_model_router.failover.attempts import Ending, Try


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Racer:
    """An attempt, how it is made, and who hears it once it leads."""

    one: Try
    make: Callable[[Hear], Awaitable[Ending]]
    hear: Hear


class Race:
    """`won` is told who goes on, before anything of it is heard; `lost` of one that failed before the other had said a word."""

    def __init__(self, won: Callable[[Racer], Awaitable[None]], lost: Callable[[Racer, ProviderError], None]) -> None:
        self._won = won
        self._lost = lost
        self._running: dict[Racer, asyncio.Task[Ending | ProviderError]] = {}
        self._leader: Racer | None = None
        self._settled = asyncio.Event()  # somebody leads, or the first one failed

    async def run(self, first: Racer, start_second: Callable[[], Racer | None], after_s: float) -> Ending:
        """How the one that goes on ends; the other is given up. Raises its ProviderError."""
        async with asyncio.TaskGroup() as group:
            self._running[first] = group.create_task(self._make(first))
            with suppress(TimeoutError):
                async with asyncio.timeout(after_s):
                    await self._settled.wait()
            if not self._settled.is_set() and (second := start_second()) is not None:
                self._running[second] = group.create_task(self._make(second))
            ending = await self._ended()
        if isinstance(ending, ProviderError):
            raise ending
        return ending

    async def _ended(self) -> Ending | ProviderError:
        while True:
            await asyncio.wait(self._running.values(), return_when=asyncio.FIRST_COMPLETED)
            racer, task = next((racer, task) for racer, task in self._running.items() if task.done())
            del self._running[racer]
            if task.cancelled():  # given up: the other one leads
                continue
            ending = task.result()
            if isinstance(ending, ProviderError) and self._leader is None:
                if self._running:
                    self._lost(racer, ending)
                    continue
                await self._lead(racer)
            return ending

    async def _make(self, racer: Racer) -> Ending | ProviderError:
        async def hear(delta: Delta) -> None:
            await self._lead(racer)
            await racer.hear(delta)

        try:
            ending = await racer.make(hear)
            await self._lead(racer)
        except ProviderError as error:
            self._settled.set()
            return error
        return ending

    async def _lead(self, racer: Racer) -> None:
        """The racer speaks. Who speaks first goes on; the other's connection closes, and it is counted as given up."""
        if self._leader is None:
            self._leader = racer
            self._settled.set()
            for other, task in self._running.items():
                if other is not racer:
                    task.cancel()
            await self._won(racer)
        elif self._leader is not racer:
            await asyncio.Event().wait()  # its end is on the way
