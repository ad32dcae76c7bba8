"""Monitors: fed by operations and signals, they raise alerts; people look at them and settle them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.ids import Ids
from plimsoll_runtime.logs import Log

from plimsoll_feedback.domain.monitor import (
    Alarm,
    Alert,
    AlertStatus,
    Measure,
    Observation,
    Rules,
    Standing,
    alert_of,
    changed,
    needed,
    observe_all,
    of_operation,
    of_signal,
)
from plimsoll_feedback.domain.operation import OperationKind
from plimsoll_feedback.domain.paging import Page, PageRequest, Position, cut
from plimsoll_feedback.domain.signal import COMMENT_CAP_CHARACTERS
from plimsoll_feedback.errors import AlertNotFound, InvalidQuery, MonitorNotFound
from plimsoll_feedback.ports.feed import OperationFeed, SignalFeed, Turn
from plimsoll_feedback.ports.monitors import Advance, AlertFilter, Judged, MonitorStore, Settlement
from plimsoll_feedback.service.feedback import check_size

_BATCH: Final = 500
_OPERATIONS, _SIGNALS = "monitors", "monitors of signals"


class Monitors:
    """Watches, raises alerts, and lets people settle them."""

    def __init__(
        self,
        store: MonitorStore,
        operations: OperationFeed,
        signals: SignalFeed,
        clock: Clock,
        ids: Ids,
        log: Log,
        *,
        rules: Rules,
        deliver: bool,
    ) -> None:
        self._store = store
        self._operations = operations
        self._signals = signals
        self._clock = clock
        self._ids = ids
        self._log = log
        self._rules = rules
        self._deliver = deliver
        self._holder = ids.new("fol")

    async def follow_operations(self) -> bool:
        """Handle the next batch of operations; False when there was none."""
        batch = await self._operations.claim(_OPERATIONS, self._holder, _BATCH)
        if batch is None:
            return False
        agents = sorted({(one.tenant, one.agent) for one in batch.rows if one.kind is OperationKind.TRANSITION})
        categories = {key: [*found] for key, found in (await self._store.categories(agents) if agents else {}).items()}
        observations: list[Observation] = []
        for operation in batch.rows:
            seen = of_operation(operation, categories)
            observations += seen
            for one in seen:
                if one.watched.category and one.watched.category not in categories.setdefault((operation.tenant, operation.agent), []):
                    categories[operation.tenant, operation.agent].append(one.watched.category)
        await self._advance(batch.turn, observations)
        return True

    async def follow_signals(self) -> bool:
        """Handle the next batch of signals; False when there was none."""
        batch = await self._signals.claim(_SIGNALS, self._holder, _BATCH)
        if batch is None:
            return False
        seen = [of_signal(one.signal, (one.agent, one.agent_version), one.prompts) for one in batch.rows if one.agent]
        await self._advance(batch.turn, [observation for found in seen for observation in found])
        return True

    async def list_monitors(self, tenant: str, subject: str | None, measure: Measure | None, page: PageRequest) -> Page[Judged]:
        """Latest change first. Raises InvalidQuery."""
        check_size(page)
        found = await self._store.find(tenant, subject, measure, replace(page, size=page.size + 1))
        return cut(found, page.size, lambda one: Position(at=one.updated_at, id=one.monitor.id))

    async def reset_baseline(self, tenant: str, monitor_id: str, by: str) -> Judged:
        """What comes next is the new normal. Raises MonitorNotFound."""
        settlement = Settlement(status=AlertStatus.RESOLVED, by=by, comment="the baseline was reset", at=self._clock.now())
        reset = await self._store.reset(tenant, monitor_id, settlement)
        if reset is None:
            raise MonitorNotFound(f"no monitor {monitor_id} is known", remedy="take the id from the list of monitors")
        return reset

    async def list_alerts(self, tenant: str, where: AlertFilter, page: PageRequest) -> Page[Alert]:
        """Newest first. Raises InvalidQuery."""
        check_size(page)
        found = await self._store.alerts(tenant, where, replace(page, size=page.size + 1))
        return cut(found, page.size, lambda alert: Position(at=alert.raised_at, id=alert.id))

    async def settle(self, tenant: str, alert_id: str, status: AlertStatus, by: str, comment: str) -> Alert:
        """Acknowledge or resolve; a resolved alert stays as it was settled. Raises InvalidQuery or AlertNotFound."""
        if len(comment) > COMMENT_CAP_CHARACTERS or "\x00" in comment:
            problem = FieldProblem(
                "comment", f"has {len(comment)} characters, or a NUL", f"use at most {COMMENT_CAP_CHARACTERS}, without NUL"
            )
            raise InvalidQuery(problems=(problem,))
        settlement = Settlement(status=status, by=by, comment=comment, at=self._clock.now())
        alert = await self._store.settle(tenant, alert_id, settlement)
        if alert is None:
            raise AlertNotFound(f"no alert {alert_id} is known", remedy="take the id from the list of alerts")
        return alert

    async def _advance(self, turn: Turn, observations: Sequence[Observation]) -> None:
        if not observations:
            await self._operations.move(turn)
            return
        usual, monitors = needed(observations)
        standing = await self._store.standing(sorted(usual), sorted(monitors))
        before = Standing(usual={**standing.usual}, monitors={**standing.monitors})
        alarms = observe_all(standing, observations, self._rules)
        alerts = [self._raised(alarm) for alarm in alarms]
        for alarm, alert in zip(alarms, alerts, strict=True):
            key = (alarm.monitor.watched, alarm.monitor.version)
            standing.monitors[key] = replace(standing.monitors[key], alert_id=alert.id)
        if await self._store.advance(Advance(turn=turn, standing=changed(before, standing), alerts=alerts), deliver=self._deliver):
            for alert in alerts:
                self._log.warning("feedback.alert_raised", {"tenant": alert.tenant, "alert": alert.id, "summary": alert.summary})

    def _raised(self, alarm: Alarm) -> Alert:
        return alert_of(alarm, self._ids.new("alr"), self._clock.now())
