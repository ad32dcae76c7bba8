"""Signals in Postgres, announced through the outbox of the same transaction."""

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias, assert_never

import asyncpg
from plimsoll_runtime.failures import Category
from plimsoll_runtime.json_types import dump_json, parse_json
from plimsoll_runtime.outbox import OutboxEvent, add_events

from plimsoll_feedback.adapters.postgres_session import reading, writing
from plimsoll_feedback.domain.operation import OperationId, RunId
from plimsoll_feedback.domain.paging import PageRequest
from plimsoll_feedback.domain.signal import (
    Demonstrated,
    Ended,
    IdempotencyKey,
    Judged,
    Relabelled,
    Remarked,
    Scored,
    Signal,
    SignalId,
    SignalValue,
    Verdict,
)
from plimsoll_feedback.errors import IdempotencyKeyReused

Announce: TypeAlias = Callable[[Signal], OutboxEvent]
Cell: TypeAlias = Any  # whatever a column holds

_INSERT: Final = """
insert into signals (
    tenant, signal_id, run_id, operation_id, comment, source, created_at, idempotency_key, fingerprint,
    kind, verdict, score, category, demonstration, outcome
) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
on conflict (tenant, idempotency_key) where idempotency_key is not null do nothing
returning signal_id
"""
_BY_KEY: Final = "select * from signals where tenant = $1 and idempotency_key = $2"
_OF_RUN: Final = "select * from signals where tenant = $1 and run_id = $2 order by created_at, signal_id limit $3"
_OF_RUN_BEYOND: Final = """
select * from signals
where tenant = $1 and run_id = $2 and created_at >= $4 and (created_at, signal_id) > ($4, $5)
order by created_at, signal_id limit $3
"""


class PostgresSignalStore:
    """Keeps signals; `announce` makes the event that tells others of one."""

    def __init__(self, pool: asyncpg.Pool, announce: Announce) -> None:
        self._pool = pool
        self._announce = announce

    async def record(self, signal: Signal, key: IdempotencyKey | None) -> Signal:
        """Store and announce, or return what was stored under the key. Raises IdempotencyKeyReused."""
        event = self._announce(signal)
        async with writing(self._pool, signal.tenant) as connection:
            if await connection.fetchval(_INSERT, *_to_row(signal, key)) is not None:
                await add_events(connection, [event])
                return signal
            assert key is not None  # without a key nothing can be in the way
            row = await connection.fetchrow(_BY_KEY, signal.tenant, key.key)
        if row["fingerprint"] != key.fingerprint:
            raise IdempotencyKeyReused(
                f"idempotency key {key.key} recorded another signal, {row['signal_id']}", remedy="use a new key for a new signal"
            )
        return _from_row(row)

    async def find(self, tenant: str, run_id: RunId, page: PageRequest) -> Sequence[Signal]:
        """A page of the run's signals, oldest first."""
        async with reading(self._pool, tenant) as connection:
            if page.after is None:
                rows = await connection.fetch(_OF_RUN, tenant, run_id, page.size)
            else:
                rows = await connection.fetch(_OF_RUN_BEYOND, tenant, run_id, page.size, page.after.at, page.after.id)
        return [_from_row(row) for row in rows]


def _to_row(signal: Signal, key: IdempotencyKey | None) -> tuple[Cell, ...]:
    return (
        signal.tenant,
        signal.id,
        signal.run_id,
        signal.operation_id,
        signal.comment,
        signal.source,
        signal.created_at,
        key.key if key else None,
        key.fingerprint if key else None,
        *_value_to_row(signal.value),
    )


def _value_to_row(value: SignalValue) -> tuple[Cell, ...]:
    """The columns kind, verdict, score, category, demonstration and outcome."""
    match value:
        case Judged(verdict=verdict):
            return ("verdict", verdict.value, None, None, None, None)
        case Scored(score=score):
            return ("score", None, score, None, None, None)
        case Relabelled(category=category):
            return ("category", None, None, category.value, None, None)
        case Demonstrated(answer=answer):
            return ("demonstration", None, None, None, dump_json(answer), None)
        case Ended(succeeded=succeeded):
            return ("outcome", None, None, None, None, succeeded)
        case Remarked():
            return ("remark", None, None, None, None, None)
        case _:
            assert_never(value)


def _from_row(row: asyncpg.Record) -> Signal:
    return Signal(
        id=SignalId(row["signal_id"]),
        tenant=row["tenant"],
        run_id=RunId(row["run_id"]),
        operation_id=None if row["operation_id"] is None else OperationId(row["operation_id"]),
        value=_value_from_row(row),
        comment=row["comment"],
        source=row["source"],
        created_at=row["created_at"],
    )


def _value_from_row(row: asyncpg.Record) -> SignalValue:
    match row["kind"]:
        case "verdict":
            return Judged(verdict=Verdict(row["verdict"]))
        case "score":
            return Scored(score=row["score"])
        case "category":
            return Relabelled(category=Category(row["category"]))
        case "demonstration":
            return Demonstrated(answer=parse_json(row["demonstration"], field="demonstration"))
        case "outcome":
            return Ended(succeeded=row["outcome"])
        case _:
            return Remarked()
