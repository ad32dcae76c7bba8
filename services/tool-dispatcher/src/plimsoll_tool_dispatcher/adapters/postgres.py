"""The call ledger in Postgres: each method one transaction, each time the database's own."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.json_types import JsonObject, dump_json, parse_json
from plimsoll_runtime.outbox import OutboxEvent, add_events
from plimsoll_runtime.postgres import MigrationSet, translating
from plimsoll_runtime.work import WorkContext

from plimsoll_tool_dispatcher.adapters import postgres_statements as sql
from plimsoll_tool_dispatcher.domain.call import Call, Failed, Outcome, Succeeded
from plimsoll_tool_dispatcher.domain.effects import EffectClass
from plimsoll_tool_dispatcher.domain.ledger import (
    CallState,
    Claim,
    Completed,
    Found,
    GrantSpent,
    KeyTaken,
    NoEntry,
    Recorded,
    Reservation,
    Reserved,
    StaleEpoch,
    Unfinished,
    state_of,
)

MIGRATIONS = MigrationSet("tool_dispatcher", "plimsoll_tool_dispatcher.adapters")

_ACQUIRE_CAP_S = 5.0
_LOOKS = 5  # at a call that another transaction is just writing


class PostgresCallLedger:
    """`announcement` turns a completed call into the event that is committed with it."""

    def __init__(self, pool: asyncpg.Pool, announcement: Callable[[Completed], OutboxEvent]) -> None:
        self._pool = pool
        self._announcement = announcement

    async def reserve(self, reservation: Reservation) -> Reserved:
        """One statement. What it meets in the middle of another's transaction it cannot see yet, and looks again."""
        call, work, grant = reservation.call, reservation.call.work, reservation.grant
        request_digest = call.request_digest
        for _ in range(_LOOKS):
            async with self._connection() as connection:
                row = await connection.fetchrow(
                    sql.RESERVE,
                    call.tenant,
                    call.key,
                    work.run_id,
                    work.epoch,
                    grant.id if grant else None,
                    reservation.may_begin,
                    reservation.call_id,
                    reservation.tool.effect.value,
                    reservation.tool.name,
                    reservation.tool.digest,
                    reservation.proposal.call_digest,
                    request_digest,
                    work.step,
                    work.node,
                    work.agent,
                    work.agent_version,
                    timedelta(seconds=reservation.lease_s),
                    grant is None,  # a spent grant must stay spent; a call that must not run twice is made durable by its dispatch mark
                )
            if row["reserved_fence"] is not None:
                return Claim(tenant=call.tenant, call_key=call.key, call_id=reservation.call_id, fence=row["reserved_fence"])
            found = _found(row, call, request_digest)
            if not isinstance(found, NoEntry) or not reservation.may_begin:
                return found
            if grant is not None and row["spent_by"] not in {None, call.key}:
                return GrantSpent()
        return found

    async def find(self, call: Call) -> Found:
        async with self._connection() as connection:
            row = await connection.fetchrow(sql.FIND, call.tenant, call.key, call.work.run_id)
        return _found(row, call, call.request_digest)

    async def take_over(self, reservation: Reservation, entry: Unfinished) -> Claim | None:
        call, work = reservation.call, reservation.call.work
        async with self._connection() as connection:
            fence = await connection.fetchval(
                sql.TAKE_OVER,
                call.tenant,
                call.key,
                entry.claim.fence,
                reservation.tool.digest,
                reservation.proposal.call_digest,
                reservation.grant.id if reservation.grant else None,
                work.step,
                work.epoch,
                timedelta(seconds=reservation.lease_s),
                reservation.tool.effect.value,
            )
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
        result = dump_json(outcome.result) if isinstance(outcome, Succeeded) else None
        failure = _failure_to_row(outcome.failure) if isinstance(outcome, Failed) else None
        event = self._announcement(completed)
        async with self._connection() as connection:
            settled = await connection.fetchval(
                sql.SETTLE,
                claim.tenant,
                claim.call_key,
                claim.fence,
                state_of(outcome).value,
                result,
                failure,
                completed.attempts,
                completed.duration_s,
                event.event_id,
                event.subject,
                event.payload,
            )
        return bool(settled)

    async def release(self, claim: Claim, completed: Completed | None) -> None:
        async with self._connection() as connection, connection.transaction():
            await connection.execute(sql.RELEASE, claim.tenant, claim.call_key, claim.fence)
            if completed is not None:
                await add_events(connection, [self._announcement(completed)])

    async def announce(self, completed: Completed) -> None:
        async with self._connection() as connection:
            await add_events(connection, [self._announcement(completed)])

    async def abandoned(self, limit: int) -> Sequence[Unfinished]:
        async with self._connection() as connection:
            return [_unfinished(row, row["tenant"], row["call_key"]) for row in await connection.fetch(sql.ABANDONED, limit)]

    async def give_up(self, entry: Unfinished, failure: Failure, event_id: str) -> bool:
        async with self._connection() as connection, connection.transaction():
            claim = entry.claim
            row = await connection.fetchrow(sql.GIVE_UP, claim.tenant, claim.call_key, claim.fence, _failure_to_row(failure))
            if row is not None:
                await add_events(connection, [self._announcement(_completed(row, failure, event_id))])
        return row is not None

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        with translating():
            async with self._pool.acquire(timeout=_ACQUIRE_CAP_S) as connection:
                yield connection


def _found(row: asyncpg.Record, call: Call, request_digest: str) -> Found:
    if row["highest"] is not None and row["highest"] > call.work.epoch:
        return StaleEpoch(highest=row["highest"])
    if row["state"] is None:
        return NoEntry()
    if row["request_digest"] != request_digest:
        return KeyTaken()
    if row["state"] in {CallState.RESERVED, CallState.DISPATCHED}:
        return _unfinished(row, call.tenant, call.key)
    outcome = Failed(failure=_failure_from_row(row["failure"])) if row["failure"] else Succeeded(result=parse_json(row["result"]))
    return Recorded(call_id=row["call_id"], outcome=outcome, attempts=row["attempts"], duration_s=row["duration_s"])


def _unfinished(row: asyncpg.Record, tenant: str, call_key: str) -> Unfinished:
    return Unfinished(
        claim=Claim(tenant=tenant, call_key=call_key, call_id=row["call_id"], fence=row["fence"]),
        tool=row["tool"],
        state=CallState(row["state"]),
        effect=EffectClass(row["effect"]),
        call_digest=row["call_digest"],
        held=row["held"],
    )


def _completed(row: asyncpg.Record, failure: Failure, event_id: str) -> Completed:
    return Completed(
        event_id=event_id,
        tenant=row["tenant"],
        call_id=row["call_id"],
        call_key=row["call_key"],
        work=WorkContext(
            run_id=row["run_id"],
            step=row["step"],
            node=row["node"],
            agent=row["agent"],
            agent_version=row["agent_version"],
            epoch=row["epoch"],
        ),
        tool=row["tool"],
        tool_digest=row["tool_digest"],
        started_at=row["reserved_at"],
        duration_s=row["duration_s"],
        attempts=row["attempts"],
        failure=failure,
        grant_id=row["grant_id"],
    )


def _failure_to_row(failure: Failure) -> JsonObject:
    return {
        "category": failure.category.value,
        "reason": failure.reason,
        "message": failure.message,
        "retryable": failure.retryable,
        "retry_after_s": failure.retry_after_s,
        "where": failure.where,
    }


def _failure_from_row(row: JsonObject) -> Failure:
    retry_after_s = row["retry_after_s"]
    return Failure(
        category=Category(str(row["category"])),
        reason=str(row["reason"]),
        message=str(row["message"]),
        retryable=bool(row["retryable"]),
        retry_after_s=retry_after_s if isinstance(retry_after_s, float | int) else None,
        where=str(row["where"]),
    )
