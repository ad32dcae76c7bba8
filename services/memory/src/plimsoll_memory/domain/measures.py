"""Measures of retrieval on labelled queries: precision, recall, MRR and nDCG at k, with confidence intervals and paired comparison."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import log2

NAMES = ("precision", "recall", "mrr", "ndcg")
_RESAMPLES = 1_000
_SEED = 1  # the same values give the same interval
_LOW, _HIGH = 0.025, 0.975


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """What a query found: the grade of each result, best first, 0 for what is not relevant; and the grades of all there is to find."""

    grades: tuple[int, ...]
    ideal: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A mean over queries, with its 95 % interval by bootstrap."""

    name: str
    k: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The mean of the differences query by query, with its 95 % interval; undecided while that holds 0."""

    name: str
    k: int
    value: float
    baseline: float
    difference: float
    low: float
    high: float
    wins: int
    losses: int
    ties: int

    @property
    def verdict(self) -> str:
        return "better" if self.low > 0 else "worse" if self.high < 0 else "undecided"


def precision(ranking: Ranking, k: int) -> float:
    """The share of the first k places that hold something relevant; an empty place counts as a miss."""
    return sum(grade > 0 for grade in ranking.grades[:k]) / k


def recall(ranking: Ranking, k: int) -> float:
    """The share of all that is relevant that is in the first k places."""
    return sum(grade > 0 for grade in ranking.grades[:k]) / len(ranking.ideal)


def mrr(ranking: Ranking, k: int) -> float:
    """One over the place of the first that is relevant; 0 when none is in the first k."""
    return next((1 / place for place, grade in enumerate(ranking.grades[:k], 1) if grade), 0.0)


def ndcg(ranking: Ranking, k: int) -> float:
    """Grades, discounted by the logarithm of their place, over the same of the best order there could be."""
    return _dcg(ranking.grades[:k]) / _dcg(sorted(ranking.ideal, reverse=True)[:k])


_FUNCTIONS: Mapping[str, Callable[[Ranking, int], float]] = {"precision": precision, "recall": recall, "mrr": mrr, "ndcg": ndcg}


def measure(rankings: Sequence[Ranking], ks: Sequence[int]) -> Sequence[Measure]:
    """Every measure at every k."""
    measures = []
    for name in NAMES:
        for k in ks:
            values = [_FUNCTIONS[name](ranking, k) for ranking in rankings]
            low, high = interval(values)
            measures.append(Measure(name=name, k=k, value=_mean(values), low=low, high=high))
    return measures


def compare(rankings: Sequence[Ranking], baseline: Sequence[Ranking], ks: Sequence[int]) -> Sequence[Comparison]:
    """The same queries answered in two ways."""
    comparisons = []
    for name in NAMES:
        for k in ks:
            pairs = [(_FUNCTIONS[name](one, k), _FUNCTIONS[name](other, k)) for one, other in zip(rankings, baseline, strict=True)]
            differences = [one - other for one, other in pairs]
            low, high = interval(differences)
            comparisons.append(
                Comparison(
                    name=name,
                    k=k,
                    value=_mean([one for one, _ in pairs]),
                    baseline=_mean([other for _, other in pairs]),
                    difference=_mean(differences),
                    low=low,
                    high=high,
                    wins=sum(one > 0 for one in differences),
                    losses=sum(one < 0 for one in differences),
                    ties=sum(one == 0 for one in differences),
                )
            )
    return comparisons


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Between which the mean lies in 95 % of samples drawn from these values."""
    draw = random.Random(_SEED)  # noqa: S311 - a sample, not a secret
    means = sorted(_mean(draw.choices(values, k=len(values))) for _ in range(_RESAMPLES))
    return means[int(_LOW * _RESAMPLES)], means[int(_HIGH * _RESAMPLES)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _dcg(grades: Sequence[int]) -> float:
    return sum(grade / log2(place + 1) for place, grade in enumerate(grades, 1))
