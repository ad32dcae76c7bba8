"""What the client returns about agents and runs: frozen values in Python's own types; no caller ever touches protobuf.

JSON fields are plain Python JSON, times are aware datetimes, enumerations are words, and money is integer micros of a US dollar.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from plimsoll_runtime.json_types import JsonObject, JsonValue

from plimsoll_client.options import USUAL, RunOptions, RunOrigin

if TYPE_CHECKING:  # these load protobuf, 50 ms that `plimsoll --help` need not wait for
    from plimsoll_runtime.failures import Failure
    from plimsoll_runtime.usage import Usage


class RunStatus(StrEnum):
    """Where a run is in its life."""

    QUEUED = "queued"  # accepted and durable; no worker holds it
    RUNNING = "running"
    WAITING = "waiting"  # parked: waits for people, a time, a signal or runs of its own
    PAUSED = "paused"  # stopped by somebody; goes on when it is resumed
    QUARANTINED = "quarantined"  # set aside because it ended its worker again and again; goes on when it is resumed
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"  # a word of a newer mesh

    @property
    def is_final(self) -> bool:
        """Whether nothing will change any more."""
        return self in {RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED}


class ApprovalStatus(StrEnum):
    """What became of a question to people."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"  # the run ended before anybody decided
    UNKNOWN = "unknown"


class Effect(StrEnum):
    """What a tool does to the world."""

    READ_ONLY = "read_only"
    IDEMPOTENT = "idempotent"
    KEYED = "keyed"
    NON_IDEMPOTENT = "non_idempotent"
    UNKNOWN = "unknown"


class Risk(StrEnum):
    """Whether each call of a tool needs an approval (`high`)."""

    LOW = "low"
    HIGH = "high"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepts:
    """Names of the input fields that a plain file fills; empty means not accepted."""

    text_field: str = ""
    base64_field: str = ""
    name_field: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """One version of an agent. `graph` is None in lists."""

    name: str
    digest: str
    version: int
    description: str
    input_schema: JsonObject
    graph: JsonObject | None
    accepts: Accepts
    created_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredAgent:
    """What registering did; `created` is False when this version was there already."""

    agent: Agent
    created: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution of one agent. `state` is None in lists, `output` until it succeeded, `failure` unless it failed or was cancelled.

    `origin` is None for a run that a client started.
    """

    id: str
    agent: str
    agent_digest: str
    status: RunStatus
    seq: int
    node: str
    input: JsonObject
    state: JsonObject | None
    output: JsonValue
    failure: Failure | None
    steps: int
    usage: Usage
    created_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    rehearsal: bool
    options: RunOptions = USUAL
    origin: RunOrigin | None = None

    @property
    def duration_s(self) -> float | None:
        """From acceptance to the end; None while it goes on."""
        if self.created_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.created_at).total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """What starting a run did.

    Attributes:
    created  False when the key of the request named a run that was there already
    steered  the input was given to the run under way of its thread; that one is `run`
    """

    run: Run
    created: bool
    steered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """One thing that a run waits for.

    Attributes:
    reason   QUEUED, DELAYED, LEASED, BACKOFF, APPROVAL, TIMER, SIGNAL, CHILDREN, CONCURRENCY_KEY, THREAD, PAUSED …
    message  in plain words, with what would end it
    until    when it ends by itself; None when it does not
    subject  the run, approval or worker that is waited for
    """

    reason: str
    message: str
    until: datetime | None
    subject: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Queried:
    """What an expression came to, and the position in the journal that it belongs to."""

    value: JsonValue
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """A conversation: runs in order, one under way at a time. `kept` is carried to the next run."""

    id: str
    active_run_id: str
    queued_runs: int
    last_run_id: str
    kept: JsonObject
    created_at: datetime | None
    updated_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """A place in a graph, and what is wrong there."""

    place: str
    problem: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenRun:
    """An unfinished run that could not go on under a version."""

    run_id: str
    status: RunStatus
    node: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedAgent:
    """What registering a graph would do.

    Attributes:
    mistakes      none when it could be registered
    digest        of the version that it would be
    broken_runs   at most 1,000
    checked_runs  how many unfinished runs were looked at
    """

    mistakes: tuple[Mistake, ...]
    digest: str
    broken_runs: tuple[BrokenRun, ...]
    checked_runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """Exactly the call that would execute. `message` says why people are asked; with `four_eyes`, who asked for the run may not approve."""

    tool: str
    tool_digest: str
    arguments: JsonValue
    call_digest: str
    message: str = ""
    four_eyes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """A question to people; the run waits for the answer. `proposal` is None when no call is bound to it.

    `approved_by` are all who approved so far, of the `quorum` that have to.
    """

    id: str
    run_id: str
    agent: str
    node: str
    summary: str
    details: JsonValue
    proposal: Proposal | None
    status: ApprovalStatus
    asked_at: datetime | None
    expires_at: datetime | None
    decided_at: datetime | None
    decided_by: str
    comment: str
    approved_by: tuple[str, ...] = ()
    quorum: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A declared tool."""

    name: str
    version: str
    digest: str
    category: str
    description: str
    arguments_schema: JsonObject
    result_schema: JsonObject
    effect: Effect
    risk: Risk
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A worked example in a prompt; `assistant` is text, or the JSON that should have been answered."""

    user: str
    assistant: JsonValue


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptDraft:
    """What is registered as a prompt. Templates name variables as {{name}}."""

    name: str
    description: str = ""
    variables: tuple[str, ...] = ()
    system: str = ""
    examples: tuple[Example, ...] = ()
    user: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """An immutable prompt version, and the labels that point at it now."""

    draft: PromptDraft
    digest: str
    version: int
    labels: tuple[str, ...]
    created_at: datetime | None

    @property
    def name(self) -> str:
        return self.draft.name


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredPrompt:
    """What registering did; `created` is False when this version was there already."""

    prompt: Prompt
    created: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model that can answer now. Prices are micros of a US dollar per million tokens, and mean nothing unless `priced`."""

    provider: str
    name: str
    rehearsal: bool
    priced: bool
    input_price_micros: int
    output_price_micros: int
