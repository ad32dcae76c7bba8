"""Protobuf ↔ domain, and nowhere else."""

from plimsoll.orchestrator.v1 import agent_pb2, run_events_pb2, run_pb2
from plimsoll.tool_dispatcher.v1 import tool_pb2
from plimsoll_runtime.errors import FieldProblem, Invalid
from plimsoll_runtime.failures import failure_to_proto
from plimsoll_runtime.json_types import JsonObject
from plimsoll_runtime.usage import usage_to_proto
from plimsoll_runtime.wire import duration_to_proto, json_to_proto, timestamp_to_proto

from plimsoll_orchestrator.domain.journal import (
    ApprovalAsked,
    ApprovalDecided,
    ApprovalStatus,
    ModelTurn,
    Proposal,
    RunFinished,
    RunStarted,
    RunStatus,
    StepFailed,
    StepFinished,
    StepProgressed,
    StepStarted,
    Turn,
)
from plimsoll_orchestrator.domain.run import Approval
from plimsoll_orchestrator.ports import AgentVersion, ApprovalView, JournalEntry, RunSummary
from plimsoll_orchestrator.service import RunView

_PUBLISHED_CAP_BYTES = 128 * 1024  # far below what the bus takes, and a whole batch of events still fits in memory
_TEXT_CAP = 2000


def agent_to_proto(version: AgentVersion, *, with_graph: bool) -> agent_pb2.Agent:
    graph = version.graph
    message = agent_pb2.Agent(
        name=graph.agent,
        digest=graph.digest,
        version=version.version,
        description=graph.description,
        input_schema=json_to_proto(graph.input_schema),
        accepts=agent_pb2.FileMapping(
            text_field=graph.accepts.text_field, base64_field=graph.accepts.base64_field, name_field=graph.accepts.name_field
        ),
        create_time=timestamp_to_proto(version.created_at),
    )
    if with_graph:
        message.graph.CopyFrom(json_to_proto(graph.canonical))
    return message


def summary_to_proto(summary: RunSummary) -> run_pb2.Run:
    message = run_pb2.Run(
        run_id=summary.run_id,
        agent=summary.agent,
        agent_digest=summary.agent_digest,
        status=_status_to_proto(summary.status),
        seq=summary.seq,
        node=summary.node,
        steps=summary.steps,
        usage=usage_to_proto(summary.usage),
        create_time=timestamp_to_proto(summary.created_at),
        rehearsal=summary.rehearsal,
    )
    if summary.started_at is not None:
        message.start_time.CopyFrom(timestamp_to_proto(summary.started_at))
    if summary.finished_at is not None:
        message.finish_time.CopyFrom(timestamp_to_proto(summary.finished_at))
    return message


def run_to_proto(view: RunView) -> run_pb2.Run:
    message = summary_to_proto(view.summary)
    run = view.run
    message.input.CopyFrom(json_to_proto(run.input))
    message.state.CopyFrom(json_to_proto(run.state))
    if run.status is RunStatus.SUCCEEDED:
        message.output.CopyFrom(json_to_proto(run.output))
    if run.failure is not None:
        message.failure.CopyFrom(failure_to_proto(run.failure))
    return message


def approval_to_proto(view: ApprovalView) -> run_pb2.Approval:
    return _approval(view.approval, view.run_id, view.agent)


def event_to_proto(tenant: str, agent: str, agent_digest: str, entry: JournalEntry) -> run_events_pb2.RunEvent:
    event = run_events_pb2.RunEvent(
        run_id=entry.run_id,
        seq=entry.seq,
        time=timestamp_to_proto(entry.at),
        tenant=tenant,
        agent=agent,
        agent_digest=agent_digest,
        epoch=entry.epoch,
    )
    match entry.entry:
        case RunStarted(input=value):
            event.run_started.input.CopyFrom(json_to_proto(value))
        case StepStarted() as started:
            event.step_started.CopyFrom(run_events_pb2.StepStarted(node=started.node, kind=started.node_kind, attempt=started.attempt))
        case StepProgressed() as progressed:
            event.step_progressed.CopyFrom(
                run_events_pb2.StepProgressed(
                    node=progressed.node, detail=json_to_proto(_turn(progressed.turn)), usage=usage_to_proto(progressed.usage)
                )
            )
        case StepFinished() as finished:
            event.step_finished.CopyFrom(_step_finished(finished))
        case StepFailed() as failed:
            event.step_failed.CopyFrom(_step_failed(failed))
        case ApprovalAsked() as asked:
            event.approval_asked.approval.CopyFrom(_approval(_asked(asked, entry), entry.run_id, agent))
        case ApprovalDecided() as decided:
            event.approval_decided.CopyFrom(
                run_events_pb2.ApprovalDecided(
                    approval_id=decided.approval_id,
                    node=decided.node,
                    status=_approval_status_to_proto(decided.status),
                    decided_by=decided.decided_by,
                    comment=decided.comment,
                    duration=duration_to_proto(decided.seconds),
                )
            )
        case RunFinished() as ended:
            event.run_finished.CopyFrom(_run_finished(ended))
    return event


def event_to_publish(tenant: str, agent: str, agent_digest: str, entry: JournalEntry) -> bytes:
    """The event as the bus carries it: whole, or without its values when they are more than the bus should carry."""
    event = event_to_proto(tenant, agent, agent_digest, entry)
    if event.ByteSize() > _PUBLISHED_CAP_BYTES:
        _abridge(event)
    return event.SerializeToString()


def _abridge(event: run_events_pb2.RunEvent) -> None:
    event.abridged = True
    match event.WhichOneof("event"):
        case "run_started":
            event.run_started.ClearField("input")
        case "step_progressed":
            event.step_progressed.ClearField("detail")
        case "step_finished":
            event.step_finished.ClearField("delta")
            if event.step_finished.facts.ByteSize() > _PUBLISHED_CAP_BYTES // 2:
                event.step_finished.ClearField("facts")
        case "step_failed":
            event.step_failed.failure.message = event.step_failed.failure.message[:_TEXT_CAP]
        case "approval_asked":
            approval = event.approval_asked.approval
            approval.summary = approval.summary[:_TEXT_CAP]
            approval.ClearField("details")
            approval.ClearField("proposal")
        case "approval_decided":
            event.approval_decided.comment = event.approval_decided.comment[:_TEXT_CAP]
        case "run_finished":
            event.run_finished.ClearField("output")
            if event.run_finished.HasField("failure"):
                event.run_finished.failure.message = event.run_finished.failure.message[:_TEXT_CAP]
        case _:
            pass


def run_status_from_proto(value: run_pb2.RunStatus.ValueType) -> RunStatus | None:
    """None for unspecified: any. Raises Invalid for a number that is no status."""
    name = _enum_name(run_pb2.RunStatus, value, "status").removeprefix("RUN_STATUS_")
    return None if name == "UNSPECIFIED" else RunStatus(name.lower())


def approval_status_from_proto(value: run_pb2.ApprovalStatus.ValueType) -> ApprovalStatus | None:
    """None for unspecified: any. Raises Invalid for a number that is no status."""
    name = _enum_name(run_pb2.ApprovalStatus, value, "status").removeprefix("APPROVAL_STATUS_")
    return None if name == "UNSPECIFIED" else ApprovalStatus(name.lower())


def _enum_name(enum: object, value: int, field: str) -> str:
    try:
        return str(enum.Name(value))  # type: ignore[attr-defined] # protobuf's enum wrapper
    except ValueError as error:
        raise Invalid(problems=(FieldProblem(field, f"is {value}", "send a known value"),)) from error


def _status_to_proto(status: RunStatus) -> run_pb2.RunStatus.ValueType:
    return run_pb2.RunStatus.Value(f"RUN_STATUS_{status.name}")


def _approval_status_to_proto(status: ApprovalStatus) -> run_pb2.ApprovalStatus.ValueType:
    return run_pb2.ApprovalStatus.Value(f"APPROVAL_STATUS_{status.name}")


def _approval(approval: Approval, run_id: str, agent: str) -> run_pb2.Approval:
    message = run_pb2.Approval(
        approval_id=approval.approval_id,
        run_id=run_id,
        agent=agent,
        node=approval.node,
        summary=approval.summary,
        details=json_to_proto(approval.details),
        status=_approval_status_to_proto(approval.status),
        ask_time=timestamp_to_proto(approval.asked_at),
        expire_time=timestamp_to_proto(approval.expires_at),
        decided_by=approval.decided_by,
        comment=approval.comment,
    )
    if approval.proposal is not None:
        message.proposal.CopyFrom(_proposal(approval.proposal))
    if approval.decided_at is not None:
        message.decide_time.CopyFrom(timestamp_to_proto(approval.decided_at))
    return message


def _proposal(proposal: Proposal) -> tool_pb2.Proposal:
    return tool_pb2.Proposal(
        tool=proposal.tool,
        tool_digest=proposal.tool_digest,
        effective_arguments=json_to_proto(proposal.effective_arguments),
        call_digest=proposal.call_digest,
    )


def _asked(asked: ApprovalAsked, entry: JournalEntry) -> Approval:
    return Approval(
        approval_id=asked.approval_id,
        node=asked.node,
        summary=asked.summary,
        details=asked.details,
        proposal=asked.proposal,
        status=ApprovalStatus.PENDING,
        asked_at=entry.at,
        expires_at=asked.expires_at,
    )


def _turn(turn: Turn) -> JsonObject:
    match turn:
        case ModelTurn(message=message):
            return {"message": message}
        case _:
            answers = [{"callId": a.call_id, "tool": a.tool, "content": a.content, "isError": a.is_error} for a in turn.answers]
            return {"toolResults": list(answers)}


def _step_finished(entry: StepFinished) -> run_events_pb2.StepFinished:
    return run_events_pb2.StepFinished(
        node=entry.node,
        kind=entry.node_kind,
        delta=json_to_proto(entry.delta),
        next=entry.next,
        usage=usage_to_proto(entry.usage),
        duration=duration_to_proto(entry.seconds),
        facts=json_to_proto(entry.facts),
    )


def _step_failed(entry: StepFailed) -> run_events_pb2.StepFailed:
    return run_events_pb2.StepFailed(
        node=entry.node,
        kind=entry.node_kind,
        failure=failure_to_proto(entry.failure),
        attempt=entry.attempt,
        next=entry.next,
        retried=entry.retry_at is not None,
        duration=duration_to_proto(entry.seconds),
        usage=usage_to_proto(entry.usage),
    )


def _run_finished(entry: RunFinished) -> run_events_pb2.RunFinished:
    message = run_events_pb2.RunFinished(
        status=_status_to_proto(entry.status),
        usage=usage_to_proto(entry.usage),
        steps=entry.steps,
        duration=duration_to_proto(entry.seconds),
    )
    if entry.status is RunStatus.SUCCEEDED:
        message.output.CopyFrom(json_to_proto(entry.output))
    if entry.failure is not None:
        message.failure.CopyFrom(failure_to_proto(entry.failure))
    return message
