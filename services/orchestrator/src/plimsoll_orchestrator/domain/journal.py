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

from plimsoll_orchestrator.errors import JournalBroken

NO_USAGE = Usage()


class RunStatus(StrEnum):
    QUEUED = "queued"  # accepted; no worker holds it
    RUNNING = "running"  # a worker holds it
    WAITING = "waiting"  # parked until people decide; no worker holds it
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
    input: JsonValue


class StepStarted(_Entry, frozen=True, kw_only=True, tag="step_started"):
    """`key_seq` is the position on which the keys of the step's calls hang; 0 means its own."""

    node: str
    node_kind: str
    attempt: int = 1
    key_seq: int = 0


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call that a model asks for; `call_id` is unique in its turn."""

    call_id: str
    tool: str
    arguments: JsonValue


class ToolAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    call_id: str
    tool: str
    content: JsonValue
    is_error: bool = False


class ModelTurn(msgspec.Struct, frozen=True, kw_only=True, tag="model"):
    """What the model said, in the contract's JSON form, and the calls in it."""

    message: JsonValue
    calls: tuple[ToolCall, ...] = ()


class ToolTurn(msgspec.Struct, frozen=True, kw_only=True, tag="tools"):
    answers: tuple[ToolAnswer, ...]


Turn: TypeAlias = ModelTurn | ToolTurn


class StepProgressed(_Entry, frozen=True, kw_only=True, tag="step_progressed"):
    """A turn inside a longer step: only what is new."""

    node: str
    turn: Turn
    usage: Usage = NO_USAGE
    rehearsal: bool = False


class StepFinished(_Entry, frozen=True, kw_only=True, tag="step_finished"):
    node: str
    node_kind: str
    delta: JsonObject
    next: str
    usage: Usage = NO_USAGE
    seconds: float = 0.0
    rehearsal: bool = False
    facts: JsonObject = {}


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


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """The exact call that would execute, as the tool-dispatcher fixed it."""

    tool: str
    tool_digest: str
    effective_arguments: JsonValue
    call_digest: str


class ApprovalAsked(_Entry, frozen=True, kw_only=True, tag="approval_asked"):
    approval_id: str
    node: str
    summary: str
    details: JsonObject
    proposal: Proposal | None = None
    expires_at: datetime


class ApprovalDecided(_Entry, frozen=True, kw_only=True, tag="approval_decided"):
    approval_id: str
    node: str
    status: ApprovalStatus
    decided_by: str = ""
    comment: str = ""
    seconds: float = 0.0  # since it was asked


class RunFinished(_Entry, frozen=True, kw_only=True, tag="run_finished"):
    status: RunStatus
    output: JsonValue = None
    failure: Failure | None = None
    usage: Usage = NO_USAGE
    steps: int = 0
    seconds: float = 0.0  # since the run was accepted


Entry: TypeAlias = RunStarted | StepStarted | StepProgressed | StepFinished | StepFailed | ApprovalAsked | ApprovalDecided | RunFinished

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
