"""Runs, their journal, and approvals."""

from plimsoll.common.v1.failure_pb2 import Failure as FailureMessage
from plimsoll.orchestrator.v1 import run_events_pb2, run_pb2
from plimsoll.tool_dispatcher.v1 import tool_pb2
from plimsoll_runtime.failures import Failure, failure_from_proto
from plimsoll_runtime.usage import usage_from_proto
from plimsoll_runtime.wire import duration_from_proto, json_from_proto, object_from_proto

from plimsoll_client import events
from plimsoll_client.codec.words import moment, word
from plimsoll_client.models import Approval, ApprovalStatus, Proposal, Run, RunStatus


def run_from_proto(message: run_pb2.Run) -> Run:
    return Run(
        id=message.run_id,
        agent=message.agent,
        agent_digest=message.agent_digest,
        status=_run_status(message.status),
        seq=message.seq,
        node=message.node,
        input=object_from_proto(message.input, "run.input"),
        state=object_from_proto(message.state, "run.state") if message.HasField("state") else None,
        output=json_from_proto(message.output, "run.output"),
        failure=_failure(message.failure, present=message.HasField("failure")),
        steps=message.steps,
        usage=usage_from_proto(message.usage),
        created_at=moment(message, "create_time", message.create_time),
        started_at=moment(message, "start_time", message.start_time),
        finished_at=moment(message, "finish_time", message.finish_time),
        rehearsal=message.rehearsal,
    )


def approval_from_proto(message: run_pb2.Approval) -> Approval:
    return Approval(
        id=message.approval_id,
        run_id=message.run_id,
        agent=message.agent,
        node=message.node,
        summary=message.summary,
        details=json_from_proto(message.details, "approval.details"),
        proposal=_proposal(message.proposal) if message.HasField("proposal") else None,
        status=_approval_status(message.status),
        asked_at=moment(message, "ask_time", message.ask_time),
        expires_at=moment(message, "expire_time", message.expire_time),
        decided_at=moment(message, "decide_time", message.decide_time),
        decided_by=message.decided_by,
        comment=message.comment,
    )


def event_from_proto(message: run_events_pb2.RunEvent) -> events.RunEvent:
    return events.RunEvent(
        run_id=message.run_id,
        seq=message.seq,
        at=moment(message, "time", message.time),
        agent=message.agent,
        agent_digest=message.agent_digest,
        epoch=message.epoch,
        event=_happening(message),
    )


def _happening(message: run_events_pb2.RunEvent) -> events.Happening:
    match message.WhichOneof("event"):
        case "run_started":
            return events.RunStarted(input=object_from_proto(message.run_started.input, "event.input"))
        case "step_started":
            started = message.step_started
            return events.StepStarted(node=started.node, kind=started.kind, attempt=started.attempt)
        case "step_progressed":
            turn = message.step_progressed
            return events.StepProgressed(
                node=turn.node, detail=json_from_proto(turn.detail, "event.detail"), usage=usage_from_proto(turn.usage)
            )
        case "step_finished":
            return _step_finished(message.step_finished)
        case "step_failed":
            return _step_failed(message.step_failed)
        case "approval_asked":
            return events.ApprovalAsked(approval=approval_from_proto(message.approval_asked.approval))
        case "approval_decided":
            return _approval_decided(message.approval_decided)
        case "run_finished":
            return _run_finished(message.run_finished)
        case _:
            return events.OtherEvent()


def _step_finished(message: run_events_pb2.StepFinished) -> events.StepFinished:
    return events.StepFinished(
        node=message.node,
        kind=message.kind,
        delta=object_from_proto(message.delta, "event.delta"),
        next=message.next,
        usage=usage_from_proto(message.usage),
        duration_s=duration_from_proto(message.duration),
        facts=object_from_proto(message.facts, "event.facts"),
    )


def _step_failed(message: run_events_pb2.StepFailed) -> events.StepFailed:
    return events.StepFailed(
        node=message.node,
        kind=message.kind,
        failure=failure_from_proto(message.failure),
        attempt=message.attempt,
        next=message.next,
        retried=message.retried,
        duration_s=duration_from_proto(message.duration),
        usage=usage_from_proto(message.usage),
    )


def _approval_decided(message: run_events_pb2.ApprovalDecided) -> events.ApprovalDecided:
    return events.ApprovalDecided(
        approval_id=message.approval_id,
        node=message.node,
        status=_approval_status(message.status),
        decided_by=message.decided_by,
        comment=message.comment,
        next=message.next,
    )


def _run_finished(message: run_events_pb2.RunFinished) -> events.RunFinished:
    return events.RunFinished(
        status=_run_status(message.status),
        output=json_from_proto(message.output, "event.output"),
        failure=_failure(message.failure, present=message.HasField("failure")),
        usage=usage_from_proto(message.usage),
        steps=message.steps,
    )


def _proposal(message: tool_pb2.Proposal) -> Proposal:
    return Proposal(
        tool=message.tool,
        tool_digest=message.tool_digest,
        arguments=json_from_proto(message.effective_arguments, "proposal.arguments"),
        call_digest=message.call_digest,
    )


def _failure(message: FailureMessage, *, present: bool) -> Failure | None:
    return failure_from_proto(message) if present else None


def _run_status(value: int) -> RunStatus:
    return word(RunStatus, run_pb2.RunStatus.DESCRIPTOR, value, "RUN_STATUS_")


def _approval_status(value: int) -> ApprovalStatus:
    return word(ApprovalStatus, run_pb2.ApprovalStatus.DESCRIPTOR, value, "APPROVAL_STATUS_")
