"""Traces: proto ↔ domain."""

from datetime import datetime
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp
from plimsoll.feedback.v1 import feedback_service_pb2, operation_pb2, trace_pb2
from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.usage import usage_to_proto
from plimsoll_runtime.wire import duration_from_proto, duration_to_proto, json_to_proto, timestamp_from_proto, timestamp_to_proto

from plimsoll_feedback.domain.body import Body
from plimsoll_feedback.domain.labels import Finding
from plimsoll_feedback.domain.operation import RunId
from plimsoll_feedback.domain.trace import Trace, TraceEntry, TraceFilter, TraceStatus, problems_of_tags
from plimsoll_feedback.errors import InvalidQuery
from plimsoll_feedback.transport.codec import CATEGORIES, CATEGORIES_TO_PROTO, operation_to_proto, query_text

TEXT_CAP_CHARACTERS: Final = 500

_STATUSES_TO_PROTO: Final = {status: trace_pb2.TraceStatus.Value(f"TRACE_STATUS_{status.name}") for status in TraceStatus}
_STATUSES: Final[dict[int, TraceStatus]] = {number: status for status, number in _STATUSES_TO_PROTO.items()}


def trace_filter_from_proto(request: feedback_service_pb2.ListTracesRequest) -> TraceFilter:
    """Raises InvalidQuery, naming every field that cannot be asked for."""
    problems = [*problems_of_tags(request.tags, "tags")]
    if request.category and request.category not in CATEGORIES:
        problems.append(FieldProblem("category", f"is {request.category}, which is no category", "use a known category"))
    if request.status and request.status not in _STATUSES:
        problems.append(FieldProblem("status", f"is {request.status}, which is no status", "use a known status"))
    if len(request.text) > TEXT_CAP_CHARACTERS:
        problems.append(FieldProblem("text", f"has {len(request.text)} characters", f"use at most {TEXT_CAP_CHARACTERS}"))
    if request.min_cost_micros < 0:
        problems.append(FieldProblem("min_cost_micros", "is negative", "use 0 or more"))
    if problems:
        raise InvalidQuery(problems=tuple(problems))
    return TraceFilter(
        agent=query_text(request.agent, "agent") or None,
        agent_version=query_text(request.agent_version, "agent_version") or None,
        category=CATEGORIES.get(request.category),
        tags=tuple(request.tags),
        status=_STATUSES.get(request.status),
        after=moment(request.after_time, "after_time") if request.HasField("after_time") else None,
        before=moment(request.before_time, "before_time") if request.HasField("before_time") else None,
        min_cost_micros=request.min_cost_micros or None,
        min_duration_s=duration_from_proto(request.min_duration) if request.HasField("min_duration") else None,
        text=query_text(request.text, "text").strip() or None,
        thread_id=query_text(request.thread_id, "thread_id") or None,
        parent_run_id=RunId(query_text(request.parent_run_id, "parent_run_id")) or None,
    )


def moment(stamp: Timestamp, field: str) -> datetime:
    """Raises InvalidQuery for a time that no calendar has."""
    try:
        return timestamp_from_proto(stamp)
    except OverflowError as error:
        problem = FieldProblem(field, f"is {stamp.seconds} s after 1970", "use a time within the years 1 to 9999")
        raise InvalidQuery(problems=(problem,)) from error


def trace_to_proto(trace: Trace) -> trace_pb2.Trace:
    """All but the tenant, which the caller knows."""
    message = trace_pb2.Trace(
        run_id=trace.run_id,
        agent=trace.agent,
        agent_version=trace.agent_version,
        status=_STATUSES_TO_PROTO[trace.status],
        start_time=timestamp_to_proto(trace.started_at),
        usage=usage_to_proto(trace.usage),
        steps=trace.steps,
        reason=trace.reason,
        categories=[CATEGORIES_TO_PROTO[one] for one in trace.categories],
        tags=trace.tags,
        parent_run_id=trace.parent_run_id,
        thread_id=trace.thread_id,
    )
    if trace.category is not None:
        message.category = CATEGORIES_TO_PROTO[trace.category]
    if trace.finished_at is not None:
        message.finish_time.CopyFrom(timestamp_to_proto(trace.finished_at))
    if trace.duration_s is not None:
        message.duration.CopyFrom(duration_to_proto(trace.duration_s))
    return message


def entry_to_proto(entry: TraceEntry) -> trace_pb2.TraceEntry:
    return trace_pb2.TraceEntry(
        operation=operation_to_proto(entry.operation),
        parent_operation_id=entry.parent,
        depth=entry.depth,
        labels=[finding_to_proto(finding) for finding in entry.findings],
    )


def body_to_proto(body: Body) -> operation_pb2.OperationBody:
    message = operation_pb2.OperationBody(owner=body.owner, missing=body.missing)
    if body.input is not None:
        message.input.CopyFrom(json_to_proto(body.input))
    if body.output is not None:
        message.output.CopyFrom(json_to_proto(body.output))
    return message


def finding_to_proto(finding: Finding) -> operation_pb2.Label:
    return operation_pb2.Label(
        operation_id=finding.operation_id,
        category=CATEGORIES_TO_PROTO[finding.category],
        rule=finding.rule,
        evidence=finding.evidence,
        create_time=timestamp_to_proto(finding.created_at),
    )
