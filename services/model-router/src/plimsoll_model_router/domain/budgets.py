"""Budgets: what model calls may consume, per tenant, agent and key; reserved before a call and settled after it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from plimsoll_runtime.errors import FieldProblem

from plimsoll_model_router.domain import pricing
from plimsoll_model_router.domain.pricing import Price
from plimsoll_model_router.errors import InvalidBudget

USUAL_OUTPUT = 4096  # reserved for an answer of which nobody said how long it may be
LEAST_OUTPUT = 16  # a shorter answer than this is not worth asking for
_CAP = 10**15
_SUBJECT_CAP = 255


class BudgetScope(StrEnum):
    TENANT = "tenant"
    AGENT = "agent"
    KEY = "key"
    EVALUATION = "evaluation"  # all calls that judge prompts and models


class BudgetPeriod(StrEnum):
    """When counting begins anew, in UTC."""

    TOTAL = "total"
    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A cap; 0 means none of that kind. `subject` is the agent's name or the key's id, empty for the others."""

    scope: BudgetScope
    subject: str = ""
    period: BudgetPeriod
    max_tokens: int = 0
    max_cost_micros: int = 0

    def __str__(self) -> str:
        whose = f"{self.scope} {self.subject}" if self.subject else str(self.scope)
        return f"{whose} per {self.period}" if self.period is not BudgetPeriod.TOTAL else f"{whose} in total"


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetStatus:
    """`reserved` is held by calls in flight."""

    budget: Budget
    period_start: datetime
    spent_tokens: int = 0
    spent_cost_micros: int = 0
    reserved_tokens: int = 0
    reserved_cost_micros: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The most that an attempt may consume. `cost_micros` is 0 when the price is unknown."""

    tokens: int = 0
    cost_micros: int = 0


def checked(budget: Budget) -> Budget:
    """The budget, when it makes sense. Raises InvalidBudget with everything that is wrong with it."""
    problems = list(_problems(budget))
    if problems:
        raise InvalidBudget(problems=problems)
    return budget


def estimate(input_tokens: int, output_tokens: int, price: Price | None) -> Estimate:
    """The most that a try may consume. Input is counted half as much again: our count of tokens is a rule of thumb."""
    read = input_tokens + input_tokens // 2 + 16
    cost = pricing.most(read, output_tokens, price) if price is not None else 0
    return Estimate(tokens=read + output_tokens, cost_micros=cost)


def fitting_output(input_tokens: int, room_tokens: int, room_micros: int | None, price: Price | None) -> int:
    """The longest answer that fits into what is left of the budgets; 0 when none does. None means that money is not capped."""
    read = input_tokens + input_tokens // 2 + 16
    room = room_tokens - read
    if room_micros is not None and price is not None and price.output_micros:
        room = min(room, pricing.affordable_output(read, room_micros, price))
    return max(0, room)


def _problems(budget: Budget) -> Iterator[FieldProblem]:
    named = budget.scope in {BudgetScope.AGENT, BudgetScope.KEY}
    if bool(budget.subject) != named:
        wanted = f"name the {budget.scope}" if named else f"leave it empty: the tenant has one budget of the scope {budget.scope}"
        yield FieldProblem("budget.subject", f"is {budget.subject!r}", wanted)
    if len(budget.subject) > _SUBJECT_CAP or not budget.subject.isprintable():
        yield FieldProblem("budget.subject", "is too long or not printable", "use the agent's name or the key's id")
    if not budget.max_tokens and not budget.max_cost_micros:
        yield FieldProblem("budget.max_tokens", "is 0, and so is max_cost_micros", "set at least one cap, or delete the budget")
    for name, value in (("max_tokens", budget.max_tokens), ("max_cost_micros", budget.max_cost_micros)):
        if not 0 <= value <= _CAP:
            yield FieldProblem(f"budget.{name}", f"is {value}", f"use 1 to {_CAP}, or 0 for no cap")
