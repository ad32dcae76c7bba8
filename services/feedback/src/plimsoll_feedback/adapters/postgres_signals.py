"""Signals in Postgres, announced through the outbox of the same transaction."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

import asyncpg
from plimsoll_runtime.outbox import OutboxEvent, add_events

from plimsoll_feedback.adapters.postgres_runs import ADD_WORDS
from plimsoll_feedback.adapters.postgres_session import reading, writing
from plimsoll_feedback.adapters.signal_rows import INSERT, SELECT, signal_from_row, signal_to_row
from plimsoll_feedback.domain.operation import RunId
from plimsoll_feedback.domain.paging import PageRequest
from plimsoll_feedback.domain.signal import IdempotencyKey, Relabelled, Signal
from plimsoll_feedback.errors import IdempotencyKeyReused
from plimsoll_feedback.ports.signals import Keyed

Announce: TypeAlias = Callable[[Signal], OutboxEvent]

_WORDS_OF_COMMENT: Final = 500
_BY_KEY: Final = f"{SELECT} where signals.tenant = $1 and idempotency_key = any($2::text[])"
_OF_RUN: Final = f"{SELECT} where signals.tenant = $1 and run_id = $2 order by created_at, signal_id limit $3"
_OF_RUN_BEYOND: Final = f"""
{SELECT}
where signals.tenant = $1 and run_id = $2 and created_at >= $4 and (created_at, signal_id) > ($4, $5)
order by created_at, signal_id limit $3
"""


class PostgresSignalStore:
    """Keeps signals; `announce` makes the event that tells others of one."""

    def __init__(self, pool: asyncpg.Pool, announce: Announce) -> None:
        self._pool = pool
        self._announce = announce

    async def record(self, signal: Signal, key: IdempotencyKey | None) -> Signal:
        """Store and announce, or return what was stored under the key. Raises IdempotencyKeyReused."""
        [recorded] = await self.record_all(signal.tenant, [Keyed(signal=signal, key=key)])
        if recorded is None:
            raise IdempotencyKeyReused(
                f"idempotency key {key.key if key else ''} recorded another signal", remedy="use a new key for a new signal"
            )
        return recorded

    async def record_all(self, tenant: str, signals: Sequence[Keyed]) -> Sequence[Signal | None]:
        """All in one transaction; None in place of one whose key said something else."""
        rows = [signal_to_row(one.signal, one.key) for one in sorted(signals, key=_by_key)]
        async with writing(self._pool, tenant) as connection:
            stored = {row["signal_id"] for row in await connection.fetch(INSERT, *map(list, zip(*rows, strict=True)))}
            new = [one.signal for one in signals if one.signal.id in stored]
            await announce_signals(connection, new, self._announce)
            repeated = [one.key.key for one in signals if one.signal.id not in stored and one.key is not None]
            before = {row["idempotency_key"]: row for row in await connection.fetch(_BY_KEY, tenant, repeated)} if repeated else {}
        return [one.signal if one.signal.id in stored else _same(one, before) for one in signals]

    async def find(self, tenant: str, run_id: RunId, page: PageRequest) -> Sequence[Signal]:
        """A page of the run's signals, oldest first."""
        async with reading(self._pool, tenant) as connection:
            if page.after is None:
                rows = await connection.fetch(_OF_RUN, tenant, run_id, page.size)
            else:
                rows = await connection.fetch(_OF_RUN_BEYOND, tenant, run_id, page.size, page.after.at, page.after.id)
        return [signal_from_row(row) for row in rows]


async def announce_signals(connection: asyncpg.Connection, signals: Sequence[Signal], announce: Announce) -> None:
    """Tell others of signals that were just stored, and make them findable by their run."""
    await add_events(connection, [announce(signal) for signal in signals])
    telling = [signal for signal in signals if signal.comment or isinstance(signal.value, Relabelled)]
    words = [
        (
            signal.tenant,
            signal.run_id,
            [signal.value.category.value] if isinstance(signal.value, Relabelled) else [],
            signal.comment[:_WORDS_OF_COMMENT],
        )
        for signal in sorted(telling, key=lambda signal: (signal.tenant, signal.run_id))
    ]
    if words:
        await connection.executemany(ADD_WORDS, words)


def _by_key(one: Keyed) -> str:
    """In one order for all, so that two requests with the same keys cannot lock each other out."""
    return one.key.key if one.key else ""


def _same(one: Keyed, before: Mapping[str, asyncpg.Record]) -> Signal | None:
    assert one.key is not None  # without a key nothing can be in the way
    row = before[one.key.key]
    return signal_from_row(row) if row["fingerprint"] == one.key.fingerprint else None
