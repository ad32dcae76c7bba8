"""What the service needs of the store of monitors and alerts. Each method is one whole transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from plimsoll_feedback.domain.monitor import Alert, AlertStatus, Measure, Monitor, Standing, Usual, Watched
from plimsoll_feedback.domain.paging import PageRequest
from plimsoll_feedback.ports.feed import Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertFilter:
    """Every part that is set must hold."""

    subject: str | None = None
    measure: Measure | None = None
    status: AlertStatus | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What somebody says about an alert."""

    status: AlertStatus
    by: str
    comment: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A monitor beside what is usual of what it watches."""

    monitor: Monitor
    usual: Usual
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """An alert that the webhook has not taken yet."""

    alert: Alert
    tries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """What a batch changes: written together with the place that its follower has come to."""

    turn: Turn
    standing: Standing = field(default_factory=Standing)
    alerts: Sequence[Alert] = ()


class MonitorStore(Protocol):
    """Keeps baselines, monitors, alerts and their deliveries."""

    async def standing(self, usual: Sequence[Watched], monitors: Sequence[tuple[Watched, str]]) -> Standing:
        """What is known of these."""
        ...

    async def categories(self, agents: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], Sequence[str]]:
        """Which categories each tenant's agent is watched for."""
        ...

    async def advance(self, change: Advance, *, deliver: bool) -> bool:
        """Write what a batch changed and announce its alerts; False, and nothing written, when the turn is over."""
        ...

    async def find(self, tenant: str, subject: str | None, measure: Measure | None, page: PageRequest) -> Sequence[Judged]:
        """Up to page.size monitors behind page.after, latest change first."""
        ...

    async def reset(self, tenant: str, monitor_id: str, settlement: Settlement) -> Judged | None:
        """Forget the baseline that the monitor is measured against, with all monitors and open alerts of it; None when there is none."""
        ...

    async def alerts(self, tenant: str, where: AlertFilter, page: PageRequest) -> Sequence[Alert]:
        """Up to page.size alerts behind page.after, newest first."""
        ...

    async def settle(self, tenant: str, alert_id: str, settlement: Settlement) -> Alert | None:
        """Acknowledge or resolve; what is resolved stays so, and its monitor watches on. None when there is no such alert."""
        ...

    async def due(self, limit: int, lease_s: float) -> Sequence[Delivery]:
        """Deliveries whose time has come; nobody else gets them for `lease_s`."""
        ...

    async def delivered(self, alert: Alert) -> None:
        """The webhook took it, or never will."""
        ...

    async def failed(self, alert: Alert, pause_s: float) -> None:
        """Try again after a pause."""
        ...
