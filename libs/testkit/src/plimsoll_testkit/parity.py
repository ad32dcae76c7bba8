"""Whether feedback's operations of a run say exactly what the run's journal says: nothing lost, nothing twice, nothing else."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from plimsoll.common.v1 import usage_pb2
from plimsoll.feedback.v1 import operation_pb2
from plimsoll.orchestrator.v1 import run_events_pb2, run_pb2

_JOURNALED = {operation_pb2.OPERATION_KIND_RUN, operation_pb2.OPERATION_KIND_TRANSITION, operation_pb2.OPERATION_KIND_APPROVAL}


def differences(journal: Sequence[run_events_pb2.RunEvent], operations: Sequence[operation_pb2.Operation]) -> list[str]:
    """Every way in which the two differ; empty when they agree. Calls have no entry in the journal and are not looked at."""
    expected = {one.operation_id: one for entry in journal if (one := _expected(entry)) is not None}
    rows = [one for one in operations if one.kind in _JOURNALED]
    counted = Counter(one.operation_id for one in rows)
    found = [f"{name} is there {count} times" for name, count in sorted(counted.items()) if count > 1]
    found += [f"{name} is missing" for name in sorted(expected.keys() - counted.keys())]
    found += [f"{name} is in no journal" for name in sorted(counted.keys() - expected.keys())]
    for row in rows:
        if (entry := expected.get(row.operation_id)) is not None:
            found += [f"{row.operation_id}: {what}" for what in _differing(entry, row)]
    return found


def _expected(entry: run_events_pb2.RunEvent) -> operation_pb2.Operation | None:
    """Written anew from the journal's contract, not with feedback's own code: the two are to check each other."""
    one = operation_pb2.Operation(operation_id=f"{entry.run_id}.{entry.seq}", run_id=entry.run_id, agent=entry.agent, step=entry.seq)
    one.agent_version = entry.agent_digest
    match entry.WhichOneof("event"):
        case "step_finished":
            _fill(one, operation_pb2.OPERATION_KIND_TRANSITION, entry.step_finished.node, entry.step_finished.node, entry.step_finished)
        case "step_failed":
            _fill(one, operation_pb2.OPERATION_KIND_TRANSITION, entry.step_failed.node, entry.step_failed.node, entry.step_failed)
        case "approval_decided":
            decided = entry.approval_decided
            _fill(one, operation_pb2.OPERATION_KIND_APPROVAL, decided.node, decided.approval_id, decided)
        case "run_finished":
            _fill(one, operation_pb2.OPERATION_KIND_RUN, "", entry.agent, entry.run_finished)
        case _:
            return None
    ended = entry.time.ToDatetime()
    one.start_time.FromDatetime(ended - timedelta(microseconds=_microseconds(one.duration)))
    return one


def _fill(
    one: operation_pb2.Operation,
    kind: operation_pb2.OperationKind.ValueType,
    node: str,
    name: str,
    said: run_events_pb2.StepFinished | run_events_pb2.StepFailed | run_events_pb2.ApprovalDecided | run_events_pb2.RunFinished,
) -> None:
    one.kind, one.node, one.name = kind, node, name
    one.duration.CopyFrom(said.duration)
    if not isinstance(said, run_events_pb2.ApprovalDecided):
        one.usage.CopyFrom(said.usage)
    if isinstance(said, run_events_pb2.StepFailed) or (
        isinstance(said, run_events_pb2.RunFinished) and said.status == run_pb2.RUN_STATUS_FAILED and said.HasField("failure")
    ):
        one.failure.CopyFrom(said.failure)


def _differing(expected: operation_pb2.Operation, row: operation_pb2.Operation) -> list[str]:
    found = []
    for name in ("kind", "run_id", "agent", "agent_version", "node", "name", "step"):
        one, other = getattr(expected, name), getattr(row, name)
        if one != other:
            found.append(f"{name} is {other!r}, not {one!r}")
    for name in ("start_time", "duration"):
        one, other = _microseconds(getattr(expected, name)), _microseconds(getattr(row, name))
        if one != other:
            found.append(f"{name} is {other} µs, not {one} µs")
    if _plain(expected.usage) != _plain(row.usage):
        found.append("usage differs")
    decided = expected.kind == operation_pb2.OPERATION_KIND_APPROVAL  # its failure is a label of feedback's own
    if not decided and expected.HasField("failure"):
        same = (expected.failure.category, expected.failure.reason) == (row.failure.category, row.failure.reason)
        if not same:
            found.append(f"failure is {row.failure.reason!r}, not {expected.failure.reason!r}")
    return found


def _microseconds(moment: Duration | Timestamp) -> int:
    """To the nearest: no store of ours keeps time more exactly."""
    return round(moment.ToNanoseconds() / 1000)


def _plain(usage: usage_pb2.Usage | Message) -> bytes:
    return usage.SerializeToString(deterministic=True)
