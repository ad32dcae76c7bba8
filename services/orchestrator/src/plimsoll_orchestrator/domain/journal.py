"""The journal's entries: everything that can happen to a run, and their stored form.

Entries are msgspec structs, frozen like the dataclasses elsewhere, because they are read and written at every step and msgspec
checks and converts them in microseconds. The stored form is JSON with the kind as tag; fields are only ever added.
"""

from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

import msgspec
from plimsoll_runtime.failures import Failure
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_runtime.usage import Usage

from plimsoll_orchestrator.domain.options import CLIENT, USUAL, RunOptions, RunOrigin
from plimsoll_orchestrator.errors import JournalBroken

NO_USAGE = Usage()


class RunStatus(StrEnum):
    QUEUED = "queued"  # accepted; no worker holds it
    RUNNING = "running"  # a worker holds it
    WAITING = "waiting"  # parked until people decide, time passes, a signal comes or its own runs finish; no worker holds it
    PAUSED = "paused"  # stopped by somebody, until resumed
    QUARANTINED = "quarantined"  # set aside with the evidence, until resumed
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL = frozenset({RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED})


class ApprovalStatus(StrEnum):
    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"  # the run ended before anybody decided


class _Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind"):
    pass


class RunStarted(_Entry, frozen=True, kw_only=True, tag="run_started"):
    """Attributes:
    state    the first state, when it is not the input
    node     where it begins, when that is not the graph's start
    keys     node → key of a step in an earlier run whose calls are unsettled: they are made again under the same keys
    prompts  versions of prompts that an earlier run had pinned
    labels   what the runs had read whose values it begins with
    """

    input: JsonValue
    options: RunOptions = USUAL
    origin: RunOrigin = CLIENT
    state: JsonObject | None = None
    node: str = ""
    keys: dict[str, str] = {}
    prompts: dict[str, str] = {}
    labels: tuple[str, ...] = ()


class ThreadJoined(_Entry, frozen=True, kw_only=True, tag="thread_joined"):
    """The run's turn in its thread has come; what the thread carries becomes part of the state, where the input does not say otherwise.

    `labels` say what the runs before had read.
    """

    kept: JsonObject
    labels: tuple[str, ...] = ()


class StepStarted(_Entry, frozen=True, kw_only=True, tag="step_started"):
    """`key` is that on which the keys of the step's calls hang, when it is that of an earlier try; empty means its own.

    `undo` means that the step takes back what the node did.
    """

    node: str
    node_kind: str
    attempt: int = 1
    key: str = ""
    undo: bool = False


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call that a model asks for; `call_id` is unique in its turn."""

    call_id: str
    tool: str
    arguments: JsonValue


class ToolAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`degraded` says what stood in for the tool's own answer of now; empty when nothing did. `labels` say what the call did with data."""

    call_id: str
    tool: str
    content: JsonValue
    is_error: bool = False
    degraded: str = ""
    labels: tuple[str, ...] = ()


class ModelTurn(msgspec.Struct, frozen=True, kw_only=True, tag="model"):
    """What the model said, in the contract's JSON form, and the calls in it."""

    message: JsonValue
    calls: tuple[ToolCall, ...] = ()


class ToolTurn(msgspec.Struct, frozen=True, kw_only=True, tag="tools"):
    answers: tuple[ToolAnswer, ...]


class InputTurn(msgspec.Struct, frozen=True, kw_only=True, tag="input"):
    """Input that reached the run while the step was under way."""

    input: JsonValue


Turn: TypeAlias = ModelTurn | ToolTurn | InputTurn


class StepProgressed(_Entry, frozen=True, kw_only=True, tag="step_progressed"):
    """A turn inside a longer step: only what is new."""

    node: str
    turn: Turn
    usage: Usage = NO_USAGE
    rehearsal: bool = False
    prompts: dict[str, str] = {}


class StepFinished(_Entry, frozen=True, kw_only=True, tag="step_finished"):
    """Attributes:
    delta     fields of the state and their new values
    appended  fields that only grew, lists and texts, and what was added at their end: so that what is stored stays linear
    prompts   prompt reference → digest of the version that answered, where this step was the first to use it
    signal    id of the signal that ended the wait
    undoable  a handler that compensates has to undo this node
    undo      the step took back what the node did
    labels    what the step read, where the run had not read the like before: reads:private, reads:untrusted, or words of the operator's own
    """

    node: str
    node_kind: str
    delta: JsonObject
    next: str
    usage: Usage = NO_USAGE
    seconds: float = 0.0
    rehearsal: bool = False
    facts: JsonObject = {}
    appended: JsonObject = {}
    prompts: dict[str, str] = {}
    signal: str = ""
    undoable: bool = False
    undo: bool = False
    labels: tuple[str, ...] = ()


class StepFailed(_Entry, frozen=True, kw_only=True, tag="step_failed"):
    """`next` is empty when the run fails or the step is tried again; `retry_at` is set only then.

    `unsettled` means that a call may have acted without our learning of it: when the node is tried again, it calls with the same
    keys, so that what acted is found and not repeated.
    """

    node: str
    node_kind: str
    failure: Failure
    attempt: int = 1
    next: str = ""
    retry_at: datetime | None = None
    unsettled: bool = False
    usage: Usage = NO_USAGE
    seconds: float = 0.0
    undo: bool = False


class CompensationStarted(_Entry, frozen=True, kw_only=True, tag="compensation_started"):
    """A handler decided to undo `nodes`, in this order; then the run goes to `next`, or fails with `failure`."""

    node: str
    nodes: tuple[str, ...]
    next: str
    failure: Failure


class WaitStarted(_Entry, frozen=True, kw_only=True, tag="wait_started"):
    node: str
    until: datetime | None = None
    signal: str = ""


class Child(msgspec.Struct, frozen=True, kw_only=True):
    """A run that a step started; `place` is a branch's name or an item's index."""

    run_id: str
    place: str
    agent: str


class ChildrenStarted(_Entry, frozen=True, kw_only=True, tag="children_started"):
    """`items` are those of a distributed map, with the first of its children: they are found out once."""

    node: str
    children: tuple[Child, ...]
    total: int
    items: tuple[JsonValue, ...] | None = None


class Joined(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a child came out. The output of a branch is what it changed in the state; `size` is its length as JSON, `labels` what it read."""

    run_id: str
    place: str
    status: RunStatus
    output: JsonValue = None
    size: int = 0
    failure: Failure | None = None
    usage: Usage = NO_USAGE
    rehearsal: bool = False
    labels: tuple[str, ...] = ()


class ChildrenJoined(_Entry, frozen=True, kw_only=True, tag="children_joined"):
    node: str
    children: tuple[Joined, ...]


class ChildrenStopped(_Entry, frozen=True, kw_only=True, tag="children_stopped"):
    """The step came to a failure: children under way are told to stop, and waited for."""

    node: str
    failure: Failure


class SignalReceived(_Entry, frozen=True, kw_only=True, tag="signal_received"):
    signal_id: str
    name: str
    payload: JsonValue = None
    sent_by: str = ""


class InputReceived(_Entry, frozen=True, kw_only=True, tag="input_received"):
    input_id: str
    input: JsonValue
    sent_by: str = ""


class RunPaused(_Entry, frozen=True, kw_only=True, tag="run_paused"):
    reason: str = ""
    paused_by: str = ""


class RunResumed(_Entry, frozen=True, kw_only=True, tag="run_resumed"):
    resumed_by: str = ""


class RunQuarantined(_Entry, frozen=True, kw_only=True, tag="run_quarantined"):
    reason: str
    evidence: tuple[str, ...]


class VersionChanged(_Entry, frozen=True, kw_only=True, tag="version_changed"):
    agent_digest: str


class Terms(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an approval takes, as policy says.

    Attributes:
    quorum     how many people have to approve
    four_eyes  who asked for the run may not be one of them
    expires_s  how long the approval holds; zero when policy does not say
    """

    quorum: int = 1
    four_eyes: bool = False
    expires_s: float = 0.0


ONE_PERSON = Terms()


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """The exact call that would execute, as the tool-dispatcher fixed it; `message` says why people are asked."""

    tool: str
    tool_digest: str
    effective_arguments: JsonValue
    call_digest: str
    terms: Terms = ONE_PERSON
    policy_digest: str = ""
    credential_version: str = ""
    message: str = ""


class ApprovalAsked(_Entry, frozen=True, kw_only=True, tag="approval_asked"):
    """`call_key` is that of the proposed call; `proposed_by` is who put its arguments so, when that was a person."""

    approval_id: str
    node: str
    summary: str
    details: JsonObject
    proposal: Proposal | None = None
    expires_at: datetime
    call_key: str = ""
    proposed_by: str = ""


class ApprovalGiven(_Entry, frozen=True, kw_only=True, tag="approval_given"):
    """One of several people approved; the question stays open until enough have."""

    approval_id: str
    node: str
    decided_by: str
    comment: str = ""


class ApprovalDecided(_Entry, frozen=True, kw_only=True, tag="approval_decided"):
    """`approved_by` are all who approved, when more than one had to; `arguments` are what a person who rejects proposes instead."""

    approval_id: str
    node: str
    status: ApprovalStatus
    decided_by: str = ""
    comment: str = ""
    seconds: float = 0.0  # since it was asked
    approved_by: tuple[str, ...] = ()
    arguments: JsonObject | None = None


class RunFinished(_Entry, frozen=True, kw_only=True, tag="run_finished"):
    status: RunStatus
    output: JsonValue = None
    failure: Failure | None = None
    usage: Usage = NO_USAGE
    steps: int = 0
    seconds: float = 0.0  # since the run was accepted


Entry: TypeAlias = (
    RunStarted
    | ThreadJoined
    | StepStarted
    | StepProgressed
    | StepFinished
    | StepFailed
    | CompensationStarted
    | WaitStarted
    | ChildrenStarted
    | ChildrenJoined
    | ChildrenStopped
    | SignalReceived
    | InputReceived
    | ApprovalAsked
    | ApprovalGiven
    | ApprovalDecided
    | RunPaused
    | RunResumed
    | RunQuarantined
    | VersionChanged
    | RunFinished
)

OF_OTHERS = (SignalReceived, InputReceived)
"""What others said to the run: taken in, it is no progress of the run itself."""

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Entry] = msgspec.json.Decoder(Entry)


def encode_entry(entry: Entry) -> str:
    return _encoder.encode(entry).decode()


def decode_entry(text: str) -> Entry:
    """Raises JournalBroken when the text is no entry of a kind that this version knows."""
    try:
        return _decoder.decode(text)
    except msgspec.DecodeError as error:
        raise JournalBroken(f"an entry cannot be read: {error}") from error


def kind_of(entry: Entry) -> str:
    return str(entry.__struct_config__.tag)
