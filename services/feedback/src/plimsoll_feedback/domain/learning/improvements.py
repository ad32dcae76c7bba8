"""Improvements: how a prompt is made better, and how far a try has come."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NewType

from plimsoll_runtime.errors import FieldProblem

from plimsoll_feedback.domain.learning import evaluations
from plimsoll_feedback.domain.learning.comparison import Rules
from plimsoll_feedback.domain.learning.datasets import DatasetName

ImprovementId = NewType("ImprovementId", str)

_DAY_S = 86_400.0
_TOKENS_CAP = 200_000


class Progress(StrEnum):
    DRAFTING = "drafting"
    EVALUATING = "evaluating"
    PROMOTING = "promoting"
    PROMOTED = "promoted"
    REFUSED = "refused"
    ROLLED_BACK = "rolled_back"
    NOTHING = "nothing"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Attributes:
    every_s     how often it is tried by itself; None only by command, and on_alert
    on_alert    it is tried while an alert about the prompt is open: until somebody settles it, whatever is learned helps
    minimum_new changes of the dataset that a try by itself needs since the last one
    watch_s     how long after a promotion an alert points the label back
    reflection  prompt, as name@label, that rewrites the instructions; empty for examples only
    """

    prompt: str
    dataset: DatasetName
    label: str = "production"
    every_s: float | None = None
    minimum_new: int = 20
    example_tokens: int = 4000
    rules: Rules = field(default_factory=lambda: Rules(must_be_better=True))
    watch_s: float = _DAY_S
    no_rollback: bool = False
    reflection: str = ""
    on_alert: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Improvement:
    """One try; `dataset_version` is what it learned from."""

    id: ImprovementId
    tenant: str
    plan: Plan
    state: Progress
    created_at: datetime
    changed_at: datetime
    baseline_digest: str = ""
    candidate_digest: str = ""
    evaluation_id: str = ""
    report_digest: str = ""
    reason: str = ""
    dataset_version: int = 0


def problems_of(plan: Plan) -> Iterator[FieldProblem]:
    """Everything that forbids the plan, at once."""
    for name, text in (("prompt", plan.prompt), ("dataset", plan.dataset), ("label", plan.label)):
        if not text or len(text) > 63 or "\x00" in text:
            yield FieldProblem(f"plan.{name}", "is empty, too long, or holds a NUL character", "give a name of 63 characters at most")
    if plan.every_s is not None and not 1 <= plan.every_s <= 366 * _DAY_S:
        yield FieldProblem("plan.every", f"is {plan.every_s:g} s", "use a second to a year, or leave it out")
    if not 1 <= plan.minimum_new <= 1_000_000:
        yield FieldProblem("plan.minimum_new_examples", f"is {plan.minimum_new}", "use 1 or more, or 0 for the default")
    if not 1 <= plan.example_tokens <= _TOKENS_CAP:
        yield FieldProblem("plan.example_tokens", f"is {plan.example_tokens}", f"use 1 to {_TOKENS_CAP}, or 0 for the default")
    if not 0 < plan.watch_s <= 366 * _DAY_S:
        yield FieldProblem("plan.watch", f"is {plan.watch_s:g} s", "use up to a year, or leave it out")
    if plan.reflection and not all(plan.reflection.partition("@")):
        yield FieldProblem("plan.reflection_prompt", f"is {plan.reflection!r}", "name the prompt as name@label")
    yield from evaluations.problems_of(plan.rules)
