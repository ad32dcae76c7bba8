"""Budgets in PostgreSQL: caps as people set them. The ledger's own functions reserve and settle."""

from collections.abc import Sequence

import asyncpg

from plimsoll_model_router.adapters.tenancy import working_for
from plimsoll_model_router.domain.budgets import Budget, BudgetPeriod, BudgetScope, BudgetStatus

_PUT = """
    insert into budgets (tenant, scope, subject, period, max_tokens, max_micros, period_start)
    values ($1, $2, $3, $4, $5, $6, coalesce(date_trunc(nullif($4, 'total'), now(), 'UTC'), now()))
    on conflict (tenant, scope, subject, period) do update set max_tokens = excluded.max_tokens, max_micros = excluded.max_micros
    returning *
"""
_REMOVE = "delete from budgets where tenant = $1 and scope = $2 and subject = $3 and period = $4"
# A period whose time has come shows as begun anew, although nothing has been spent in it yet.
_ALL = """
    select scope, subject, period, max_tokens, max_micros, reserved_tokens, reserved_micros,
        case when over then 0 else spent_tokens end as spent_tokens, case when over then 0 else spent_micros end as spent_micros,
        case when over then date_trunc(period, now(), 'UTC') else period_start end as period_start
    from (select *, period <> 'total' and period_start < date_trunc(nullif(period, 'total'), now(), 'UTC') as over from budgets where tenant = $1) b
    order by scope, subject, period
"""


class PostgresBudgetStore:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def put(self, tenant: str, budget: Budget) -> BudgetStatus:
        told = budget.scope, budget.subject, budget.period, budget.max_tokens, budget.max_cost_micros
        async with working_for(self._pool, tenant) as connection:
            return _status(await connection.fetchrow(_PUT, tenant, *told))

    async def remove(self, tenant: str, scope: BudgetScope, subject: str, period: BudgetPeriod) -> bool:
        async with working_for(self._pool, tenant) as connection:
            status: str = await connection.execute(_REMOVE, tenant, scope, subject, period)
        return status != "DELETE 0"

    async def all(self, tenant: str) -> Sequence[BudgetStatus]:
        async with working_for(self._pool, tenant) as connection:
            return [_status(row) for row in await connection.fetch(_ALL, tenant)]


def _status(row: asyncpg.Record) -> BudgetStatus:
    budget = Budget(
        scope=BudgetScope(row["scope"]),
        subject=row["subject"],
        period=BudgetPeriod(row["period"]),
        max_tokens=row["max_tokens"],
        max_cost_micros=row["max_micros"],
    )
    return BudgetStatus(
        budget=budget,
        period_start=row["period_start"],
        spent_tokens=row["spent_tokens"],
        spent_cost_micros=row["spent_micros"],
        reserved_tokens=row["reserved_tokens"],
        reserved_cost_micros=row["reserved_micros"],
    )
