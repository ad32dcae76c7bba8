"""The journal's entries, and the text of steps under way."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from plimsoll.orchestrator.v1 import run_events_pb2
from plimsoll_runtime.failures import failure_from_proto
from plimsoll_runtime.usage import usage_from_proto
from plimsoll_runtime.wire import duration_from_proto, json_from_proto, object_from_proto

from plimsoll_client import events
from plimsoll_client.codec.options import options_from_proto, origin_from_proto
from plimsoll_client.codec.runs import approval_from_proto, approval_status, failure_or_none, run_status
from plimsoll_client.codec.words import moment


def event_from_proto(message: run_events_pb2.RunEvent) -> events.RunEvent:
    """An entry of a kind that only a newer client understands becomes OtherEvent."""
    read = _READERS.get(message.WhichOneof("event") or "")
    return events.RunEvent(
        run_id=message.run_id,
        seq=message.seq,
        at=moment(message, "time", message.time),
        agent=message.agent,
        agent_digest=message.agent_digest,
        epoch=message.epoch,
        event=read(message) if read else events.OtherEvent(),
    )


def _run_started(message: run_events_pb2.RunEvent) -> events.RunStarted:
    started = message.run_started
    return events.RunStarted(
        input=object_from_proto(started.input, "event.input"),
        options=options_from_proto(started.options),
        origin=origin_from_proto(started.origin) if started.HasField("origin") else None,
    )


def _step_started(message: run_events_pb2.RunEvent) -> events.StepStarted:
    started = message.step_started
    return events.StepStarted(node=started.node, kind=started.kind, attempt=started.attempt)


def _step_progressed(message: run_events_pb2.RunEvent) -> events.StepProgressed:
    turn = message.step_progressed
    return events.StepProgressed(node=turn.node, detail=json_from_proto(turn.detail, "event.detail"), usage=usage_from_proto(turn.usage))


def _step_finished(message: run_events_pb2.RunEvent) -> events.StepFinished:
    step = message.step_finished
    return events.StepFinished(
        node=step.node,
        kind=step.kind,
        delta=object_from_proto(step.delta, "event.delta"),
        next=step.next,
        usage=usage_from_proto(step.usage),
        duration_s=duration_from_proto(step.duration),
        facts=object_from_proto(step.facts, "event.facts"),
        appended=object_from_proto(step.appended, "event.appended"),
        undo=step.undo,
    )


def _step_failed(message: run_events_pb2.RunEvent) -> events.StepFailed:
    step = message.step_failed
    return events.StepFailed(
        node=step.node,
        kind=step.kind,
        failure=failure_from_proto(step.failure),
        attempt=step.attempt,
        next=step.next,
        retried=step.retried,
        duration_s=duration_from_proto(step.duration),
        usage=usage_from_proto(step.usage),
    )


def _approval_asked(message: run_events_pb2.RunEvent) -> events.ApprovalAsked:
    return events.ApprovalAsked(approval=approval_from_proto(message.approval_asked.approval))


def _approval_given(message: run_events_pb2.RunEvent) -> events.ApprovalGiven:
    given = message.approval_given
    return events.ApprovalGiven(approval_id=given.approval_id, node=given.node, decided_by=given.decided_by, comment=given.comment)


def _approval_decided(message: run_events_pb2.RunEvent) -> events.ApprovalDecided:
    decided = message.approval_decided
    return events.ApprovalDecided(
        approval_id=decided.approval_id,
        node=decided.node,
        status=approval_status(decided.status),
        decided_by=decided.decided_by,
        comment=decided.comment,
        next=decided.next,
        duration_s=duration_from_proto(decided.duration),
        approved_by=tuple(decided.approved_by),
        arguments=json_from_proto(decided.arguments, "event.arguments") if decided.HasField("arguments") else None,
    )


def _wait_started(message: run_events_pb2.RunEvent) -> events.WaitStarted:
    wait = message.wait_started
    return events.WaitStarted(node=wait.node, until=moment(wait, "until_time", wait.until_time), signal=wait.signal)


def _signal_received(message: run_events_pb2.RunEvent) -> events.SignalReceived:
    signal = message.signal_received
    payload = json_from_proto(signal.payload, "event.payload")
    return events.SignalReceived(signal_id=signal.signal_id, name=signal.name, payload=payload, sent_by=signal.sent_by)


def _children_started(message: run_events_pb2.RunEvent) -> events.ChildrenStarted:
    started = message.children_started
    children = tuple(events.ChildRun(run_id=child.run_id, place=child.place, agent=child.agent) for child in started.children)
    return events.ChildrenStarted(node=started.node, children=children, total=started.total)


def _children_joined(message: run_events_pb2.RunEvent) -> events.ChildrenJoined:
    joined = message.children_joined
    return events.ChildrenJoined(node=joined.node, children=tuple(_joined(child) for child in joined.children))


def _joined(child: run_events_pb2.JoinedChild) -> events.JoinedChild:
    return events.JoinedChild(
        run_id=child.run_id,
        place=child.place,
        status=run_status(child.status),
        failure=failure_or_none(child.failure, present=child.HasField("failure")),
        usage=usage_from_proto(child.usage),
    )


def _children_stopped(message: run_events_pb2.RunEvent) -> events.ChildrenStopped:
    stopped = message.children_stopped
    return events.ChildrenStopped(node=stopped.node, failure=failure_or_none(stopped.failure, present=stopped.HasField("failure")))


def _input_received(message: run_events_pb2.RunEvent) -> events.InputReceived:
    given = message.input_received
    return events.InputReceived(input_id=given.input_id, input=json_from_proto(given.input, "event.input"), sent_by=given.sent_by)


def _run_paused(message: run_events_pb2.RunEvent) -> events.RunPaused:
    return events.RunPaused(reason=message.run_paused.reason, paused_by=message.run_paused.paused_by)


def _run_resumed(message: run_events_pb2.RunEvent) -> events.RunResumed:
    return events.RunResumed(resumed_by=message.run_resumed.resumed_by)


def _run_quarantined(message: run_events_pb2.RunEvent) -> events.RunQuarantined:
    return events.RunQuarantined(reason=message.run_quarantined.reason, evidence=tuple(message.run_quarantined.evidence))


def _version_changed(message: run_events_pb2.RunEvent) -> events.VersionChanged:
    return events.VersionChanged(agent_digest=message.version_changed.agent_digest)


def _thread_joined(message: run_events_pb2.RunEvent) -> events.ThreadJoined:
    return events.ThreadJoined(kept=object_from_proto(message.thread_joined.kept, "event.kept"))


def _compensation_started(message: run_events_pb2.RunEvent) -> events.CompensationStarted:
    begun = message.compensation_started
    return events.CompensationStarted(node=begun.node, nodes=tuple(begun.nodes), next=begun.next)


def _run_finished(message: run_events_pb2.RunEvent) -> events.RunFinished:
    finished = message.run_finished
    return events.RunFinished(
        status=run_status(finished.status),
        output=json_from_proto(finished.output, "event.output"),
        failure=failure_or_none(finished.failure, present=finished.HasField("failure")),
        usage=usage_from_proto(finished.usage),
        steps=finished.steps,
        duration_s=duration_from_proto(finished.duration),
    )


def _tokens_received(message: run_events_pb2.RunEvent) -> events.TokensReceived:
    told = message.tokens_received
    return events.TokensReceived(node=told.node, step_seq=told.step_seq, attempt=told.attempt, offset=told.offset, text=told.text)


def _tokens_retracted(message: run_events_pb2.RunEvent) -> events.TokensRetracted:
    void = message.tokens_retracted
    return events.TokensRetracted(node=void.node, step_seq=void.step_seq, attempt=void.attempt)


_READERS: Mapping[str, Callable[[run_events_pb2.RunEvent], events.Happening]] = MappingProxyType(
    {
        "run_started": _run_started,
        "step_started": _step_started,
        "step_progressed": _step_progressed,
        "step_finished": _step_finished,
        "step_failed": _step_failed,
        "approval_asked": _approval_asked,
        "approval_given": _approval_given,
        "approval_decided": _approval_decided,
        "wait_started": _wait_started,
        "signal_received": _signal_received,
        "children_started": _children_started,
        "children_joined": _children_joined,
        "children_stopped": _children_stopped,
        "input_received": _input_received,
        "run_paused": _run_paused,
        "run_resumed": _run_resumed,
        "run_quarantined": _run_quarantined,
        "version_changed": _version_changed,
        "thread_joined": _thread_joined,
        "compensation_started": _compensation_started,
        "run_finished": _run_finished,
        "tokens_received": _tokens_received,
        "tokens_retracted": _tokens_retracted,
    }
)
