"""From events to what is stored: which operation an event is, and which run it shows to exist."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from plimsoll_runtime.json_types import JsonObject, JsonValue, dump_json
from plimsoll_runtime.usage import Usage

from plimsoll_feedback.domain.events import (
    ApprovalAsked,
    ApprovalDecided,
    Decision,
    Event,
    JournalEntry,
    ModelCallCompleted,
    QualityReported,
    RunEnd,
    RunFinished,
    RunStarted,
    SearchCompleted,
    StepFailed,
    StepFinished,
    ToolCallCompleted,
    Unknown,
    Unremarkable,
)
from plimsoll_feedback.domain.labels import Label, label_decision, label_run_end, label_search, label_stated
from plimsoll_feedback.domain.operation import Operation, OperationId, OperationKind, Run, RunId
from plimsoll_feedback.domain.signal import Decided, Proposal, Signal, SignalId

EVALUATION = "evaluation"
"""What facts of a model call say of its purpose when it judged a version; of production they say nothing."""

FACTS_CAP_CHARACTERS = 16_384
PROPOSAL_CAP_CHARACTERS = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What one event tells: at most one operation, the run when the event comes from its journal, and what people were asked and said."""

    operation: Operation | None
    run: Run | None
    proposal: Proposal | None = None
    signal: Signal | None = None


def observe(event: Event) -> Observation:
    """The same event always gives the same observation, whenever and however often it arrives."""
    match event:
        case JournalEntry():
            return Observation(operation=_of_journal(event), run=_run(event), proposal=_proposal(event), signal=_decision(event))
        case ModelCallCompleted():
            return Observation(operation=_of_model_call(event), run=None)
        case ToolCallCompleted():
            return Observation(operation=_of_tool_call(event), run=None)
        case SearchCompleted():
            return Observation(operation=_of_search(event), run=None)
        case QualityReported():
            return Observation(operation=_of_quality(event), run=None)
        case _:
            assert_never(event)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """What the operation of a journal entry has beyond the entry's own coordinates."""

    kind: OperationKind
    node: str
    name: str
    duration_s: float
    label: Label | None
    usage: Usage
    facts: JsonObject


def _of_journal(event: JournalEntry) -> Operation | None:
    outcome = _outcome(event)
    if outcome is None:
        return None
    return Operation(
        id=OperationId(f"{event.run_id}.{event.seq}"),
        tenant=event.tenant,
        kind=outcome.kind,
        run_id=RunId(event.run_id),
        step=event.seq,
        agent=event.agent,
        agent_version=event.agent_version,
        node=outcome.node,
        name=outcome.name,
        started_at=_start(event.at, outcome.duration_s),
        duration_s=outcome.duration_s,
        failure=outcome.label.failure if outcome.label else None,
        evidence=outcome.label.evidence if outcome.label else "",
        usage=outcome.usage,
        facts=_capped(outcome.facts),
    )


def _outcome(event: JournalEntry) -> _Outcome | None:
    match event.entry:
        case RunStarted() | ApprovalAsked() | Unremarkable() | Unknown():
            return None
        case StepFinished() as step:
            return _Outcome(
                kind=OperationKind.TRANSITION,
                node=step.node,
                name=step.node,
                duration_s=step.duration_s,
                label=None,
                usage=step.usage,
                facts=step.facts | {"node_kind": step.node_kind, "next": step.next},
            )
        case StepFailed() as step:
            return _Outcome(
                kind=OperationKind.TRANSITION,
                node=step.node,
                name=step.node,
                duration_s=step.duration_s,
                label=label_stated(step.failure),
                usage=step.usage,
                facts={"node_kind": step.node_kind, "next": step.next, "attempt": step.attempt, "retried": step.retried},
            )
        case ApprovalDecided() as approval:
            return _Outcome(
                kind=OperationKind.APPROVAL,
                node=approval.node,
                name=approval.approval_id,
                duration_s=approval.duration_s,
                label=label_decision(approval.decision, approval.node),
                usage=Usage(),
                facts={"decision": approval.decision.value, "decided_by": approval.decided_by, "next": approval.next},
            )
        case RunFinished() as run:
            return _Outcome(
                kind=OperationKind.RUN,
                node="",
                name=event.agent,
                duration_s=run.duration_s,
                label=label_run_end(run.end, run.failure),
                usage=run.usage,
                facts=_facts_of_run(run),
            )
        case _:
            assert_never(event.entry)


def _run(event: JournalEntry) -> Run:
    started = event.entry if isinstance(event.entry, RunStarted) else RunStarted()
    return Run(
        id=RunId(event.run_id),
        tenant=event.tenant,
        agent=event.agent,
        agent_version=event.agent_version,
        started_at=event.at,
        thread_id=started.thread_id,
        parent_run_id=started.parent_run_id,
    )


def _proposal(event: JournalEntry) -> Proposal | None:
    if not isinstance(event.entry, ApprovalAsked):
        return None
    asked = event.entry
    context = _capped(asked.context, PROPOSAL_CAP_CHARACTERS)
    return Proposal(tenant=event.tenant, run_id=RunId(event.run_id), approval_id=asked.approval_id, context=context, asked_at=event.at)


def _decision(event: JournalEntry) -> Signal | None:
    """What people decided is a signal by itself; silence and withdrawal say nothing about the answer."""
    decided = event.entry
    if not isinstance(decided, ApprovalDecided) or decided.decision not in {Decision.APPROVED, Decision.REJECTED}:
        return None
    people = decided.approved_by or ((decided.decided_by,) if decided.decided_by else ())
    value = Decided(
        approved=decided.decision is Decision.APPROVED,
        approval_id=decided.approval_id,
        node=decided.node,
        decided_by=people,
        arguments=decided.arguments,
    )
    return Signal(
        id=SignalId(f"sig_{event.run_id}.{event.seq}"),
        tenant=event.tenant,
        run_id=RunId(event.run_id),
        operation_id=OperationId(f"{event.run_id}.{event.seq}"),
        value=value,
        comment=decided.comment,
        source=people[-1] if people else "people",
        created_at=event.at,
    )


def _facts_of_run(run: RunFinished) -> JsonObject:
    facts: JsonObject = {"status": run.end.value, "steps": run.steps}
    return facts | {"reason": run.failure.reason} if run.end is RunEnd.CANCELLED and run.failure else facts


def _of_model_call(event: ModelCallCompleted) -> Operation:
    facts: JsonObject = {
        "call_id": event.call_id,
        "task": event.task,
        "provider": event.provider,
        "rehearsal": event.rehearsal,
        "attempts": event.attempts,
        "prompt": event.prompt_name,
        "prompt_digest": event.prompt_digest,
        "confidence": event.confidence,
        "prompt_version": event.prompt_version or None,
        "model_digest": event.model_digest,
        "cached": event.cached or None,
        "unpriced": event.unpriced or None,
        "key": event.key,
        "purpose": EVALUATION if event.evaluation else None,
    }
    return _of_call(event, OperationKind.MODEL_CALL, name=event.model, label=label_stated(event.failure), usage=event.usage, facts=facts)


def _of_tool_call(event: ToolCallCompleted) -> Operation:
    facts: JsonObject = {
        "call_id": event.call_id,
        "call_key": event.call_key,
        "tool_digest": event.tool_digest,
        "attempts": event.attempts,
        "grant_id": event.grant_id,
        "approved_by": [*event.approved_by],
        "degraded_by": event.degraded_by,
        "resolved_by": event.resolved_by,
    }
    return _of_call(event, OperationKind.TOOL_CALL, name=event.tool, label=label_stated(event.failure), usage=Usage(), facts=facts)


def _of_search(event: SearchCompleted) -> Operation:
    receipt = event.receipt
    facts: JsonObject = {
        "search_id": receipt.search_id,
        "requested": receipt.requested,
        "returned": receipt.returned,
        "text_candidates": receipt.text_candidates,
        "vector_candidates": receipt.vector_candidates,
        "exact": receipt.exact,
        "embedder": receipt.embedder,
        "best_score": receipt.best_score,
        "skipped": list(receipt.skipped),
    }
    label = label_search(event.failure, receipt, event.collection)
    return _of_call(event, OperationKind.RETRIEVAL, name=event.collection, label=label, usage=Usage(), facts=facts)


def _of_quality(event: QualityReported) -> Operation:
    return Operation(
        id=OperationId(event.event_id),
        tenant=event.tenant,
        kind=OperationKind.QUALITY,
        run_id=RunId(""),
        step=0,
        agent="",
        agent_version="",
        node="",
        name=event.collection,
        started_at=event.started_at,
        duration_s=event.duration_s,
        facts=_capped(event.facts),
    )


def _of_call(
    event: ModelCallCompleted | ToolCallCompleted | SearchCompleted,
    kind: OperationKind,
    *,
    name: str,
    label: Label | None,
    usage: Usage,
    facts: JsonObject,
) -> Operation:
    work = event.work
    return Operation(
        id=OperationId(event.event_id),
        tenant=event.tenant,
        kind=kind,
        run_id=RunId(work.run_id),
        step=work.step,
        agent=work.agent,
        agent_version=work.agent_version,
        node=work.node,
        name=name,
        started_at=event.started_at,
        duration_s=event.duration_s,
        failure=label.failure if label else None,
        evidence=label.evidence if label else "",
        usage=usage,
        facts=_capped({key: value for key, value in facts.items() if not _says_nothing(value)}),
    )


def _start(end: datetime, duration_s: float) -> datetime:
    return end - timedelta(seconds=duration_s)


def _says_nothing(value: JsonValue) -> bool:
    return value is None or value in ("", [])


def _capped(facts: JsonObject, cap: int = FACTS_CAP_CHARACTERS) -> JsonObject:
    """Facts are figures: whoever puts a document there is not helped by storing it in every list."""
    size = len(dump_json(facts))
    return facts if size <= cap else {"omitted_characters": size}
