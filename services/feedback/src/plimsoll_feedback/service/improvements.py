"""Improvements: planning, starting and following them."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.ids import Ids

from plimsoll_feedback.domain.learning import deeds
from plimsoll_feedback.domain.learning.datasets import DatasetName
from plimsoll_feedback.domain.learning.improvements import Improvement, ImprovementId, Plan, Progress, problems_of
from plimsoll_feedback.errors import ImprovementUnderWay, InvalidImprovement
from plimsoll_feedback.ports.improving import ImprovementStore
from plimsoll_feedback.ports.learning import DatasetStore

_LIST_CAP = 500
_KEY_CAP = 256


class Improvements:
    def __init__(self, store: ImprovementStore, datasets: DatasetStore, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._datasets = datasets
        self._clock = clock
        self._ids = ids

    async def put_plan(self, tenant: str, plan: Plan, by: str) -> Plan:
        """Raises InvalidImprovement or DatasetNotFound."""
        await self._check(tenant, plan)
        return await self._store.put_plan(tenant, plan, self._clock.now(), deeds.plan_put(tenant, plan, by))

    async def plans(self, tenant: str) -> Sequence[Plan]:
        return await self._store.plans(tenant)

    async def start(self, tenant: str, prompt: str, dataset: DatasetName, key: str) -> Improvement:
        """By the prompt's plan. Raises InvalidImprovement, DatasetNotFound, ImprovementUnderWay or KeyReused."""
        if len(key) > _KEY_CAP or "\x00" in key:
            problem = FieldProblem("idempotency_key", "is too long, or holds a NUL character", f"use at most {_KEY_CAP} characters")
            raise InvalidImprovement(problems=(problem,))
        known = await self._store.plan(tenant, prompt)
        plan = known if known is not None else Plan(prompt=prompt, dataset=dataset)
        if dataset:
            plan = replace(plan, dataset=dataset)
        await self._check(tenant, plan)
        return await self._begin(tenant, plan, key)

    async def start_due(self) -> int:
        """Begin what plans ask for by themselves, by their time or for an alert, where there is enough new to learn from."""
        begun = 0
        for tenant, plan in await self._store.due(self._clock.now()):
            begun += await self._begin_if_new(tenant, plan)
        for tenant, plan in await self._store.alarmed():
            with suppress(ImprovementUnderWay):
                await self._begin(tenant, plan, "")
                begun += 1
        return begun

    async def _begin_if_new(self, tenant: str, plan: Plan) -> bool:
        last = next(iter(await self._store.list(tenant, plan.prompt, 1)), None)
        learned = last.dataset_version if last is not None else 0
        if (await self._datasets.get(tenant, plan.dataset)).counts.version - learned < plan.minimum_new:
            return False
        with suppress(ImprovementUnderWay):  # by another process, or by command
            await self._begin(tenant, plan, "")
        return True

    async def get(self, tenant: str, improvement_id: ImprovementId) -> Improvement:
        """Raises ImprovementNotFound."""
        return await self._store.get(tenant, improvement_id)

    async def list(self, tenant: str, prompt: str, limit: int) -> Sequence[Improvement]:
        """Newest first."""
        return await self._store.list(tenant, prompt, min(max(limit, 1), _LIST_CAP))

    async def _begin(self, tenant: str, plan: Plan, key: str) -> Improvement:
        now = self._clock.now()
        improvement = Improvement(
            id=ImprovementId(self._ids.new("imp")), tenant=tenant, plan=plan, state=Progress.DRAFTING, created_at=now, changed_at=now
        )
        return await self._store.start(improvement, key)

    async def _check(self, tenant: str, plan: Plan) -> None:
        if problems := tuple(problems_of(plan)):
            raise InvalidImprovement(problems=problems)
        await self._datasets.get(tenant, plan.dataset)
