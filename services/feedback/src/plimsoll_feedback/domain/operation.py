"""Operations: one wide, immutable row for each thing that happened in a run."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NewType

from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.json_types import JsonObject
from plimsoll_runtime.usage import Usage

OperationId = NewType("OperationId", str)
RunId = NewType("RunId", str)


class OperationKind(StrEnum):
    RUN = "run"
    TRANSITION = "transition"
    MODEL_CALL = "model_call"
    TOOL_CALL = "tool_call"
    RETRIEVAL = "retrieval"
    APPROVAL = "approval"
    QUALITY = "quality"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """Attributes:
    id          derived from the event, so that the same event always makes the same operation
    run_id      empty when the work belongs to no run
    step        position in the run's journal that it belongs to; 0 without a run
    name        what was called: model, tool, collection, node or agent
    failure     None when it succeeded; its category is the first label, which people may correct by a signal
    evidence    why the failure bears its category; empty when it succeeded
    facts       figures by kind; no prompt, argument or result
    """

    id: OperationId
    tenant: str
    kind: OperationKind
    run_id: RunId
    step: int
    agent: str
    agent_version: str
    node: str
    name: str
    started_at: datetime
    duration_s: float
    failure: Failure | None = None
    evidence: str = ""
    usage: Usage = field(default_factory=Usage)
    facts: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """That a run exists, and since when: what signals are checked against. Its first entry also tells where it belongs."""

    id: RunId
    tenant: str
    agent: str
    agent_version: str
    started_at: datetime
    thread_id: str = ""
    parent_run_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationFilter:
    """Every part that is set must hold."""

    run_id: RunId | None = None
    agent: str | None = None
    kind: OperationKind | None = None
    category: Category | None = None
    failed_only: bool = False
    agent_version: str | None = None
    name: str | None = None
    prompt_digest: str | None = None
    after: datetime | None = None
    before: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """From `after`, included, to `before`, excluded."""

    after: datetime
    before: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureCount:
    """Attributes:
    count    how often it occurred; a failure that a call, its step and its run all report counts once
    reasons  the most frequent first
    """

    category: Category
    count: int
    reasons: tuple[str, ...]
    last_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureCounts:
    """Failures in a window, the most frequent category first, beside the number of all operations in it."""

    counts: tuple[FailureCount, ...]
    operations: int
