"""What is learned from what happened: datasets, evaluations, improvements, and how the models stand."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

from plimsoll_runtime.json_types import JsonValue

if TYPE_CHECKING:  # it loads protobuf
    from plimsoll_runtime.failures import Category


class Trigger(StrEnum):
    """A rule that is there or not."""

    HUMAN_OVERRIDE = "human_override"
    CORRECTION = "correction"
    DOWNSTREAM_FAILURE = "downstream_failure"
    DISAGREEMENT = "disagreement"


@dataclass(frozen=True, slots=True)
class LowConfidence:
    """The model was less sure than this, 0 to 1."""

    below: float


@dataclass(frozen=True, slots=True)
class Sampled:
    """This share of all calls, 0 to 1."""

    share: float


@dataclass(frozen=True, slots=True)
class Failing:
    """The call, or a signal about it, bears this category."""

    category: Category


SelectionRule: TypeAlias = Trigger | LowConfidence | Sampled | Failing


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetDraft:
    """A dataset that builds itself from calls of one prompt. `agreement` is how many equal answers make an example."""

    name: str
    prompt: str
    rules: tuple[SelectionRule, ...]
    description: str = ""
    agent: str = ""
    redactions: tuple[tuple[str, str], ...] = ()
    agreement: int = 0
    annotators: int = 0
    retention_s: float | None = None
    label_field: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A dataset as it is. `version` counts the changes of its examples; `pending` items wait for annotators."""

    name: str
    description: str
    prompt: str
    agent: str
    rules: tuple[str, ...]
    agreement: int
    version: int
    created_at: datetime | None
    training_examples: int
    held_out_examples: int
    pending: int
    disputed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotationItem:
    """A call that waits for the right answer, redacted."""

    id: str
    dataset: str
    input: JsonValue
    answer: JsonValue
    reasons: tuple[str, ...]
    run_id: str
    operation_id: str
    claimed_until: datetime | None


class AnnotationState(StrEnum):
    """What became of an item."""

    PENDING = "pending"
    AGREED = "agreed"
    DISPUTED = "disputed"
    DISCARDED = "discarded"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotated:
    """`example_id` is empty until enough agreed."""

    state: AnnotationState
    example_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DisputedItem:
    """An item about which annotators do not agree, with what each said; `discarded_by` are those who hold that it is no example."""

    item: AnnotationItem
    said: tuple[tuple[str, JsonValue], ...]
    discarded_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """What a look at production brought: calls that a rule selected, of these too much like others, and those whose body is gone."""

    selected: int
    duplicates: int
    lost: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingExample:
    """A question with the right answer, and what was answered in production."""

    id: str
    input: JsonValue
    expected: JsonValue
    answer: JsonValue
    label: str
    since_version: int
    run_id: str
    annotators: tuple[str, ...]


class ExportFormat(StrEnum):
    """What fine-tuning takes."""

    CHAT = "chat"
    PREFERENCE = "preference"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedRoute:
    """`route_digest` is empty when the present route is the best that is known."""

    route_digest: str
    evaluation_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImprovementPlan:
    """How a prompt is improved: by itself every `every_s`, on alerts, or by command only."""

    prompt: str
    dataset: str
    label: str = ""
    every_s: float | None = None
    on_alert: bool = False
    minimum_new_examples: int = 0
    reflection_prompt: str = ""


class EvaluationSubject(StrEnum):
    """What is compared."""

    PROMPT = "prompt"
    MODEL = "model"
    ROUTE = "route"
    UNKNOWN = "unknown"


class EvaluationState(StrEnum):
    """How far it is; with `done` there is a report, with `failed` a problem."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"
    UNKNOWN = "unknown"


class EvaluationVerdict(StrEnum):
    """What it found."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    UNKNOWN = "unknown"


class ReportFormat(StrEnum):
    """How a report is read."""

    TEXT = "text"
    JSON = "json"
    HTML = "html"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A version compared with another one: `answered` of `wanted` answers are there."""

    id: str
    dataset: str
    dataset_version: int
    subject: EvaluationSubject
    name: str
    candidate_digest: str
    baseline_digest: str
    state: EvaluationState
    wanted: int
    answered: int
    report_digest: str
    verdict: EvaluationVerdict
    problem: str
    created_at: datetime | None
    finished_at: datetime | None


class ImprovementState(StrEnum):
    """How far a try to make a prompt better is."""

    DRAFTING = "drafting"
    EVALUATING = "evaluating"
    PROMOTING = "promoting"
    PROMOTED = "promoted"
    REFUSED = "refused"
    ROLLED_BACK = "rolled_back"
    NOTHING = "nothing"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Improvement:
    """One try to make a prompt better; `reason` says what happened."""

    id: str
    prompt: str
    dataset: str
    label: str
    state: ImprovementState
    baseline_digest: str
    candidate_digest: str
    evaluation_id: str
    report_digest: str
    reason: str
    created_at: datetime | None
    changed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One model on one kind of task; each figure with its interval."""

    task: str
    provider: str
    model: str
    calls: int
    judged: int
    quality: tuple[float, float, float]
    cost_micros: tuple[float, float, float]
    latency_s: tuple[float, float, float]
    failed: float
