"""Tests that hold however often one looks: is the mean of what comes now above that of a baseline?

A value from 0 to 1 is bet against: the bettor believes that the mean is above `bound` and stakes a fixed share of the winnings each time.
If it is not, no such bettor can expect to win anything, and the chance that the winnings ever reach 1/alpha is at most alpha (Ville's
inequality), whenever one looks: the method of Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting" (JRSS B,
2024). Several shares are staked side by side, because how far the mean moved is not known. When it moved is not known either: a new bettor
begins at each observation with a small part of the capital, parts that add up to one, which is the sum over starting times of
Shin, Ramdas and Rinaldo, "E-detectors" (2023), with weights that make it a bet rather than an average run length. So a change that
comes after thousands of quiet observations is still found soon.

The bound is the baseline's own upper confidence limit at alpha/2, so that an unlucky baseline counts among the false alarms, and the
winnings have to reach 2/alpha: altogether at most alpha.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

STAKES = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9)
"""Shares of what may be staked: a bettor who stakes all of it is ruined by a single zero."""

WINDOW = 100
_GROWTH = 1.5  # log weights: those of later starts fall as 1/(t log^1.5 t) does
_LIFT = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What was usual: how many observations, and their mean."""

    size: int
    mean: float

    def bound(self, alpha: float) -> float:
        """What the mean is not above, but for a chance of alpha: Chernoff's limit in its exact form, by bisection.

        It holds for any values from 0 to 1, not only for zeros and ones.
        """
        goal = math.log(1 / alpha) / self.size
        low, high = self.mean, 1.0
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if divergence(self.mean, middle) < goal else (low, middle)
        return high


@dataclass(frozen=True, slots=True, kw_only=True)
class Bet:
    """The capitals of those who stake each of the shares, over all starting times.

    started   logarithms of what those who began so far have now; None before the first began
    size      observations so far
    recent    the sum of the last observations, smoothed: what the mean is now
    """

    started: tuple[float, ...] = tuple(-math.inf for _ in STAKES)
    size: int = 0
    recent: float = 0.0

    def seen(self, value: float, bound: float) -> "Bet":
        """After one more observation."""
        began = math.log(weight(self.size + 1))
        odds = 1.0 / max(bound, 1e-9)
        grown = tuple(
            _log_sum(one, began) + math.log1p(stake * odds * (value - bound)) for one, stake in zip(self.started, STAKES, strict=True)
        )
        pace = max(1.0 / (self.size + 1), 1.0 / WINDOW)
        return Bet(started=grown, size=self.size + 1, recent=self.recent + pace * (value - self.recent))

    @property
    def evidence(self) -> float:
        """The winnings of all together: 1 at the start, at least 1/alpha with a chance of at most alpha if nothing moved."""
        begun = sum(math.exp(min(one, 700.0)) for one in self.started) / len(STAKES)
        return begun + remaining(self.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """A live stretch against a baseline."""

    bound: float
    alpha: float
    minimum: int
    bet: Bet = Bet()

    @classmethod
    def against(cls, baseline: Baseline, *, alpha: float, minimum: int) -> "Watch":
        return cls(bound=baseline.bound(alpha / 2), alpha=alpha, minimum=minimum)

    def seen(self, values: Sequence[float]) -> "Watch":
        """After more observations; it stops at the one that raised the alarm, which is then what is told."""
        watch = self
        for value in values:
            if watch.alarmed:
                break
            watch = replace(watch, bet=watch.bet.seen(min(1.0, max(0.0, value)), watch.bound))
        return watch

    @property
    def alarmed(self) -> bool:
        return self.bet.size >= self.minimum and self.bet.evidence >= 2 / self.alpha


def drifted(baseline: Sequence[float], live: Sequence[float], *, alpha: float = 0.01, minimum: int = 20) -> int | None:
    """How many live observations it took to see that their mean is above the baseline's; None when they do not show it."""
    watch = Watch.against(Baseline(size=len(baseline), mean=sum(baseline) / len(baseline)), alpha=alpha, minimum=minimum).seen(live)
    return watch.bet.size if watch.alarmed else None


def weight(start: int) -> float:
    """The part of the capital with which a bettor begins at the `start`th observation."""
    return remaining(start - 1) - remaining(start)


def remaining(size: int) -> float:
    """The part of the capital that is kept for those who begin after `size` observations."""
    return math.pow(math.log(_LIFT) / math.log(_LIFT + size), _GROWTH - 1)


def divergence(mean: float, other: float) -> float:
    """Kullback and Leibler's, of one coin from another."""
    return _part(mean, other) + _part(1 - mean, 1 - other)


def _part(one: float, other: float) -> float:
    if one <= 0.0:
        return 0.0
    return math.inf if other <= 0.0 else one * math.log(one / other)


def _log_sum(one: float, other: float) -> float:
    high, low = max(one, other), min(one, other)
    return high + math.log1p(math.exp(low - high)) if low > -math.inf else high
