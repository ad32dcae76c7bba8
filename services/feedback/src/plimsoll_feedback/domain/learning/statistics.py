"""Paired statistics: intervals by the bootstrap, exact tests of harm, intervals of shares; all repeatable by their seed."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

RESAMPLES = 2_000
_EXACT_UP_TO = 12
_FLIPS = 4_000
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    low: float
    high: float


def mean_difference(differences: Sequence[float], *, seed: int, confidence: float, resamples: int = RESAMPLES) -> Interval:
    """Where the mean of paired differences lies: the percentile bootstrap over the pairs (Efron and Tibshirani 1993, chapter 13).

    Whole pairs are drawn, so that an example that is hard for both sides widens nothing. Equal differences have an interval of one point.
    """
    if len(set(differences)) <= 1:
        only = differences[0] if differences else 0.0
        return Interval(low=only, high=only)
    draw = random.Random(seed)  # noqa: S311 — resampling, no secret
    count = len(differences)
    means = sorted(fmean(draw.choices(differences, k=count)) for _ in range(resamples))
    cut = (1 - confidence) / 2
    return Interval(low=means[math.floor(cut * (resamples - 1))], high=means[math.ceil((1 - cut) * (resamples - 1))])


def chance_of_harm(differences: Sequence[float], *, seed: int) -> float:
    """How often chance alone would give losses at least as large, were both sides equal: a one-sided sign-flip test on the sum.

    Exact for differences of one size, where it is McNemar's exact test, and for few pairs; else by seeded flips, counting the sample itself.
    """
    told = [one for one in differences if abs(one) > _ROUNDING]
    if not told:
        return 1.0
    if len({round(abs(one), 9) for one in told}) == 1:
        losses = sum(one < 0 for one in told)
        at_least = sum(math.comb(len(told), k) for k in range(losses, len(told) + 1))
        return at_least / (1 << len(told))
    seen = math.fsum(told)
    if len(told) <= _EXACT_UP_TO:
        sums = [math.fsum(one if signs >> at & 1 else -one for at, one in enumerate(told)) for signs in range(2 ** len(told))]
        return sum(one <= seen + _ROUNDING for one in sums) / len(sums)
    draw = random.Random(seed)  # noqa: S311 — resampling, no secret
    as_bad = sum(math.fsum(one if draw.getrandbits(1) else -one for one in told) <= seen + _ROUNDING for _ in range(_FLIPS))
    return (as_bad + 1) / (_FLIPS + 1)


def share(good: int, of: int, *, z: float = 1.959964) -> Interval:
    """Where a share lies by Wilson's interval, which keeps within 0 and 1 and holds for few."""
    if of == 0:
        return Interval(low=0.0, high=1.0)
    p, spread = good / of, z * z / of
    middle = (p + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(p * (1 - p) / of + spread / (4 * of))
    return Interval(low=max(0.0, middle - half), high=min(1.0, middle + half))
