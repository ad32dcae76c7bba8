"""Traces and their entries."""

from plimsoll.common.v1 import failure_pb2
from plimsoll.feedback.v1 import operation_pb2, trace_pb2
from plimsoll.gateway.v1 import traces_pb2 as pb
from plimsoll_runtime.usage import usage_from_proto
from plimsoll_runtime.wire import duration_from_proto, duration_to_proto, json_from_proto, timestamp_to_proto

from plimsoll_client.codec.observations import category_from_proto, category_to_proto, operation_from_proto
from plimsoll_client.codec.words import moment, word
from plimsoll_client.traces import LaterLabel, OperationBody, Trace, TraceEntry, TraceQuery, TraceStatus


def query_to_proto(query: TraceQuery, size: int, token: str) -> pb.ListTracesRequest:
    return pb.ListTracesRequest(
        agent=query.agent,
        agent_version=query.agent_version,
        status=trace_pb2.TraceStatus.Value(f"TRACE_STATUS_{query.status.name if query.status else 'UNSPECIFIED'}"),
        category=category_to_proto(query.category) if query.category else failure_pb2.FAILURE_CATEGORY_UNSPECIFIED,
        tags=query.tags,
        after_time=None if query.after is None else timestamp_to_proto(query.after),
        before_time=None if query.before is None else timestamp_to_proto(query.before),
        min_cost_micros=query.min_cost_micros,
        min_duration=duration_to_proto(query.min_duration_s) if query.min_duration_s else None,
        text=query.text,
        thread_id=query.thread_id,
        parent_run_id=query.parent_run_id,
        page_size=size,
        page_token=token,
    )


def trace_from_proto(message: trace_pb2.Trace) -> Trace:
    return Trace(
        run_id=message.run_id,
        agent=message.agent,
        agent_version=message.agent_version,
        status=word(TraceStatus, trace_pb2.TraceStatus.DESCRIPTOR, message.status, "TRACE_STATUS_"),
        started_at=moment(message, "start_time", message.start_time),
        finished_at=moment(message, "finish_time", message.finish_time),
        duration_s=duration_from_proto(message.duration) if message.HasField("duration") else None,
        usage=usage_from_proto(message.usage),
        steps=message.steps,
        category=category_from_proto(message.category) if message.category else None,
        reason=message.reason,
        categories=tuple(map(category_from_proto, message.categories)),
        tags=tuple(message.tags),
        parent_run_id=message.parent_run_id,
        thread_id=message.thread_id,
    )


def entry_from_proto(message: trace_pb2.TraceEntry) -> TraceEntry:
    return TraceEntry(
        operation=operation_from_proto(message.operation),
        parent_operation_id=message.parent_operation_id,
        depth=message.depth,
        labels=tuple(map(_label_from_proto, message.labels)),
    )


def body_from_proto(message: operation_pb2.OperationBody) -> OperationBody:
    return OperationBody(
        input=json_from_proto(message.input, "body.input") if message.HasField("input") else None,
        output=json_from_proto(message.output, "body.output") if message.HasField("output") else None,
        owner=message.owner,
        missing=message.missing,
    )


def _label_from_proto(message: operation_pb2.Label) -> LaterLabel:
    return LaterLabel(
        category=category_from_proto(message.category),
        rule=message.rule,
        evidence=message.evidence,
        created_at=moment(message, "create_time", message.create_time),
    )
