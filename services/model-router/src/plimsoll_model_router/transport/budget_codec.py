"""Budgets, protobuf ↔ domain."""

from collections.abc import Mapping
from types import MappingProxyType

from plimsoll.model_router.v1 import budget_pb2
from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.wire import timestamp_to_proto

from plimsoll_model_router.domain.budgets import Budget, BudgetPeriod, BudgetScope, BudgetStatus
from plimsoll_model_router.errors import InvalidBudget

_SCOPE_CODES = {scope: budget_pb2.BudgetScope.Value(f"BUDGET_SCOPE_{scope.name}") for scope in BudgetScope}
_SCOPES: Mapping[int, BudgetScope] = MappingProxyType({code: scope for scope, code in _SCOPE_CODES.items()})
_PERIOD_CODES = {period: budget_pb2.BudgetPeriod.Value(f"BUDGET_PERIOD_{period.name}") for period in BudgetPeriod}
_PERIODS: Mapping[int, BudgetPeriod] = MappingProxyType({code: period for period, code in _PERIOD_CODES.items()})


def scope_from_proto(code: int, field: str) -> BudgetScope:
    found = _SCOPES.get(code)
    if found is None:
        raise InvalidBudget(problems=(FieldProblem(field, "is missing", "use TENANT, AGENT, KEY or EVALUATION"),))
    return found


def period_from_proto(code: int, field: str) -> BudgetPeriod:
    found = _PERIODS.get(code)
    if found is None:
        raise InvalidBudget(problems=(FieldProblem(field, "is missing", "use TOTAL, DAY or MONTH"),))
    return found


def budget_from_proto(message: budget_pb2.Budget) -> Budget:
    return Budget(
        scope=scope_from_proto(message.scope, "budget.scope"),
        subject=message.subject,
        period=period_from_proto(message.period, "budget.period"),
        max_tokens=message.max_tokens,
        max_cost_micros=message.max_cost_micros,
    )


def status_to_proto(status: BudgetStatus) -> budget_pb2.BudgetStatus:
    budget = status.budget
    return budget_pb2.BudgetStatus(
        budget=budget_pb2.Budget(
            scope=_SCOPE_CODES[budget.scope],
            subject=budget.subject,
            period=_PERIOD_CODES[budget.period],
            max_tokens=budget.max_tokens,
            max_cost_micros=budget.max_cost_micros,
        ),
        spent_tokens=status.spent_tokens,
        spent_cost_micros=status.spent_cost_micros,
        reserved_tokens=status.reserved_tokens,
        reserved_cost_micros=status.reserved_cost_micros,
        period_start_time=timestamp_to_proto(status.period_start),
    )
