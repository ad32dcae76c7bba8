"""The entries of a run's journal, as a stream delivers them; `type` names the variant in JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal, TypeAlias

from plimsoll_runtime.json_types import JsonObject, JsonValue

from plimsoll_client.models import Approval, ApprovalStatus, RunStatus

if TYPE_CHECKING:  # these load protobuf, 50 ms that `plimsoll --help` need not wait for
    from plimsoll_runtime.failures import Failure
    from plimsoll_runtime.usage import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """The first entry."""

    type: Literal["run_started"] = field(default="run_started", init=False)
    input: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStarted:
    """A node begins."""

    type: Literal["step_started"] = field(default="step_started", init=False)
    node: str
    kind: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepProgressed:
    """A turn inside a longer step; `detail` holds only what is new."""

    type: Literal["step_progressed"] = field(default="step_progressed", init=False)
    node: str
    detail: JsonValue
    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFinished:
    """A node is done; `delta` is its change to the state, `facts` its figures."""

    type: Literal["step_finished"] = field(default="step_finished", init=False)
    node: str
    kind: str
    delta: JsonObject
    next: str
    usage: Usage
    duration_s: float
    facts: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFailed:
    """A node failed; it is tried again when `retried`, else the run goes on at `next`, else it fails."""

    type: Literal["step_failed"] = field(default="step_failed", init=False)
    node: str
    kind: str
    failure: Failure
    attempt: int
    next: str
    retried: bool
    duration_s: float
    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalAsked:
    """The run waits for people."""

    type: Literal["approval_asked"] = field(default="approval_asked", init=False)
    approval: Approval


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalDecided:
    """People decided, or did not in time."""

    type: Literal["approval_decided"] = field(default="approval_decided", init=False)
    approval_id: str
    node: str
    status: ApprovalStatus
    decided_by: str
    comment: str
    next: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished:
    """The last entry."""

    type: Literal["run_finished"] = field(default="run_finished", init=False)
    status: RunStatus
    output: JsonValue
    failure: Failure | None
    usage: Usage
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherEvent:
    """An entry that only a newer client understands."""

    type: Literal["other"] = field(default="other", init=False)


Happening: TypeAlias = (
    RunStarted | StepStarted | StepProgressed | StepFinished | StepFailed | ApprovalAsked | ApprovalDecided | RunFinished | OtherEvent
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvent:
    """One entry. `seq` counts from 1 without gaps and is the cursor of every stream."""

    run_id: str
    seq: int
    at: datetime | None
    agent: str
    agent_digest: str
    epoch: int
    event: Happening
