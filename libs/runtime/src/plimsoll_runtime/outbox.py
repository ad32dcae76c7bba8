"""The transactional outbox: events committed with the truth, relayed to NATS afterwards, at least once, oldest first."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

import asyncpg

from plimsoll_runtime import logs, names, telemetry
from plimsoll_runtime.bus import DEAD_LETTER_STREAM, DEAD_LETTERS, Bus, MessageTooLarge, Outgoing, StreamSpec
from plimsoll_runtime.errors import ErrorKind, PlimsollError
from plimsoll_runtime.postgres import MigrationSet, translating, unlock
from plimsoll_runtime.retry import Backoff, pause

OUTBOX_MIGRATIONS = MigrationSet("outbox", "plimsoll_runtime", "outbox_migrations")
_BATCH = 500
_POLL_S = 0.5
_STANDBY_S = 1.0
_ACQUIRE_CAP_S = 5.0
_RETRY_FIRST_S, _RETRY_MOST_S = 0.2, 5.0
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
        rows = await connection.fetch(
            "select position, event_id, subject, tenant, payload, trace from outbox order by position limit $1", limit
        )
        return Fetched([_outgoing(row) for row in rows], [row["position"] for row in rows])

    async def clear(self, connection: asyncpg.Connection, positions: Sequence[int]) -> None:
        await connection.execute("delete from outbox where position = any($1::bigint[])", positions)


async def add_events(connection: asyncpg.Connection, events: Sequence[OutboxEvent]) -> None:
    """Add events inside the caller's transaction; who hears of them continues the present trace."""
    if events:
        await connection.execute(
            "insert into outbox (event_id, subject, tenant, payload, trace)"
            " select *, $5::text from unnest($1::text[], $2::text[], $3::text[], $4::bytea[])",
            [event.event_id for event in events],
            [event.subject for event in events],
            [event.tenant for event in events],
            [event.payload for event in events],
            telemetry.outgoing(),
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
        self._backoff = Backoff(_RETRY_FIRST_S, _RETRY_MOST_S)

    def wake(self) -> None:
        """Say that something was committed; without it the relay finds out within half a second."""
        self._woken.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Relay until `stop` is set, whatever happens to the database and to NATS meanwhile."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._wake_at(stop))
            while not stop.is_set():
                try:
                    await self._lead(stop)
                    await pause(_STANDBY_S, stop)  # another relay works: a wake is not for us
                except PlimsollError as error:
                    fault = error if error.kind is ErrorKind.INTERNAL else None
                    self._log.warning("outbox.paused", {"reason": error.reason, "message": error.message}, error=fault)
                    await self._backoff.pause(stop)

    async def relay_batch(self, connection: asyncpg.Connection) -> int:
        """Publish the oldest events and delete them; returns how many there were."""
        fetched = await self._source.fetch(connection, _BATCH)
        if fetched.positions:
            try:
                await self._bus.publish_all(fetched.messages)
            except MessageTooLarge:
                await self._publish_what_fits(fetched.messages)
            await self._source.clear(connection, fetched.positions)
        self._backoff.reset()
        return len(fetched.positions)

    async def _lead(self, stop: asyncio.Event) -> None:
        """Work until `stop`, unless another relay does already."""
        with translating():
            async with self._pool.acquire(timeout=_ACQUIRE_CAP_S) as connection:
                schema = await connection.fetchval("select current_schema()")
                if not await connection.fetchval("select pg_try_advisory_lock($1, hashtext($2))", _LOCK_SPACE, schema):
                    return
                try:
                    await self._bus.ensure_stream(self._stream)
                    while not stop.is_set():
                        if await self.relay_batch(connection) < _BATCH:
                            await self._rest()
                    while await self.relay_batch(connection) == _BATCH:  # what was committed until we were told to stop
                        pass
                finally:
                    await unlock(connection, _LOCK_SPACE, schema)

    async def _publish_what_fits(self, messages: Sequence[Outgoing]) -> None:
        """One by one. An event that no server takes must not hold up all others: its name goes to the dead letters."""
        for message in messages:
            try:
                await self._bus.publish_all([message])
            except MessageTooLarge as error:
                self._log.error(
                    "outbox.too_large", {"subject": message.subject, "event": message.message_id, "bytes": len(message.payload)}
                )
                headers = {names.CAUSE_HEADER: f"{error.reason}: {error.message}", names.SUBJECT_HEADER: message.subject}
                await self._bus.ensure_stream(DEAD_LETTER_STREAM)
                await self._bus.publish_all(
                    [
                        replace(
                            message,
                            subject=f"{DEAD_LETTERS}.outbox",
                            payload=b"",
                            message_id=f"outbox:{message.message_id}",
                            headers=headers,
                        )
                    ]
                )

    async def _rest(self) -> None:
        """Until woken, or for a while."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_POLL_S):
                await self._woken.wait()
        self._woken.clear()

    async def _wake_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._woken.set()


def _outgoing(row: asyncpg.Record) -> Outgoing:
    return Outgoing(subject=row["subject"], payload=row["payload"], message_id=row["event_id"], tenant=row["tenant"], trace=row["trace"])
