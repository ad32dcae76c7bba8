"""The entries of a run's journal, as a stream delivers them; `type` names the variant in JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal, TypeAlias

from plimsoll_runtime.json_types import JsonObject, JsonValue

from plimsoll_client.models import Approval, ApprovalStatus, RunStatus
from plimsoll_client.options import USUAL, RunOptions, RunOrigin

if TYPE_CHECKING:  # these load protobuf, 50 ms that `plimsoll --help` need not wait for
    from plimsoll_runtime.failures import Failure
    from plimsoll_runtime.usage import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """The first entry."""

    type: Literal["run_started"] = field(default="run_started", init=False)
    input: JsonObject
    options: RunOptions = USUAL
    origin: RunOrigin | None = None


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
    """A node is done, or undone when `undo`. `delta` is its change to the state, `appended` what lists and texts grew by, `facts` its figures."""

    type: Literal["step_finished"] = field(default="step_finished", init=False)
    node: str
    kind: str
    delta: JsonObject
    next: str
    usage: Usage
    duration_s: float
    facts: JsonObject
    appended: JsonObject = field(default_factory=dict)
    undo: bool = False


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
class ApprovalGiven:
    """One of several people approved; the question stays open until enough have."""

    type: Literal["approval_given"] = field(default="approval_given", init=False)
    approval_id: str
    node: str
    decided_by: str
    comment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalDecided:
    """People decided, or did not in time.

    Attributes:
    duration_s   how long they were waited for
    approved_by  all of several who approved
    arguments    what somebody who rejected a call proposes instead; None for nothing
    """

    type: Literal["approval_decided"] = field(default="approval_decided", init=False)
    approval_id: str
    node: str
    status: ApprovalStatus
    decided_by: str
    comment: str
    next: str
    duration_s: float = 0.0
    approved_by: tuple[str, ...] = ()
    arguments: JsonValue = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitStarted:
    """The run waits for a time, a signal, or whichever comes first. `until` is None without an end, `signal` empty for a time only."""

    type: Literal["wait_started"] = field(default="wait_started", init=False)
    node: str
    until: datetime | None
    signal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalReceived:
    """Somebody sent a signal."""

    type: Literal["signal_received"] = field(default="signal_received", init=False)
    signal_id: str
    name: str
    payload: JsonValue
    sent_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildRun:
    """A run that a run started. `place` is the branch name or item index."""

    run_id: str
    place: str
    agent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildrenStarted:
    """A step started runs of its own; `total` is how many there will be in all."""

    type: Literal["children_started"] = field(default="children_started", init=False)
    node: str
    children: tuple[ChildRun, ...]
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedChild:
    """How a run that a run started ended."""

    run_id: str
    place: str
    status: RunStatus
    failure: Failure | None
    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildrenJoined:
    """Runs that a step started have ended."""

    type: Literal["children_joined"] = field(default="children_joined", init=False)
    node: str
    children: tuple[JoinedChild, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildrenStopped:
    """Runs that a step started are told to stop, and waited for."""

    type: Literal["children_stopped"] = field(default="children_stopped", init=False)
    node: str
    failure: Failure | None


@dataclass(frozen=True, slots=True, kw_only=True)
class InputReceived:
    """A client gave more input to the run under way."""

    type: Literal["input_received"] = field(default="input_received", init=False)
    input_id: str
    input: JsonValue
    sent_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPaused:
    """Somebody stopped the run where it is."""

    type: Literal["run_paused"] = field(default="run_paused", init=False)
    reason: str
    paused_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResumed:
    """Somebody let it go on."""

    type: Literal["run_resumed"] = field(default="run_resumed", init=False)
    resumed_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunQuarantined:
    """The run ended its worker again and again and is set aside; `evidence` names the workers or errors, latest last."""

    type: Literal["run_quarantined"] = field(default="run_quarantined", init=False)
    reason: str
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionChanged:
    """The run goes on with another version of its agent."""

    type: Literal["version_changed"] = field(default="version_changed", init=False)
    agent_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadJoined:
    """The run's turn in its thread has come; `kept` became part of its state."""

    type: Literal["thread_joined"] = field(default="thread_joined", init=False)
    kept: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class CompensationStarted:
    """Finished nodes are undone, in this order."""

    type: Literal["compensation_started"] = field(default="compensation_started", init=False)
    node: str
    nodes: tuple[str, ...]
    next: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished:
    """The last entry; `duration_s` counts from the first."""

    type: Literal["run_finished"] = field(default="run_finished", init=False)
    status: RunStatus
    output: JsonValue
    failure: Failure | None
    usage: Usage
    steps: int
    duration_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TokensReceived:
    """Not in the journal: text of a step under way, provisional until the step finishes. A higher attempt voids the text of the lower ones.

    Attributes:
    step_seq  position of the step's start
    offset    where `text` begins in the attempt's text, in characters
    """

    type: Literal["tokens_received"] = field(default="tokens_received", init=False)
    node: str
    step_seq: int
    attempt: int
    offset: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokensRetracted:
    """Not in the journal: what was told of this step's attempts up to `attempt` is void."""

    type: Literal["tokens_retracted"] = field(default="tokens_retracted", init=False)
    node: str
    step_seq: int
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherEvent:
    """An entry that only a newer client understands."""

    type: Literal["other"] = field(default="other", init=False)


Happening: TypeAlias = (
    RunStarted
    | StepStarted
    | StepProgressed
    | StepFinished
    | StepFailed
    | ApprovalAsked
    | ApprovalGiven
    | ApprovalDecided
    | WaitStarted
    | SignalReceived
    | ChildrenStarted
    | ChildrenJoined
    | ChildrenStopped
    | InputReceived
    | RunPaused
    | RunResumed
    | RunQuarantined
    | VersionChanged
    | ThreadJoined
    | CompensationStarted
    | RunFinished
    | TokensReceived
    | TokensRetracted
    | OtherEvent
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvent:
    """One entry. `seq` counts from 1 without gaps and is the cursor of every stream; provisional text has that of the entry before."""

    run_id: str
    seq: int
    at: datetime | None
    agent: str
    agent_digest: str
    epoch: int
    event: Happening


@dataclass(frozen=True, slots=True, kw_only=True)
class Polled:
    """What happened since; `after_seq` is where to go on, `ended` says that nothing more will come."""

    entries: tuple[RunEvent, ...]
    after_seq: int
    ended: bool
