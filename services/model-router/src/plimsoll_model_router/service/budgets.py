"""The budgets' verbs: caps as people set them."""

from collections.abc import Sequence

from plimsoll_model_router.domain import budgets
from plimsoll_model_router.domain.budgets import Budget, BudgetPeriod, BudgetScope, BudgetStatus
from plimsoll_model_router.ports import BudgetStore


class Budgets:
    def __init__(self, store: BudgetStore) -> None:
        self._store = store

    async def set(self, tenant: str, budget: Budget) -> BudgetStatus:
        """Set or change a cap; what was spent stays. Raises InvalidBudget."""
        return await self._store.put(tenant, budgets.checked(budget))

    async def delete(self, tenant: str, scope: BudgetScope, subject: str, period: BudgetPeriod) -> bool:
        """Whether there was one."""
        return await self._store.remove(tenant, scope, subject, period)

    async def list(self, tenant: str) -> Sequence[BudgetStatus]:
        """All of the tenant, with what was spent in the present period."""
        return await self._store.all(tenant)
