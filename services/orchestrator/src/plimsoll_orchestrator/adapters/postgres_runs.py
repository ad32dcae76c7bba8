"""Runs, journals, mailboxes, approvals and threads in PostgreSQL: what the API does."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg
import msgspec
from plimsoll_runtime.batching import Batcher
from plimsoll_runtime.json_types import parse_object
from plimsoll_runtime.postgres import translating
from plimsoll_runtime.usage import Usage

from plimsoll_orchestrator.adapters import statements as sql
from plimsoll_orchestrator.adapters.admission import MAILBOX_CAP, accept_at_gates
from plimsoll_orchestrator.adapters.consequences import deliver
from plimsoll_orchestrator.adapters.database_clock import DatabaseClock
from plimsoll_orchestrator.adapters.deadlocks import persisting
from plimsoll_orchestrator.adapters.postgres_claims import ACQUIRE_CAP_S, append_all, entry_of
from plimsoll_orchestrator.domain.journal import ApprovalStatus, Proposal, RunStatus, encode_entry
from plimsoll_orchestrator.domain.letters import Delivery
from plimsoll_orchestrator.domain.run import Approval
from plimsoll_orchestrator.domain.snapshot import decode_run
from plimsoll_orchestrator.errors import AgentSuperseded, IdempotencyKeyReused, MailboxFull
from plimsoll_orchestrator.ports import (
    Accepted,
    Append,
    ApprovalView,
    Committed,
    JournalEntry,
    RunFilter,
    RunSummary,
    Snapshot,
    Standing,
    Submission,
    Thread,
    Ties,
)

_MAILBOX_CAP = MAILBOX_CAP


class PostgresRunStore:
    """The RunStore."""

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
        options = submission.first.options
        if options.thread_id or options.concurrency_key:
            with translating():
                await self._check_agent(submission)
                accepted = await persisting(lambda: self._accept_at_gates(submission))
        else:
            accepted = await self._submissions.submit(submission)
        return accepted or await self._accepted_before(submission)

    async def _accept_at_gates(self, submission: Submission) -> Accepted | None:
        async with self._pool.acquire(timeout=ACQUIRE_CAP_S) as connection:
            return await accept_at_gates(connection, submission)

    async def _check_agent(self, submission: Submission) -> None:
        newer = "select exists (select 1 from agents where tenant = $1 and name = $2 and version > $3)"
        if submission.agent_version and await self._pool.fetchval(newer, submission.tenant, submission.agent, submission.agent_version):
            raise AgentSuperseded

    async def _accept_all(self, batch: Sequence[Submission]) -> Sequence[Accepted | None]:
        """None for one whose key was used before, or whose agent has a newer version."""
        arguments = (
            [one.run_id for one in batch],
            [one.tenant for one in batch],
            [one.agent for one in batch],
            [one.agent_digest for one in batch],
            [one.node for one in batch],
            [one.idempotency_key for one in batch],
            [one.fingerprint for one in batch],
            [10 - one.first.options.priority for one in batch],
            [one.first.options.not_before for one in batch],
            [encode_entry(one.first) for one in batch],
            [one.agent_version for one in batch],
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
        if row is None:
            raise AgentSuperseded
        if row["fingerprint"] != submission.fingerprint:
            raise IdempotencyKeyReused(remedy="use a new key for a new request")
        return Accepted(run_id=row["run_id"], created=False, at=row["created_at"])

    async def summary(self, tenant: str, run_id: str) -> RunSummary | None:
        with translating():
            row = await self._pool.fetchrow(f"select {sql.SUMMARY_COLUMNS} from runs where tenant = $1 and run_id = $2", tenant, run_id)
        return _summary(row) if row else None

    async def list_runs(self, tenant: str, filter_: RunFilter, before: str, limit: int) -> Sequence[RunSummary]:
        status = filter_.status.value if filter_.status else ""
        with translating():
            rows = await self._pool.fetch(
                sql.LIST_RUNS, tenant, filter_.agent, status, before, limit, filter_.thread_id, filter_.parent_run_id
            )
        return [_summary(row) for row in rows]

    async def journal(self, tenant: str, run_id: str, after_seq: int, limit: int) -> Sequence[JournalEntry]:
        with translating():
            rows = await self._pool.fetch(sql.JOURNAL, tenant, run_id, after_seq, limit)
        return [entry_of(row) for row in rows]

    async def snapshot(self, tenant: str, run_id: str) -> Snapshot | None:
        with translating():
            text = await self._pool.fetchval("select body from snapshots where tenant = $1 and run_id = $2", tenant, run_id)
        return Snapshot(run=decode_run(text), size=len(text)) if text else None

    async def intervene(self, append: Append) -> Committed:
        with translating():
            return await append_all(self._pool, self._clock, [append])

    async def deliver(self, tenant: str, delivery: Delivery) -> bool:
        with translating():
            return await persisting(lambda: self._deliver(tenant, delivery))

    async def _deliver(self, tenant: str, delivery: Delivery) -> bool:
        async with self._pool.acquire(timeout=ACQUIRE_CAP_S) as connection, connection.transaction():
            row = await connection.fetchrow(sql.MAILBOX, tenant, delivery.run_id, delivery.letter_id)
            if row is None or row["finished"]:
                return False
            if row["known"]:
                return True
            if row["letters"] >= _MAILBOX_CAP:
                raise MailboxFull(f"{_MAILBOX_CAP} letters wait to be read", remedy="wait until the run has read some")
            return bool(await deliver(connection, [delivery]))

    async def standing(self, tenant: str, run_id: str) -> Standing | None:
        with translating():
            row = await self._pool.fetchrow(sql.STANDING, tenant, run_id)
        if row is None:
            return None
        return Standing(
            worker=row["worker"] or "",
            wake_at=row["wake_at"],
            now=row["now"],
            gated=row["gated"],
            ahead=row["ahead"],
            held_by=row["held_by"],
        )

    async def ties(self, tenant: str, run_id: str) -> Ties | None:
        with translating():
            row = await self._pool.fetchrow(sql.TIES, tenant, run_id)
        if row is None:
            return None
        key = next((gate.removeprefix("key ") for gate in row["gates"] if gate.startswith("key ")), "")
        return Ties(thread_id=row["thread_id"], concurrency_key=key, parent_run_id=row["parent_run_id"], children=row["children"])

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

    async def thread(self, tenant: str, thread_id: str) -> Thread | None:
        with translating():
            row = await self._pool.fetchrow(sql.THREAD, tenant, thread_id)
        return _thread(row) if row else None

    async def list_threads(self, tenant: str, after: str, limit: int) -> Sequence[Thread]:
        with translating():
            rows = await self._pool.fetch(sql.LIST_THREADS, tenant, after, limit)
        return [_thread(row) for row in rows]


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
        pruned_seq=row["pruned_seq"],
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
        approved_by=tuple(row["approved_by"]),
    )
    return ApprovalView(run_id=row["run_id"], agent=row["agent"], approval=approval)


def _thread(row: asyncpg.Record) -> Thread:
    return Thread(
        thread_id=row["thread_id"],
        active_run_id=row["active"] or "",
        queued_runs=row["queued"],
        last_run_id=row["last_run_id"],
        kept=parse_object(row["kept"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
