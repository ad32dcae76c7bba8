"""Searches announced through the outbox, and kept for a week to see how retrieval goes."""

from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

import asyncpg
from plimsoll_runtime.outbox import OutboxEvent, add_events

from plimsoll_memory.adapters.tenancy import working_for
from plimsoll_memory.domain.search import SearchCompleted

_MOST_OWED = 500

_KEEP = """
    with watching as (
        insert into watched (tenant, collection, start_at) values ($1, $3, $13) on conflict do nothing
    )
    insert into searches (tenant, search_id, collection, started_at, duration_s, requested, returned, degraded, failed, best_similarity,
                          best_text_score, passages, run_id)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $14)
    on conflict do nothing
"""


class OutboxSearchLog:
    """A SearchLog. The event is durable before the answer leaves; the relay publishes it.

    Searches that failed together with the database are owed: they are written with the next that can be.
    """

    def __init__(self, pool: asyncpg.Pool, to_event: Callable[[SearchCompleted], OutboxEvent], window_s: int) -> None:
        self._pool = pool
        self._to_event = to_event
        self._window_s = window_s
        self._owed: deque[SearchCompleted] = deque(maxlen=_MOST_OWED)

    async def record(self, completed: SearchCompleted) -> None:
        try:
            await self._write(completed)
        except BaseException:
            if completed.failure:
                self._owed.append(completed)
            raise
        while self._owed:
            owed = self._owed.popleft()
            try:
                await self._write(owed)
            except BaseException:
                self._owed.appendleft(owed)
                raise

    async def _write(self, completed: SearchCompleted) -> None:
        receipt = completed.receipt
        async with working_for(self._pool, completed.tenant) as connection:
            await add_events(connection, [self._to_event(completed)])
            await connection.execute(
                _KEEP,
                completed.tenant,
                receipt.search_id,
                completed.collection,
                completed.started_at,
                completed.duration_s,
                receipt.requested,
                receipt.returned,
                bool(receipt.skipped),
                completed.failure is not None,
                receipt.best_similarity,
                receipt.best_text_score,
                list(completed.passages),
                window_start(completed.started_at, self._window_s),
                completed.work.run_id if completed.work else "",
            )


def window_start(at: datetime, window_s: int) -> datetime:
    """When the window that holds this moment began."""
    return datetime.fromtimestamp(at.timestamp() // window_s * window_s, UTC)
