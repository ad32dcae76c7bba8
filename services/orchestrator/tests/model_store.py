"""What a run store has to do, in memory and in the plainest words: the model that the real one is compared with."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from plimsoll_orchestrator.domain.journal import (
    ApprovalAsked,
    ApprovalDecided,
    ApprovalGiven,
    ApprovalStatus,
    RunStatus,
    VersionChanged,
    decode_entry,
    encode_entry,
)
from plimsoll_orchestrator.domain.letters import Delivery, Received, decode_letter, encode_letter
from plimsoll_orchestrator.domain.run import Approval
from plimsoll_orchestrator.domain.snapshot import decode_run
from plimsoll_orchestrator.errors import IdempotencyKeyReused, MailboxFull
from plimsoll_orchestrator.ports import (
    Accepted,
    Append,
    Appended,
    ApprovalView,
    Claimed,
    Committed,
    JournalEntry,
    RunFilter,
    RunSummary,
    Snapshot,
    Standing,
    Submission,
    Thread,
)
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.json_types import JsonObject
from plimsoll_runtime.usage import Usage

LEASE_S = 15.0
_MAILBOX_CAP = 1000
_STOPPED = frozenset({RunStatus.PAUSED, RunStatus.QUARANTINED})


@dataclass(slots=True, kw_only=True)
class Row:
    """A run, as the table of runs shows it."""

    run_id: str
    tenant: str
    agent: str
    agent_digest: str
    node: str
    created_at: datetime
    wake_at: datetime | None
    key: str = ""
    fingerprint: str = ""
    parent: str = ""
    status: RunStatus = RunStatus.QUEUED
    epoch: int = 0
    seq: int = 1
    worker: str | None = None
    steps: int = 0
    usage: Usage = field(default_factory=Usage)
    rehearsal: bool = False
    mail: int = 0
    abandoned: tuple[str, ...] = ()
    started_at: datetime | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """An entry in stored form."""

    at: datetime
    epoch: int
    text: str


@dataclass(slots=True)
class Ledger:
    """Everything that is kept: what the tables hold. Both stores write to one."""

    clock: Clock
    runs: dict[str, Row] = field(default_factory=dict)
    journals: dict[str, list[Stored]] = field(default_factory=dict)
    mail: dict[str, dict[int, tuple[str, str]]] = field(default_factory=dict)
    snapshots: dict[str, tuple[int, str]] = field(default_factory=dict)
    approvals: dict[str, tuple[str, str, Approval]] = field(default_factory=dict)
    kept: dict[tuple[str, str], JsonObject] = field(default_factory=dict)
    outbox: list[tuple[str, int, int]] = field(default_factory=list)

    def entries(self, run_id: str, after: int) -> list[JournalEntry]:
        return [
            JournalEntry(run_id=run_id, seq=seq, at=one.at, epoch=one.epoch, entry=decode_entry(one.text), size=len(one.text))
            for seq, one in enumerate(self.journals[run_id][after:], after + 1)
        ]

    def make(self, row: Row, first: str) -> None:
        assert row.run_id not in self.runs
        self.runs[row.run_id] = row
        self.journals[row.run_id] = [Stored(self.clock.now(), 0, first)]
        self.outbox.append((row.run_id, 1, 1))

    def append(self, batch: Iterable[Append]) -> Committed:
        """Commit what is not fenced off, and all that follows from it."""
        through = [append for append in batch if self._move(append)]
        readied: list[str] = []
        for append in through:
            readied += self._consequences(append)
        for append in through:
            readied += self.deliver(append.deliveries)
        now = self.clock.now()
        return Committed(
            appended={append.run_id: Appended(at=now, mail=self.runs[append.run_id].mail) for append in through}, readied=readied
        )

    def _move(self, append: Append) -> bool:
        row, run, release, now = self.runs.get(append.run_id), append.run, append.release, self.clock.now()
        fits = (
            row is not None
            and row.tenant == append.tenant
            and row.seq == append.expected_seq
            and row.finished_at is None
            and (append.epoch < 0 or append.epoch == row.epoch)
        )
        status = release.status if release else run.status
        if row is None or not fits or (status is RunStatus.SUCCEEDED and row.mail > append.mail):
            return False
        row.seq, row.node, row.status = row.seq + len(append.entries), run.node, status
        row.steps, row.usage, row.rehearsal = run.steps, run.usage, run.rehearsal
        if release:
            unread = row.mail > append.mail and not run.is_final and status not in _STOPPED
            row.epoch, row.worker, row.wake_at = row.epoch + 1, None, now if unread else release.wake_at
        if append.entries:
            row.abandoned = ()
            self.outbox.append((row.run_id, append.expected_seq + 1, row.seq))
        row.finished_at = now if run.is_final else None
        self.journals[row.run_id] += [Stored(now, max(append.epoch, 0), text) for text in append.encoded]
        return True

    def _consequences(self, append: Append) -> list[str]:
        run, row, now = append.run, self.runs[append.run_id], self.clock.now()
        for entry in append.entries:
            match entry:
                case ApprovalAsked() | ApprovalGiven() | ApprovalDecided():
                    self.approvals[entry.approval_id] = (row.run_id, row.agent, run.approvals[entry.approval_id])
                case VersionChanged(agent_digest=digest):
                    row.agent_digest = digest
                case _:
                    pass
        for number in append.answered:
            self.mail[row.run_id].pop(number, None)
        if append.snapshot:
            self.snapshots[row.run_id] = (run.seq, append.snapshot)
        if run.is_final:
            self._end(append)
        for birth in append.births:
            child = Row(
                run_id=birth.run_id,
                tenant=row.tenant,
                agent=birth.agent,
                agent_digest=birth.agent_digest,
                node=birth.first.node,
                created_at=now,
                wake_at=now,
                parent=row.run_id,
            )
            self.make(child, encode_entry(birth.first))
        return [birth.run_id for birth in append.births]

    def _end(self, append: Append) -> None:
        """Letters go, open questions are withdrawn, the thread gets what is left to it."""
        self.mail.pop(append.run_id, None)
        for key, (run_id, agent, approval) in self.approvals.items():
            if run_id == append.run_id and approval.status is ApprovalStatus.PENDING:
                self.approvals[key] = (run_id, agent, replace(approval, status=ApprovalStatus.WITHDRAWN, decided_at=self.clock.now()))
        if append.run.options.thread_id and append.kept:
            self.kept[append.tenant, append.run.options.thread_id] = append.kept

    def deliver(self, deliveries: Iterable[Delivery]) -> list[str]:
        """Letters wake runs that nobody holds, unless they are stopped; a letter that is known, or for a finished run, goes nowhere."""
        reached = []
        for delivery in deliveries:
            row = self.runs.get(delivery.run_id)
            box = self.mail.setdefault(delivery.run_id, {})
            if row is None or row.finished_at is not None or any(known == delivery.letter_id for known, _ in box.values()):
                continue
            row.mail += 1
            box[row.mail] = (delivery.letter_id, encode_letter(delivery.letter))
            if row.worker is None and row.status not in _STOPPED:
                row.wake_at = self.clock.now()
            reached.append(row.run_id)
        return reached


class FakeClaimStore:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def due(self) -> list[str]:
        """Runs that can be claimed now, the longest waiting first."""
        now = self._ledger.clock.now()
        waking = [(row.wake_at, row.run_id) for row in self._ledger.runs.values() if row.wake_at is not None and row.wake_at <= now]
        return [run_id for _, run_id in sorted(waking)]

    async def claim(self, worker: str, limit: int, held: Mapping[str, int]) -> Sequence[Claimed]:
        return [self.take(worker, run_id) for run_id in self.due()[:limit]]

    def take(self, worker: str, run_id: str) -> Claimed:
        """Claim one run that is due."""
        row, now = self._ledger.runs[run_id], self._ledger.clock.now()
        if row.worker is not None:
            row.abandoned = (*row.abandoned, f"{row.worker} at {now:%H:%M:%S}")
        row.epoch, row.worker, row.status = row.epoch + 1, worker, RunStatus.RUNNING
        row.wake_at, row.started_at = now + timedelta(seconds=LEASE_S), row.started_at or now
        seq, body = self._ledger.snapshots.get(run_id, (0, ""))
        return Claimed(
            run_id=run_id,
            tenant=row.tenant,
            agent=row.agent,
            agent_digest=row.agent_digest,
            epoch=row.epoch,
            snapshot=Snapshot(run=decode_run(body), size=len(body)) if body else None,
            entries=self._ledger.entries(run_id, seq),
            letters=self._letters(run_id, 0),
            mail=row.mail,
            abandoned=row.abandoned,
        )

    def _held(self, run_id: str, epoch: int) -> Row | None:
        row = self._ledger.runs.get(run_id)
        return row if row is not None and row.epoch == epoch and row.worker is not None else None

    async def renew(self, held: Mapping[str, int]) -> Sequence[str]:
        ours = [row for row in (self._held(*one) for one in held.items()) if row is not None]
        for row in ours:
            row.wake_at = self._ledger.clock.now() + timedelta(seconds=LEASE_S)
        return [row.run_id for row in ours]

    async def release(self, held: Mapping[str, int], *, pause_s: float = 0.0) -> None:
        for row in (self._held(*one) for one in held.items()):
            if row is not None:
                row.wake_at = self._ledger.clock.now() + timedelta(seconds=pause_s)
                row.epoch, row.worker, row.status = row.epoch + 1, None, RunStatus.QUEUED

    async def set_aside(self, run_id: str, epoch: int, fault: str, *, unreadable: bool = False) -> None:
        row = self._held(run_id, epoch)
        if row is not None:
            pause = timedelta(seconds=2 ** min(len(row.abandoned), 6))
            row.wake_at = None if unreadable else self._ledger.clock.now() + pause
            row.status = RunStatus.QUARANTINED if unreadable else RunStatus.QUEUED
            row.epoch, row.worker, row.abandoned = row.epoch + 1, None, (*row.abandoned, fault)

    async def append(self, batch: Sequence[Append]) -> Committed:
        return self._ledger.append(batch)

    async def letters(self, run_id: str, after: int) -> Sequence[Received]:
        return self._letters(run_id, after)

    def _letters(self, run_id: str, after: int) -> list[Received]:
        box = self._ledger.mail.get(run_id, {})
        return [Received(number=number, letter=decode_letter(text)) for number, (_, text) in sorted(box.items()) if number > after]

    async def kept(self, tenant: str, thread_id: str) -> JsonObject:
        return self._ledger.kept.get((tenant, thread_id), {})


class FakeRunStore:
    """Without gates: every run is let through at once."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def accept(self, submission: Submission) -> Accepted:
        now, key = self._ledger.clock.now(), submission.idempotency_key
        known = next((row for row in self._ledger.runs.values() if key and (row.tenant, row.key) == (submission.tenant, key)), None)
        if known is not None:
            if known.fingerprint != submission.fingerprint:
                raise IdempotencyKeyReused(remedy="use a new key for a new request")
            return Accepted(run_id=known.run_id, created=False, at=known.created_at)
        row = Row(
            run_id=submission.run_id,
            tenant=submission.tenant,
            agent=submission.agent,
            agent_digest=submission.agent_digest,
            node=submission.node,
            created_at=now,
            wake_at=max(now, submission.first.options.not_before or now),
            key=key,
            fingerprint=submission.fingerprint,
        )
        self._ledger.make(row, encode_entry(submission.first))
        return Accepted(run_id=row.run_id, created=True, at=now)

    def _row(self, tenant: str, run_id: str) -> Row | None:
        row = self._ledger.runs.get(run_id)
        return row if row is not None and row.tenant == tenant else None

    async def summary(self, tenant: str, run_id: str) -> RunSummary | None:
        row = self._row(tenant, run_id)
        return _summary(row) if row is not None else None

    async def list_runs(self, tenant: str, filter_: RunFilter, before: str, limit: int) -> Sequence[RunSummary]:
        rows = [
            row
            for row in self._ledger.runs.values()
            if row.tenant == tenant
            and row.parent == filter_.parent_run_id
            and filter_.agent in {"", row.agent}
            and filter_.status in {None, row.status}
            and (not before or row.run_id < before)
        ]
        return [_summary(row) for row in sorted(rows, key=lambda row: row.run_id, reverse=True)[:limit]]

    async def journal(self, tenant: str, run_id: str, after_seq: int, limit: int) -> Sequence[JournalEntry]:
        return self._ledger.entries(run_id, after_seq)[:limit] if self._row(tenant, run_id) is not None else []

    async def snapshot(self, tenant: str, run_id: str) -> Snapshot | None:
        seq, body = self._ledger.snapshots.get(run_id, (0, ""))
        return Snapshot(run=decode_run(body), size=len(body)) if seq and self._row(tenant, run_id) is not None else None

    async def intervene(self, append: Append) -> Committed:
        return self._ledger.append([append])

    async def deliver(self, tenant: str, delivery: Delivery) -> bool:
        row = self._row(tenant, delivery.run_id)
        if row is None or row.finished_at is not None:
            return False
        box = self._ledger.mail.get(row.run_id, {})
        if any(known == delivery.letter_id for known, _ in box.values()):
            return True
        if len(box) >= _MAILBOX_CAP:
            raise MailboxFull(f"{_MAILBOX_CAP} letters wait to be read", remedy="wait until the run has read some")
        return bool(self._ledger.deliver([delivery]))

    async def standing(self, tenant: str, run_id: str) -> Standing | None:
        row, now = self._row(tenant, run_id), self._ledger.clock.now()
        if row is None:
            return None
        before = [
            other
            for other in self._ledger.runs.values()
            if other is not row and row.wake_at and other.wake_at and other.wake_at <= min(now, row.wake_at)
        ]
        return Standing(worker=row.worker or "", wake_at=row.wake_at, now=now, gated=False, ahead=len(before), held_by=())

    async def approval(self, tenant: str, approval_id: str) -> ApprovalView | None:
        run_id, agent, approval = self._ledger.approvals.get(approval_id, ("", "", None))
        if approval is None or self._row(tenant, run_id) is None:
            return None
        return ApprovalView(run_id=run_id, agent=agent, approval=approval)

    async def list_approvals(
        self, tenant: str, status: ApprovalStatus | None, run_id: str, after: str, limit: int
    ) -> Sequence[ApprovalView]:
        views = [
            ApprovalView(run_id=asker, agent=agent, approval=approval)
            for key, (asker, agent, approval) in sorted(self._ledger.approvals.items())
            if key > after and run_id in {"", asker} and status in {None, approval.status} and self._row(tenant, asker) is not None
        ]
        return views[:limit]

    async def thread(self, tenant: str, thread_id: str) -> Thread | None:
        kept = self._ledger.kept.get((tenant, thread_id))
        at = datetime.min.replace(tzinfo=UTC)
        return (
            Thread(thread_id=thread_id, active_run_id="", queued_runs=0, last_run_id="", kept=kept, created_at=at, updated_at=at)
            if kept is not None
            else None
        )

    async def list_threads(self, tenant: str, after: str, limit: int) -> Sequence[Thread]:
        ids = sorted(name for owner, name in self._ledger.kept if owner == tenant and name > after)
        threads = [await self.thread(tenant, name) for name in ids[:limit]]
        return [thread for thread in threads if thread is not None]


def _summary(row: Row) -> RunSummary:
    return RunSummary(
        run_id=row.run_id,
        agent=row.agent,
        agent_digest=row.agent_digest,
        status=row.status,
        seq=row.seq,
        node=row.node,
        steps=row.steps,
        usage=row.usage,
        rehearsal=row.rehearsal,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )
