"""How many calls of one tool run at a time, and how many may wait."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_WAITING_PER_SLOT = 16


class Full(Exception):
    """Too many calls wait already, or no slot became free in time."""


class Bulkheads:
    """One bulkhead per key, there only while it is in use."""

    def __init__(self) -> None:
        self._bulkheads: dict[str, _Bulkhead] = {}

    @asynccontextmanager
    async def slot(self, key: str, size: int, within_s: float) -> AsyncIterator[None]:
        """Hold one of `size` slots. Raises Full at once when the queue is full, or when none is free `within_s`."""
        bulkhead = self._bulkheads.setdefault(key, _Bulkhead(size))
        if bulkhead.users >= size * (1 + _WAITING_PER_SLOT):
            raise Full
        bulkhead.users += 1
        try:
            if bulkhead.slots.locked():
                try:
                    async with asyncio.timeout(within_s):
                        await bulkhead.slots.acquire()
                except TimeoutError:
                    raise Full from None
            else:
                await bulkhead.slots.acquire()  # does not wait
            try:
                yield
            finally:
                bulkhead.slots.release()
        finally:
            bulkhead.users -= 1
            if not bulkhead.users:
                del self._bulkheads[key]


class _Bulkhead:
    def __init__(self, size: int) -> None:
        self.slots = asyncio.Semaphore(size)
        self.users = 0
