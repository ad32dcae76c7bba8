"""The events of the other services, as far as feedback reads them."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeAlias

from plimsoll_runtime.failures import Failure
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_runtime.usage import Usage
from plimsoll_runtime.work import WorkContext


class RunEnd(StrEnum):
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Decision(StrEnum):
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """The run's first entry: which conversation it belongs to and which run started it, if any."""

    thread_id: str = ""
    parent_run_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFinished:
    """A node did its work; `next` is the node that follows."""

    node: str
    node_kind: str
    next: str
    duration_s: float
    usage: Usage
    facts: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFailed:
    """A node failed; `next` is the node that the failure is routed to, empty when it is retried or ends the run."""

    node: str
    node_kind: str
    next: str
    attempt: int
    retried: bool
    failure: Failure
    duration_s: float
    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalAsked:
    """People are asked; `context` is all that they see: summary, details, the exact call."""

    approval_id: str
    node: str
    context: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalDecided:
    """People, or time, answered; `duration_s` is how long the run waited, `arguments` what a rejection proposes instead."""

    approval_id: str
    node: str
    decision: Decision
    decided_by: str
    next: str
    duration_s: float
    comment: str = ""
    approved_by: tuple[str, ...] = ()
    arguments: JsonValue = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished:
    """The run's last entry; `duration_s` counts from its first."""

    end: RunEnd
    failure: Failure | None
    usage: Usage
    steps: int
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Unremarkable:
    """An entry that says nothing which a later one does not say again: a start, a turn, a pause, a child run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """An entry of a kind that a newer orchestrator writes: the run is known by it, and nothing else."""


Entry: TypeAlias = RunStarted | StepFinished | StepFailed | ApprovalAsked | ApprovalDecided | RunFinished | Unremarkable | Unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """One entry of a run's journal; `run_id` and `seq` identify it."""

    tenant: str
    run_id: str
    seq: int
    at: datetime
    agent: str
    agent_version: str
    entry: Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCallCompleted:
    """A model answered or failed. `confidence` is None when the provider gives none, `key` who asked at the front door.

    `evaluation` says that the call judged a prompt or a model; it is no part of production.
    """

    event_id: str
    tenant: str
    work: WorkContext
    call_id: str
    task: str
    provider: str
    model: str
    rehearsal: bool
    prompt_name: str
    prompt_digest: str
    attempts: int
    confidence: float | None
    usage: Usage
    started_at: datetime
    duration_s: float
    failure: Failure | None
    prompt_version: int = 0
    model_digest: str = ""
    cached: bool = False
    unpriced: bool = False
    key: str = ""
    evaluation: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallCompleted:
    """A tool answered or failed. `grant_id` names the approval that was spent, if any."""

    event_id: str
    tenant: str
    work: WorkContext
    call_id: str
    call_key: str
    tool: str
    tool_digest: str
    grant_id: str
    attempts: int
    started_at: datetime
    duration_s: float
    failure: Failure | None
    approved_by: tuple[str, ...] = ()
    degraded_by: str = ""
    resolved_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """How an answer of memory came about."""

    search_id: str
    requested: int
    returned: int
    text_candidates: int
    vector_candidates: int
    exact: bool
    embedder: str
    best_score: float
    skipped: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchCompleted:
    """Memory answered a query or failed to."""

    event_id: str
    tenant: str
    work: WorkContext
    collection: str
    receipt: Receipt
    started_at: datetime
    duration_s: float
    failure: Failure | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityReported:
    """Memory measured a stretch of searches of a collection, or saw one of its measures leave its range or come back."""

    event_id: str
    tenant: str
    collection: str
    started_at: datetime
    duration_s: float
    facts: JsonObject


Event: TypeAlias = JournalEntry | ModelCallCompleted | ToolCallCompleted | SearchCompleted | QualityReported


def happened_at(event: Event) -> datetime:
    """When what the event tells was over."""
    match event:
        case JournalEntry():
            return event.at
        case _:
            return event.started_at + timedelta(seconds=event.duration_s)
