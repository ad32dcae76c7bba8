"""The transactional outbox: events committed with the truth, relayed to NATS afterwards, at least once and in order of commit."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import asyncpg

from plimsoll_runtime import logs
from plimsoll_runtime.bus import Bus, Outgoing, StreamSpec
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.postgres import MigrationSet, translating

OUTBOX_MIGRATIONS = MigrationSet("outbox", "plimsoll_runtime", "outbox_migrations")
_BATCH = 500
_POLL_S = 0.5
_LOCK_SPACE = 0x706C6F62  # "plob": one relay per schema at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxEvent:
    """`event_id` becomes the message id, by which consumers tell repeats."""

    event_id: str
    subject: str
    tenant: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Fetched:
    """The oldest rows of an outbox as messages, and the positions to clear once they are published."""

    messages: Sequence[Outgoing]
    positions: Sequence[int]


class OutboxSource(Protocol):
    """Where events wait; the table of OUTBOX_MIGRATIONS unless a service has something better."""

    async def fetch(self, connection: asyncpg.Connection, limit: int) -> Fetched: ...

    async def clear(self, connection: asyncpg.Connection, positions: Sequence[int]) -> None: ...


class OutboxTable:
    async def fetch(self, connection: asyncpg.Connection, limit: int) -> Fetched:
        rows = await connection.fetch("select position, event_id, subject, tenant, payload from outbox order by position limit $1", limit)
        messages = [
            Outgoing(subject=row["subject"], payload=row["payload"], message_id=row["event_id"], tenant=row["tenant"]) for row in rows
        ]
        return Fetched(messages, [row["position"] for row in rows])

    async def clear(self, connection: asyncpg.Connection, positions: Sequence[int]) -> None:
        await connection.execute("delete from outbox where position = any($1::bigint[])", positions)


async def add_events(connection: asyncpg.Connection, events: Sequence[OutboxEvent]) -> None:
    """Add events inside the caller's transaction."""
    if events:
        await connection.execute(
            "insert into outbox (event_id, subject, tenant, payload) select * from unnest($1::text[], $2::text[], $3::text[], $4::bytea[])",
            [event.event_id for event in events],
            [event.subject for event in events],
            [event.tenant for event in events],
            [event.payload for event in events],
        )


class OutboxRelay:
    """Publishes what is in the outbox, then deletes it. Any number may run; one per schema works at a time."""

    def __init__(self, pool: asyncpg.Pool, bus: Bus, stream: StreamSpec, log: logs.Log, source: OutboxSource | None = None) -> None:
        self._source = source or OutboxTable()
        self._pool = pool
        self._bus = bus
        self._stream = stream
        self._log = log
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Say that something was committed; without it the relay finds out within half a second."""
        self._woken.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Relay until `stop` is set, whatever happens to the database and to NATS meanwhile."""
        while not stop.is_set():
            try:
                await self._lead(stop)
            except PlimsollError as error:
                self._log.warning("outbox.paused", {"reason": error.reason})
            await self._pause(stop, 1.0)

    async def _lead(self, stop: asyncio.Event) -> None:
        with translating():
            async with self._pool.acquire(timeout=5.0) as connection:
                if not await connection.fetchval("select pg_try_advisory_lock($1, hashtext(current_schema()))", _LOCK_SPACE):
                    return
                try:
                    await self._bus.ensure_stream(self._stream)
                    while not stop.is_set():
                        if await self.relay_batch(connection) < _BATCH:
                            await self._pause(stop, _POLL_S)
                    while await self.relay_batch(connection):  # what was committed while we were told to stop
                        pass
                finally:
                    with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                        await connection.execute("select pg_advisory_unlock($1, hashtext(current_schema()))", _LOCK_SPACE)

    async def relay_batch(self, connection: asyncpg.Connection) -> int:
        """Publish the oldest events and delete them; returns how many there were."""
        fetched = await self._source.fetch(connection, _BATCH)
        if fetched.positions:
            await self._bus.publish_all(fetched.messages)
            await self._source.clear(connection, fetched.positions)
        return len(fetched.positions)

    async def _pause(self, stop: asyncio.Event, seconds: float) -> None:
        """Until woken, until `stop`, or for `seconds`."""
        waits = [asyncio.ensure_future(event.wait()) for event in (self._woken, stop)]  # noqa: TID251 - two events, cancelled below
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            self._woken.clear()
