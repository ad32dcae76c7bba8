"""Comparisons: two versions' scores on the same examples, and the verdict that follows from them."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import fmean
from typing import Final

from plimsoll_feedback.domain.learning import statistics

CONFIDENCE: Final = 0.95
HARM: Final = 0.05
MOST_UNSCORED: Final = 0.1
COST, LATENCY = "cost", "latency"
RARE: Final = "(rare)"


class Verdict(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What makes a verdict; the first scorer decides, the others and the slices must not get worse.

    Attributes:
    margin          how much worse the candidate may be for certain
    must_be_better  certainly better, instead of certainly not worse
    cost_ratio      how many times the baseline's cost the candidate may have; 0 is no limit; the same for latency
    """

    scorers: tuple[str, ...] = ("exact",)
    minimum_examples: int = 30
    minimum_slice: int = 5
    margin: float = 0.0
    must_be_better: bool = False
    cost_ratio: float = 0.0
    latency_ratio: float = 0.0
    most_examples: int = 1000
    judge_prompt: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One example's scores on both sides; None where a side could not be scored. `slices` are such as label=refund."""

    example_id: str
    slices: tuple[str, ...]
    candidate: Mapping[str, float | None]
    baseline: Mapping[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One score over all examples or a slice of them. `difference` is candidate less baseline."""

    scorer: str
    slice: str
    candidate: float
    baseline: float
    low: float
    high: float
    examples: int
    unscored: int
    regressed: bool = False
    p_value: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    verdict: Verdict
    measures: tuple[Measure, ...]
    reasons: tuple[str, ...] = field(default=())


def compare(pairs: Sequence[Pair], rules: Rules, seed: int) -> Comparison:
    """The verdict on the candidate. The same pairs, rules and seed always give the same one.

    That no slice may get worse is a claim about all of them at once. Each slice is tested for harm at 5 %, one-sided, and not corrected for
    how many there are: a correction would make many slices a shelter for harm in one. A false alarm costs a refused candidate, a missed one
    costs production; in safety questions the second error is the one to fear (ICH E9, 6.4), and a claim that needs every one of its parts
    to hold needs no correction (intersection-union tests, Berger 1982). How many false alarms to expect at the most is told.
    """
    measures = [*_overall(pairs, rules, seed), *_sliced(pairs, rules, seed)]
    failed, unsure, told = list(_failures(measures, rules)), list(_doubts(measures, rules)), list(_notes(measures))
    if len(pairs) < rules.minimum_examples:  # too few to trust a finding of either kind
        verdict = Verdict.INCONCLUSIVE
    else:
        verdict = Verdict.FAILED if failed else Verdict.INCONCLUSIVE if unsure else Verdict.PASSED
    return Comparison(verdict=verdict, measures=tuple(measures), reasons=(*failed, *unsure, *told))


def _overall(pairs: Sequence[Pair], rules: Rules, seed: int) -> Iterator[Measure]:
    for scorer in (*rules.scorers, COST, LATENCY):
        yield _measured(pairs, scorer, "", rules, seed)


def _sliced(pairs: Sequence[Pair], rules: Rules, seed: int) -> Iterator[Measure]:
    for name, those in sorted(_slices(pairs, rules.minimum_slice).items()):
        for scorer in rules.scorers:
            yield _measured(those, scorer, name, rules, seed)


def _slices(pairs: Sequence[Pair], minimum: int) -> dict[str, list[Pair]]:
    """Small slices of one kind are looked at together: none is too small to be looked at."""
    sizes = Counter(name for pair in pairs for name in pair.slices)
    found: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        for name in pair.slices:
            found[name if sizes[name] >= minimum else f"{name.partition('=')[0]}={RARE}"].append(pair)
    return found


def _measured(pairs: Sequence[Pair], scorer: str, name: str, rules: Rules, seed: int) -> Measure:
    scored = [
        (ours, theirs)
        for pair in pairs
        if (ours := pair.candidate.get(scorer)) is not None and (theirs := pair.baseline.get(scorer)) is not None
    ]
    differences = [ours - theirs for ours, theirs in scored]
    interval = statistics.mean_difference(differences, seed=seed, confidence=CONFIDENCE)
    is_quality = scorer not in {COST, LATENCY}
    chance = statistics.chance_of_harm(differences, seed=seed) if is_quality else 1.0
    return Measure(
        scorer=scorer,
        slice=name,
        candidate=fmean(ours for ours, _ in scored) if scored else 0.0,
        baseline=fmean(theirs for _, theirs in scored) if scored else 0.0,
        low=interval.low,
        high=interval.high,
        examples=len(scored),
        unscored=len(pairs) - len(scored),
        regressed=is_quality and bool(scored) and chance <= HARM and fmean(differences) < -rules.margin,
        p_value=chance,
    )


def _failures(measures: Sequence[Measure], rules: Rules) -> Iterator[str]:
    first = measures[0]
    if first.high < -rules.margin or (rules.must_be_better and first.examples and first.high <= 0):
        yield f"{first.scorer}: the candidate is {'not better' if first.high >= -rules.margin else 'worse'} ({_told(first)})"
    for one in measures:
        if one.regressed and (one.slice or one.scorer != first.scorer):
            where = f" in {one.slice}" if one.slice else ""
            yield f"{one.scorer}{where}: worse, {_told(one)}, p = {one.p_value:.2g}"
    for scorer, most in ((COST, rules.cost_ratio), (LATENCY, rules.latency_ratio)):
        one = next(measure for measure in measures if measure.scorer == scorer and not measure.slice)
        if most and one.examples and one.candidate > most * one.baseline:
            yield f"{scorer}: {one.candidate:.4g} against {one.baseline:.4g}, more than {most:g} times as much"


def _doubts(measures: Sequence[Measure], rules: Rules) -> Iterator[str]:
    first = measures[0]
    if first.examples + first.unscored < rules.minimum_examples:
        yield f"{first.examples + first.unscored} examples, too few: {rules.minimum_examples} are asked for"
    for one in measures:
        total = one.examples + one.unscored
        if total and (one.examples == 0 or one.unscored > MOST_UNSCORED * total) and one.scorer not in {COST, LATENCY}:
            yield f"{one.scorer}{f' in {one.slice}' if one.slice else ''}: {one.unscored} of {total} examples could not be scored"
    sure = first.low > 0 if rules.must_be_better else first.low >= -rules.margin
    if first.examples and not sure:
        yield f"{first.scorer}: not certain to be {'better' if rules.must_be_better else 'as good'}, {_told(first)}"


def _notes(measures: Sequence[Measure]) -> Iterator[str]:
    tested = sum(bool(one.slice) and one.examples > 0 for one in measures)
    if tested:
        yield f"{tested} slices tested for harm at {HARM:g} each: at the most {tested * HARM:.1f} false alarms to expect"


def _told(one: Measure) -> str:
    return f"{one.candidate:.3f} against {one.baseline:.3f}, difference {one.low:+.3f} to {one.high:+.3f}, {one.examples} examples"
