"""proto ↔ domain, only here."""

from plimsoll.tool_dispatcher.v1 import tool_dispatcher_service_pb2 as pb
from plimsoll.tool_dispatcher.v1 import tool_events_pb2, tool_pb2
from plimsoll_runtime.failures import failure_to_proto
from plimsoll_runtime.json_types import canonical
from plimsoll_runtime.outbox import OutboxEvent
from plimsoll_runtime.wire import duration_to_proto, json_from_proto, json_to_proto, timestamp_to_proto
from plimsoll_runtime.work import work_from_proto, work_to_proto

from plimsoll_tool_dispatcher.domain.call import ApprovalRequired, Call, Failed, Grant, Proposal, Report, Succeeded, request_digest
from plimsoll_tool_dispatcher.domain.ledger import Completed
from plimsoll_tool_dispatcher.domain.tool import Tool

CALL_COMPLETED = "plimsoll.v1.tool_dispatcher.call.completed"


def call_from_proto(request: pb.DispatchRequest, tenant: str, most_chars: int) -> Call:
    """Raises Invalid for arguments that are not JSON; those over `most_chars` are not even read, and the call says so."""
    size = len(request.arguments.text)
    arguments = (json_from_proto(request.arguments, "arguments") if size else {}) if size <= most_chars else None
    return Call(
        tenant=tenant,
        key=request.call_key,
        tool=request.tool,
        arguments=arguments,
        arguments_chars=size,
        request_digest=request_digest(request.tool, arguments),
        work=work_from_proto(request.work),
        grants=tuple(grant_from_proto(grant) for grant in request.grants),
    )


def grant_from_proto(message: tool_pb2.Grant) -> Grant:
    return Grant(id=message.grant_id, call_digest=message.call_digest, granted_by=message.granted_by)


def report_to_proto(report: Report) -> pb.DispatchResponse:
    response = pb.DispatchResponse(
        recorded=report.recorded,
        attempts=report.attempts,
        duration=duration_to_proto(report.duration_s),
        call_id=report.call_id,
    )
    match report.outcome:
        case Succeeded(result=result):
            response.result.CopyFrom(json_to_proto(result))
        case Failed(failure=failure):
            response.failure.CopyFrom(failure_to_proto(failure))
        case ApprovalRequired(proposal=proposal):
            response.approval_required.CopyFrom(proposal_to_proto(proposal))
    return response


def proposal_to_proto(proposal: Proposal) -> tool_pb2.Proposal:
    message = tool_pb2.Proposal(tool=proposal.tool, tool_digest=proposal.tool_digest, call_digest=proposal.call_digest)
    message.effective_arguments.text = canonical(proposal.effective_arguments)
    return message


def tool_to_proto(tool: Tool) -> tool_pb2.Tool:
    return tool_pb2.Tool(
        name=tool.name,
        version=tool.version,
        digest=tool.digest,
        category=tool.category,
        description=tool.description,
        arguments_schema=json_to_proto(tool.arguments.document),
        result_schema=json_to_proto(tool.result.document),
        effect=tool_pb2.EffectClass.Value(f"EFFECT_CLASS_{tool.effect.name}"),
        risk=tool_pb2.Risk.Value(f"RISK_{tool.risk.name}"),
        timeout=duration_to_proto(tool.timeout_s),
    )


def call_completed(completed: Completed) -> OutboxEvent:
    """The announcement of a call that ended."""
    message = tool_events_pb2.ToolCallCompleted(
        event_id=completed.event_id,
        tenant=completed.tenant,
        call_id=completed.call_id,
        call_key=completed.call_key,
        work=work_to_proto(completed.work),
        tool=completed.tool,
        tool_digest=completed.tool_digest,
        start_time=timestamp_to_proto(completed.started_at),
        duration=duration_to_proto(completed.duration_s),
        attempts=completed.attempts,
        grant_id=completed.grant_id,
    )
    if completed.failure is not None:
        message.failure.CopyFrom(failure_to_proto(completed.failure))
    return OutboxEvent(event_id=completed.event_id, subject=CALL_COMPLETED, tenant=completed.tenant, payload=message.SerializeToString())
