"""The other services' events: from the wire to the domain. Whatever is not what it should be is refused, never guessed."""

import math
from datetime import datetime
from typing import Final, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.unknown_fields import UnknownFieldSet
from plimsoll.common.v1 import failure_pb2, work_pb2
from plimsoll.memory.v1 import document_pb2, memory_events_pb2
from plimsoll.model_router.v1 import model_events_pb2
from plimsoll.orchestrator.v1 import run_events_pb2, run_pb2
from plimsoll.tool_dispatcher.v1 import tool_events_pb2
from plimsoll_runtime.errors import FieldProblem, Invalid
from plimsoll_runtime.failures import Failure, failure_from_proto
from plimsoll_runtime.json_types import JsonObject, JsonValue, parse_object
from plimsoll_runtime.usage import usage_from_proto
from plimsoll_runtime.wire import duration_from_proto, timestamp_from_proto
from plimsoll_runtime.work import WorkContext

from plimsoll_feedback.domain.events import (
    ApprovalDecided,
    Decision,
    Entry,
    JournalEntry,
    ModelCallCompleted,
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

ID_CAP_CHARACTERS: Final = 200
TEXT_CAP_CHARACTERS: Final = 2_000
_DURATION_CAP_S: Final = 10 * 366 * 86_400.0

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

M = TypeVar("M", bound=Message)


def run_advanced(payload: bytes) -> JournalEntry:
    """Decode plimsoll.orchestrator.v1.RunEvent. An entry of a kind that a newer orchestrator writes is Unknown. Raises UnreadableEvent."""
    message = _parse(run_events_pb2.RunEvent(), payload)
    if message.seq < 1:
        raise _unreadable("seq", f"is {message.seq}", "journals count from 1")
    return JournalEntry(
        tenant=_id(message.tenant, "tenant"),
        run_id=_id(message.run_id, "run_id"),
        seq=message.seq,
        at=_time(message.time, "time"),
        agent=_id(message.agent, "agent"),
        agent_version=_id(message.agent_digest, "agent_digest", needed=False),
        entry=_entry(message),
    )


def model_call_completed(payload: bytes) -> ModelCallCompleted:
    """Decode plimsoll.model_router.v1.ModelCallCompleted. Raises UnreadableEvent."""
    message = _parse(model_events_pb2.ModelCallCompleted(), payload)
    given = math.isfinite(message.confidence) and message.confidence >= 0
    return ModelCallCompleted(
        event_id=_id(message.event_id, "event_id"),
        tenant=_id(message.tenant, "tenant"),
        work=_work(message.work),
        call_id=_id(message.call_id, "call_id", needed=False),
        task=_text(message.task),
        provider=_text(message.provider),
        model=_text(message.model),
        rehearsal=message.rehearsal,
        prompt_name=_text(message.prompt_name),
        prompt_digest=_text(message.prompt_digest),
        attempts=message.attempts,
        confidence=message.confidence if given else None,
        usage=usage_from_proto(message.usage),
        started_at=_time(message.start_time, "start_time"),
        duration_s=_duration(message.duration, "duration"),
        failure=_failure(message),
    )


def tool_call_completed(payload: bytes) -> ToolCallCompleted:
    """Decode plimsoll.tool_dispatcher.v1.ToolCallCompleted. Raises UnreadableEvent."""
    message = _parse(tool_events_pb2.ToolCallCompleted(), payload)
    return ToolCallCompleted(
        event_id=_id(message.event_id, "event_id"),
        tenant=_id(message.tenant, "tenant"),
        work=_work(message.work),
        call_id=_id(message.call_id, "call_id", needed=False),
        call_key=_text(message.call_key),
        tool=_text(message.tool),
        tool_digest=_text(message.tool_digest),
        grant_id=_text(message.grant_id),
        attempts=message.attempts,
        started_at=_time(message.start_time, "start_time"),
        duration_s=_duration(message.duration, "duration"),
        failure=_failure(message),
    )


def search_completed(payload: bytes) -> SearchCompleted:
    """Decode plimsoll.memory.v1.SearchCompleted. Raises UnreadableEvent."""
    message = _parse(memory_events_pb2.SearchCompleted(), payload)
    return SearchCompleted(
        event_id=_id(message.event_id, "event_id"),
        tenant=_id(message.tenant, "tenant"),
        work=_work(message.work),
        collection=_text(message.collection),
        receipt=_receipt(message.receipt),
        started_at=_time(message.start_time, "start_time"),
        duration_s=_duration(message.duration, "duration"),
        failure=_failure(message),
    )


def _entry(message: run_events_pb2.RunEvent) -> Entry:
    match message.WhichOneof("event"):
        case "run_started":
            return RunStarted()
        case "step_finished":
            return _step_finished(message.step_finished)
        case "step_failed":
            return _step_failed(message.step_failed)
        case "approval_decided":
            return _approval_decided(message.approval_decided)
        case "run_finished":
            return _run_finished(message.run_finished)
        case None if not len(UnknownFieldSet(message)):
            raise _unreadable("event", "is absent", "every journal entry tells something")
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
        node=_id(step.node, "step_finished.node"),
        node_kind=_text(step.kind),
        next=_text(step.next),
        duration_s=_duration(step.duration, "step_finished.duration"),
        usage=usage_from_proto(step.usage),
        facts=_storable_object(facts),
    )


def _step_failed(step: run_events_pb2.StepFailed) -> StepFailed:
    failure = _failure(step)
    if failure is None:
        raise _unreadable("step_failed.failure", "is absent", "a failed step says how it failed")
    return StepFailed(
        node=_id(step.node, "step_failed.node"),
        node_kind=_text(step.kind),
        next=_text(step.next),
        attempt=step.attempt,
        retried=step.retried,
        failure=failure,
        duration_s=_duration(step.duration, "step_failed.duration"),
        usage=usage_from_proto(step.usage),
    )


def _approval_decided(approval: run_events_pb2.ApprovalDecided) -> ApprovalDecided:
    if (decision := _DECISIONS.get(approval.status)) is None:
        raise _unreadable("approval_decided.status", f"is {approval.status}", "use one of the final states of an approval")
    return ApprovalDecided(
        approval_id=_id(approval.approval_id, "approval_decided.approval_id"),
        node=_id(approval.node, "approval_decided.node", needed=False),
        decision=decision,
        decided_by=_text(approval.decided_by),
        next=_text(approval.next),
        duration_s=_duration(approval.duration, "approval_decided.duration"),
    )


def _run_finished(run: run_events_pb2.RunFinished) -> RunFinished:
    if (end := _RUN_ENDS.get(run.status)) is None:
        raise _unreadable("run_finished.status", f"is {run.status}", "use one of the final states of a run")
    return RunFinished(
        end=end,
        failure=_failure(run),
        usage=usage_from_proto(run.usage),
        steps=run.steps,
        duration_s=_duration(run.duration, "run_finished.duration"),
    )


def _receipt(message: document_pb2.Receipt) -> Receipt:
    return Receipt(
        search_id=_text(message.search_id),
        requested=message.requested,
        returned=message.returned,
        text_candidates=message.text_candidates,
        vector_candidates=message.vector_candidates,
        exact=message.exact,
        embedder=_text(message.embedder),
        best_score=message.best_score if math.isfinite(message.best_score) else 0.0,
        skipped=tuple(map(_text, message.skipped)),
    )


def _work(message: work_pb2.WorkContext) -> WorkContext:
    return WorkContext(
        run_id=_id(message.run_id, "work.run_id", needed=False),
        step=message.step,
        node=_id(message.node, "work.node", needed=False),
        agent=_id(message.agent, "work.agent", needed=False),
        agent_version=_id(message.agent_version, "work.agent_version", needed=False),
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
        reason=_text(failure.reason),
        message=_text(failure.message),
        retryable=failure.retryable,
        retry_after_s=failure.retry_after_s,
        where=_text(failure.where),
    )


def _parse(message: M, payload: bytes) -> M:
    try:
        message.ParseFromString(payload)
    except DecodeError as error:
        raise UnreadableEvent(f"not a {message.DESCRIPTOR.full_name}: {len(payload)} bytes that cannot be decoded") from error
    return message


def _time(stamp: Timestamp, field: str) -> datetime:
    if not stamp.seconds and not stamp.nanos:
        raise _unreadable(field, "is absent", "an event says when it happened")
    try:
        return timestamp_from_proto(stamp)
    except OverflowError as error:
        raise _unreadable(field, f"is {stamp.seconds} s after 1970", "use a time within the years 1 to 9999") from error


def _duration(message: Duration, field: str) -> float:
    """Clocks of two machines can make a duration negative by a little; then nothing is known but that it was short."""
    seconds = duration_from_proto(message)
    if abs(seconds) > _DURATION_CAP_S:
        raise _unreadable(field, f"is {seconds:g} s", "use at most ten years")
    return max(0.0, seconds)


def _id(text: str, field: str, *, needed: bool = True) -> str:
    if needed and not text:
        raise _unreadable(field, "is empty", "every event names it")
    if len(text) > ID_CAP_CHARACTERS or "\x00" in text:
        raise _unreadable(field, f"has {len(text)} characters or a NUL in it", f"use at most {ID_CAP_CHARACTERS}, none of them NUL")
    return text


def _text(text: str) -> str:
    """Text for people: what Postgres cannot hold is replaced, what is too long is cut, both visibly."""
    storable = text.replace("\x00", "\ufffd")
    return storable if len(storable) <= TEXT_CAP_CHARACTERS else storable[: TEXT_CAP_CHARACTERS - 1] + "…"


def _storable_object(value: JsonObject) -> JsonObject:
    return {key.replace("\x00", "\ufffd"): _storable(inner) for key, inner in value.items()}


def _storable(value: JsonValue) -> JsonValue:
    match value:
        case str():
            return value.replace("\x00", "\ufffd")
        case list():
            return [_storable(inner) for inner in value]
        case dict():
            return _storable_object(value)
        case _:
            return value


def _unreadable(field: str, problem: str, remedy: str) -> UnreadableEvent:
    return UnreadableEvent(problems=(FieldProblem(field, problem, remedy),))
