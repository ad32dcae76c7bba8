"""Standings: how models do on what a kind of task was asked in production, and the route that follows."""

from collections.abc import Sequence
from dataclasses import dataclass

from plimsoll_feedback.domain.learning.statistics import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One model on one task. Intervals are of 95 %; `quality` is the share of judged calls that were good."""

    task: str
    provider: str
    model: str
    calls: int
    judged: int
    quality: float
    quality_interval: Interval
    cost_micros: float
    cost_interval: Interval
    latency_s: float
    latency_interval: Interval
    failed: float

    @property
    def name(self) -> str:
        return f"{self.provider}/{self.model}"


def ranked(standings: Sequence[Standing]) -> list[Standing]:
    """By task, the best first: by what is certain of the quality, then by cost, then by pace."""
    return sorted(standings, key=lambda one: (one.task, -one.quality_interval.low, one.cost_micros, one.latency_s, one.name))


def preferred(standings: Sequence[Standing], tolerance: float) -> Standing | None:
    """The cheapest of those whose quality may be as good as the best one's, less the tolerance; None where nobody was judged."""
    judged = [one for one in standings if one.judged]
    if not judged:
        return None
    best = max(judged, key=lambda one: one.quality_interval.low)
    enough = [one for one in judged if one.quality_interval.low >= best.quality_interval.low - tolerance]
    return min(enough, key=lambda one: (one.cost_micros, one.latency_s, one.name))
