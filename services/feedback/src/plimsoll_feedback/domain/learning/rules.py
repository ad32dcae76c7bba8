"""Selection rules: data that says which calls of production are worth an annotator's time."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias, assert_never

from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.failures import Category
from plimsoll_runtime.json_types import JsonValue

from plimsoll_feedback.domain.learning.parts import bucket

_RULES_CAP = 32
_JUDGE = "judge"


@dataclass(frozen=True, slots=True, kw_only=True)
class LowConfidence:
    below: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HumanOverride:
    """A person said bad, gave another answer, or rejected what the answer led to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """Somebody gave the answer that would have been right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DownstreamFailure:
    """The run failed, or its outcome was bad."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """A judge and a person say opposite things."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InCategory:
    category: Category


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    share: float


Rule: TypeAlias = LowConfidence | HumanOverride | Correction | DownstreamFailure | Disagreement | InCategory | Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Correcting:
    """The right answer, as somebody gave it by a signal on the call. `by` is who recorded it, whatever source it names."""

    signal_id: str
    by: str
    answer: JsonValue
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model call with everything that was said of it, as far as rules ask.

    Attributes:
    confidence   0 to 1; None when the provider gave none
    opinions     (source, good or not) of verdicts and scores, on the call or its run
    categories   its own and those that signals gave it
    """

    operation_id: str
    call_id: str
    run_id: str
    conversation: str
    agent: str
    prompt_digest: str
    at: datetime
    confidence: float | None = None
    run_failed: bool = False
    outcome_bad: bool = False
    overridden: bool = False
    opinions: tuple[tuple[str, bool], ...] = ()
    corrections: tuple[Correcting, ...] = ()
    categories: frozenset[Category] = field(default_factory=frozenset)
    signal_ids: tuple[str, ...] = ()


def reasons(rules: Sequence[Rule], subject: Subject) -> tuple[str, ...]:
    """The names of the rules that fit, in their order, each once."""
    return tuple(dict.fromkeys(name_of(rule) for rule in rules if _fits(rule, subject)))


def name_of(rule: Rule) -> str:
    match rule:
        case LowConfidence():
            return "low_confidence"
        case HumanOverride():
            return "human_override"
        case Correction():
            return "correction"
        case DownstreamFailure():
            return "downstream_failure"
        case Disagreement():
            return "disagreement"
        case InCategory(category=category):
            return f"category:{category}"
        case Sample():
            return "sample"
        case _:
            assert_never(rule)


def problems_of(rules: Sequence[Rule]) -> Iterator[FieldProblem]:
    """What forbids selecting by the rules."""
    if not 1 <= len(rules) <= _RULES_CAP:
        yield FieldProblem("dataset.rules", f"has {len(rules)} rules", f"give 1 to {_RULES_CAP}: without one nothing is ever selected")
    for at, rule in enumerate(rules):
        match rule:
            case LowConfidence(below=share) | Sample(share=share):
                if not (math.isfinite(share) and 0 < share <= 1):
                    yield FieldProblem(f"dataset.rules[{at}].{name_of(rule)}", f"is {share:g}", "use a number over 0, up to 1")
            case _:
                pass


def _fits(rule: Rule, subject: Subject) -> bool:
    match rule:
        case LowConfidence(below=below):
            return subject.confidence is not None and subject.confidence < below
        case HumanOverride():
            return subject.overridden or bool(_people(subject) & {False}) or bool(subject.corrections)
        case Correction():
            return bool(subject.corrections)
        case DownstreamFailure():
            return subject.run_failed or subject.outcome_bad
        case Disagreement():
            judges = {good for source, good in subject.opinions if source.startswith(_JUDGE)}
            people = _people(subject)
            return (True in judges and False in people) or (False in judges and True in people)
        case InCategory(category=category):
            return category in subject.categories
        case Sample(share=share):
            return bucket("sample", subject.operation_id) < share * 10_000
        case _:
            assert_never(rule)


def _people(subject: Subject) -> set[bool]:
    return {good for source, good in subject.opinions if not source.startswith(_JUDGE)}
