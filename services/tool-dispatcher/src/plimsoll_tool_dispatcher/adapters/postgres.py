"""The call ledger in Postgres: each method one transaction, each time the database's own.

Calls that begin or end at the same time share a statement and a commit (group commit). A call with a grant, and one that meets another
under its key, goes by itself.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import asyncpg
from plimsoll_runtime import audit, telemetry
from plimsoll_runtime.audit import AuditRecord
from plimsoll_runtime.batching import Batcher
from plimsoll_runtime.failures import Category
from plimsoll_runtime.json_types import dump_json
from plimsoll_runtime.kept_connections import KeptConnections
from plimsoll_runtime.outbox import OutboxEvent, add_events
from plimsoll_runtime.postgres import MigrationSet, translating

from plimsoll_tool_dispatcher.adapters import postgres_statements as sql
from plimsoll_tool_dispatcher.adapters.postgres_rows import (
    degraded_to_row,
    failure_to_row,
    found_of,
    kept_arguments,
    lease_of,
)
from plimsoll_tool_dispatcher.domain import deeds
from plimsoll_tool_dispatcher.domain.call import Call, Failed, Outcome, Succeeded
from plimsoll_tool_dispatcher.domain.effects import EffectClass
from plimsoll_tool_dispatcher.domain.ledger import (
    Claim,
    Completed,
    Found,
    GrantExpired,
    GrantRevoked,
    GrantSpent,
    NoEntry,
    Reservation,
    Reserved,
    Unfinished,
    state_of,
)

MIGRATIONS = MigrationSet("tool_dispatcher", "plimsoll_tool_dispatcher.adapters")

_ACQUIRE_CAP_S = 5.0
_LOOKS = 5  # at a call that another transaction is just writing
_FLUSHERS = 2
_BATCH_CAP = 128
_LINGER_S, _COMPANY = 0.008, 6  # reads wait so long when so many come meanwhile: from 750 a second on
_KEPT = 3  # of the pool's connections


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ending:
    """A call that ended, ready to be written down."""

    claim: Claim
    outcome: Outcome
    completed: Completed
    event: OutboxEvent
    trace: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """A call that needed no reservation and has ended."""

    reservation: Reservation
    outcome: Outcome
    completed: Completed
    event: OutboxEvent
    trace: str


class PostgresCallLedger:
    """`announcement` turns a completed call into the event that is committed with it. Use it inside `running`."""

    def __init__(self, pool: asyncpg.Pool, announcement: Callable[[Completed], OutboxEvent]) -> None:
        self._pool = pool
        self._kept = KeptConnections(pool, most=_KEPT)
        self._announcement = announcement
        self._beginnings: Batcher[Reservation, Reserved | None] = Batcher(self._begin, flushers=_FLUSHERS, batch_cap=_BATCH_CAP)
        self._endings: Batcher[_Ending, bool] = Batcher(self._end, flushers=_FLUSHERS, batch_cap=_BATCH_CAP)
        self._look_ups: Batcher[Call, Found] = Batcher(
            self._look_up, flushers=_FLUSHERS, batch_cap=_BATCH_CAP, linger_s=_LINGER_S, company=_COMPANY, at_once=True
        )
        self._readings: Batcher[_Reading, bool] = Batcher(
            self._record, flushers=_FLUSHERS, batch_cap=_BATCH_CAP, linger_s=_LINGER_S, company=_COMPANY, at_once=True
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """What begins and ends is written inside the block."""
        async with self._kept, self._beginnings.running(), self._endings.running(), self._look_ups.running(), self._readings.running():
            yield

    async def reserve(self, reservation: Reservation) -> Reserved:
        if reservation.grant is None and reservation.may_begin:
            found = await self._beginnings.submit(reservation)
            if found is not None:
                return found
        return await self._reserve_alone(reservation)

    async def find(self, call: Call) -> Found:
        async with self._connection() as connection:
            row = await connection.fetchrow(sql.FIND, call.tenant, call.key, call.work.run_id)
        return found_of(row, call)

    async def look_up(self, call: Call) -> Found:
        """Also those that need not be looked up wait here when many come: what begins together is recorded together."""
        return await self._look_ups.submit(call)

    async def record(self, reservation: Reservation, outcome: Outcome, completed: Completed) -> bool:
        event, trace = self._announcement(completed), telemetry.outgoing()
        return await self._readings.submit(
            _Reading(reservation=reservation, outcome=outcome, completed=completed, event=event, trace=trace)
        )

    async def labels(self, tenant: str, run_id: str) -> tuple[str, ...]:
        async with self._connection() as connection:
            return tuple(await connection.fetchval(sql.LABELS, tenant, run_id) or ())

    async def take_over(self, reservation: Reservation, entry: Unfinished) -> Claim | None:
        call, work, grant = reservation.call, reservation.call.work, reservation.grant
        async with self._connection() as connection, connection.transaction():
            fence = await connection.fetchval(
                sql.TAKE_OVER,
                call.tenant,
                call.key,
                entry.claim.fence,
                reservation.tool.digest,
                reservation.proposal.call_digest,
                grant.id if grant else None,
                work.step,
                work.epoch,
                lease_of(reservation),
                reservation.tool.effect.value,
                reservation.ruling.policy,
                ",".join(reservation.ruling.rules),
                kept_arguments(reservation),
                grant.expires_at if grant else None,
            )
            await audit.append(connection, _spent(reservation) if fence is not None else [])
        if fence is None:
            return None
        return Claim(tenant=call.tenant, call_key=call.key, call_id=entry.claim.call_id, fence=fence)

    async def mark_dispatched(self, claim: Claim, lease_s: float) -> bool:
        async with self._connection() as connection:
            lease = timedelta(seconds=lease_s)
            return bool(await connection.fetchval(sql.MARK_DISPATCHED, claim.tenant, claim.call_key, claim.fence, lease))

    async def renew(self, claims: Sequence[Claim], lease_s: float) -> None:
        async with self._connection() as connection:
            await connection.execute(
                sql.RENEW,
                [claim.tenant for claim in claims],
                [claim.call_key for claim in claims],
                [claim.fence for claim in claims],
                timedelta(seconds=lease_s),
            )

    async def settle(self, claim: Claim, outcome: Outcome, completed: Completed) -> bool:
        ending = _Ending(claim=claim, outcome=outcome, completed=completed, event=self._announcement(completed), trace=telemetry.outgoing())
        return await self._endings.submit(ending)

    async def release(self, claim: Claim, completed: Completed | None) -> None:
        async with self._connection() as connection, connection.transaction():
            await connection.execute(sql.RELEASE, claim.tenant, claim.call_key, claim.fence)
            if completed is not None:
                await add_events(connection, [self._announcement(completed)])

    async def announce(self, completed: Completed) -> None:
        denied = completed.failure is not None and completed.failure.category is Category.POLICY_DENIED
        async with self._connection() as connection, connection.transaction():
            await add_events(connection, [self._announcement(completed)])
            await audit.append(connection, [deeds.call_denied(completed)] if denied else [])

    async def revoke(self, tenant: str, grant_id: str, by: str) -> bool:
        async with self._connection() as connection, connection.transaction():
            revoked = bool(await connection.fetchval(sql.REVOKE, tenant, grant_id))
            await audit.append(connection, [deeds.grant_revoked(tenant, grant_id, by)] if revoked else [])
        return revoked

    async def _begin(self, batch: Sequence[Reservation]) -> list[Reserved | None]:
        """One statement for all; None for a call that met another's in the middle of its transaction, and has to look again."""
        rows = await self._fetch((sql.RESERVE_ONE, sql.RESERVE_MANY), list(map(_beginning, range(len(batch)), batch)))
        return [_begun(row, reservation) for row, reservation in zip(rows, batch, strict=True)]

    async def _end(self, batch: Sequence[_Ending]) -> list[bool]:
        later = all(ending.completed.effect is EffectClass.READ_ONLY for ending in batch)
        rows = await self._fetch((sql.SETTLE_ONE, sql.SETTLE_MANY), list(map(_ended, range(len(batch)), batch)), later)
        settled = {row["n"] for row in rows}
        return [number in settled for number in range(len(batch))]

    async def _look_up(self, batch: Sequence[Call]) -> list[Found]:
        found: list[Found] = [NoEntry()] * len(batch)
        asked = [(n, call.tenant, call.key, call.work.run_id, call.work.epoch) for n, call in enumerate(batch) if not call.first]
        rows = await self._fetch((sql.LOOK_UP_ONE, sql.LOOK_UP_MANY), asked) if asked else ()
        for row in rows:
            found[row["n"]] = found_of(row, batch[row["n"]])
        return found

    async def _record(self, batch: Sequence[_Reading]) -> list[bool]:
        rows = await self._fetch((sql.RECORD_ONE, sql.RECORD_MANY), list(map(_read, range(len(batch)), batch)))
        recorded = {row["n"] for row in rows}
        return [number in recorded for number in range(len(batch))]

    async def _reserve_alone(self, reservation: Reservation) -> Reserved:
        """One statement. What it meets in the middle of another's transaction it cannot see yet, and looks again."""
        call, grant = reservation.call, reservation.grant
        for _ in range(_LOOKS):
            async with self._connection() as connection, connection.transaction():
                row = await connection.fetchrow(sql.RESERVE, *_alone(reservation))
                await audit.append(connection, _spent(reservation) if row["reserved_fence"] is not None else [])
            if row["reserved_fence"] is not None:
                return Claim(tenant=call.tenant, call_key=call.key, call_id=reservation.call_id, fence=row["reserved_fence"])
            found = found_of(row, call)
            if not isinstance(found, NoEntry) or not reservation.may_begin:
                return found
            if grant is not None and row["revoked"]:
                return GrantRevoked()
            if grant is not None and row["spent_by"] not in {None, call.key}:
                return GrantSpent()
            if grant is not None and row["expired"]:
                return GrantExpired()
        return found

    async def _fetch(self, forms: tuple[str, str], rows: Sequence[tuple[Any, ...]], *rest: object) -> list[asyncpg.Record]:
        """What batches do, on connections that stay with them: in the form for one row, or that for many, whose columns are arrays."""
        one, many = forms
        with translating():
            if len(rows) == 1:
                return await self._kept.fetch(one, *rows[0], *rest)
            return await self._kept.fetch(many, *zip(*rows, strict=True), *rest)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        with translating():
            async with self._pool.acquire(timeout=_ACQUIRE_CAP_S) as connection:
                yield connection


def _spent(reservation: Reservation) -> list[AuditRecord]:
    record = deeds.grant_spent(reservation)
    return [record] if record else []


def _asked(number: int, reservation: Reservation) -> tuple[Any, ...]:
    """What RESERVE_MANY and RECORD_MANY keep about a call, up to its agent's version."""
    call, work, tool = reservation.call, reservation.call.work, reservation.tool
    return (
        number,
        call.tenant,
        call.key,
        work.run_id,
        work.epoch,
        reservation.call_id,
        tool.effect.value,
        tool.name,
        tool.digest,
        reservation.proposal.call_digest,
        call.request_digest,
        work.step,
        work.node,
        work.agent,
        work.agent_version,
    )


def _ruled(reservation: Reservation) -> tuple[Any, ...]:
    """And what let it pass: policy, rules, labels, arguments."""
    ruling = reservation.ruling
    return ruling.policy, ",".join(ruling.rules), ",".join(reservation.tool.labels), kept_arguments(reservation)


def _beginning(number: int, reservation: Reservation) -> tuple[Any, ...]:
    """The columns of RESERVE_MANY."""
    return *_asked(number, reservation), lease_of(reservation), *_ruled(reservation)


def _read(number: int, reading: _Reading) -> tuple[Any, ...]:
    """The columns of RECORD_MANY."""
    ending = _outcome(reading.outcome, reading.completed, reading.event, reading.trace)
    return *_asked(number, reading.reservation), *_ruled(reading.reservation), *ending


def _begun(row: asyncpg.Record, reservation: Reservation) -> Reserved | None:
    call = reservation.call
    if row["reserved_fence"] is not None:
        return Claim(tenant=call.tenant, call_key=call.key, call_id=reservation.call_id, fence=row["reserved_fence"])
    found = found_of(row, call)
    return None if isinstance(found, NoEntry) else found


def _ended(number: int, ending: _Ending) -> tuple[Any, ...]:
    """The columns of SETTLE_MANY."""
    claim = ending.claim
    return (
        number,
        claim.tenant,
        claim.call_key,
        claim.fence,
        *_outcome(ending.outcome, ending.completed, ending.event, ending.trace),
    )


def _outcome(outcome: Outcome, completed: Completed, event: OutboxEvent, trace: str) -> tuple[Any, ...]:
    """State, result, failure, degraded, attempts, duration, and the announcement."""
    degraded = outcome.degraded if isinstance(outcome, Succeeded) else None
    return (
        state_of(outcome).value,
        dump_json(outcome.result) if isinstance(outcome, Succeeded) else None,
        dump_json(failure_to_row(outcome.failure)) if isinstance(outcome, Failed) else None,
        dump_json(degraded_to_row(degraded)) if degraded else None,
        completed.attempts,
        completed.duration_s,
        event.event_id,
        event.subject,
        event.payload,
        trace,
    )


def _alone(reservation: Reservation) -> tuple[Any, ...]:
    """The parameters of RESERVE."""
    call, work, tool, grant = reservation.call, reservation.call.work, reservation.tool, reservation.grant
    return (
        call.tenant,
        call.key,
        work.run_id,
        work.epoch,
        grant.id if grant else None,
        reservation.may_begin,
        reservation.call_id,
        tool.effect.value,
        tool.name,
        tool.digest,
        reservation.proposal.call_digest,
        call.request_digest,
        work.step,
        work.node,
        work.agent,
        work.agent_version,
        lease_of(reservation),
        reservation.ruling.policy,
        ",".join(reservation.ruling.rules),
        ",".join(tool.labels),
        kept_arguments(reservation),
        grant.expires_at if grant else None,
        "\n".join(sorted(grant.approvers)) if grant else "",
    )
