"""The doubts of the ledger, and the last results of tools, in Postgres."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
from plimsoll_runtime import audit
from plimsoll_runtime.failures import Failure
from plimsoll_runtime.json_types import JsonValue, dump_json, parse_json
from plimsoll_runtime.outbox import OutboxEvent, add_events
from plimsoll_runtime.postgres import translating

from plimsoll_tool_dispatcher.adapters import postgres_statements as sql
from plimsoll_tool_dispatcher.adapters.postgres_rows import completed_of, doubt_of, failure_to_row, unfinished_of
from plimsoll_tool_dispatcher.domain import deeds
from plimsoll_tool_dispatcher.domain.ledger import Acted, Completed, Doubt, Finding, NotActed, Unfinished

_ACQUIRE_CAP_S = 5.0


class PostgresDoubtLedger:
    """`announcement` and `escalation` make the events that are committed with what they tell."""

    def __init__(
        self, pool: asyncpg.Pool, announcement: Callable[[Completed], OutboxEvent], escalation: Callable[[Doubt, str], OutboxEvent]
    ) -> None:
        self._pool = pool
        self._announcement = announcement
        self._escalation = escalation

    async def abandoned(self, limit: int) -> Sequence[Unfinished]:
        async with self._connection() as connection:
            return [unfinished_of(row, row["tenant"], row["call_key"]) for row in await connection.fetch(sql.ABANDONED, limit)]

    async def give_up(self, entry: Unfinished, failure: Failure, event_id: str) -> bool:
        async with self._connection() as connection, connection.transaction():
            claim = entry.claim
            row = await connection.fetchrow(sql.GIVE_UP, claim.tenant, claim.call_key, claim.fence, failure_to_row(failure))
            if row is not None:
                await add_events(connection, [self._announcement(completed_of(row, failure, event_id))])
        return row is not None

    async def due(self, limit: int, again_s: float) -> Sequence[Doubt]:
        async with self._connection() as connection:
            return [doubt_of(row) for row in await connection.fetch(sql.DUE, limit, timedelta(seconds=again_s))]

    async def escalate(self, doubt: Doubt, event_id: str) -> bool:
        claim = doubt.claim
        async with self._connection() as connection, connection.transaction():
            row = await connection.fetchrow(sql.ESCALATE, claim.tenant, claim.call_key, claim.fence)
            if row is not None:
                await add_events(connection, [self._escalation(doubt_of(row), event_id)])
        return row is not None

    async def settle_doubt(self, doubt: Doubt, finding: Finding, by: str, event_id: str) -> bool:
        claim = doubt.claim
        async with self._connection() as connection, connection.transaction():
            match finding:
                case Acted(result=result):
                    row = await connection.fetchrow(sql.SETTLE_ACTED, claim.tenant, claim.call_key, claim.fence, dump_json(result), by)
                    if row is not None:
                        await add_events(connection, [self._announcement(completed_of(row, None, event_id))])
                case NotActed():
                    row = await connection.fetchrow(sql.SETTLE_NOT_ACTED, claim.tenant, claim.call_key, claim.fence, by)
            await audit.append(connection, [deeds.call_resolved(doubt, finding, by)] if row is not None else [])
        return row is not None

    async def open_doubts(self, tenant: str, limit: int) -> Sequence[Doubt]:
        async with self._connection() as connection:
            return [doubt_of(row) for row in await connection.fetch(sql.OPEN_DOUBTS, tenant, limit)]

    async def doubt(self, tenant: str, call_id: str) -> Doubt | None:
        async with self._connection() as connection:
            row = await connection.fetchrow(sql.DOUBT, tenant, call_id)
        return doubt_of(row) if row is not None else None

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        with translating():
            async with self._pool.acquire(timeout=_ACQUIRE_CAP_S) as connection:
                yield connection


class PostgresResultCache:
    """The last result per tool, tenant and arguments."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def put(self, tenant: str, tool: str, arguments_digest: str, result: JsonValue) -> None:
        with translating():
            async with self._pool.acquire(timeout=_ACQUIRE_CAP_S) as connection:
                await connection.execute(sql.CACHE_PUT, tenant, tool, arguments_digest, dump_json(result))

    async def get(self, tenant: str, tool: str, arguments_digest: str, max_age_s: float) -> tuple[JsonValue, float] | None:
        with translating():
            async with self._pool.acquire(timeout=_ACQUIRE_CAP_S) as connection:
                row = await connection.fetchrow(sql.CACHE_GET, tenant, tool, arguments_digest, timedelta(seconds=max_age_s))
        return (parse_json(row["result"]), row["age_s"]) if row is not None else None
