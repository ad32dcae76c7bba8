"""A run: what its journal adds up to. Run and Step are msgspec structs like the entries, because each entry makes a new one of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import msgspec
from plimsoll_runtime.failures import Failure
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_runtime.usage import Usage

from plimsoll_orchestrator.domain.journal import (
    FINAL,
    NO_USAGE,
    ONE_PERSON,
    ApprovalStatus,
    Joined,
    ModelTurn,
    Proposal,
    RunStatus,
    SignalReceived,
    Terms,
    Turn,
)
from plimsoll_orchestrator.domain.options import CLIENT, USUAL, RunOptions, RunOrigin


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """A question to people in this run, and what was decided.

    Attributes:
    approved_by  all who approved so far
    call_key     of the proposed call
    proposed_by  who put its arguments so, when that was a person
    instead      the arguments that who rejected it proposes
    """

    approval_id: str
    node: str
    summary: str
    details: JsonObject
    proposal: Proposal | None
    status: ApprovalStatus
    asked_at: datetime
    expires_at: datetime
    decided_at: datetime | None = None
    decided_by: str = ""
    comment: str = ""
    approved_by: tuple[str, ...] = ()
    call_key: str = ""
    proposed_by: str = ""
    instead: JsonObject | None = None

    @property
    def terms(self) -> Terms:
        """What it takes to approve."""
        return self.proposal.terms if self.proposal is not None else ONE_PERSON


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """The step under way.

    Attributes:
    seq       position of its "started" entry
    at        when it started
    key       that on which the keys of its calls hang: its own, or that of an earlier try whose calls are unsettled
    turns     of an agent's conversation so far
    approvals ids of the questions that this step asked
    waiting   it waits for `until` or a signal
    open      children under way: run id → place
    started   how many children were started, of `total`
    items     what a distributed map goes over, once its first child was started
    joined    children that came out, in the order in which they did, batch by batch
    lost      how many of them did not succeed
    received  bytes of their outputs
    stopped   the failure for which children are told to stop
    undo      it takes back what the node did
    """

    seq: int
    at: datetime
    key: str
    node: str
    attempt: int
    turns: tuple[Turn, ...] = ()
    approvals: tuple[str, ...] = ()
    usage: Usage = NO_USAGE
    waiting: bool = False
    until: datetime | None = None
    open: Mapping[str, str] = {}
    started: int = 0
    total: int = -1
    items: tuple[JsonValue, ...] | None = None
    joined: tuple[tuple[Joined, ...], ...] = ()
    lost: int = 0
    received: int = 0
    stopped: Failure | None = None
    undo: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedStep:
    """The failure that a handler sees, and where it came from."""

    node: str
    failure: Failure
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Compensation:
    """What is still to be undone, first one first, and what comes then: `next`, or the end with `failure`."""

    nodes: tuple[str, ...]
    next: str
    failure: Failure


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """Attributes:
    seq           position of the last entry folded in
    node          the node that is next; the present one while `step` is set
    first_state   the state at the beginning: what a branch changed is told apart by it
    attempts      how often each node failed since it last finished
    unsettled     the key of each node whose last try may have acted without our learning of it; see call_of
    retry_at      not before; None when at once
    seen          ids of the signals and inputs that it took, the latest thousand
    signals       received and not yet waited for
    prompts       prompt reference → digest of the version that this run uses
    labels        what was read on the way to its state, by itself and by the runs that it came from or started
    undoable      finished nodes that a handler could undo, latest last
    undone        nodes that were undone, earliest undone first
    busy_s        seconds spent in steps
    joined_thread its turn in its thread has come
    paused_by     who paused it, while it is paused, and why
    started_at    time of the first entry
    """

    run_id: str
    tenant: str
    agent: str
    agent_digest: str
    seq: int = 0
    status: RunStatus = RunStatus.QUEUED
    options: RunOptions = USUAL
    origin: RunOrigin = CLIENT
    input: JsonValue = None
    state: JsonObject = {}
    first_state: JsonObject = {}
    node: str = ""
    step: Step | None = None
    failed: FailedStep | None = None
    attempts: Mapping[str, int] = {}
    unsettled: Mapping[str, str] = {}
    retry_at: datetime | None = None
    approvals: Mapping[str, Approval] = {}
    seen: tuple[str, ...] = ()
    signals: tuple[SignalReceived, ...] = ()
    prompts: Mapping[str, str] = {}
    labels: tuple[str, ...] = ()
    undoable: tuple[str, ...] = ()
    undone: tuple[str, ...] = ()
    compensation: Compensation | None = None
    usage: Usage = NO_USAGE
    steps: int = 0
    busy_s: float = 0.0
    rehearsal: bool = False
    joined_thread: bool = False
    paused_by: str = ""
    pause_reason: str = ""
    output: JsonValue = None
    failure: Failure | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    evidence: tuple[str, ...] = ()

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    @property
    def is_stopped(self) -> bool:
        """Somebody has to resume it."""
        return self.status in {RunStatus.PAUSED, RunStatus.QUARANTINED}

    @property
    def thread_id(self) -> str:
        """The conversation that the run belongs to, itself or as a branch; empty for none."""
        return self.options.thread_id or self.origin.thread_id

    @property
    def pending(self) -> Approval | None:
        """The question that the run waits for."""
        if not self.approvals:
            return None
        return next((approval for approval in self.approvals.values() if approval.status is ApprovalStatus.PENDING), None)


def last_calls_open(step: Step) -> bool:
    """Whether the model's last turn asked for tools that have not answered yet."""
    return bool(step.turns) and isinstance(step.turns[-1], ModelTurn) and bool(step.turns[-1].calls)


def own_key(run_id: str, seq: int) -> str:
    """On what the keys of a step's calls hang unless an earlier try left calls unsettled."""
    return f"{run_id}:{seq}"


def call_of(node: str, *, undo: bool) -> str:
    """Under what the key of a step's calls is remembered: what a node does and what undoes it are not the same call."""
    return f"undo {node}" if undo else node
