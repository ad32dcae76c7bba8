"""Evaluations: which versions are compared on what, and how far that is."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType

from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.json_types import JsonObject, JsonValue

from plimsoll_feedback.domain.learning.comparison import COST, LATENCY, Pair, Rules
from plimsoll_feedback.domain.learning.datasets import DatasetName, Example
from plimsoll_feedback.domain.learning.parts import bucket
from plimsoll_feedback.domain.learning.reports import SubjectKind
from plimsoll_feedback.domain.learning.scorers import JUDGE, SCORERS

EvaluationId = NewType("EvaluationId", str)

_EXAMPLES_CAP = 10_000
_LONG_SHARE = 0.1
_UNSURE = 0.5
_CATEGORY = "category:"


class State(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


class Side(StrEnum):
    CANDIDATE = "candidate"
    BASELINE = "baseline"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSpec:
    dataset: DatasetName
    subject: SubjectKind
    name: str
    candidate_digest: str
    baseline_digest: str
    rules: Rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Attributes:
    wanted    answers to give in all: two for each example; 0 until it began
    problem   why it could not be carried out
    """

    id: EvaluationId
    tenant: str
    spec: EvaluationSpec
    dataset_version: int
    state: State
    created_at: datetime
    wanted: int = 0
    answered: int = 0
    report_digest: str = ""
    verdict: str = ""
    problem: str = ""
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one side answered to one example, scored. A score that could not be taken is None; `note` says why."""

    example_id: str
    side: Side
    value: JsonValue
    scores: dict[str, float | None]
    note: str = ""


def problems_of(rules: Rules) -> Iterator[FieldProblem]:
    """What forbids an evaluation by the rules."""
    for at, scorer in enumerate(rules.scorers):
        if scorer not in SCORERS or scorer in rules.scorers[:at]:
            yield FieldProblem(f"rules.scorers[{at}]", f"is {scorer!r}", f"use each of {', '.join(SCORERS)} once at the most")
    if JUDGE in rules.scorers and "@" not in rules.judge_prompt:
        yield FieldProblem("rules.judge_prompt", "is missing", "name the prompt that judges, as name@label")
    if not 0 <= rules.margin <= 1:
        yield FieldProblem("rules.margin", f"is {rules.margin:g}", "use 0 to 1")
    for name, number, least in (
        ("minimum_examples", rules.minimum_examples, 1),
        ("minimum_slice", rules.minimum_slice, 1),
        ("most_examples", rules.most_examples, 1),
    ):
        if not least <= number <= _EXAMPLES_CAP:
            yield FieldProblem(f"rules.{name}", f"is {number}", f"use {least} to {_EXAMPLES_CAP}, or 0 for the default")
    for name, ratio in (("cost_ratio", rules.cost_ratio), ("latency_ratio", rules.latency_ratio)):
        if not 0 <= ratio <= 1000:
            yield FieldProblem(f"rules.{name}", f"is {ratio:g}", "use a number over 0, or 0 for no limit")


def drawn(examples: list[Example], most: int) -> list[Example]:
    """At most so many, by a hash: the same ones whenever and wherever it is asked."""
    if len(examples) <= most:
        return sorted(examples, key=lambda one: one.id)
    return sorted(sorted(examples, key=lambda one: (bucket("draw", one.id), one.id))[:most], key=lambda one: one.id)


def pairs_of(examples: list[Example], results: list[Result]) -> list[Pair]:
    """The scores of both sides, example by example."""
    found = {(one.example_id, one.side): one.scores for one in results}
    lengths = sorted(len(str(one.body.variables)) for one in examples)
    long = lengths[int(len(lengths) * (1 - _LONG_SHARE))] if lengths else 0
    return [
        Pair(
            example_id=one.id,
            slices=slices_of(one, long),
            candidate=found.get((one.id, Side.CANDIDATE), {}),
            baseline=found.get((one.id, Side.BASELINE), {}),
        )
        for one in examples
    ]


def slices_of(example: Example, long: int) -> tuple[str, ...]:
    """Label, agent and tenant; the tails: the longest questions, and those that production was unsure of; the categories of its failures."""
    told = [f"tenant={example.tenant}"]
    told += [f"label={example.label}"] if example.label else []
    told += [f"agent={example.lineage.agent}"] if example.lineage.agent else []
    told += ["tail=long"] if len(str(example.body.variables)) >= long else []
    told += ["tail=unsure"] if example.lineage.confidence is not None and example.lineage.confidence < _UNSURE else []
    named = [reason for reason in example.lineage.reasons if reason.startswith(_CATEGORY)]
    return (*told, *(f"category={reason.removeprefix(_CATEGORY)}" for reason in named))


def rules_told(rules: Rules, seed: int) -> JsonObject:
    """The rules as a report keeps them."""
    scorers: list[JsonValue] = [*rules.scorers, COST, LATENCY]
    return {
        "scorers": scorers,
        "minimum_examples": rules.minimum_examples,
        "minimum_slice": rules.minimum_slice,
        "margin": rules.margin,
        "must_be_better": rules.must_be_better,
        "cost_ratio": rules.cost_ratio,
        "latency_ratio": rules.latency_ratio,
        "most_examples": rules.most_examples,
        "judge_prompt": rules.judge_prompt,
        "seed": seed,
    }
