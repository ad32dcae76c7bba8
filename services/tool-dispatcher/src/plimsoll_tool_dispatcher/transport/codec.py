"""proto ↔ domain, only here."""

from collections.abc import Sequence

from plimsoll.tool_dispatcher.v1 import tool_dispatcher_service_pb2 as pb
from plimsoll.tool_dispatcher.v1 import tool_events_pb2, tool_pb2
from plimsoll_runtime.context import Caller
from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.failures import failure_to_proto
from plimsoll_runtime.json_types import canonical, dump_json
from plimsoll_runtime.outbox import OutboxEvent
from plimsoll_runtime.wire import (
    duration_to_proto,
    json_from_proto,
    json_to_proto,
    timestamp_from_proto,
    timestamp_to_proto,
    write_duration,
    write_timestamp,
)
from plimsoll_runtime.work import work_from_proto, work_to_proto, write_work

from plimsoll_tool_dispatcher.domain.call import (
    ApprovalRequired,
    Call,
    Degraded,
    Failed,
    Grant,
    Proposal,
    Report,
    Succeeded,
    request_digest,
)
from plimsoll_tool_dispatcher.domain.history import KeptCall
from plimsoll_tool_dispatcher.domain.ledger import Acted, Completed, Doubt, Finding, NotActed
from plimsoll_tool_dispatcher.domain.registry import SHARED, Barred, KeptVersion, Standing
from plimsoll_tool_dispatcher.domain.tool import Tool
from plimsoll_tool_dispatcher.errors import InvalidLookup, InvalidResolution

CALL_COMPLETED = "plimsoll.v1.tool_dispatcher.call.completed"
CALL_ESCALATED = "plimsoll.v1.tool_dispatcher.call.escalated"
_LONGEST_NUMBER = 19


def call_from_proto(request: pb.DispatchRequest, caller: Caller, most_chars: int) -> Call:
    """Raises Invalid for arguments that are not JSON; those over `most_chars` are not even read, and the call says so."""
    size = len(request.arguments.text)
    arguments = (json_from_proto(request.arguments, "arguments") if size else {}) if size <= most_chars else None
    return Call(
        tenant=caller.tenant,
        service=caller.service,
        principal=caller.principal,
        key=request.call_key,
        tool=request.tool,
        arguments=arguments,
        arguments_chars=size,
        request_digest=request_digest(request.tool, arguments),
        work=work_from_proto(request.work),
        grants=tuple(grant_from_proto(grant) for grant in request.grants),
        first=request.first,
    )


def grant_from_proto(message: tool_pb2.Grant) -> Grant:
    return Grant(
        id=message.grant_id,
        call_digest=message.call_digest,
        granted_by=message.granted_by,
        approved_by=tuple(message.approved_by),
        requested_by=message.requested_by,
        expires_at=timestamp_from_proto(message.expire_time) if message.HasField("expire_time") else None,
    )


def report_to_proto(report: Report, labels: Sequence[str] = ()) -> pb.DispatchResponse:
    """`labels` say what the call did with data."""
    response = pb.DispatchResponse(
        recorded=report.recorded,
        attempts=report.attempts,
        call_id=report.call_id,
        labels=labels,
    )
    write_duration(response.duration, report.duration_s)
    match report.outcome:
        case Succeeded(result=result, degraded=degraded):
            response.result.text = dump_json(result)
            if degraded is not None:
                response.degraded.CopyFrom(degraded_to_proto(degraded))
        case Failed(failure=failure, unsettled=unsettled):
            response.failure.CopyFrom(failure_to_proto(failure))
            response.unsettled = unsettled
        case ApprovalRequired(proposal=proposal):
            response.approval_required.CopyFrom(proposal_to_proto(proposal))
    return response


def proposal_to_proto(proposal: Proposal) -> tool_pb2.Proposal:
    terms = proposal.terms
    message = tool_pb2.Proposal(
        tool=proposal.tool,
        tool_digest=proposal.tool_digest,
        call_digest=proposal.call_digest,
        terms=tool_pb2.ApprovalTerms(quorum=terms.quorum, four_eyes=terms.four_eyes, expires_in=duration_to_proto(terms.expires_s)),
        policy_digest=proposal.policy,
        credential_version=proposal.credentials,
        message=proposal.message,
    )
    message.effective_arguments.text = canonical(proposal.effective_arguments)
    return message


def degraded_to_proto(degraded: Degraded) -> pb.Degraded:
    return pb.Degraded(by=degraded.by, age=duration_to_proto(degraded.age_s), failure=failure_to_proto(degraded.failure))


def tool_to_proto(found: Tool | Barred) -> tool_pb2.Tool:
    tool, barred = (found.tool, found.bar.value) if isinstance(found, Barred) else (found, "")
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
        labels=tool.labels,
        origin=tool.origin,
        shared=tool.tenant == SHARED,
        barred=barred,
    )


def version_to_proto(version: KeptVersion) -> tool_pb2.ToolVersion:
    return tool_pb2.ToolVersion(
        name=version.name,
        version=version.version,
        digest=version.digest,
        origin=version.origin,
        shared=version.tenant == SHARED,
        register_time=timestamp_to_proto(version.registered_at),
    )


def standing_to_proto(standing: Standing) -> tool_pb2.ToolStanding:
    return tool_pb2.ToolStanding(disabled=standing.disabled, pinned_digest=standing.pinned, accepted_digest=standing.accepted)


def standing_from_proto(message: tool_pb2.ToolStanding) -> Standing:
    return Standing(disabled=message.disabled, pinned=message.pinned_digest, accepted=message.accepted_digest)


def doubt_to_proto(doubt: Doubt) -> pb.UnknownCall:
    message = pb.UnknownCall(
        call_id=doubt.claim.call_id,
        call_key=doubt.claim.call_key,
        work=work_to_proto(doubt.work),
        tool=doubt.tool,
        tool_digest=doubt.tool_digest,
        reason=doubt.reason,
        since_time=timestamp_to_proto(doubt.since),
        tries=doubt.tries,
        escalated=doubt.escalated,
    )
    if doubt.arguments is not None:
        message.effective_arguments.text = canonical(doubt.arguments)
    return message


def kept_call_to_proto(call: KeptCall) -> pb.ToolCall:
    message = pb.ToolCall(
        call_id=call.call_id,
        call_key=call.call_key,
        work=work_to_proto(call.work),
        tool=call.tool,
        tool_digest=call.tool_digest,
        effect=tool_pb2.EffectClass.Value(f"EFFECT_CLASS_{call.effect.name}"),
        state=pb.CallState.Value(f"CALL_STATE_{call.state.name}"),
        attempts=call.attempts,
        duration=duration_to_proto(call.duration_s),
        start_time=timestamp_to_proto(call.started_at),
        finish_time=timestamp_to_proto(call.finished_at) if call.finished_at else None,
        call_digest=call.call_digest,
        policy_digest=call.policy,
        policy_rules=call.rules,
        grant_id=call.grant_id,
        approved_by=call.approved_by,
        resolved_by=call.resolved_by,
    )
    if call.arguments is not None:
        message.effective_arguments.CopyFrom(json_to_proto(call.arguments))
    match call.outcome:
        case Succeeded(result=result, degraded=degraded):
            message.result.CopyFrom(json_to_proto(result))
            if degraded is not None:
                message.degraded.CopyFrom(degraded_to_proto(degraded))
        case Failed(failure=failure):
            message.failure.CopyFrom(failure_to_proto(failure))
    return message


def position_from_token(token: str) -> int:
    """The position in the audit log that a page token names. Raises InvalidLookup."""
    if token and not (token.isascii() and token.isdigit() and len(token) < _LONGEST_NUMBER):
        raise InvalidLookup(problems=[FieldProblem("page_token", "is none of ours", "send next_page_token of the answer before")])
    return int(token or 0)


def finding_from_proto(request: pb.ResolveCallRequest) -> Finding:
    """Raises Invalid when it says neither."""
    if request.HasField("result"):
        return Acted(result=json_from_proto(request.result, "result"))
    if request.not_acted:
        return NotActed()
    problem = FieldProblem("finding", "says nothing", "send the result that the call had, or not_acted: true")
    raise InvalidResolution(problems=[problem])


def call_completed(completed: Completed) -> OutboxEvent:
    """The announcement of a call that ended."""
    message = tool_events_pb2.ToolCallCompleted(
        event_id=completed.event_id,
        tenant=completed.tenant,
        call_id=completed.call_id,
        call_key=completed.call_key,
        tool=completed.tool,
        tool_digest=completed.tool_digest,
        attempts=completed.attempts,
        grant_id=completed.grant_id,
        policy_digest=completed.policy,
        policy_rules=completed.rules,
        approved_by=completed.approved_by,
        call_digest=completed.call_digest,
        degraded_by=completed.degraded,
        resolved_by=completed.resolved_by,
    )
    write_work(message.work, completed.work)
    write_timestamp(message.start_time, completed.started_at)
    write_duration(message.duration, completed.duration_s)
    if completed.effect is not None:
        message.effect = tool_pb2.EffectClass.Value(f"EFFECT_CLASS_{completed.effect.name}")
    if completed.failure is not None:
        message.failure.CopyFrom(failure_to_proto(completed.failure))
    return OutboxEvent(event_id=completed.event_id, subject=CALL_COMPLETED, tenant=completed.tenant, payload=message.SerializeToString())


def call_escalated(doubt: Doubt, event_id: str) -> OutboxEvent:
    """The announcement of a call that a person has to settle."""
    message = tool_events_pb2.ToolCallEscalated(
        event_id=event_id,
        tenant=doubt.claim.tenant,
        call_id=doubt.claim.call_id,
        call_key=doubt.claim.call_key,
        work=work_to_proto(doubt.work),
        tool=doubt.tool,
        tool_digest=doubt.tool_digest,
        reason=doubt.reason,
        since_time=timestamp_to_proto(doubt.since),
    )
    return OutboxEvent(event_id=event_id, subject=CALL_ESCALATED, tenant=doubt.claim.tenant, payload=message.SerializeToString())
