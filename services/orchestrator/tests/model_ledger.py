"""Everything that a store keeps, in memory: what the tables of the real one hold."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from orchestrator_model_gates import Gates
from orchestrator_model_rows import Row, Stored
from plimsoll_orchestrator.domain.journal import (
    ApprovalAsked,
    ApprovalDecided,
    ApprovalGiven,
    ApprovalStatus,
    RunStarted,
    RunStatus,
    VersionChanged,
    decode_entry,
    encode_entry,
)
from plimsoll_orchestrator.domain.letters import (
    Delivery,
    InputSent,
    Successor,
    decode_letter,
    encode_letter,
)
from plimsoll_orchestrator.domain.options import RunOptions
from plimsoll_orchestrator.domain.run import Approval
from plimsoll_orchestrator.ports import (
    Append,
    Appended,
    Committed,
    JournalEntry,
    Kept,
)
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.json_types import JsonValue

_STOPPED = frozenset({RunStatus.PAUSED, RunStatus.QUARANTINED})


@dataclass(slots=True)
class Ledger:
    """Everything that is kept: what the tables hold. Both stores write to one."""

    clock: Clock
    runs: dict[str, Row] = field(default_factory=dict)
    journals: dict[str, list[Stored]] = field(default_factory=dict)
    mail: dict[str, dict[int, tuple[str, str]]] = field(default_factory=dict)
    snapshots: dict[str, tuple[int, str]] = field(default_factory=dict)
    approvals: dict[str, tuple[str, str, Approval]] = field(default_factory=dict)
    kept: dict[tuple[str, str], Kept] = field(default_factory=dict)
    outbox: list[tuple[str, int, int]] = field(default_factory=list)
    steered: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    gates: Gates = field(init=False)

    def __post_init__(self) -> None:
        self.gates = Gates(self.clock)

    def options(self, run_id: str) -> RunOptions:
        first = decode_entry(self.journals[run_id][0].text)
        assert isinstance(first, RunStarted)
        return first.options

    def admit(self, tenant: str) -> list[str]:
        """Let runs through their gates as there is room."""
        admitted = self.gates.admit(tenant)
        for row in (self.runs[run_id] for run_id in admitted):
            row.gated, row.wake_at = False, self.clock.now()
        return admitted

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
            unread = row.mail > append.mail or (append.epoch < 0 and status is RunStatus.PAUSED and row.mail > 0)
            row.epoch, row.worker, row.wake_at = row.epoch + 1, None, now if unread and not run.is_final else release.wake_at
            if row.gated and append.epoch < 0:
                row.wake_at = append.look_at
            row.gated = row.gated and not run.is_final
        if append.entries:
            row.abandoned = tuple(append.abandoned)
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
        admitted = self._end(append) if run.is_final else []
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
        return [*admitted, *(birth.run_id for birth in append.births)]

    def _end(self, append: Append) -> list[str]:
        """Letters go, but for input, which becomes a run; open questions are withdrawn, the thread gets what is left to it, others get on."""
        for _, text in self.mail.pop(append.run_id, {}).values():
            letter = decode_letter(text)
            if isinstance(letter, InputSent) and letter.successor is not None:
                self._hand_on(append, letter.input, letter.successor)
        for key, (run_id, agent, approval) in self.approvals.items():
            if run_id == append.run_id and approval.status is ApprovalStatus.PENDING:
                self.approvals[key] = (run_id, agent, replace(approval, status=ApprovalStatus.WITHDRAWN, decided_at=self.clock.now()))
        if append.run.options.thread_id and append.kept:
            thread = append.tenant, append.run.options.thread_id
            before = self.kept[thread].labels if thread in self.kept else ()
            self.kept[thread] = Kept(fields=append.kept, labels=tuple(sorted({*before, *append.run.labels})))
        self.gates.leave(append.run_id)
        return self.admit(append.tenant)

    def _hand_on(self, append: Append, value: JsonValue, heir: Successor) -> None:
        row = Row(
            run_id=heir.run_id,
            tenant=append.tenant,
            agent=append.run.agent,
            agent_digest=heir.agent_digest,
            node=heir.node,
            created_at=self.clock.now(),
            wake_at=heir.options.deadline,
            gated=True,
        )
        self.make(row, encode_entry(RunStarted(input=value, options=heir.options, origin=heir.origin)))
        self.gates.arrive(heir.run_id, append.tenant, heir.options)

    def deliver(self, deliveries: Iterable[Delivery]) -> list[str]:
        """Letters wake runs that nobody holds, unless they are stopped or wait before a gate and the letter does not end them; a letter that
        is known, or for a finished run, goes nowhere."""
        reached = []
        for delivery in deliveries:
            row = self.runs.get(delivery.run_id)
            box = self.mail.setdefault(delivery.run_id, {})
            if row is None or row.finished_at is not None or any(known == delivery.letter_id for known, _ in box.values()):
                continue
            row.mail += 1
            box[row.mail] = (delivery.letter_id, encode_letter(delivery.letter))
            if row.worker is None and (delivery.letter_id == "stop" or (not row.gated and row.status not in _STOPPED)):
                row.wake_at = self.clock.now()
            reached.append(row.run_id)
        return reached
