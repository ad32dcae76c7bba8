"""Operations, failure counts and signals."""

from plimsoll.common.v1 import failure_pb2
from plimsoll.feedback.v1 import operation_pb2, signal_pb2
from plimsoll.gateway.v1 import traces_pb2
from plimsoll_runtime.failures import Category, failure_from_proto
from plimsoll_runtime.usage import usage_from_proto
from plimsoll_runtime.wire import duration_from_proto, json_from_proto, json_to_proto, object_from_proto

from plimsoll_client.codec.words import moment, word
from plimsoll_client.observations import (
    Decision,
    Demonstration,
    FailureCount,
    Label,
    Operation,
    OperationKind,
    Outcome,
    Remark,
    Score,
    Signal,
    SignalDraft,
    SignalRefusal,
    SignalValue,
    Verdict,
)


def operation_from_proto(message: operation_pb2.Operation) -> Operation:
    return Operation(
        id=message.operation_id,
        kind=word(OperationKind, operation_pb2.OperationKind.DESCRIPTOR, message.kind, "OPERATION_KIND_"),
        run_id=message.run_id,
        agent=message.agent,
        agent_version=message.agent_version,
        node=message.node,
        name=message.name,
        started_at=moment(message, "start_time", message.start_time),
        duration_s=duration_from_proto(message.duration),
        failure=failure_from_proto(message.failure) if message.HasField("failure") else None,
        usage=usage_from_proto(message.usage),
        facts=object_from_proto(message.facts, "operation.facts"),
    )


def failure_count_from_proto(message: operation_pb2.FailureCount) -> FailureCount:
    return FailureCount(
        category=category_from_proto(message.category),
        count=message.count,
        reasons=tuple(message.reasons),
        last_at=moment(message, "last_time", message.last_time),
    )


def category_from_proto(value: "failure_pb2.FailureCategory.ValueType") -> Category:
    """A category of a newer mesh becomes `internal`."""
    return failure_from_proto(failure_pb2.Failure(category=value)).category


def category_to_proto(category: Category) -> "failure_pb2.FailureCategory.ValueType":
    return failure_pb2.FailureCategory.Value(f"FAILURE_CATEGORY_{category.name}")


def signal_to_proto(run_id: str, operation_id: str, value: SignalValue, comment: str) -> signal_pb2.Signal:
    message = signal_pb2.Signal(run_id=run_id, operation_id=operation_id, comment=comment)
    match value:
        case Verdict(good):
            message.verdict = signal_pb2.VERDICT_GOOD if good else signal_pb2.VERDICT_BAD
        case Score(score):
            message.score = score
        case Label(category):
            message.category = category_to_proto(category)
        case Demonstration(answer):
            message.demonstration.CopyFrom(json_to_proto(answer))
        case Outcome(succeeded):
            message.outcome = succeeded
        case Remark():
            message.remark = True
    return message


def draft_to_proto(draft: SignalDraft) -> traces_pb2.SignalEntry:
    signal = signal_to_proto(draft.run_id, draft.operation_id, draft.value, draft.comment)
    signal.tag, signal.source = draft.tag, draft.source
    return traces_pb2.SignalEntry(signal=signal, idempotency_key=draft.key)


def result_from_proto(message: signal_pb2.SignalResult) -> Signal | SignalRefusal:
    if message.WhichOneof("outcome") == "signal":
        return signal_from_proto(message.signal)
    return SignalRefusal(reason=message.refusal.reason, message=message.refusal.message)


def signal_from_proto(message: signal_pb2.Signal) -> Signal:
    return Signal(
        id=message.signal_id,
        run_id=message.run_id,
        operation_id=message.operation_id,
        value=_signal_value(message),
        comment=message.comment,
        source=message.source,
        created_at=moment(message, "create_time", message.create_time),
    )


def _signal_value(message: signal_pb2.Signal) -> SignalValue | Decision:
    match message.WhichOneof("value"):
        case "verdict":
            return Verdict(good=message.verdict == signal_pb2.VERDICT_GOOD)
        case "score":
            return Score(value=message.score)
        case "category":
            return Label(category=category_from_proto(message.category))
        case "demonstration":
            return Demonstration(value=json_from_proto(message.demonstration, "signal.demonstration"))
        case "outcome":
            return Outcome(succeeded=message.outcome)
        case "approval":
            told = message.approval
            return Decision(approved=told.approved, approval_id=told.approval_id, decided_by=tuple(told.decided_by))
        case _:
            return Remark()
