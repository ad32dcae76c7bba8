"""Watching over what was promoted: an alert about it points the label back."""

import asyncio

from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.logs import Log
from plimsoll_runtime.retry import pause

from plimsoll_feedback.domain.learning.improvements import Improvement
from plimsoll_feedback.domain.learning.reports import SubjectKind
from plimsoll_feedback.ports.improving import Alerts, ImprovementStore
from plimsoll_feedback.ports.learning import ModelRouter

_EVERY_S = 5.0


class PromotionWatch:
    """Looks after every promotion for as long as its plan says."""

    def __init__(self, store: ImprovementStore, router: ModelRouter, alerts: Alerts, clock: Clock, log: Log) -> None:
        self._store = store
        self._router = router
        self._alerts = alerts
        self._clock = clock
        self._log = log

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self.look_after()
            except PlimsollError as error:
                self._log.warning("promotion.unwatched", {"reason": error.reason})
            await pause(_EVERY_S, stop)

    async def look_after(self) -> int:
        """Point labels back where an alert speaks against what was promoted; how many. One that fails keeps no other from it."""
        return sum([await self._look_at(one) for one in await self._store.promoted()])

    async def _look_at(self, one: Improvement) -> bool:
        """A label that somebody moved on meanwhile is left where it is."""
        plan = one.plan
        try:
            noticed = await self._alerts.against(one.tenant, plan.prompt, one.candidate_digest, one.baseline_digest, one.changed_at)
            if noticed is None:
                return False
            reason = f"alert {noticed.alert_id}: {noticed.what}"
            present = await self._router.digest_of(one.tenant, SubjectKind.PROMPT, plan.prompt, plan.label)
            if present == one.candidate_digest:
                await self._router.roll_back(one.tenant, SubjectKind.PROMPT, plan.prompt, plan.label, reason)
            if not await self._store.rolled_back(one, reason, self._clock.now()):
                return False
        except PlimsollError as error:
            self._log.warning("promotion.unwatched", {"improvement_id": one.id, "reason": error.reason})
            return False
        self._log.warning("promotion.rolled_back", {"improvement_id": one.id, "alert_id": noticed.alert_id})
        return True
