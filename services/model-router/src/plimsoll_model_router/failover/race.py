"""Hedging: two attempts side by side, and whoever speaks first goes on."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from plimsoll_model_router.domain.generation import Delta
from plimsoll_model_router.errors import ProviderError
from plimsoll_model_router.failover.attempts import Ending, Try


@dataclass(slots=True, kw_only=True)
class Racer:
    """An attempt and what it says. `head` is its first word, or why there is none, once somebody has waited for it."""

    one: Try
    steps: AsyncGenerator[Delta | Ending, None]
    head: Delta | Ending | ProviderError | None = None

    async def listen(self) -> None:
        """Wait for the first word."""
        try:
            self.head = await anext(self.steps)
        except ProviderError as error:
            self.head = error

    def all(self) -> AsyncGenerator[Delta | Ending, None]:
        """Everything that it says, from the first word on. Raises ProviderError."""
        return self.steps if self.head is None else self._from_head()

    async def _from_head(self) -> AsyncGenerator[Delta | Ending, None]:
        async with aclosing(self.steps):
            if isinstance(self.head, ProviderError):
                raise self.head
            assert self.head is not None
            yield self.head
            async for step in self.steps:
                yield step


async def raced(
    first: Racer, start_second: Callable[[], Racer | None], after_s: float, lost: Callable[[Racer, ProviderError], None]
) -> Racer:
    """Who speaks first. The other is given up; one that fails leaves the race to the other."""
    async with asyncio.TaskGroup() as group:
        leading = group.create_task(first.listen())
        await asyncio.wait({leading}, timeout=after_s)
        second = None if leading.done() else start_second()
        if second is None:
            await leading
            return first
        running = {leading: first, group.create_task(second.listen()): second}
        while True:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            task = next(iter(done))
            racer = running.pop(task)
            if isinstance(racer.head, ProviderError) and running:
                lost(racer, racer.head)
                continue
            for other in running:  # closes its connection; it is counted as given up
                other.cancel()
            return racer
