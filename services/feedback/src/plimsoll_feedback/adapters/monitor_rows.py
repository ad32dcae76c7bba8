"""Rows of baselines, monitors and alerts: from the domain to columns and back."""

import asyncpg

from plimsoll_feedback.domain.monitor import Alert, AlertStatus, Measure, Monitor, SubjectKind, Usual, Watched
from plimsoll_feedback.domain.sequential import Bet, Watch


def watched_from_row(row: asyncpg.Record) -> Watched:
    return Watched(
        tenant=row["tenant"],
        subject_kind=SubjectKind(row["subject_kind"]),
        subject=row["subject"],
        measure=Measure(row["measure"]),
        category=row["category"],
    )


def watched_to_row(watched: Watched) -> tuple[str, str, str, str, str]:
    return (watched.tenant, watched.subject_kind.value, watched.subject, watched.measure.value, watched.category)


def usual_from_row(row: asyncpg.Record) -> Usual:
    return Usual(
        watched=watched_from_row(row),
        gathered=tuple(row["gathered"]),
        size=row["baseline_size"],
        mean=row["mean"],
        cut=row["cut"],
        complete=row["complete"],
    )


def monitor_from_row(row: asyncpg.Record) -> Monitor:
    bet = Bet(started=tuple(row["started"]), size=row["size"], recent=row["recent"])
    watch = Watch(bound=row["bound"], alpha=row["alpha"], minimum=row["minimum"], bet=bet)
    return Monitor(watched=watched_from_row(row), version=row["version"], watch=watch, alert_id=row["alert_id"])


def alert_from_row(row: asyncpg.Record) -> Alert:
    return Alert(
        id=row["alert_id"],
        tenant=row["tenant"],
        monitor_id=row["monitor_id"],
        watched=watched_from_row(row),
        version=row["version"],
        status=AlertStatus(row["status"]),
        baseline_mean=row["baseline_mean"],
        baseline_size=row["baseline_size"],
        live_mean=row["live_mean"],
        live_size=row["live_size"],
        evidence=row["evidence"],
        alpha=row["alpha"],
        summary=row["summary"],
        raised_at=row["raised_at"],
        settled_at=row["settled_at"],
        settled_by=row["settled_by"],
        comment=row["comment"],
    )


def alert_to_row(alert: Alert) -> tuple[object, ...]:
    """In the order of the columns of ALERT_COLUMNS."""
    return (
        *watched_to_row(alert.watched),
        alert.id,
        alert.monitor_id,
        alert.version,
        alert.status.value,
        alert.baseline_mean,
        alert.baseline_size,
        alert.live_mean,
        alert.live_size,
        alert.evidence,
        alert.alpha,
        alert.summary,
        alert.raised_at,
    )


ALERT_COLUMNS = (
    "tenant, subject_kind, subject, measure, category, alert_id, monitor_id, version, status, baseline_mean, baseline_size, live_mean,"
    " live_size, evidence, alpha, summary, raised_at"
)
