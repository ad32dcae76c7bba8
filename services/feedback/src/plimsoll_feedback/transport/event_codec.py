"""The other services' events: from the wire to the domain. Whatever is not what it should be is refused, never guessed."""

import math
from typing import Final

from google.protobuf.unknown_fields import UnknownFieldSet
from plimsoll.common.v1 import failure_pb2, work_pb2
from plimsoll.memory.v1 import document_pb2, memory_events_pb2
from plimsoll.model_router.v1 import model_events_pb2, model_router_service_pb2
from plimsoll.orchestrator.v1 import run_events_pb2, run_pb2
from plimsoll.tool_dispatcher.v1 import tool_events_pb2
from plimsoll_runtime.errors import Invalid
from plimsoll_runtime.failures import Failure, failure_from_proto
from plimsoll_runtime.json_types import JsonObject, parse_object
from plimsoll_runtime.usage import usage_from_proto
from plimsoll_runtime.work import WorkContext

from plimsoll_feedback.domain.events import (
    ApprovalAsked,
    ApprovalDecided,
    Decision,
    Entry,
    JournalEntry,
    ModelCallCompleted,
    QualityReported,
    Receipt,
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
from plimsoll_feedback.errors import UnreadableEvent
from plimsoll_feedback.transport.event_fields import (
    duration_field,
    finite,
    id_field,
    json_field,
    parsed,
    storable_object,
    text_field,
    time_field,
    unreadable,
)

_RUN_ENDS: Final = {
    run_pb2.RUN_STATUS_SUCCEEDED: RunEnd.SUCCEEDED,
    run_pb2.RUN_STATUS_FAILED: RunEnd.FAILED,
    run_pb2.RUN_STATUS_CANCELLED: RunEnd.CANCELLED,
}
_DECISIONS: Final = {
    run_pb2.APPROVAL_STATUS_APPROVED: Decision.APPROVED,
    run_pb2.APPROVAL_STATUS_REJECTED: Decision.REJECTED,
    run_pb2.APPROVAL_STATUS_EXPIRED: Decision.EXPIRED,
    run_pb2.APPROVAL_STATUS_WITHDRAWN: Decision.WITHDRAWN,
}


def run_advanced(payload: bytes) -> JournalEntry:
    """Decode plimsoll.orchestrator.v1.RunEvent. An entry of a kind that a newer orchestrator writes is Unknown. Raises UnreadableEvent."""
    message = parsed(run_events_pb2.RunEvent(), payload)
    if message.seq < 1:
        raise unreadable("seq", f"is {message.seq}", "journals count from 1")
    return JournalEntry(
        tenant=id_field(message.tenant, "tenant"),
        run_id=id_field(message.run_id, "run_id"),
        seq=message.seq,
        at=time_field(message.time, "time"),
        agent=id_field(message.agent, "agent"),
        agent_version=id_field(message.agent_digest, "agent_digest", needed=False),
        entry=_entry(message),
    )


def model_call_completed(payload: bytes) -> ModelCallCompleted:
    """Decode plimsoll.model_router.v1.ModelCallCompleted. Raises UnreadableEvent."""
    message = parsed(model_events_pb2.ModelCallCompleted(), payload)
    given = math.isfinite(message.confidence) and message.confidence >= 0
    return ModelCallCompleted(
        event_id=id_field(message.event_id, "event_id"),
        tenant=id_field(message.tenant, "tenant"),
        work=_work(message.work),
        call_id=id_field(message.call_id, "call_id", needed=False),
        task=text_field(message.task),
        provider=text_field(message.provider),
        model=text_field(message.model),
        rehearsal=message.rehearsal,
        prompt_name=text_field(message.prompt_name),
        prompt_digest=text_field(message.prompt_digest),
        attempts=message.attempts,
        confidence=message.confidence if given else None,
        usage=usage_from_proto(message.usage),
        started_at=time_field(message.start_time, "start_time"),
        duration_s=duration_field(message.duration, "duration"),
        failure=_failure(message),
        prompt_version=message.prompt_version,
        model_digest=text_field(message.model_digest),
        cached=message.cached,
        unpriced=not message.priced,
        key=text_field(message.key),
        evaluation=message.purpose == model_router_service_pb2.PURPOSE_EVALUATION,
    )


def tool_call_completed(payload: bytes) -> ToolCallCompleted:
    """Decode plimsoll.tool_dispatcher.v1.ToolCallCompleted. Raises UnreadableEvent."""
    message = parsed(tool_events_pb2.ToolCallCompleted(), payload)
    return ToolCallCompleted(
        event_id=id_field(message.event_id, "event_id"),
        tenant=id_field(message.tenant, "tenant"),
        work=_work(message.work),
        call_id=id_field(message.call_id, "call_id", needed=False),
        call_key=text_field(message.call_key),
        tool=text_field(message.tool),
        tool_digest=text_field(message.tool_digest),
        grant_id=text_field(message.grant_id),
        attempts=message.attempts,
        started_at=time_field(message.start_time, "start_time"),
        duration_s=duration_field(message.duration, "duration"),
        failure=_failure(message),
        approved_by=tuple(map(text_field, message.approved_by)),
        degraded_by=text_field(message.degraded_by),
        resolved_by=text_field(message.resolved_by),
    )


def search_completed(payload: bytes) -> SearchCompleted:
    """Decode plimsoll.memory.v1.SearchCompleted. Raises UnreadableEvent."""
    message = parsed(memory_events_pb2.SearchCompleted(), payload)
    return SearchCompleted(
        event_id=id_field(message.event_id, "event_id"),
        tenant=id_field(message.tenant, "tenant"),
        work=_work(message.work),
        collection=text_field(message.collection),
        receipt=_receipt(message.receipt),
        started_at=time_field(message.start_time, "start_time"),
        duration_s=duration_field(message.duration, "duration"),
        failure=_failure(message),
    )


def quality_measured(payload: bytes) -> QualityReported:
    """Decode plimsoll.memory.v1.QualityMeasured. Raises UnreadableEvent."""
    message = parsed(memory_events_pb2.QualityMeasured(), payload)
    window = message.window
    started_at, ended_at = time_field(window.start_time, "window.start_time"), time_field(window.end_time, "window.end_time")
    figures = ("empty", "under_returned", "failed", "degraded", "best_similarity", "best_text_score", "used", "median_duration_s")
    facts: JsonObject = {"searches": window.searches, "reported": window.reported}
    return QualityReported(
        event_id=id_field(message.event_id, "event_id"),
        tenant=id_field(message.tenant, "tenant"),
        collection=text_field(window.collection),
        started_at=started_at,
        duration_s=max(0.0, (ended_at - started_at).total_seconds()),
        facts=facts | {name: finite(getattr(window, name)) for name in figures},
    )


def quality_drifted(payload: bytes) -> QualityReported:
    """Decode plimsoll.memory.v1.QualityDrifted. Raises UnreadableEvent."""
    message = parsed(memory_events_pb2.QualityDrifted(), payload)
    drift = message.drift
    return QualityReported(
        event_id=id_field(message.event_id, "event_id"),
        tenant=id_field(message.tenant, "tenant"),
        collection=text_field(drift.collection),
        started_at=time_field(drift.start_time, "drift.start_time"),
        duration_s=0.0,
        facts={
            "drift": text_field(drift.signal),
            "baseline": finite(drift.baseline),
            "value": finite(drift.value),
            "sigmas": finite(drift.sigmas),
            "searches": drift.searches,
            "over": message.over,
        },
    )


def _entry(message: run_events_pb2.RunEvent) -> Entry:
    match message.WhichOneof("event"):
        case "run_started":
            return _run_started(message.run_started)
        case "approval_asked" if message.approval_asked.approval.approval_id:
            return _approval_asked(message.approval_asked.approval)
        case "step_finished":
            return _step_finished(message.step_finished)
        case "step_failed":
            return _step_failed(message.step_failed)
        case "approval_decided":
            return _approval_decided(message.approval_decided)
        case "run_finished":
            return _run_finished(message.run_finished)
        case None if not len(UnknownFieldSet(message)):
            raise unreadable("event", "is absent", "every journal entry tells something")
        case None:
            return Unknown()
        case _:
            return Unremarkable()


def _step_finished(step: run_events_pb2.StepFinished) -> StepFinished:
    try:
        # Not wire's reader, which refuses what no store takes: an event that happened is mended and kept.
        facts = parse_object(step.facts.text, field="step_finished.facts") if step.facts.text else {}
    except Invalid as error:
        raise UnreadableEvent(problems=error.problems) from error
    return StepFinished(
        node=id_field(step.node, "step_finished.node"),
        node_kind=text_field(step.kind),
        next=text_field(step.next),
        duration_s=duration_field(step.duration, "step_finished.duration"),
        usage=usage_from_proto(step.usage),
        facts=storable_object(facts),
    )


def _step_failed(step: run_events_pb2.StepFailed) -> StepFailed:
    failure = _failure(step)
    if failure is None:
        raise unreadable("step_failed.failure", "is absent", "a failed step says how it failed")
    return StepFailed(
        node=id_field(step.node, "step_failed.node"),
        node_kind=text_field(step.kind),
        next=text_field(step.next),
        attempt=step.attempt,
        retried=step.retried,
        failure=failure,
        duration_s=duration_field(step.duration, "step_failed.duration"),
        usage=usage_from_proto(step.usage),
    )


def _approval_decided(approval: run_events_pb2.ApprovalDecided) -> ApprovalDecided:
    if (decision := _DECISIONS.get(approval.status)) is None:
        raise unreadable("approval_decided.status", f"is {approval.status}", "use one of the final states of an approval")
    return ApprovalDecided(
        approval_id=id_field(approval.approval_id, "approval_decided.approval_id"),
        node=id_field(approval.node, "approval_decided.node", needed=False),
        decision=decision,
        decided_by=text_field(approval.decided_by),
        next=text_field(approval.next),
        duration_s=duration_field(approval.duration, "approval_decided.duration"),
        comment=text_field(approval.comment),
        approved_by=tuple(map(text_field, approval.approved_by)),
        arguments=json_field(approval.arguments, "approval_decided.arguments"),
    )


def _run_started(run: run_events_pb2.RunStarted) -> RunStarted:
    return RunStarted(
        thread_id=id_field(run.options.thread_id, "run_started.options.thread_id", needed=False),
        parent_run_id=id_field(run.origin.parent_run_id, "run_started.origin.parent_run_id", needed=False),
    )


def _approval_asked(approval: run_pb2.Approval) -> ApprovalAsked:
    context: JsonObject = {
        "summary": text_field(approval.summary),
        "details": json_field(approval.details, "approval_asked.approval.details"),
    }
    if approval.HasField("proposal"):
        proposal = approval.proposal
        context |= {
            "tool": text_field(proposal.tool),
            "tool_digest": text_field(proposal.tool_digest),
            "call_digest": text_field(proposal.call_digest),
            "arguments": json_field(proposal.effective_arguments, "approval_asked.approval.proposal.effective_arguments"),
        }
    return ApprovalAsked(
        approval_id=id_field(approval.approval_id, "approval_asked.approval.approval_id"),
        node=id_field(approval.node, "approval_asked.approval.node", needed=False),
        context=context,
    )


def _run_finished(run: run_events_pb2.RunFinished) -> RunFinished:
    if (end := _RUN_ENDS.get(run.status)) is None:
        raise unreadable("run_finished.status", f"is {run.status}", "use one of the final states of a run")
    return RunFinished(
        end=end,
        failure=_failure(run),
        usage=usage_from_proto(run.usage),
        steps=run.steps,
        duration_s=duration_field(run.duration, "run_finished.duration"),
    )


def _receipt(message: document_pb2.Receipt) -> Receipt:
    return Receipt(
        search_id=text_field(message.search_id),
        requested=message.requested,
        returned=message.returned,
        text_candidates=message.text_candidates,
        vector_candidates=message.vector_candidates,
        exact=message.exact,
        embedder=text_field(message.embedder),
        best_score=message.best_score if math.isfinite(message.best_score) else 0.0,
        skipped=tuple(map(text_field, message.skipped)),
    )


def _work(message: work_pb2.WorkContext) -> WorkContext:
    return WorkContext(
        run_id=id_field(message.run_id, "work.run_id", needed=False),
        step=message.step,
        node=id_field(message.node, "work.node", needed=False),
        agent=id_field(message.agent, "work.agent", needed=False),
        agent_version=id_field(message.agent_version, "work.agent_version", needed=False),
        epoch=message.epoch,
    )


def _failure(
    message: run_events_pb2.StepFailed
    | run_events_pb2.RunFinished
    | model_events_pb2.ModelCallCompleted
    | tool_events_pb2.ToolCallCompleted
    | memory_events_pb2.SearchCompleted,
) -> Failure | None:
    if not message.HasField("failure"):
        return None
    stated: failure_pb2.Failure = message.failure
    failure = failure_from_proto(stated)
    return Failure(
        category=failure.category,
        reason=text_field(failure.reason),
        message=text_field(failure.message),
        retryable=failure.retryable,
        retry_after_s=failure.retry_after_s,
        where=text_field(failure.where),
    )
