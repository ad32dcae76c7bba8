"""Monitors and alerts."""

from plimsoll.feedback.v1 import monitor_pb2

from plimsoll_client.codec.words import moment, word
from plimsoll_client.monitors import Alert, AlertStatus, Measure, Monitor, MonitorPhase


def measure_to_proto(measure: Measure | None) -> "monitor_pb2.Measure.ValueType":
    return monitor_pb2.Measure.Value(f"MEASURE_{measure.name if measure else 'UNSPECIFIED'}")


def alert_status_to_proto(status: AlertStatus | None) -> "monitor_pb2.AlertStatus.ValueType":
    return monitor_pb2.AlertStatus.Value(f"ALERT_STATUS_{status.name if status else 'UNSPECIFIED'}")


def monitor_from_proto(message: monitor_pb2.Monitor) -> Monitor:
    return Monitor(
        id=message.monitor_id,
        subject_kind=message.subject_kind,
        subject=message.subject,
        version=message.version,
        measure=word(Measure, monitor_pb2.Measure.DESCRIPTOR, message.measure, "MEASURE_"),
        category=message.category,
        phase=word(MonitorPhase, monitor_pb2.MonitorPhase.DESCRIPTOR, message.phase, "MONITOR_PHASE_"),
        baseline_size=message.baseline_size,
        baseline_mean=message.baseline_mean,
        bound=message.bound,
        live_size=message.live_size,
        live_mean=message.live_mean,
        evidence=message.evidence,
        alpha=message.alpha,
        updated_at=moment(message, "update_time", message.update_time),
    )


def alert_from_proto(message: monitor_pb2.Alert) -> Alert:
    return Alert(
        id=message.alert_id,
        monitor_id=message.monitor_id,
        subject_kind=message.subject_kind,
        subject=message.subject,
        version=message.version,
        measure=word(Measure, monitor_pb2.Measure.DESCRIPTOR, message.measure, "MEASURE_"),
        category=message.category,
        status=word(AlertStatus, monitor_pb2.AlertStatus.DESCRIPTOR, message.status, "ALERT_STATUS_"),
        baseline_mean=message.baseline_mean,
        live_mean=message.live_mean,
        baseline_size=message.baseline_size,
        live_size=message.live_size,
        evidence=message.evidence,
        alpha=message.alpha,
        summary=message.summary,
        raised_at=moment(message, "raise_time", message.raise_time),
        settled_at=moment(message, "settle_time", message.settle_time),
        settled_by=message.settled_by,
        comment=message.comment,
    )
