"""Journal entries as events of the contract: whole for those who follow a run, abridged when they are too large for the bus."""

from typing import TypeAlias, assert_never

from plimsoll.orchestrator.v1 import run_events_pb2 as pb
from plimsoll_runtime.failures import failure_to_proto
from plimsoll_runtime.json_types import JsonObject
from plimsoll_runtime.usage import usage_to_proto
from plimsoll_runtime.wire import duration_to_proto, json_to_proto, timestamp_to_proto

from plimsoll_orchestrator.domain.journal import (
    ApprovalAsked,
    ApprovalDecided,
    ApprovalGiven,
    ApprovalStatus,
    ChildrenJoined,
    ChildrenStarted,
    ChildrenStopped,
    CompensationStarted,
    InputReceived,
    InputTurn,
    Joined,
    ModelTurn,
    RunFinished,
    RunPaused,
    RunQuarantined,
    RunResumed,
    RunStarted,
    RunStatus,
    SignalReceived,
    StepFailed,
    StepFinished,
    StepProgressed,
    StepStarted,
    ThreadJoined,
    ToolTurn,
    Turn,
    VersionChanged,
    WaitStarted,
)
from plimsoll_orchestrator.domain.options import CLIENT, USUAL
from plimsoll_orchestrator.domain.run import Approval
from plimsoll_orchestrator.domain.speech import Retracted, SpokenText
from plimsoll_orchestrator.ports import JournalEntry, RunSummary
from plimsoll_orchestrator.service import Followed
from plimsoll_orchestrator.transport.codec import (
    approval_message,
    approval_status_to_proto,
    options_to_proto,
    origin_to_proto,
    status_to_proto,
)

_PUBLISHED_CAP_BYTES = 128 * 1024  # far below what the bus takes, and a whole batch of events still fits in memory
_TEXT_CAP = 2000

Rare: TypeAlias = (
    ApprovalGiven
    | WaitStarted
    | SignalReceived
    | InputReceived
    | ChildrenStarted
    | ChildrenJoined
    | ChildrenStopped
    | CompensationStarted
    | ThreadJoined
    | RunPaused
    | RunResumed
    | RunQuarantined
    | VersionChanged
)


def event_to_proto(tenant: str, agent: str, agent_digest: str, entry: JournalEntry) -> pb.RunEvent:  # noqa: C901 - one case for each kind of entry
    event = pb.RunEvent(
        run_id=entry.run_id,
        seq=entry.seq,
        time=timestamp_to_proto(entry.at),
        tenant=tenant,
        agent=agent,
        agent_digest=agent_digest,
        epoch=entry.epoch,
    )
    match entry.entry:
        case RunStarted() as begun:
            event.run_started.input.CopyFrom(json_to_proto(begun.input))
            if begun.options != USUAL:
                event.run_started.options.CopyFrom(options_to_proto(begun.options))
            if begun.origin != CLIENT:
                event.run_started.origin.CopyFrom(origin_to_proto(begun.origin))
        case StepStarted() as started:
            event.step_started.CopyFrom(pb.StepStarted(node=started.node, kind=started.node_kind, attempt=started.attempt))
        case StepProgressed() as progressed:
            event.step_progressed.CopyFrom(
                pb.StepProgressed(
                    node=progressed.node, detail=json_to_proto(_turn(progressed.turn)), usage=usage_to_proto(progressed.usage)
                )
            )
        case StepFinished() as finished:
            event.step_finished.CopyFrom(_step_finished(finished))
        case StepFailed() as failed:
            event.step_failed.CopyFrom(_step_failed(failed))
        case ApprovalAsked() as asked:
            event.approval_asked.approval.CopyFrom(approval_message(_asked(asked, entry), entry.run_id, agent))
        case ApprovalDecided() as decided:
            event.approval_decided.CopyFrom(
                pb.ApprovalDecided(
                    approval_id=decided.approval_id,
                    node=decided.node,
                    status=approval_status_to_proto(decided.status),
                    decided_by=decided.decided_by,
                    comment=decided.comment,
                    duration=duration_to_proto(decided.seconds),
                    approved_by=decided.approved_by,
                )
            )
            if decided.arguments is not None:
                event.approval_decided.arguments.CopyFrom(json_to_proto(decided.arguments))
        case RunFinished() as ended:
            event.run_finished.CopyFrom(_run_finished(ended))
        case other:
            _tell(event, other)
    return event


def _tell(event: pb.RunEvent, entry: Rare) -> None:  # noqa: C901, PLR0912 - one case for each kind of entry
    match entry:
        case ApprovalGiven():
            event.approval_given.CopyFrom(
                pb.ApprovalGiven(approval_id=entry.approval_id, node=entry.node, decided_by=entry.decided_by, comment=entry.comment)
            )
        case WaitStarted():
            event.wait_started.CopyFrom(pb.WaitStarted(node=entry.node, signal=entry.signal))
            if entry.until is not None:
                event.wait_started.until_time.CopyFrom(timestamp_to_proto(entry.until))
        case SignalReceived():
            event.signal_received.CopyFrom(
                pb.SignalReceived(signal_id=entry.signal_id, name=entry.name, payload=json_to_proto(entry.payload), sent_by=entry.sent_by)
            )
        case InputReceived():
            event.input_received.CopyFrom(
                pb.InputReceived(input_id=entry.input_id, input=json_to_proto(entry.input), sent_by=entry.sent_by)
            )
        case ChildrenStarted():
            children = [pb.ChildRun(run_id=child.run_id, place=child.place, agent=child.agent) for child in entry.children]
            event.children_started.CopyFrom(pb.ChildrenStarted(node=entry.node, children=children, total=entry.total))
        case ChildrenJoined():
            event.children_joined.CopyFrom(pb.ChildrenJoined(node=entry.node, children=[_joined(child) for child in entry.children]))
        case ChildrenStopped():
            event.children_stopped.CopyFrom(pb.ChildrenStopped(node=entry.node, failure=failure_to_proto(entry.failure)))
        case CompensationStarted():
            event.compensation_started.CopyFrom(pb.CompensationStarted(node=entry.node, nodes=entry.nodes, next=entry.next))
        case ThreadJoined():
            event.thread_joined.kept.CopyFrom(json_to_proto(entry.kept))
        case RunPaused():
            event.run_paused.CopyFrom(pb.RunPaused(reason=entry.reason, paused_by=entry.paused_by))
        case RunResumed():
            event.run_resumed.CopyFrom(pb.RunResumed(resumed_by=entry.resumed_by))
        case RunQuarantined():
            event.run_quarantined.CopyFrom(pb.RunQuarantined(reason=entry.reason, evidence=entry.evidence))
        case VersionChanged():
            event.version_changed.agent_digest = entry.agent_digest
        case _:
            assert_never(entry)


def _joined(child: Joined) -> pb.JoinedChild:
    message = pb.JoinedChild(
        run_id=child.run_id, place=child.place, status=status_to_proto(child.status), usage=usage_to_proto(child.usage)
    )
    if child.failure is not None:
        message.failure.CopyFrom(failure_to_proto(child.failure))
    return message


def followed_to_proto(tenant: str, summary: RunSummary, followed: Followed) -> pb.RunEvent:
    """An entry, or text of a step under way; the text's `seq` is that of the entry before it."""
    if isinstance(followed, JournalEntry):
        return event_to_proto(tenant, summary.agent, summary.agent_digest, followed)
    event = pb.RunEvent(run_id=summary.run_id, seq=followed.step_seq, tenant=tenant, agent=summary.agent, agent_digest=summary.agent_digest)
    match followed:
        case SpokenText():
            event.tokens_received.CopyFrom(
                pb.TokensReceived(
                    node=followed.node,
                    step_seq=followed.step_seq,
                    attempt=followed.attempt,
                    offset=followed.offset,
                    text=followed.text,
                )
            )
        case Retracted():
            event.tokens_retracted.CopyFrom(pb.TokensRetracted(node=followed.node, step_seq=followed.step_seq, attempt=followed.attempt))
    return event


def event_to_publish(tenant: str, agent: str, agent_digest: str, entry: JournalEntry) -> bytes:
    """The event as the bus carries it: whole, or without its values when they are more than the bus should carry."""
    event = event_to_proto(tenant, agent, agent_digest, entry)
    if event.ByteSize() > _PUBLISHED_CAP_BYTES:
        _abridge(event)
    return event.SerializeToString()


def _abridge(event: pb.RunEvent) -> None:  # noqa: C901, PLR0912 - one case for each kind of event
    event.abridged = True
    match event.WhichOneof("event"):
        case "run_started":
            event.run_started.ClearField("input")
        case "step_progressed":
            event.step_progressed.ClearField("detail")
        case "step_finished":
            event.step_finished.ClearField("delta")
            event.step_finished.ClearField("appended")
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
            event.approval_decided.ClearField("arguments")
        case "approval_given":
            event.approval_given.comment = event.approval_given.comment[:_TEXT_CAP]
        case "run_finished":
            event.run_finished.ClearField("output")
            if event.run_finished.HasField("failure"):
                event.run_finished.failure.message = event.run_finished.failure.message[:_TEXT_CAP]
        case "signal_received":
            event.signal_received.ClearField("payload")
        case "input_received":
            event.input_received.ClearField("input")
        case "thread_joined":
            event.thread_joined.ClearField("kept")
        case "children_joined":
            for child in event.children_joined.children:
                child.failure.message = child.failure.message[:_TEXT_CAP]
        case _:
            pass


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
        case InputTurn(input=value):
            return {"input": value}
        case ToolTurn(answers=given):
            answers = [{"callId": a.call_id, "tool": a.tool, "content": a.content, "isError": a.is_error} for a in given]
            return {"toolResults": list(answers)}


def _step_finished(entry: StepFinished) -> pb.StepFinished:
    return pb.StepFinished(
        node=entry.node,
        kind=entry.node_kind,
        delta=json_to_proto(entry.delta),
        next=entry.next,
        usage=usage_to_proto(entry.usage),
        duration=duration_to_proto(entry.seconds),
        facts=json_to_proto(entry.facts),
        appended=json_to_proto(entry.appended) if entry.appended else None,
        undo=entry.undo,
    )


def _step_failed(entry: StepFailed) -> pb.StepFailed:
    return pb.StepFailed(
        node=entry.node,
        kind=entry.node_kind,
        failure=failure_to_proto(entry.failure),
        attempt=entry.attempt,
        next=entry.next,
        retried=entry.retry_at is not None,
        duration=duration_to_proto(entry.seconds),
        usage=usage_to_proto(entry.usage),
    )


def _run_finished(entry: RunFinished) -> pb.RunFinished:
    message = pb.RunFinished(
        status=status_to_proto(entry.status),
        usage=usage_to_proto(entry.usage),
        steps=entry.steps,
        duration=duration_to_proto(entry.seconds),
    )
    if entry.status is RunStatus.SUCCEEDED:
        message.output.CopyFrom(json_to_proto(entry.output))
    if entry.failure is not None:
        message.failure.CopyFrom(failure_to_proto(entry.failure))
    return message
