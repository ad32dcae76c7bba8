"""Monitors and alerts: proto ↔ domain."""

from typing import Final

from plimsoll.feedback.v1 import feedback_events_pb2, monitor_pb2, monitor_service_pb2
from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.outbox import OutboxEvent
from plimsoll_runtime.wire import timestamp_to_proto

from plimsoll_feedback.domain.monitor import Alert, AlertStatus, Measure
from plimsoll_feedback.errors import InvalidQuery
from plimsoll_feedback.ports.monitors import AlertFilter, Judged
from plimsoll_feedback.transport.codec import query_text

ALERT_RAISED: Final = "plimsoll.v1.feedback.alert.raised"

_MEASURES_TO_PROTO: Final = {measure: monitor_pb2.Measure.Value(f"MEASURE_{measure.name}") for measure in Measure}
_STATUSES_TO_PROTO: Final = {status: monitor_pb2.AlertStatus.Value(f"ALERT_STATUS_{status.name}") for status in AlertStatus}
_MEASURES: Final[dict[int, Measure]] = {number: measure for measure, number in _MEASURES_TO_PROTO.items()}
_STATUSES: Final[dict[int, AlertStatus]] = {number: status for status, number in _STATUSES_TO_PROTO.items()}


def measure_from_proto(number: int) -> Measure | None:
    """None when any is meant. Raises InvalidQuery for one that does not exist."""
    if number and number not in _MEASURES:
        raise InvalidQuery(problems=(FieldProblem("measure", f"is {number}, which is no measure", "use a known measure"),))
    return _MEASURES.get(number)


def alert_filter_from_proto(request: monitor_service_pb2.ListAlertsRequest) -> AlertFilter:
    """Raises InvalidQuery."""
    if request.status and request.status not in _STATUSES:
        raise InvalidQuery(problems=(FieldProblem("status", f"is {request.status}, which is no status", "use a known status"),))
    return AlertFilter(
        subject=query_text(request.subject, "subject") or None,
        measure=measure_from_proto(request.measure),
        status=_STATUSES.get(request.status),
    )


def monitor_to_proto(judged: Judged) -> monitor_pb2.Monitor:
    """All but the tenant, which the caller knows."""
    monitor, watch = judged.monitor, judged.monitor.watch
    watching = monitor_pb2.MONITOR_PHASE_ALARMED if monitor.alert_id else monitor_pb2.MONITOR_PHASE_WATCHING
    return monitor_pb2.Monitor(
        monitor_id=monitor.id,
        subject_kind=monitor.watched.subject_kind.value,
        subject=monitor.watched.subject,
        version=monitor.version,
        measure=_MEASURES_TO_PROTO[monitor.watched.measure],
        category=monitor.watched.category,
        phase=watching if judged.usual.complete else monitor_pb2.MONITOR_PHASE_LEARNING,
        baseline_size=judged.usual.size,
        baseline_mean=judged.usual.mean,
        bound=watch.bound,
        live_size=watch.bet.size,
        live_mean=watch.bet.recent,
        evidence=watch.bet.evidence,
        alpha=watch.alpha,
        update_time=timestamp_to_proto(judged.updated_at),
    )


def alert_to_proto(alert: Alert) -> monitor_pb2.Alert:
    """All but the tenant, which the caller knows."""
    message = monitor_pb2.Alert(
        alert_id=alert.id,
        monitor_id=alert.monitor_id,
        subject_kind=alert.watched.subject_kind.value,
        subject=alert.watched.subject,
        version=alert.version,
        measure=_MEASURES_TO_PROTO[alert.watched.measure],
        category=alert.watched.category,
        status=_STATUSES_TO_PROTO[alert.status],
        baseline_mean=alert.baseline_mean,
        live_mean=alert.live_mean,
        baseline_size=alert.baseline_size,
        live_size=alert.live_size,
        evidence=alert.evidence,
        alpha=alert.alpha,
        summary=alert.summary,
        raise_time=timestamp_to_proto(alert.raised_at),
        settled_by=alert.settled_by,
        comment=alert.comment,
    )
    if alert.settled_at is not None:
        message.settle_time.CopyFrom(timestamp_to_proto(alert.settled_at))
    return message


def alert_raised(alert: Alert) -> OutboxEvent:
    """The event that tells others of an alert; the alert's id identifies it."""
    event = feedback_events_pb2.AlertRaised(event_id=alert.id, tenant=alert.tenant, alert=alert_to_proto(alert))
    return OutboxEvent(event_id=alert.id, subject=ALERT_RAISED, tenant=alert.tenant, payload=event.SerializeToString())
