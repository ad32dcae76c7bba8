"""The fold: a run is its journal, applied entry by entry."""

import dataclasses
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TypeVar, assert_never

from msgspec.structs import replace
from plimsoll_runtime.json_types import JsonObject, JsonValue

from plimsoll_orchestrator.domain.journal import (
    ApprovalAsked,
    ApprovalDecided,
    ApprovalGiven,
    ApprovalStatus,
    ChildrenJoined,
    ChildrenStarted,
    ChildrenStopped,
    CompensationStarted,
    Entry,
    InputReceived,
    InputTurn,
    RunFinished,
    RunPaused,
    RunQuarantined,
    RunResumed,
    RunStarted,
    RunStatus,
    SignalReceived,
    StepFailed,
    StepFinished,
    StepProgressed,
    StepStarted,
    ThreadJoined,
    ToolTurn,
    VersionChanged,
    WaitStarted,
)
from plimsoll_orchestrator.domain.run import Approval, Compensation, FailedStep, Run, Step, call_of, own_key
from plimsoll_orchestrator.errors import JournalBroken

Value = TypeVar("Value")

_SEEN_MOST = 1000


def fold(run: Run, entries: Iterable[tuple[int, datetime, Entry]], start: str) -> Run:
    """Apply (seq, time, entry) in order; `start` is the graph's first node. Raises JournalBroken at a gap."""
    for seq, at, entry in entries:
        if seq != run.seq + 1:
            raise JournalBroken(f"entry {seq} of {run.run_id} follows entry {run.seq}")
        run = _apply(run, seq, at, entry, start)
    return run


def _apply(run: Run, seq: int, at: datetime, entry: Entry, start: str) -> Run:  # noqa: C901, PLR0912 - one case for each kind of entry
    match entry:
        case StepStarted():
            return _start_step(run, seq, at, entry)
        case StepFinished():
            return _finish_step(run, seq, entry)
        case StepProgressed():
            return _progress(run, seq, entry)
        case StepFailed():
            return _fail_step(run, seq, entry)
        case RunStarted():
            return _start(run, seq, at, entry, start)
        case RunFinished():
            return _finish(run, seq, at, entry)
        case ApprovalAsked():
            return _ask(run, seq, at, entry)
        case ApprovalGiven() | ApprovalDecided():
            return _decide(run, seq, at, entry)
        case SignalReceived() | InputReceived():
            return _receive(run, seq, entry)
        case ChildrenStarted() | ChildrenJoined() | ChildrenStopped() | WaitStarted():
            return _wait(run, seq, entry)
        case CompensationStarted():
            compensation = Compensation(nodes=entry.nodes, next=entry.next, failure=entry.failure)
            return _compensate(replace(run, seq=seq, undoable=()), compensation)
        case ThreadJoined():
            state = {**entry.kept, **run.state}
            return replace(run, seq=seq, state=state, first_state=state, joined_thread=True, labels=_read(run, entry.labels))
        case RunPaused():
            return replace(run, seq=seq, status=RunStatus.PAUSED, paused_by=entry.paused_by, pause_reason=entry.reason)
        case RunQuarantined():
            return replace(run, seq=seq, status=RunStatus.QUARANTINED, evidence=entry.evidence)
        case RunResumed():
            return replace(run, seq=seq, status=RunStatus.RUNNING, evidence=(), paused_by="", pause_reason="")
        case VersionChanged():
            return replace(run, seq=seq, agent_digest=entry.agent_digest)
        case _:
            assert_never(entry)


def _start(run: Run, seq: int, at: datetime, entry: RunStarted, start: str) -> Run:
    state = entry.state if entry.state is not None else dict(entry.input) if isinstance(entry.input, dict) else {}
    return replace(
        run,
        seq=seq,
        input=entry.input,
        options=entry.options,
        origin=entry.origin,
        state=state,
        first_state=state,
        node=entry.node or start,
        unsettled=entry.keys,
        prompts=entry.prompts,
        labels=entry.labels,
        started_at=at,
    )


def _start_step(run: Run, seq: int, at: datetime, entry: StepStarted) -> Run:
    key = entry.key or own_key(run.run_id, seq)
    step = Step(seq=seq, at=at, key=key, node=entry.node, attempt=entry.attempt, undo=entry.undo)
    return replace(run, seq=seq, step=step, retry_at=None, status=RunStatus.RUNNING)


def _progress(run: Run, seq: int, entry: StepProgressed) -> Run:
    step = _step(run, entry.node)
    grown = replace(step, turns=(*step.turns, entry.turn), usage=step.usage + entry.usage)
    answers = entry.turn.answers if isinstance(entry.turn, ToolTurn) else ()
    return replace(
        run,
        seq=seq,
        step=grown,
        usage=run.usage + entry.usage,
        rehearsal=run.rehearsal or entry.rehearsal,
        prompts={**run.prompts, **entry.prompts} if entry.prompts else run.prompts,
        labels=_read(run, *(answer.labels for answer in answers)),
    )


def _finish_step(run: Run, seq: int, entry: StepFinished) -> Run:
    after = replace(
        run,
        seq=seq,
        state=grown(run.state, entry.delta, entry.appended),
        node=run.node if entry.undo else entry.next,
        step=None,
        steps=run.steps + 1,
        usage=run.usage + entry.usage,
        busy_s=run.busy_s + entry.seconds,
        rehearsal=run.rehearsal or entry.rehearsal,
        attempts=_without(run.attempts, entry.node),
        unsettled=_without(run.unsettled, call_of(entry.node, undo=entry.undo)),
        prompts={**run.prompts, **entry.prompts} if entry.prompts else run.prompts,
        labels=_read(run, entry.labels),
        signals=tuple(one for one in run.signals if one.signal_id != entry.signal) if entry.signal else run.signals,
        undoable=(*run.undoable, entry.node) if entry.undoable else run.undoable,
        undone=(*run.undone, entry.node) if entry.undo else run.undone,
        status=RunStatus.RUNNING,
    )
    if entry.undo and run.compensation is not None:
        return _compensate(after, dataclasses.replace(run.compensation, nodes=run.compensation.nodes[1:]))
    return after


def _compensate(run: Run, compensation: Compensation) -> Run:
    """What is left to undo; when nothing is, the run goes where its handler said, or fails."""
    if compensation.nodes:
        return replace(run, compensation=compensation)
    if compensation.next:
        return replace(run, compensation=None, node=compensation.next)
    return replace(run, compensation=None, failure=compensation.failure)


def grown(state: JsonObject, delta: JsonObject, appended: JsonObject) -> JsonObject:
    """The state after a step."""
    if not delta and not appended:
        return state
    after: JsonObject = {**state, **delta}
    for name, more in appended.items():
        after[name] = _joined(state.get(name), more)
    return after


def _joined(value: JsonValue, more: JsonValue) -> JsonValue:
    match value, more:
        case list(), list():
            return [*value, *more]
        case str(), str():
            return value + more
        case _:
            raise JournalBroken(f"{type(value).__name__} cannot grow by {type(more).__name__}")


def _fail_step(run: Run, seq: int, entry: StepFailed) -> Run:
    count = run.attempts.get(entry.node, 0) + 1
    call = call_of(entry.node, undo=entry.undo)
    settled = _without(run.unsettled, call)
    compensation = run.compensation
    broken = FailedStep(node=entry.node, failure=entry.failure, attempts=count)
    if entry.node_kind == "handle" and run.failed is not None:
        broken = dataclasses.replace(run.failed, failure=entry.failure)  # a handler that gives up is not what failed
    if entry.undo and not entry.retry_at:
        compensation = None  # what cannot be undone ends the undoing: people have to look
    return replace(
        run,
        seq=seq,
        unsettled={**settled, call: run.step.key} if entry.unsettled and run.step is not None else settled,
        step=None,
        node=entry.next or (run.node if entry.undo else entry.node),
        steps=run.steps + 1,
        usage=run.usage + entry.usage,
        busy_s=run.busy_s + entry.seconds,
        attempts={**run.attempts, entry.node: count},
        failed=broken,
        retry_at=entry.retry_at,
        compensation=compensation,
        failure=None if entry.next or entry.retry_at else entry.failure,
        status=RunStatus.RUNNING,
    )


def _finish(run: Run, seq: int, at: datetime, entry: RunFinished) -> Run:
    return replace(
        run,
        seq=seq,
        status=entry.status,
        output=entry.output,
        failure=entry.failure,
        finished_at=at,
        unsettled={**run.unsettled, call_of(run.step.node, undo=run.step.undo): run.step.key} if run.step is not None else run.unsettled,
        step=None,
        approvals={key: _withdrawn(approval, at) for key, approval in run.approvals.items()},
        retry_at=None,
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
        call_key=entry.call_key,
        proposed_by=entry.proposed_by,
    )
    return replace(
        run,
        seq=seq,
        approvals={**run.approvals, entry.approval_id: asked},
        step=replace(step, approvals=(*step.approvals, entry.approval_id)),
        status=RunStatus.WAITING,
    )


def _decide(run: Run, seq: int, at: datetime, entry: ApprovalGiven | ApprovalDecided) -> Run:
    known = run.approvals[entry.approval_id]
    approves = isinstance(entry, ApprovalGiven) or entry.status is ApprovalStatus.APPROVED
    by = (*known.approved_by, entry.decided_by) if approves and entry.decided_by else known.approved_by
    after = dataclasses.replace(known, approved_by=by)
    status = run.status
    if isinstance(entry, ApprovalDecided):
        after = dataclasses.replace(
            after, status=entry.status, decided_at=at, decided_by=entry.decided_by, comment=entry.comment, instead=entry.arguments
        )
        status = run.status if run.is_stopped else RunStatus.RUNNING  # an answer does not resume what somebody has stopped
    return replace(run, seq=seq, approvals={**run.approvals, entry.approval_id: after}, status=status)


def _receive(run: Run, seq: int, entry: SignalReceived | InputReceived) -> Run:
    match entry:
        case SignalReceived():
            return replace(run, seq=seq, seen=_seen(run, entry.signal_id), signals=(*run.signals, entry))
        case InputReceived():
            step = run.step
            if step is not None and step.turns:
                step = replace(step, turns=(*step.turns, InputTurn(input=entry.input)))
            state = {**run.state, **entry.input} if isinstance(entry.input, dict) else run.state
            return replace(run, seq=seq, seen=_seen(run, entry.input_id), state=state, step=step)


def _wait(run: Run, seq: int, entry: ChildrenStarted | ChildrenJoined | ChildrenStopped | WaitStarted) -> Run:
    step = _step(run, entry.node)
    match entry:
        case WaitStarted():
            return replace(run, seq=seq, step=replace(step, waiting=True, until=entry.until), status=RunStatus.WAITING)
        case ChildrenStarted():
            under_way = {**step.open, **{child.run_id: child.place for child in entry.children}}
            items = step.items if entry.items is None else entry.items
            begun = replace(step, open=under_way, started=step.started + len(entry.children), total=entry.total, items=items)
            return replace(run, seq=seq, step=begun, status=RunStatus.WAITING)
        case ChildrenJoined():
            gone = {child.run_id for child in entry.children}
            under_way = {run_id: place for run_id, place in step.open.items() if run_id not in gone}
            usage = sum((child.usage for child in entry.children), run.usage)
            back = replace(
                step,
                open=under_way,
                joined=(*step.joined, entry.children),
                lost=step.lost + sum(child.status is not RunStatus.SUCCEEDED for child in entry.children),
                received=step.received + sum(child.size for child in entry.children),
            )
            rehearsal = run.rehearsal or any(child.rehearsal for child in entry.children)
            return replace(
                run, seq=seq, step=back, usage=usage, rehearsal=rehearsal, labels=_read(run, *(child.labels for child in entry.children))
            )
        case ChildrenStopped():
            return replace(run, seq=seq, step=replace(step, stopped=entry.failure))


def _read(run: Run, *more: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*run.labels, *(label for labels in more for label in labels)))) if any(more) else run.labels


def _seen(run: Run, letter_id: str) -> tuple[str, ...]:
    return (*run.seen, letter_id)[-_SEEN_MOST:]


def _without(counts: Mapping[str, Value], node: str) -> Mapping[str, Value]:
    return {name: count for name, count in counts.items() if name != node} if node in counts else counts


def _withdrawn(approval: Approval, at: datetime) -> Approval:
    return (
        dataclasses.replace(approval, status=ApprovalStatus.WITHDRAWN, decided_at=at)
        if approval.status is ApprovalStatus.PENDING
        else approval
    )


def _step(run: Run, node: str) -> Step:
    if run.step is None or run.step.node != node:
        raise JournalBroken(f"{run.run_id}: node {node} is not under way")
    return run.step
