"""Searches announced through the outbox."""

from collections.abc import Callable

import asyncpg
from plimsoll_runtime.outbox import OutboxEvent, add_events
from plimsoll_runtime.postgres import translating

from plimsoll_memory.domain.search import SearchCompleted

_ACQUIRE_CAP_S = 5.0


class OutboxSearchLog:
    """A SearchLog. The event is durable before the answer leaves; the relay publishes it."""

    def __init__(self, pool: asyncpg.Pool, to_event: Callable[[SearchCompleted], OutboxEvent]) -> None:
        self._pool = pool
        self._to_event = to_event

    async def record(self, completed: SearchCompleted) -> None:
        with translating():
            async with self._pool.acquire(timeout=_ACQUIRE_CAP_S) as connection:
                await add_events(connection, [self._to_event(completed)])
