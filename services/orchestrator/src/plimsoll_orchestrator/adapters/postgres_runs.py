"""Runs, journals, claims and approvals in PostgreSQL."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from itertools import groupby

import asyncpg
import msgspec
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.json_types import digest, parse_object
from plimsoll_runtime.postgres import translating
from plimsoll_runtime.usage import Usage

from plimsoll_orchestrator.adapters import statements as sql
from plimsoll_orchestrator.adapters.append_arrays import append_arguments
from plimsoll_orchestrator.batcher import Batcher
from plimsoll_orchestrator.domain.journal import ApprovalStatus, Entry, Proposal, RunStarted, RunStatus, decode_entry, encode_entry
from plimsoll_orchestrator.domain.run import Approval, Run
from plimsoll_orchestrator.errors import IdempotencyKeyReused
from plimsoll_orchestrator.ports import Accepted, Append, ApprovalView, Claimed, JournalEntry, Release, RunSummary, Submission

_TAKE_OVER = -1  # the epoch of a writer that takes the run from whoever holds it
_ACQUIRE_CAP_S = 5.0


class DatabaseClock:
    """The database's clock, carried forward by our own monotonic one: leases and expiries are judged by one clock only."""

    def __init__(self, local: Clock) -> None:
        self._local = local
        self._at, self._since = local.now(), local.monotonic()

    def set(self, at: datetime) -> None:
        """The database said that it is `at` now."""
        self._at, self._since = at, self._local.monotonic()

    def now(self) -> datetime:
        return self._at + timedelta(seconds=self._local.monotonic() - self._since)

    def monotonic(self) -> float:
        return self._local.monotonic()


class PostgresRunStore:
    """The RunStore and the ClaimStore."""

    def __init__(self, pool: asyncpg.Pool, clock: DatabaseClock) -> None:
        self._pool = pool
        self._clock = clock
        self._submissions: Batcher[Submission, Accepted | None] = Batcher(self._accept_all)

    @asynccontextmanager
    async def accepting(self) -> AsyncIterator[None]:
        """Accept inside the block: submissions of the same moment are committed together."""
        async with self._submissions.running():
            yield

    async def accept(self, submission: Submission) -> Accepted:
        accepted = await self._submissions.submit(submission)
        return accepted or await self._accepted_before(submission)

    async def _accept_all(self, batch: Sequence[Submission]) -> Sequence[Accepted | None]:
        """None for one whose key was used before."""
        arguments = (
            [one.run_id for one in batch],
            [one.tenant for one in batch],
            [one.graph.agent for one in batch],
            [one.graph.digest for one in batch],
            [one.graph.start for one in batch],
            [one.idempotency_key for one in batch],
            [_fingerprint(one) for one in batch],
            [encode_entry(RunStarted(input=one.input)) for one in batch],
        )
        with translating():
            rows = await self._pool.fetch(sql.ACCEPT, *arguments)
        made = {row["run_id"]: row["at"] for row in rows}
        return [Accepted(run_id=one.run_id, created=True, at=made[one.run_id]) if one.run_id in made else None for one in batch]

    async def _accepted_before(self, submission: Submission) -> Accepted:
        with translating():
            row = await self._pool.fetchrow(
                "select run_id, fingerprint, created_at from runs where tenant = $1 and idempotency_key = $2",
                submission.tenant,
                submission.idempotency_key,
            )
        if row["fingerprint"] != _fingerprint(submission):
            raise IdempotencyKeyReused(remedy="use a new key for a new request")
        return Accepted(run_id=row["run_id"], created=False, at=row["created_at"])

    async def summary(self, tenant: str, run_id: str) -> RunSummary | None:
        with translating():
            row = await self._pool.fetchrow(f"select {sql.SUMMARY_COLUMNS} from runs where tenant = $1 and run_id = $2", tenant, run_id)
        return _summary(row) if row else None

    async def list_runs(self, tenant: str, agent: str, status: RunStatus | None, before: str, limit: int) -> Sequence[RunSummary]:
        with translating():
            rows = await self._pool.fetch(sql.LIST_RUNS, tenant, agent, status.value if status else "", before, limit)
        return [_summary(row) for row in rows]

    async def journal(self, tenant: str, run_id: str, after_seq: int, limit: int) -> Sequence[JournalEntry]:
        with translating():
            rows = await self._pool.fetch(sql.JOURNAL, tenant, run_id, after_seq, limit)
        return [_entry(row) for row in rows]

    async def intervene(self, tenant: str, run_id: str, expected_seq: int, entries: Sequence[Entry], run: Run, release: Release) -> bool:
        append = Append(
            run_id=run_id, tenant=tenant, epoch=_TAKE_OVER, expected_seq=expected_seq, entries=entries, run=run, release=release
        )
        return run_id in await self.append([append])

    async def approval(self, tenant: str, approval_id: str) -> ApprovalView | None:
        with translating():
            row = await self._pool.fetchrow(
                f"select {sql.APPROVAL_COLUMNS} from approvals where tenant = $1 and approval_id = $2",
                tenant,
                approval_id,
            )
        return _approval(row) if row else None

    async def list_approvals(
        self, tenant: str, status: ApprovalStatus | None, run_id: str, after: str, limit: int
    ) -> Sequence[ApprovalView]:
        with translating():
            rows = await self._pool.fetch(sql.LIST_APPROVALS, tenant, status.value if status else "", run_id, after, limit)
        return [_approval(row) for row in rows]

    async def claim(self, worker: str, limit: int) -> Sequence[Claimed]:
        with translating():
            async with self._pool.acquire(timeout=_ACQUIRE_CAP_S) as connection:
                rows = await connection.fetch(sql.CLAIM, worker, limit)
                if not rows:
                    return []
                self._clock.set(rows[0]["at"])
                found = await connection.fetch(sql.JOURNALS, [row["run_id"] for row in rows])
        journals = {run_id: [_entry(row) for row in group] for run_id, group in groupby(found, key=lambda row: row["run_id"])}
        return [
            Claimed(
                run_id=row["run_id"],
                tenant=row["tenant"],
                agent=row["agent"],
                agent_digest=row["agent_digest"],
                epoch=row["epoch"],
                entries=journals[row["run_id"]],
            )
            for row in rows
        ]

    async def renew(self, held: Mapping[str, int]) -> Sequence[str]:
        with translating():
            rows = await self._pool.fetch(sql.RENEW, list(held), list(held.values()))
        return [row["run_id"] for row in rows]

    async def release(self, held: Mapping[str, int]) -> None:
        with translating():
            await self._pool.execute(sql.RELEASE, list(held), list(held.values()))

    async def append(self, batch: Sequence[Append]) -> Mapping[str, datetime]:
        arguments = append_arguments(batch)  # serialised before a connection is taken
        with translating():
            rows = await self._pool.fetch(sql.APPEND, *arguments)
        if rows:
            self._clock.set(rows[0]["at"])
        return {row["run_id"]: row["at"] for row in rows}


def _fingerprint(submission: Submission) -> str:
    """What makes two requests with one key the same request; empty without a key."""
    return digest({"agent": submission.graph.agent, "input": submission.input}) if submission.idempotency_key else ""


def _entry(row: asyncpg.Record) -> JournalEntry:
    return JournalEntry(run_id=row["run_id"], seq=row["seq"], at=row["at"], epoch=row["epoch"], entry=decode_entry(row["entry"]))


def _summary(row: asyncpg.Record) -> RunSummary:
    usage = Usage(
        input_tokens=row["input_tokens"],
        output_tokens=row["output_tokens"],
        cached_input_tokens=row["cached_input_tokens"],
        reasoning_tokens=row["reasoning_tokens"],
        cost_micros=row["cost_micros"],
    )
    return RunSummary(
        run_id=row["run_id"],
        agent=row["agent"],
        agent_digest=row["agent_digest"],
        status=RunStatus(row["status"]),
        seq=row["seq"],
        node=row["node"],
        steps=row["steps"],
        usage=usage,
        rehearsal=row["rehearsal"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
    )


def _approval(row: asyncpg.Record) -> ApprovalView:
    approval = Approval(
        approval_id=row["approval_id"],
        node=row["node"],
        summary=row["summary"],
        details=parse_object(row["details"]),
        proposal=msgspec.json.decode(row["proposal"], type=Proposal) if row["proposal"] else None,
        status=ApprovalStatus(row["status"]),
        asked_at=row["asked_at"],
        expires_at=row["expires_at"],
        decided_at=row["decided_at"],
        decided_by=row["decided_by"],
        comment=row["comment"],
    )
    return ApprovalView(run_id=row["run_id"], agent=row["agent"], approval=approval)
