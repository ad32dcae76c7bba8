"""What happened in production, and how good it was: operations, failures by category, signals."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

from plimsoll_runtime.json_types import JsonObject, JsonValue

if TYPE_CHECKING:  # these load protobuf, 50 ms that `plimsoll --help` need not wait for
    from plimsoll_runtime.failures import Category, Failure
    from plimsoll_runtime.usage import Usage


class OperationKind(StrEnum):
    """What kind of thing happened in a run."""

    RUN = "run"
    TRANSITION = "transition"
    MODEL_CALL = "model_call"
    TOOL_CALL = "tool_call"
    RETRIEVAL = "retrieval"
    APPROVAL = "approval"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One thing that happened in a run. `name` is the model, tool, collection or node; `failure` is None when it succeeded."""

    id: str
    kind: OperationKind
    run_id: str
    agent: str
    agent_version: str
    node: str
    name: str
    started_at: datetime | None
    duration_s: float
    failure: Failure | None
    usage: Usage
    facts: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureCount:
    """How often a category of failure occurred, with its most frequent reasons."""

    category: Category
    count: int
    reasons: tuple[str, ...]
    last_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureReport:
    """Failures by category in a window, and how many operations the window holds in all."""

    counts: tuple[FailureCount, ...]
    operations: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """A person found the answer good, or bad."""

    good: bool


@dataclass(frozen=True, slots=True)
class Score:
    """From 0 to 1."""

    value: float


@dataclass(frozen=True, slots=True)
class Label:
    """The right category of a failure."""

    category: Category


@dataclass(frozen=True, slots=True)
class Demonstration:
    """The answer that would have been right."""

    value: JsonValue


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether the workflow succeeded in the end."""

    succeeded: bool


@dataclass(frozen=True, slots=True)
class Remark:
    """Only the comment counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """People decided about something that the run proposed. It arrives by itself and cannot be recorded."""

    approved: bool
    approval_id: str
    decided_by: tuple[str, ...]


SignalValue: TypeAlias = Verdict | Score | Label | Demonstration | Outcome | Remark


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """Something that says how good a run was, or one operation of it."""

    id: str
    run_id: str
    operation_id: str
    value: SignalValue | Decision
    comment: str
    source: str
    created_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalDraft:
    """A signal of many. Its run is named by its id, or by one of its tags. The same `key` again is the same signal."""

    value: SignalValue
    run_id: str = ""
    tag: str = ""
    operation_id: str = ""
    comment: str = ""
    source: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalRefusal:
    """Why a signal of many was not recorded."""

    reason: str
    message: str
