"""A run as the fold of its journal."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import assert_never

from plimsoll_runtime.failures import Failure
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_runtime.usage import Usage

from plimsoll_orchestrator.domain.journal import (
    FINAL,
    ApprovalAsked,
    ApprovalDecided,
    ApprovalStatus,
    Entry,
    Proposal,
    RunFinished,
    RunStarted,
    RunStatus,
    StepFailed,
    StepFinished,
    StepProgressed,
    StepStarted,
    ToolTurn,
    Turn,
)
from plimsoll_orchestrator.errors import JournalBroken


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """A question to people in this run, and what was decided."""

    approval_id: str
    node: str
    summary: str
    details: JsonObject
    proposal: Proposal | None
    status: ApprovalStatus
    asked_at: datetime
    expires_at: datetime
    decided_at: datetime | None = None
    decided_by: str = ""
    comment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The step under way.

    Attributes:
    seq       position of its "started" entry
    key_seq   the position on which the keys of its calls hang: its own, or that of an earlier try whose calls are unsettled
    turns     of an agent's conversation so far
    approval  id of the last question that this step asked
    """

    seq: int
    key_seq: int
    node: str
    attempt: int
    turns: tuple[Turn, ...] = ()
    approvals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedStep:
    """The failure that a handler sees, and where it came from."""

    node: str
    failure: Failure
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Attributes:
    seq         position of the last entry folded in
    node        the node that is next; the present one while `step` is set
    attempts    how often each node failed since it last finished
    unsettled   the key position of each node whose last try may have acted without our learning of it
    retry_at    not before; None when at once
    started_at  time of the first entry
    """

    run_id: str
    tenant: str
    agent: str
    agent_digest: str
    seq: int = 0
    status: RunStatus = RunStatus.QUEUED
    input: JsonValue = None
    state: JsonObject = field(default_factory=dict)
    node: str = ""
    step: Step | None = None
    failed: FailedStep | None = None
    attempts: Mapping[str, int] = field(default_factory=dict)
    unsettled: Mapping[str, int] = field(default_factory=dict)
    retry_at: datetime | None = None
    approvals: Mapping[str, Approval] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    steps: int = 0
    rehearsal: bool = False
    output: JsonValue = None
    failure: Failure | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    @property
    def pending(self) -> Approval | None:
        """The question that the run waits for."""
        return next((approval for approval in self.approvals.values() if approval.status is ApprovalStatus.PENDING), None)


def fold(run: Run, entries: Iterable[tuple[int, datetime, Entry]], start: str) -> Run:
    """Apply (seq, time, entry) in order; `start` is the graph's first node. Raises JournalBroken at a gap."""
    for seq, at, entry in entries:
        if seq != run.seq + 1:
            raise JournalBroken(f"entry {seq} of {run.run_id} follows entry {run.seq}")
        run = _apply(run, seq, at, entry, start)
    return run


def _apply(run: Run, seq: int, at: datetime, entry: Entry, start: str) -> Run:
    match entry:
        case RunStarted():
            state = dict(entry.input) if isinstance(entry.input, dict) else {}
            return replace(run, seq=seq, input=entry.input, state=state, node=start, started_at=at)
        case StepStarted():
            step = Step(seq=seq, key_seq=entry.key_seq or seq, node=entry.node, attempt=entry.attempt)
            return replace(run, seq=seq, step=step, retry_at=None, status=RunStatus.RUNNING)
        case StepProgressed():
            step = _step(run, entry.node)
            grown = replace(step, turns=(*step.turns, entry.turn))
            return replace(run, seq=seq, step=grown, usage=run.usage + entry.usage, rehearsal=run.rehearsal or entry.rehearsal)
        case StepFinished():
            return _finish_step(run, seq, entry)
        case StepFailed():
            return _fail_step(run, seq, entry)
        case ApprovalAsked():
            return _ask(run, seq, at, entry)
        case ApprovalDecided():
            known = run.approvals[entry.approval_id]
            decided = replace(known, status=entry.status, decided_at=at, decided_by=entry.decided_by, comment=entry.comment)
            return replace(run, seq=seq, approvals={**run.approvals, entry.approval_id: decided}, status=RunStatus.RUNNING)
        case RunFinished():
            withdrawn = {key: _withdrawn(approval, at) for key, approval in run.approvals.items()}
            return replace(
                run,
                seq=seq,
                status=entry.status,
                output=entry.output,
                failure=entry.failure,
                finished_at=at,
                step=None,
                approvals=withdrawn,
                retry_at=None,
            )
        case _:
            assert_never(entry)


def _finish_step(run: Run, seq: int, entry: StepFinished) -> Run:
    return replace(
        run,
        seq=seq,
        state={**run.state, **entry.delta} if entry.delta else run.state,
        node=entry.next,
        step=None,
        steps=run.steps + 1,
        usage=run.usage + entry.usage,
        rehearsal=run.rehearsal or entry.rehearsal,
        attempts=_without(run.attempts, entry.node),
        unsettled=_without(run.unsettled, entry.node),
        status=RunStatus.RUNNING,
    )


def _fail_step(run: Run, seq: int, entry: StepFailed) -> Run:
    count = run.attempts.get(entry.node, 0) + 1
    settled = _without(run.unsettled, entry.node)
    return replace(
        run,
        seq=seq,
        unsettled={**settled, entry.node: run.step.key_seq} if entry.unsettled and run.step is not None else settled,
        step=None,
        node=entry.next or entry.node,
        steps=run.steps + 1,
        usage=run.usage + entry.usage,
        attempts={**run.attempts, entry.node: count},
        failed=FailedStep(node=entry.node, failure=entry.failure, attempts=count),
        retry_at=entry.retry_at,
        failure=None if entry.next or entry.retry_at else entry.failure,
        status=RunStatus.RUNNING,
    )


def _ask(run: Run, seq: int, at: datetime, entry: ApprovalAsked) -> Run:
    step = _step(run, entry.node)
    asked = Approval(
        approval_id=entry.approval_id,
        node=entry.node,
        summary=entry.summary,
        details=entry.details,
        proposal=entry.proposal,
        status=ApprovalStatus.PENDING,
        asked_at=at,
        expires_at=entry.expires_at,
    )
    return replace(
        run,
        seq=seq,
        approvals={**run.approvals, entry.approval_id: asked},
        step=replace(step, approvals=(*step.approvals, entry.approval_id)),
        status=RunStatus.WAITING,
    )


def _without(counts: Mapping[str, int], node: str) -> Mapping[str, int]:
    return {name: count for name, count in counts.items() if name != node}


def _withdrawn(approval: Approval, at: datetime) -> Approval:
    return replace(approval, status=ApprovalStatus.WITHDRAWN, decided_at=at) if approval.status is ApprovalStatus.PENDING else approval


def _step(run: Run, node: str) -> Step:
    if run.step is None or run.step.node != node:
        raise JournalBroken(f"{run.run_id}: node {node} is not under way")
    return run.step


def last_calls_open(step: Step) -> bool:
    """Whether the model's last turn asked for tools that have not answered yet."""
    return bool(step.turns) and not isinstance(step.turns[-1], ToolTurn) and bool(step.turns[-1].calls)
