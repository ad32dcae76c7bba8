"""Choosing who is asked first, and who after that: a pure choice, told with its candidates and probabilities."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from plimsoll_runtime.failures import Category

from plimsoll_model_router.domain import pricing
from plimsoll_model_router.domain.endpoints import Feature
from plimsoll_model_router.domain.routes import CheapOrStrong, Route, Strategy
from plimsoll_model_router.domain.routing import Candidate

_SHARPNESS = 12.0  # how strongly an adaptive choice prefers the better candidate
_COST_COUNTS, _PACE_COUNTS = 0.3, 0.2  # beside quality, which counts 1
_UNKNOWN_QUALITY = 0.5
_NO_ROUTE = Route(name="", candidates=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What a question asks of a model.

    Attributes:
    output_tokens    what the answer may have at the most; 0 when the caller set no limit
    max_cost_micros  what the call may cost; 0 means no limit
    money_capped     a budget in money holds for the call: a model without a price cannot be reserved for
    """

    needs: frozenset[Feature] = frozenset()
    input_tokens: int = 0
    output_tokens: int = 0
    difficulty: float = 0.0
    max_cost_micros: int = 0
    money_capped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a model does at present: seconds that its answers take, None when unknown, and whether its breaker is open."""

    latency_s: float | None = None
    is_open: bool = False


_UNKNOWN = Standing()


@dataclass(frozen=True, slots=True, kw_only=True)
class Excluded:
    """Why a candidate is not asked."""

    category: Category
    reason: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """One candidate of a choice. `probability` is that of being tried first."""

    candidate: Candidate
    probability: float = 0.0
    excluded: Excluded | None = None
    latency_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Attributes:
    weighed   in the order in which they are tried; those that are excluded last
    sticky    the model of the conversation's earlier turns, kept inside its tool loop
    eligible  those that are not excluded
    """

    weighed: tuple[Weighed, ...] = ()
    difficulty: float = 0.0
    sticky: bool = False
    route: str = ""
    route_digest: str = ""
    eligible: tuple[Candidate, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "eligible", tuple([one.candidate for one in self.weighed if one.excluded is None]))

    @property
    def refusals(self) -> tuple[Weighed, ...]:
        return tuple(one for one in self.weighed if one.excluded is not None)


def choose(
    candidates: Sequence[Candidate], route: Route | None, aim: Aim, standings: Mapping[str, Standing], *, kept: str = "", draw: float = 0.0
) -> Choice:
    """The order in which to try the candidates.

    `kept` is the model that a tool loop began with: it stays while it can answer. `draw`, 0 to 1, decides where chance does.
    """
    rules = route or _NO_ROUTE
    excluded = {one.full_name: refusal for one in candidates if (refusal := _refusal(one, rules, aim)) is not None}
    able = [one for one in candidates if one.full_name not in excluded]
    if len(able) > 1:
        ordered, odds, sticky = _ordered(able, rules, aim, standings, kept, draw)
    else:
        ordered, odds = able, {one.full_name: 1.0 for one in able}
        sticky = bool(able) and able[0].full_name == kept and not standings.get(kept, _UNKNOWN).is_open
    weighed = [
        Weighed(candidate=one, probability=odds.get(one.full_name, 0.0), latency_s=standings.get(one.full_name, _UNKNOWN).latency_s)
        for one in ordered
    ]
    refused = [Weighed(candidate=one, excluded=excluded[one.full_name]) for one in candidates if one.full_name in excluded]
    return Choice(weighed=(*weighed, *refused), difficulty=aim.difficulty, sticky=sticky, route=rules.name)


def _ordered(
    able: list[Candidate], rules: Route, aim: Aim, standings: Mapping[str, Standing], kept: str, draw: float
) -> tuple[list[Candidate], Mapping[str, float], bool]:
    """Several candidates in the order in which to try them, the odds of being first, and whether the loop's own model stays."""
    wanted = CheapOrStrong.STRONG if aim.difficulty >= rules.hard_above else CheapOrStrong.CHEAP

    def rank(one: Candidate) -> tuple[bool, bool, bool]:
        standing = standings.get(one.full_name, _UNKNOWN)
        slow = bool(rules.latency_target_s) and (standing.latency_s or 0.0) > rules.latency_target_s
        return standing.is_open, slow, one.tier not in {None, wanted}

    able.sort(key=rank)  # stable: inside a rank, the route's own order stays
    sticky = next((one for one in able if one.full_name == kept), None)
    if sticky is not None and not standings.get(kept, _UNKNOWN).is_open:
        return [sticky, *(one for one in able if one is not sticky)], {kept: 1.0}, True
    best = rank(able[0])
    pool = [one for one in able if rank(one) == best]
    odds = _odds(pool, rules, aim, standings)
    first = _drawn(pool, odds, draw)
    behind = sorted((one for one in pool if one is not first), key=lambda one: -odds[one.full_name])
    return [first, *behind, *(one for one in able if one not in pool)], odds, False


def _refusal(one: Candidate, route: Route, aim: Aim) -> Excluded | None:
    model, price = one.model, one.model.price
    if not model.supplied:
        what = "cannot be asked: its provider is not configured here, or no longer"
        return Excluded(category=Category.UPSTREAM_REJECTED, reason="NOT_CONFIGURED", what=what)
    missing = aim.needs - model.features
    if missing:
        lacking = ", ".join(sorted(missing))
        return Excluded(category=Category.UPSTREAM_REJECTED, reason="UNSUPPORTED", what=f"cannot do what the question needs: {lacking}")
    if model.context_tokens and aim.input_tokens + aim.output_tokens > model.context_tokens:
        told = f"this question has about {aim.input_tokens} and may be answered with {aim.output_tokens}"
        what = f"reads {model.context_tokens} tokens at the most; {told}"
        return Excluded(category=Category.CONTEXT_TRUNCATED, reason="CONTEXT_TOO_LONG", what=what)
    if route.max_output_price_micros and (price is None or price.output_micros > route.max_output_price_micros):
        return Excluded(category=Category.BUDGET_EXCEEDED, reason="TOO_EXPENSIVE", what="costs more than the route's price ceiling")
    if aim.money_capped and price is None:
        return Excluded(category=Category.BUDGET_EXCEEDED, reason="PRICE_MISSING", what="has no known price, and the budget is in money")
    if aim.max_cost_micros and price is not None:
        output = aim.output_tokens or pricing.affordable_output(aim.input_tokens, aim.max_cost_micros, price)
        cost = pricing.most(aim.input_tokens, max(1, output), price)
        if cost > aim.max_cost_micros:
            what = f"could cost {cost} micros, more than the {aim.max_cost_micros} that the call may cost"
            return Excluded(category=Category.BUDGET_EXCEEDED, reason="TOO_EXPENSIVE", what=what)
    return None


def _odds(pool: Sequence[Candidate], route: Route, aim: Aim, standings: Mapping[str, Standing]) -> dict[str, float]:
    """The probability of each to be first."""
    if len(pool) < 2:
        return {one.full_name: 1.0 for one in pool}
    match route.strategy:
        case Strategy.ORDER:
            parts = [1.0, *(0.0 for _ in pool[1:])]
        case Strategy.WEIGHTED:
            parts = [one.weight for one in pool]
        case Strategy.ADAPTIVE:
            parts = _adaptive(pool, aim, standings)
    total = sum(parts)
    even = route.explore if route.strategy is Strategy.ADAPTIVE else 0.0
    return {one.full_name: (1 - even) * part / total + even / len(pool) for one, part in zip(pool, parts, strict=True)}


def _adaptive(pool: Sequence[Candidate], aim: Aim, standings: Mapping[str, Standing]) -> list[float]:
    costs = [pricing.most(aim.input_tokens, aim.output_tokens or 500, one.model.price) if one.model.price else 0 for one in pool]
    paces = [standings.get(one.full_name, _UNKNOWN).latency_s or 0.0 for one in pool]
    dearest, slowest = max(costs) or 1, max(paces) or 1.0
    worth = [
        (one.quality or _UNKNOWN_QUALITY) - _COST_COUNTS * cost / dearest - _PACE_COUNTS * pace / slowest
        for one, cost, pace in zip(pool, costs, paces, strict=True)
    ]
    best = max(worth)
    return [one.weight * math.exp(_SHARPNESS * (value - best)) for one, value in zip(pool, worth, strict=True)]


def _drawn(pool: Sequence[Candidate], odds: Mapping[str, float], draw: float) -> Candidate:
    passed = 0.0
    for one in pool:
        passed += odds[one.full_name]
        if draw < passed:
            return one
    return pool[-1]  # rounding


def of_route(choice: Choice, name: str, version: int, digest: str) -> Choice:
    """The choice, with the version of the route that it was made by."""
    return replace(choice, route=f"{name}@{version}" if version else name, route_digest=digest)
