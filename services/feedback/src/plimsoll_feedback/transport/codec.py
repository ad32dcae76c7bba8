"""Requests and answers: proto ↔ domain."""

import base64
import binascii
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Final, assert_never

import orjson
from google.protobuf.timestamp_pb2 import Timestamp
from plimsoll.common.v1 import failure_pb2, json_pb2
from plimsoll.feedback.v1 import feedback_events_pb2, feedback_service_pb2, operation_pb2, signal_pb2
from plimsoll_runtime.errors import FieldProblem, Invalid, PlimsollError
from plimsoll_runtime.failures import Category, failure_to_proto
from plimsoll_runtime.outbox import OutboxEvent
from plimsoll_runtime.usage import usage_to_proto
from plimsoll_runtime.wire import duration_to_proto, json_from_proto, json_to_proto, timestamp_from_proto, timestamp_to_proto

from plimsoll_feedback.domain.operation import FailureCount, Operation, OperationFilter, OperationId, OperationKind, RunId
from plimsoll_feedback.domain.paging import DEFAULT_PAGE_SIZE, PageRequest, Position
from plimsoll_feedback.domain.signal import (
    Decided,
    Demonstrated,
    Ended,
    Judged,
    Relabelled,
    Remarked,
    Scored,
    Signal,
    SignalDraft,
    SignalEntry,
    SignalValue,
    Verdict,
)
from plimsoll_feedback.errors import InvalidQuery, InvalidSignal

SIGNAL_RECORDED: Final = "plimsoll.v1.feedback.signal.recorded"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_VERDICTS_TO_PROTO: Final[dict[Verdict, signal_pb2.Verdict.ValueType]] = {
    Verdict.GOOD: signal_pb2.VERDICT_GOOD,
    Verdict.BAD: signal_pb2.VERDICT_BAD,
}
CATEGORIES_TO_PROTO: Final = {category: failure_pb2.FailureCategory.Value(f"FAILURE_CATEGORY_{category.name}") for category in Category}
_KINDS_TO_PROTO: Final = {kind: operation_pb2.OperationKind.Value(f"OPERATION_KIND_{kind.name}") for kind in OperationKind}
_VERDICTS: Final[dict[int, Verdict]] = {number: verdict for verdict, number in _VERDICTS_TO_PROTO.items()}
CATEGORIES: Final[dict[int, Category]] = {number: category for category, number in CATEGORIES_TO_PROTO.items()}
_KINDS: Final[dict[int, OperationKind]] = {number: kind for kind, number in _KINDS_TO_PROTO.items()}


def filter_from_proto(request: feedback_service_pb2.ListOperationsRequest) -> OperationFilter:
    """Raises InvalidQuery for a kind or a category that does not exist."""
    if request.kind and request.kind not in _KINDS:
        raise InvalidQuery(problems=(FieldProblem("kind", f"is {request.kind}, which is no kind of operation", "use a known kind"),))
    if request.category and request.category not in CATEGORIES:
        raise InvalidQuery(problems=(FieldProblem("category", f"is {request.category}, which is no category", "use a known category"),))
    return OperationFilter(
        run_id=RunId(query_text(request.run_id, "run_id")) if request.run_id else None,
        agent=query_text(request.agent, "agent") or None,
        kind=_KINDS.get(request.kind),
        category=CATEGORIES.get(request.category),
        failed_only=request.failed_only,
        agent_version=query_text(request.agent_version, "agent_version") or None,
        name=query_text(request.name, "name") or None,
        prompt_digest=query_text(request.prompt_digest, "prompt_digest") or None,
        after=time_from_proto(request, "after_time"),
        before=time_from_proto(request, "before_time"),
    )


def run_id_from_proto(text: str) -> RunId:
    """Raises InvalidQuery when no id can look like that."""
    return RunId(query_text(text, "run_id"))


def agent_from_proto(text: str) -> str | None:
    """None when every agent is meant."""
    return query_text(text, "agent") or None


def time_from_proto(
    message: feedback_service_pb2.CountFailuresRequest | feedback_service_pb2.ListOperationsRequest, field: str
) -> datetime | None:
    """None when the field is absent. Raises InvalidQuery for a time that no calendar has."""
    if not message.HasField("after_time" if field == "after_time" else "before_time"):
        return None
    stamp: Timestamp = getattr(message, field)
    try:
        return timestamp_from_proto(stamp)
    except OverflowError as error:
        problem = FieldProblem(field, f"is {stamp.seconds} s after 1970", "use a time within the years 1 to 9999")
        raise InvalidQuery(problems=(problem,)) from error


def page_from_proto(size: int, token: str, query: str) -> PageRequest:
    """`query` is what else the request asks: a token continues that list and no other. Raises InvalidQuery."""
    after = _position_from_token(token, query) if token else None
    return PageRequest(size=size or DEFAULT_PAGE_SIZE, after=after)


def token_of(position: Position | None, query: str) -> str:
    """The text that continues a list; empty at its end."""
    if position is None:
        return ""
    microseconds = (position.at - _EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(orjson.dumps([microseconds, position.id, _digest(query)])).decode()


def operation_to_proto(operation: Operation) -> operation_pb2.Operation:
    """All but the tenant, which the caller knows."""
    message = operation_pb2.Operation(
        operation_id=operation.id,
        kind=_KINDS_TO_PROTO[operation.kind],
        run_id=operation.run_id,
        agent=operation.agent,
        agent_version=operation.agent_version,
        node=operation.node,
        name=operation.name,
        start_time=timestamp_to_proto(operation.started_at),
        duration=duration_to_proto(operation.duration_s),
        usage=usage_to_proto(operation.usage),
        facts=json_to_proto(operation.facts),
        evidence=operation.evidence,
        step=operation.step,
    )
    if operation.failure is not None:
        message.failure.CopyFrom(failure_to_proto(operation.failure))
    return message


def count_to_proto(count: FailureCount) -> operation_pb2.FailureCount:
    """How often a category occurred."""
    return operation_pb2.FailureCount(
        category=CATEGORIES_TO_PROTO[count.category],
        count=count.count,
        reasons=count.reasons,
        last_time=timestamp_to_proto(count.last_at),
    )


def draft_from_proto(message: signal_pb2.Signal, asked_by: str) -> SignalDraft:
    """`asked_by` is who records it, and the source when the signal names none. Raises InvalidSignal for a value that is absent or unknown."""
    return SignalDraft(
        run_id=RunId(message.run_id),
        operation_id=OperationId(message.operation_id) if message.operation_id else None,
        value=_value_from_proto(message),
        comment=message.comment,
        source=message.source or asked_by,
        tag=message.tag,
        recorded_by=asked_by,
    )


def entry_or_refusal(message: feedback_service_pb2.SignalEntry, asked_by: str) -> SignalEntry | InvalidSignal:
    """One of many: what cannot be read does not hold up the others."""
    try:
        return SignalEntry(draft=draft_from_proto(message.signal, asked_by), idempotency_key=message.idempotency_key)
    except InvalidSignal as refusal:
        return refusal


def signal_to_proto(signal: Signal) -> signal_pb2.Signal:
    """All but the tenant, which the caller knows."""
    message = signal_pb2.Signal(
        signal_id=signal.id,
        run_id=signal.run_id,
        operation_id=signal.operation_id or "",
        comment=signal.comment,
        source=signal.source,
        create_time=timestamp_to_proto(signal.created_at),
        recorded_by=signal.recorded_by,
    )
    match signal.value:
        case Judged(verdict=verdict):
            message.verdict = _VERDICTS_TO_PROTO[verdict]
        case Scored(score=score):
            message.score = score
        case Relabelled(category=category):
            message.category = CATEGORIES_TO_PROTO[category]
        case Demonstrated(answer=answer):
            message.demonstration.CopyFrom(json_to_proto(answer))
        case Ended(succeeded=succeeded):
            message.outcome = succeeded
        case Remarked():
            message.remark = True
        case Decided():
            message.approval.CopyFrom(_decided_to_proto(signal.value))
        case _:
            assert_never(signal.value)
    return message


def _decided_to_proto(decided: Decided) -> signal_pb2.ApprovalSignal:
    message = signal_pb2.ApprovalSignal(
        approved=decided.approved, approval_id=decided.approval_id, node=decided.node, decided_by=decided.decided_by
    )
    if decided.proposal is not None:
        message.proposal.CopyFrom(json_to_proto(decided.proposal))
    if decided.arguments is not None:
        message.arguments.CopyFrom(json_to_proto(decided.arguments))
    return message


def result_to_proto(result: Signal | PlimsollError) -> signal_pb2.SignalResult:
    """One of many: the signal, or why it was not recorded."""
    if isinstance(result, Signal):
        return signal_pb2.SignalResult(signal=signal_to_proto(result))
    told = f"{result.message}: {result.remedy}" if result.remedy else result.message
    return signal_pb2.SignalResult(refusal=signal_pb2.SignalRefusal(reason=result.reason, message=told))


def signal_recorded(signal: Signal) -> OutboxEvent:
    """The event that tells others of a signal; the signal's id identifies it."""
    event = feedback_events_pb2.SignalRecorded(event_id=signal.id, tenant=signal.tenant, signal=signal_to_proto(signal))
    return OutboxEvent(event_id=signal.id, subject=SIGNAL_RECORDED, tenant=signal.tenant, payload=event.SerializeToString())


def _value_from_proto(message: signal_pb2.Signal) -> SignalValue:
    match message.WhichOneof("value"):
        case "verdict":
            return _judged(message.verdict)
        case "score":
            return Scored(score=message.score)
        case "category":
            return _relabelled(message.category)
        case "demonstration":
            return _demonstrated(message.demonstration)
        case "outcome":
            return Ended(succeeded=message.outcome)
        case "remark":
            return _remarked(given=message.remark)
        case "approval":
            raise _invalid("approval", "comes from the journal only", "decide the approval itself")
        case _:
            raise _invalid("value", "is absent", "give one of verdict, score, category, demonstration, outcome or remark")


def _judged(number: int) -> Judged:
    if number not in _VERDICTS:
        raise _invalid("verdict", f"is {number}, which is no verdict", "use good or bad")
    return Judged(verdict=_VERDICTS[number])


def _relabelled(number: int) -> Relabelled:
    if number not in CATEGORIES:
        raise _invalid("category", f"is {number}, which is no category", "use a category of the taxonomy")
    return Relabelled(category=CATEGORIES[number])


def _demonstrated(message: json_pb2.JsonValue) -> Demonstrated:
    if not message.text:
        raise _invalid("demonstration", "is empty", "send the answer that would have been right, as JSON")
    try:
        return Demonstrated(answer=json_from_proto(message, "demonstration"))
    except Invalid as error:
        raise InvalidSignal(problems=error.problems) from error


def _remarked(*, given: bool) -> Remarked:
    if not given:
        raise _invalid("remark", "is false", "set it to true, or give a value")
    return Remarked()


def _position_from_token(token: str, query: str) -> Position:
    try:
        match orjson.loads(base64.b64decode(token.encode(), altchars=b"-_", validate=True)):
            case [int(microseconds), str(row_id), str(digest)] if digest == _digest(query) and "\x00" not in row_id:
                return Position(at=_EPOCH + timedelta(microseconds=microseconds), id=row_id)
            case _:
                problem = "belongs to another list"
    except (binascii.Error, UnicodeEncodeError, orjson.JSONDecodeError, OverflowError):
        problem = "is not one that this service gave out"
    raise InvalidQuery(problems=(FieldProblem("page_token", problem, "repeat the first request, or leave the token out"),))


def _digest(query: str) -> str:
    return hashlib.sha256(query.encode()).hexdigest()[:16]


def query_text(text: str, field: str) -> str:
    """Raises InvalidQuery for text that no store takes."""
    if "\x00" in text:
        raise InvalidQuery(problems=(FieldProblem(field, "holds a NUL character", "remove it"),))
    return text


def _invalid(field: str, problem: str, remedy: str) -> InvalidSignal:
    return InvalidSignal(problems=(FieldProblem(field, problem, remedy),))
