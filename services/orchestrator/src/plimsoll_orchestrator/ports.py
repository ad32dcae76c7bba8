"""What the orchestrator needs from outside, in its own words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeAlias

from plimsoll_graph.graph import Graph, PromptName
from plimsoll_runtime.failures import Failure
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_runtime.usage import Usage
from plimsoll_runtime.work import WorkContext

from plimsoll_orchestrator.domain.journal import ApprovalStatus, Entry, Proposal, RunStatus, ToolCall, Turn
from plimsoll_orchestrator.domain.run import Approval, Run

# --- agents ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentVersion:
    """A registered graph: `version` counts up from 1 per name."""

    version: int
    graph: Graph
    created_at: datetime


class AgentStore(Protocol):
    async def register(self, tenant: str, graph: Graph, source: str) -> tuple[AgentVersion, bool]:
        """Store a version, or find it by its digest; true when it is new."""
        ...

    async def newest(self, tenant: str, name: str) -> AgentVersion | None: ...

    async def by_digest(self, tenant: str, name: str, digest: str) -> AgentVersion | None: ...

    async def list_newest(self, tenant: str, after: str, limit: int) -> Sequence[AgentVersion]:
        """By name, names after `after`."""
        ...


# --- runs -----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """An entry in its place. `epoch` is that of the claim which wrote it; 0 when no worker did."""

    run_id: str
    seq: int
    at: datetime
    epoch: int
    entry: Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A run that this worker may advance until its lease ends, and the journal so far."""

    run_id: str
    tenant: str
    agent: str
    agent_digest: str
    epoch: int
    entries: Sequence[JournalEntry]


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Let go of a run with the append: `status` as it shows from outside, `wake_at` when to look at it again, None for never."""

    status: RunStatus
    wake_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """Entries to add to a run's journal, if nobody else holds it meanwhile.

    Attributes:
    expected_seq  position of the last entry that the writer knows
    run           the run with the entries folded in: what the summary columns show
    release       set when the writer lets go of the run
    """

    run_id: str
    tenant: str
    epoch: int
    expected_seq: int
    entries: Sequence[Entry]
    run: Run
    release: Release | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """A run as it shows in lists."""

    run_id: str
    agent: str
    agent_digest: str
    status: RunStatus
    seq: int
    node: str
    steps: int
    usage: Usage
    rehearsal: bool
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A run to be accepted; an empty key means that it is always a new one."""

    tenant: str
    run_id: str
    graph: Graph
    input: JsonValue
    idempotency_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A durable run: a new one made `at`, or the one that the idempotency key belongs to."""

    run_id: str
    created: bool
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalView:
    """An approval and the run it belongs to."""

    run_id: str
    agent: str
    approval: Approval


class RunStore(Protocol):
    """Every method is one transaction."""

    async def accept(self, submission: Submission) -> Accepted:
        """Make a run durable, or find the one that the key belongs to. Raises IdempotencyKeyReused."""
        ...

    async def summary(self, tenant: str, run_id: str) -> RunSummary | None: ...

    async def list_runs(self, tenant: str, agent: str, status: RunStatus | None, before: str, limit: int) -> Sequence[RunSummary]:
        """Newest first; ids before `before`."""
        ...

    async def journal(self, tenant: str, run_id: str, after_seq: int, limit: int) -> Sequence[JournalEntry]: ...

    async def intervene(self, tenant: str, run_id: str, expected_seq: int, entries: Sequence[Entry], run: Run, release: Release) -> bool:
        """Append from outside of a claim, taking the run from whoever holds it; false when the journal moved on meanwhile."""
        ...

    async def approval(self, tenant: str, approval_id: str) -> ApprovalView | None: ...

    async def list_approvals(
        self, tenant: str, status: ApprovalStatus | None, run_id: str, after: str, limit: int
    ) -> Sequence[ApprovalView]: ...


class ClaimStore(Protocol):
    async def claim(self, worker: str, limit: int) -> Sequence[Claimed]:
        """Take runs that are ready, due or abandoned; raises each one's epoch and sets its lease."""
        ...

    async def renew(self, held: Mapping[str, int]) -> Sequence[str]:
        """Extend the leases of run id → epoch; returns the ids that are still ours."""
        ...

    async def release(self, held: Mapping[str, int]) -> None:
        """Give runs back, ready for another worker at once."""
        ...

    async def append(self, batch: Sequence[Append]) -> Mapping[str, datetime]:
        """Commit what is not fenced off, all in one; run id → time of its entries. A run that is missing is no longer ours."""
        ...


# --- the other services ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolDefinition:
    name: str
    description: str
    arguments_schema: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question to a model; `request_key` makes a repeat free."""

    request_key: str
    prompt: PromptName
    variables: JsonObject
    conversation: Sequence[Turn]
    tools: Sequence[ToolDefinition]
    output_schema: JsonObject | None
    task: str
    max_tokens: int
    work: WorkContext


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`message` is the model's turn in the contract's JSON form; `confidence` is negative when unknown."""

    message: JsonValue
    text: str
    calls: Sequence[ToolCall]
    output: JsonValue
    usage: Usage
    provider: str
    model: str
    rehearsal: bool
    confidence: float
    prompt_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoAnswer:
    failure: Failure
    usage: Usage


class Models(Protocol):
    async def generate(self, question: Question) -> Answer | NoAnswer: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A person's leave for one exact call."""

    grant_id: str
    call_digest: str
    granted_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    result: JsonValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    failure: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedsApproval:
    proposal: Proposal


ToolOutcome: TypeAlias = Returned | Refused | NeedsApproval


class Tools(Protocol):
    async def definitions(self, names: Sequence[str]) -> Sequence[ToolDefinition]:
        """Those that exist, in the order asked for."""
        ...

    async def dispatch(
        self, call_key: str, tool: str, arguments: JsonObject, grants: Sequence[Grant], work: WorkContext
    ) -> ToolOutcome: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Passages:
    """Each passage as an object with text, source, title, document_id, score and span."""

    passages: Sequence[JsonObject]
    receipt: JsonObject


class Memory(Protocol):
    async def search(self, collection: str, query: str, limit: int, filter_: JsonObject, work: WorkContext) -> Passages | Failure: ...


class Signals(Protocol):
    """Wake-up calls; any of them may be lost."""

    async def run_ready(self, run_id: str) -> None: ...

    async def run_interrupted(self, run_id: str) -> None:
        """Somebody took the run from its worker: stop what is in flight."""
        ...

    async def journals_grew(self, run_ids: Sequence[str]) -> None: ...
