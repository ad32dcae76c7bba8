"""What waits for one reader: thousands of idle streams hold one or two each, so an empty one is small."""

import asyncio
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Inbox(Generic[Item]):
    """Items in order, for one reader and one that waits to `put`. An asyncio.Queue holds 3 KiB while nothing is in it."""

    __slots__ = ("_arrival", "_items", "_most", "_room")

    def __init__(self, most: int) -> None:
        self._most = most
        self._items: list[Item] = []
        self._arrival: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._items)

    @property
    def is_full(self) -> bool:
        return len(self._items) >= self._most

    async def put(self, item: Item) -> None:
        """Add the item as soon as there is room for it."""
        while self.is_full:
            self._room = asyncio.get_running_loop().create_future()
            try:
                await self._room
            finally:
                self._room = None
        self.add(item)

    def add(self, item: Item) -> None:
        """Add the item at once, above the bound if need be: for a last word."""
        self._items.append(item)
        _wake(self._arrival)

    async def get(self) -> Item:
        """The next item, when there is one."""
        while not self._items:
            self._arrival = asyncio.get_running_loop().create_future()
            try:
                await self._arrival
            finally:
                self._arrival = None
        return self.take()

    def take(self) -> Item:
        """The next item. Raises IndexError when there is none."""
        item = self._items.pop(0)
        if not self.is_full:
            _wake(self._room)
        return item


def _wake(waiting: "asyncio.Future[None] | None") -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
