"""Deadlocks between transactions: the database breaks one by giving up a side, which then simply goes again."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg

T = TypeVar("T")
_TRIES = 5


async def persisting(transact: Callable[[], Awaitable[T]]) -> T:
    """Do a whole transaction, again when it was given up for another. Raises DeadlockDetectedError when that does not end."""
    for _ in range(_TRIES - 1):
        try:
            return await transact()
        except asyncpg.DeadlockDetectedError:
            continue
    return await transact()
