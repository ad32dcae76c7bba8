"""Whether things are as they were: monitors, and the alerts that they raise."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Measure(StrEnum):
    """What is watched; of each, more is worse."""

    FAILED_RUNS = "failed_runs"
    CATEGORY = "category"
    OVERRIDES = "overrides"
    EMPTY_RETRIEVALS = "empty_retrievals"
    WEAK_RETRIEVALS = "weak_retrievals"
    COSTLY_RUNS = "costly_runs"
    SLOW_RUNS = "slow_runs"
    BAD_OUTCOMES = "bad_outcomes"
    DOUBT = "doubt"
    UNFAMILIAR_INPUTS = "unfamiliar_inputs"
    UNKNOWN = "unknown"


class MonitorPhase(StrEnum):
    """Gathering the baseline, comparing with it, or with an alert open."""

    LEARNING = "learning"
    WATCHING = "watching"
    ALARMED = "alarmed"
    UNKNOWN = "unknown"


class AlertStatus(StrEnum):
    """How far people are with it."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitor:
    """One measure of one version of an agent, prompt or collection. `evidence` raises an alert when it reaches 1 / `alpha`."""

    id: str
    subject_kind: str
    subject: str
    version: str
    measure: Measure
    category: str
    phase: MonitorPhase
    baseline_size: int
    baseline_mean: float
    bound: float
    live_size: int
    live_mean: float
    evidence: float
    alpha: float
    updated_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A measure left its baseline; `summary` says so in one sentence."""

    id: str
    monitor_id: str
    subject_kind: str
    subject: str
    version: str
    measure: Measure
    category: str
    status: AlertStatus
    baseline_mean: float
    live_mean: float
    baseline_size: int
    live_size: int
    evidence: float
    alpha: float
    summary: str
    raised_at: datetime | None
    settled_at: datetime | None
    settled_by: str
    comment: str
