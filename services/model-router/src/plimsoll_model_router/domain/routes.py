"""Routes: who answers a kind of task, and by which rules one of them is chosen."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.json_types import JsonObject, JsonValue

from plimsoll_model_router.domain import own_timers
from plimsoll_model_router.domain.names import NAME, NAME_REMEDY
from plimsoll_model_router.domain.own_timers import NO_TIMERS, OwnTimers
from plimsoll_model_router.errors import InvalidRoute

DEFAULT = "default"  # the route of tasks that have none of their own
_CANDIDATES_CAP = 16


class Strategy(StrEnum):
    ORDER = "order"  # the first that can answer
    WEIGHTED = "weighted"  # by chance, in proportion to the weights
    ADAPTIVE = "adaptive"  # by chance, in favour of quality, then of price and speed


class CheapOrStrong(StrEnum):
    """Which questions a candidate is preferred for."""

    CHEAP = "cheap"  # simple ones
    STRONG = "strong"  # hard ones


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteCandidate:
    """Attributes:
    model    a model entry's name, or provider/model
    quality  what evaluations found, 0 to 1; 0 when not evaluated
    tier     None: for any question
    """

    model: str
    weight: float = 1.0
    quality: float = 0.0
    tier: CheapOrStrong | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The content of a route version: all that its digest covers, but for the description.

    Attributes:
    latency_target_s         candidates that lately took longer are avoided while a faster one can answer; 0 means no target
    max_output_price_micros  dearer candidates are never asked; per million output tokens, 0 means no ceiling
    hard_above               questions at least this hard go to the strong tier first, others to the cheap one
    hedge_after_s            after so long without a word a second candidate is asked too; 0 means never
    explore                  share of adaptive choices that is made evenly
    refusal_moves_on         a refusal is taken to the next candidate; otherwise it is the answer
    timers                   for all candidates, before their own
    """

    name: str
    candidates: tuple[RouteCandidate, ...]
    description: str = ""
    strategy: Strategy = Strategy.ORDER
    latency_target_s: float = 0.0
    max_output_price_micros: int = 0
    hard_above: float = 0.5
    hedge_after_s: float = 0.0
    explore: float = 0.0
    refusal_moves_on: bool = False
    timers: OwnTimers = NO_TIMERS


def checked(route: Route) -> Route:
    """The route, when it can be registered. Raises InvalidRoute with everything that is wrong with it."""
    problems = [
        *_name_problems(route),
        *_candidate_problems(route),
        *_limit_problems(route),
        *own_timers.problems(route.timers, "route.timers"),
    ]
    if problems:
        raise InvalidRoute(problems=problems)
    return route


def to_plain(route: Route) -> JsonObject:
    return {
        "name": route.name,
        "candidates": [
            {"model": one.model, "weight": one.weight, "quality": one.quality, "tier": one.tier.value if one.tier else None}
            for one in route.candidates
        ],
        "strategy": route.strategy.value,
        "latency_target_s": route.latency_target_s,
        "max_output_price_micros": route.max_output_price_micros,
        "hard_above": route.hard_above,
        "hedge_after_s": route.hedge_after_s,
        "explore": route.explore,
        "refusal_moves_on": route.refusal_moves_on,
        **own_timers.to_plain(route.timers),
    }


def from_plain(value: JsonObject, description: str) -> Route:
    """What `to_plain` made."""
    listed = value["candidates"]
    assert isinstance(listed, list)
    return Route(
        name=str(value["name"]),
        description=description,
        candidates=tuple(_candidate_from_plain(one) for one in listed if isinstance(one, dict)),
        strategy=Strategy(str(value["strategy"])),
        latency_target_s=_float(value["latency_target_s"]),
        max_output_price_micros=int(_float(value["max_output_price_micros"])),
        hard_above=_float(value["hard_above"]),
        hedge_after_s=_float(value["hedge_after_s"]),
        explore=_float(value["explore"]),
        refusal_moves_on=bool(value["refusal_moves_on"]),
        timers=own_timers.from_plain(value.get("timers")),
    )


def _candidate_from_plain(value: JsonObject) -> RouteCandidate:
    tier = value["tier"]
    return RouteCandidate(
        model=str(value["model"]),
        weight=_float(value["weight"]),
        quality=_float(value["quality"]),
        tier=CheapOrStrong(str(tier)) if tier else None,
    )


def _float(value: JsonValue) -> float:
    assert isinstance(value, int | float)
    return float(value)


def _name_problems(route: Route) -> Iterator[FieldProblem]:
    if not NAME.fullmatch(route.name):
        yield FieldProblem("route.name", f"is {route.name!r}", f"name the task, or `{DEFAULT}`: {NAME_REMEDY}")
    if "\x00" in route.description:
        yield FieldProblem("route.description", "holds the character U+0000", "leave it out")


def _candidate_problems(route: Route) -> Iterator[FieldProblem]:
    names = [one.model for one in route.candidates]
    if not 1 <= len(names) <= _CANDIDATES_CAP:
        yield FieldProblem("route.candidates", f"has {len(names)} entries", f"name 1 to {_CANDIDATES_CAP} models")
    for at, one in enumerate(route.candidates):
        field = f"route.candidates[{at}]"
        if not one.model or not one.model.isprintable():
            yield FieldProblem(f"{field}.model", f"is {one.model!r}", "name a model entry, or provider/model")
        elif one.model in names[:at]:
            yield FieldProblem(f"{field}.model", f"is {one.model!r} for the second time", "name each model once")
        if not 0 <= one.weight <= 1000:
            yield FieldProblem(f"{field}.weight", f"is {one.weight}", "use a number over 0 to 1000")
        if not 0 <= one.quality <= 1:
            yield FieldProblem(f"{field}.quality", f"is {one.quality}", "use 0 to 1")


def _limit_problems(route: Route) -> Iterator[FieldProblem]:
    ranges = {
        "latency_target": (route.latency_target_s, 3600.0),
        "hedge_after": (route.hedge_after_s, 3600.0),
        "hard_above": (route.hard_above, 1.0),
        "explore": (route.explore, 0.5),
        "max_output_price_micros": (float(route.max_output_price_micros), 1e12),
    }
    for name, (value, most) in ranges.items():
        if not math.isfinite(value) or not 0 <= value <= most:
            yield FieldProblem(f"route.{name}", f"is {value:g}", f"use 0 to {most:g}")
