"""Quality without labels: what searches were like in a stretch of time, and whether that left its usual range."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import sqrt

_LEAST_SEARCHES = 30  # of a window, to say anything
_LEAST_WINDOWS = 3  # of the usual
_SIGMAS = 5.0  # looked at every hour for seven signals: a simulated year of chance raises no alarm
_LEAST_SHARE = 0.05  # what is smaller is no drift, however sure
_LEAST_PART = 0.1  # of a mean, likewise
SHARES = ("empty", "under_returned", "failed", "degraded")
MEANS = ("best_similarity", "best_text_score", "used")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """Of `count` values; `square` is the mean of their squares."""

    count: int = 0
    value: float = 0.0
    square: float = 0.0

    @property
    def variance(self) -> float:
        return max(self.square - self.value * self.value, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityWindow:
    """Searches of one collection. Shares are of all of them; means are over those that have the value.

    empty, under_returned  found nothing, fewer than asked for
    failed, degraded       were not answered, were answered without one of their stages
    used                   of the passages, the share that the answer used, where that was reported
    """

    collection: str
    start: datetime
    end: datetime
    searches: int
    empty: float
    under_returned: float
    failed: float
    degraded: float
    best_similarity: Mean
    best_text_score: Mean
    used: Mean
    median_duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """A signal that left its usual range for the worse."""

    collection: str
    signal: str
    baseline: float
    value: float
    sigmas: float
    searches: int
    start: datetime


def drifts(window: QualityWindow, usual: Sequence[QualityWindow]) -> Sequence[Drift]:
    """What is worse in the window than in the usual ones; nothing while there is too little to compare."""
    if window.searches < _LEAST_SEARCHES or len(usual) < _LEAST_WINDOWS or sum(one.searches for one in usual) < 3 * _LEAST_SEARCHES:
        return []
    found = [_share_drift(window, usual, signal) for signal in SHARES] + [_mean_drift(window, usual, signal) for signal in MEANS]
    return [drift for drift in found if drift]


def share(window: QualityWindow, signal: str) -> float:
    """One of SHARES."""
    return {"empty": window.empty, "under_returned": window.under_returned, "failed": window.failed, "degraded": window.degraded}[signal]


def mean(window: QualityWindow, signal: str) -> Mean:
    """One of MEANS."""
    return {"best_similarity": window.best_similarity, "best_text_score": window.best_text_score, "used": window.used}[signal]


def _share_drift(window: QualityWindow, usual: Sequence[QualityWindow], signal: str) -> Drift | None:
    """Two shares compared; one that is never 0 is imagined more on each side, so that nothing is certain."""
    count = sum(one.searches for one in usual)
    before = sum(share(one, signal) * one.searches for one in usual) / count
    now = share(window, signal)
    pooled = (before * count + now * window.searches + 1) / (count + window.searches + 2)
    sigmas = (now - before) / sqrt(pooled * (1 - pooled) * (1 / count + 1 / window.searches))
    return _drift(window, signal, before, now, sigmas) if sigmas >= _SIGMAS and now - before >= _LEAST_SHARE else None


def _mean_drift(window: QualityWindow, usual: Sequence[QualityWindow], signal: str) -> Drift | None:
    known = [mean(one, signal) for one in usual]
    count, now = sum(one.count for one in known), mean(window, signal)
    if count < 3 * _LEAST_SEARCHES or now.count < _LEAST_SEARCHES:
        return None
    before = sum(one.value * one.count for one in known) / count
    square = sum(one.square * one.count for one in known) / count
    error = sqrt(max(square - before * before, 1e-12) / count + max(now.variance, 1e-12) / now.count)
    sigmas = (before - now.value) / error
    return _drift(window, signal, before, now.value, sigmas) if sigmas >= _SIGMAS and before - now.value >= _LEAST_PART * before else None


def _drift(window: QualityWindow, signal: str, before: float, now: float, sigmas: float) -> Drift:
    return Drift(
        collection=window.collection,
        signal=signal,
        baseline=before,
        value=now,
        sigmas=round(sigmas, 2),
        searches=window.searches,
        start=window.start,
    )
