"""Timers that a route or a model entry tells for itself, in place of the configuration's."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.json_types import JsonObject, JsonValue

from plimsoll_model_router.domain.endpoints import Timers

_CAP_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnTimers:
    """Seconds, as those of Timers; 0 where nothing is told."""

    connect_s: float = 0.0
    first_token_s: float = 0.0
    silence_s: float = 0.0
    total_s: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.connect_s or self.first_token_s or self.silence_s or self.total_s)

    def over(self, usual: Timers) -> Timers:
        """What holds: one's own, and the usual ones for the rest. Own ones are meant as they are, also for models that think first."""
        if not self:
            return usual
        return replace(
            usual, exact=usual.exact or bool(self.first_token_s or self.silence_s), **{k: s for k, s in _told(self).items() if s}
        )


NO_TIMERS = OwnTimers()


def to_plain(timers: OwnTimers) -> JsonObject:
    """Empty when nothing is told: what was registered before there were any keeps its digest."""
    return {"timers": {name: seconds for name, seconds in _told(timers).items() if seconds}} if timers else {}


def from_plain(value: JsonValue) -> OwnTimers:
    told = {name: float(seconds) for name, seconds in value.items() if isinstance(seconds, int | float)} if isinstance(value, dict) else {}
    return replace(NO_TIMERS, **told)


def problems(timers: OwnTimers, field: str) -> Iterator[FieldProblem]:
    for name, seconds in _told(timers).items():
        if not math.isfinite(seconds) or not 0 <= seconds <= _CAP_S:
            yield FieldProblem(f"{field}.{name.removesuffix('_s')}", f"is {seconds:g} seconds", f"use 0 to {_CAP_S:g}, or leave it out")


def _told(timers: OwnTimers) -> dict[str, float]:
    return {field.name: getattr(timers, field.name) for field in fields(timers)}
