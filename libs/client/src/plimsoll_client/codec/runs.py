"""Runs, threads and approvals."""

from plimsoll.common.v1.failure_pb2 import Failure as FailureMessage
from plimsoll.orchestrator.v1 import run_pb2, thread_pb2
from plimsoll.tool_dispatcher.v1 import tool_pb2
from plimsoll_runtime.failures import Failure, failure_from_proto
from plimsoll_runtime.usage import usage_from_proto
from plimsoll_runtime.wire import json_from_proto, object_from_proto

from plimsoll_client.codec.options import options_from_proto, origin_from_proto
from plimsoll_client.codec.words import moment, word
from plimsoll_client.models import Approval, ApprovalStatus, Obstacle, Proposal, Run, RunStatus, Thread


def run_from_proto(message: run_pb2.Run) -> Run:
    return Run(
        id=message.run_id,
        agent=message.agent,
        agent_digest=message.agent_digest,
        status=run_status(message.status),
        seq=message.seq,
        node=message.node,
        input=object_from_proto(message.input, "run.input"),
        state=object_from_proto(message.state, "run.state") if message.HasField("state") else None,
        output=json_from_proto(message.output, "run.output"),
        failure=failure_or_none(message.failure, present=message.HasField("failure")),
        steps=message.steps,
        usage=usage_from_proto(message.usage),
        created_at=moment(message, "create_time", message.create_time),
        started_at=moment(message, "start_time", message.start_time),
        finished_at=moment(message, "finish_time", message.finish_time),
        rehearsal=message.rehearsal,
        options=options_from_proto(message.options),
        origin=origin_from_proto(message.origin) if message.HasField("origin") else None,
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
        status=approval_status(message.status),
        asked_at=moment(message, "ask_time", message.ask_time),
        expires_at=moment(message, "expire_time", message.expire_time),
        decided_at=moment(message, "decide_time", message.decide_time),
        decided_by=message.decided_by,
        comment=message.comment,
        approved_by=tuple(message.approved_by),
        quorum=max(1, message.quorum),
    )


def thread_from_proto(message: thread_pb2.Thread) -> Thread:
    return Thread(
        id=message.thread_id,
        active_run_id=message.active_run_id,
        queued_runs=message.queued_runs,
        last_run_id=message.last_run_id,
        kept=object_from_proto(message.kept, "thread.kept"),
        created_at=moment(message, "create_time", message.create_time),
        updated_at=moment(message, "update_time", message.update_time),
    )


def obstacle_from_proto(message: run_pb2.Obstacle) -> Obstacle:
    return Obstacle(
        reason=message.reason, message=message.message, until=moment(message, "until_time", message.until_time), subject=message.subject
    )


def _proposal(message: tool_pb2.Proposal) -> Proposal:
    return Proposal(
        tool=message.tool,
        tool_digest=message.tool_digest,
        arguments=json_from_proto(message.effective_arguments, "proposal.arguments"),
        call_digest=message.call_digest,
        message=message.message,
        four_eyes=message.terms.four_eyes,
    )


def failure_or_none(message: FailureMessage, *, present: bool) -> Failure | None:
    return failure_from_proto(message) if present else None


def run_status(value: int) -> RunStatus:
    return word(RunStatus, run_pb2.RunStatus.DESCRIPTOR, value, "RUN_STATUS_")


def approval_status(value: int) -> ApprovalStatus:
    return word(ApprovalStatus, run_pb2.ApprovalStatus.DESCRIPTOR, value, "APPROVAL_STATUS_")
