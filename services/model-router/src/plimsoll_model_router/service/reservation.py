"""What a call holds in its budgets while it is under way."""

from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.usage import Usage

from plimsoll_model_router.domain.budgets import Estimate
from plimsoll_model_router.domain.calls import Opened, Opening, OverBudget
from plimsoll_model_router.errors import ProviderError, Remedy
from plimsoll_model_router.ports import CallLedger


class Reservation:
    """Grows when a later attempt needs more than the first; settled with the call."""

    def __init__(self, ledger: CallLedger, opening: Opening, opened: Opened) -> None:
        self._ledger = ledger
        self._opening = opening
        self._opened = opened
        self._held = opening.wanted
        self._under_way: dict[int, Estimate] = {}

    @property
    def capped(self) -> bool:
        return self._opened.capped

    async def cover(self, number: int, wanted: Estimate, spent: Usage) -> None:
        self._under_way[number] = wanted
        tokens = spent.input_tokens + spent.output_tokens + sum(one.tokens for one in self._under_way.values())
        micros = spent.cost_micros + sum(one.cost_micros for one in self._under_way.values())
        more = Estimate(tokens=max(0, tokens - self._held.tokens), cost_micros=max(0, micros - self._held.cost_micros))
        if not more.tokens and not more.cost_micros:
            return
        refusal = await self._ledger.extend(self._opening, more)
        if refusal is not None:
            raise ProviderError(over_budget(refusal), Remedy.NEXT_PROVIDER, sent=False)
        self._held = Estimate(tokens=self._held.tokens + more.tokens, cost_micros=self._held.cost_micros + more.cost_micros)

    def free(self, number: int) -> None:
        self._under_way.pop(number, None)


def over_budget(refusal: OverBudget) -> Failure:
    """The failure that tells which budget is used up, and until when."""
    until = f" until {refusal.renews_at:%Y-%m-%d %H:%M} UTC" if refusal.renews_at is not None else ""
    message = f"the budget of the {refusal.budget} has no room for this call{until}"
    return Failure(category=Category.BUDGET_EXCEEDED, reason="BUDGET_USED_UP", message=message, where="model-router")
