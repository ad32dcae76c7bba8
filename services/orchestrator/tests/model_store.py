"""What a run store has to do, in memory and in the plainest words: the model that the real one is compared with."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from orchestrator_model_gates import judged
from orchestrator_model_ledger import Ledger
from orchestrator_model_rows import Row, summary
from plimsoll_orchestrator.domain.journal import (
    ApprovalStatus,
    RunStatus,
    encode_entry,
)
from plimsoll_orchestrator.domain.letters import (
    Delivery,
    InputSent,
    Received,
    StopAsked,
    Successor,
    decode_letter,
    stop_in,
)
from plimsoll_orchestrator.domain.options import ThreadPolicy
from plimsoll_orchestrator.domain.poison import ALONE, SUSPECT, room
from plimsoll_orchestrator.domain.snapshot import decode_run
from plimsoll_orchestrator.errors import IdempotencyKeyReused, MailboxFull
from plimsoll_orchestrator.ports import (
    Accepted,
    Append,
    ApprovalView,
    Claimed,
    Committed,
    JournalEntry,
    Kept,
    RunFilter,
    RunSummary,
    Snapshot,
    Standing,
    Submission,
    Thread,
    Ties,
)

LEASE_S = 15.0
_MAILBOX_CAP = 1000


class FakeClaimStore:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def due(self) -> list[str]:
        """Runs that can be claimed now, the longest waiting first."""
        now = self._ledger.clock.now()
        waking = [(row.wake_at, row.run_id) for row in self._ledger.runs.values() if row.wake_at is not None and row.wake_at <= now]
        return [run_id for _, run_id in sorted(waking)]

    async def claim(self, worker: str, limit: int, held: Mapping[str, int]) -> Sequence[Claimed]:
        due = [run_id for run_id in self.due() if self._losses(run_id) < SUSPECT]
        taken = [self.take(worker, run_id) for run_id in due[:limit]]
        return [one for one in taken if one is not None]

    async def claim_suspects(self, worker: str, on_trial: Sequence[int]) -> Sequence[Claimed]:
        due = [run_id for run_id in self.due() if self._losses(run_id) >= SUSPECT]
        kinds = {run_id: min(self._losses(run_id) - SUSPECT, ALONE) for run_id in due}
        if due and kinds[due[0]] == ALONE:
            tried = [] if on_trial else due[:1]
        else:
            free = room(on_trial)
            tried = [one for kind in range(ALONE) for one in [each for each in due if kinds[each] == kind][: free[kind]]]
        taken = [self.take(worker, run_id, together=len(on_trial) + len(tried)) for run_id in tried]
        return [one for one in taken if one is not None]

    def _losses(self, run_id: str) -> int:
        row = self._ledger.runs[run_id]
        return len(row.abandoned) + (row.worker is not None)

    def take(self, worker: str, run_id: str, together: int = 0) -> Claimed | None:
        """Claim one run that is due; None when its turn has not come."""
        if self._ledger.runs[run_id].gated and not self._may_go_on(run_id):
            return None
        row, now = self._ledger.runs[run_id], self._ledger.clock.now()
        if row.worker is not None:
            row.abandoned = (*row.abandoned, f"{row.worker} at {now:%H:%M:%S}")
        beside, row.suspects = row.suspects, together
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
            beside=beside,
        )

    def _may_go_on(self, run_id: str) -> bool:
        row, now, options = self._ledger.runs[run_id], self._ledger.clock.now(), self._ledger.options(run_id)
        if stop_in(self._letters(run_id, 0)) is not None or (options.deadline is not None and options.deadline <= now):
            return True
        moments = (options.not_before, options.deadline)
        row.wake_at = min((at for at in moments if at is not None and at > now), default=None)
        row.epoch, row.status = row.epoch + 2, RunStatus.QUEUED
        self._ledger.admit(row.tenant)
        return not row.gated

    def _held(self, run_id: str, epoch: int) -> Row | None:
        row = self._ledger.runs.get(run_id)
        return row if row is not None and row.epoch == epoch and row.worker is not None else None

    async def renew(self, held: Mapping[str, int]) -> Sequence[str]:
        ours = [row for row in (self._held(*one) for one in held.items()) if row is not None]
        for row in ours:
            row.wake_at = self._ledger.clock.now() + timedelta(seconds=LEASE_S)
        return [row.run_id for row in ours]

    async def release(self, held: Mapping[str, int]) -> None:
        for row in (self._held(*one) for one in held.items()):
            if row is not None:
                row.wake_at, row.suspects = self._ledger.clock.now(), 0
                row.epoch, row.worker, row.status = row.epoch + 1, None, RunStatus.QUEUED

    async def set_aside(self, run_id: str, epoch: int, fault: str, *, unreadable: bool = False) -> None:
        row = self._held(run_id, epoch)
        if row is not None:
            pause = timedelta(seconds=2 ** min(len(row.abandoned), 6))
            row.wake_at = None if unreadable else self._ledger.clock.now() + pause
            row.status = RunStatus.QUARANTINED if unreadable else RunStatus.QUEUED
            row.epoch, row.worker, row.abandoned, row.suspects = row.epoch + 1, None, (*row.abandoned, fault), 1

    async def append(self, batch: Sequence[Append]) -> Committed:
        return self._ledger.append(batch)

    async def letters(self, run_id: str, after: int) -> Sequence[Received]:
        return self._letters(run_id, after)

    def _letters(self, run_id: str, after: int) -> list[Received]:
        box = self._ledger.mail.get(run_id, {})
        return [Received(number=number, letter=decode_letter(text)) for number, (_, text) in sorted(box.items()) if number > after]

    async def kept(self, tenant: str, thread_id: str) -> Kept:
        return self._ledger.kept.get((tenant, thread_id), Kept(fields={}))


class FakeRunStore:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def accept(self, submission: Submission) -> Accepted:
        now, key = self._ledger.clock.now(), submission.idempotency_key
        known = next((row for row in self._ledger.runs.values() if key and (row.tenant, row.key) == (submission.tenant, key)), None)
        if known is not None:
            if known.fingerprint != submission.fingerprint:
                raise IdempotencyKeyReused(remedy="use a new key for a new request")
            return Accepted(run_id=known.run_id, created=False, at=known.created_at)
        options = submission.first.options
        superseding = False
        if options.thread_id:
            steered = self._ledger.steered.get((submission.tenant, key)) if key else None
            if steered is not None:
                return self._steered_before(submission, *steered)
            verdict = judged(self._ledger.gates.busy(submission.tenant, options.thread_id), options)
            if verdict.steered:
                return self._steer(submission, verdict.steered)
            superseding = bool(verdict.superseded)
            stop = StopAsked(reason=f"superseded by run {submission.run_id}", rollback=options.thread_policy is ThreadPolicy.ROLLBACK)
            self._ledger.deliver([Delivery(run_id=one, letter_id="stop", letter=stop) for one in verdict.superseded])
        gated = bool(options.thread_id or options.concurrency_key)
        moments = [at for at in (options.not_before, options.deadline) if at is not None]
        row = Row(
            run_id=submission.run_id,
            tenant=submission.tenant,
            agent=submission.agent,
            agent_digest=submission.agent_digest,
            node=submission.node,
            created_at=now,
            wake_at=min(moments, default=None) if gated else max(now, options.not_before or now),
            key=key,
            fingerprint=submission.fingerprint,
            gated=gated,
        )
        self._ledger.make(row, encode_entry(submission.first))
        if gated:
            self._ledger.gates.arrive(row.run_id, row.tenant, options, superseding=superseding)
            self._ledger.admit(row.tenant)
        return Accepted(run_id=row.run_id, created=True, at=now)

    def _steered_before(self, submission: Submission, run_id: str, fingerprint: str) -> Accepted:
        if fingerprint != submission.fingerprint:
            raise IdempotencyKeyReused(remedy="use a new key for a new request")
        return Accepted(run_id=run_id, created=False, at=self._ledger.runs[run_id].created_at, steered=True)

    def _steer(self, submission: Submission, run_id: str) -> Accepted:
        first = submission.first
        heir = Successor(
            run_id=submission.run_id,
            agent_digest=submission.agent_digest,
            node=submission.node,
            options=first.options,
            origin=first.origin,
        )
        letter = InputSent(input_id=submission.run_id, input=first.input, successor=heir)
        self._ledger.deliver([Delivery(run_id=run_id, letter_id=f"input {submission.run_id}", letter=letter)])
        if submission.idempotency_key:
            self._ledger.steered[submission.tenant, submission.idempotency_key] = (run_id, submission.fingerprint)
        return Accepted(run_id=run_id, created=False, at=self._ledger.runs[run_id].created_at, steered=True, readied=(run_id,))

    def _row(self, tenant: str, run_id: str) -> Row | None:
        row = self._ledger.runs.get(run_id)
        return row if row is not None and row.tenant == tenant else None

    async def summary(self, tenant: str, run_id: str) -> RunSummary | None:
        row = self._row(tenant, run_id)
        return summary(row) if row is not None else None

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
        return [summary(row) for row in sorted(rows, key=lambda row: row.run_id, reverse=True)[:limit]]

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
        return Standing(worker=row.worker or "", wake_at=row.wake_at, now=now, gated=row.gated, ahead=len(before), held_by=())

    async def ties(self, tenant: str, run_id: str) -> Ties | None:
        row = self._row(tenant, run_id)
        if row is None:
            return None
        place = self._ledger.gates.places.get(run_id)
        children = sorted(one.run_id for one in self._ledger.runs.values() if one.parent == run_id and one.finished_at is None)
        return Ties(
            thread_id=place.options.thread_id if place else "",
            concurrency_key=place.options.concurrency_key if place else "",
            parent_run_id=row.parent,
            children=children,
        )

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
            Thread(thread_id=thread_id, active_run_id="", queued_runs=0, last_run_id="", kept=kept.fields, created_at=at, updated_at=at)
            if kept is not None
            else None
        )

    async def list_threads(self, tenant: str, after: str, limit: int) -> Sequence[Thread]:
        ids = sorted(name for owner, name in self._ledger.kept if owner == tenant and name > after)
        threads = [await self.thread(tenant, name) for name in ids[:limit]]
        return [thread for thread in threads if thread is not None]
