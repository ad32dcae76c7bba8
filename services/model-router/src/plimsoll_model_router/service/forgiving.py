"""For those who would rather answer than count: the ledger, with calls going on while it is away and recorded when it is back."""

from datetime import datetime

from plimsoll_runtime import logs
from plimsoll_runtime.errors import DeadlineExpired, Unavailable

from plimsoll_model_router.domain.budgets import Estimate
from plimsoll_model_router.domain.calls import CompletedCall, KeptCall, Opened, Opening, Opens, OverBudget
from plimsoll_model_router.domain.generation import Answer
from plimsoll_model_router.ports import CallLedger


class ForgivingLedger:
    """No budget holds and no request key is known while the ledger is away; the log says so for every call."""

    def __init__(self, ledger: CallLedger, log: logs.Log) -> None:
        self._ledger = ledger
        self._log = log

    async def open(self, opening: Opening) -> Opens:
        try:
            return await self._ledger.open(opening)
        except (Unavailable, DeadlineExpired) as error:
            self._log.warning("ledger.away", {"call": opening.call_id, "reason": error.reason, "means": "no budget holds for this call"})
            return Opened()

    async def extend(self, opening: Opening, more: Estimate) -> OverBudget | None:
        try:
            return await self._ledger.extend(opening, more)
        except (Unavailable, DeadlineExpired):
            return None

    async def record(self, call: CompletedCall) -> Answer | None:
        try:
            return await self._ledger.record(call)
        except (Unavailable, DeadlineExpired) as error:
            self._log.warning("ledger.away", {"call": call.call_id, "reason": error.reason, "means": "the call is recorded later"})
            self._ledger.post(call)
            return None

    async def settle(self, call: CompletedCall) -> None:
        await self._ledger.settle(call)

    def post(self, call: CompletedCall) -> None:
        self._ledger.post(call)

    async def recall(self, tenant: str, request_key: str, fingerprint: str) -> Answer | None:
        return await self._ledger.recall(tenant, request_key, fingerprint)

    async def cached(self, tenant: str, cache_key: str, since: datetime) -> Answer | None:
        try:
            return await self._ledger.cached(tenant, cache_key, since)
        except (Unavailable, DeadlineExpired):
            return None

    async def last_model(self, tenant: str, run_id: str, node: str) -> str:
        try:
            return await self._ledger.last_model(tenant, run_id, node)
        except (Unavailable, DeadlineExpired):
            return ""

    async def get(self, tenant: str, call_id: str) -> KeptCall:
        return await self._ledger.get(tenant, call_id)
