"""The other services, as the orchestrator sees them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeAlias

from plimsoll_graph.graph import PromptName
from plimsoll_runtime.failures import Failure
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_runtime.usage import Usage
from plimsoll_runtime.work import WorkContext

from plimsoll_orchestrator.domain.journal import Proposal, ToolCall, Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolDefinition:
    name: str
    description: str
    arguments_schema: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question to a model; `request_key` makes a repeat free. `prompt_digest` is the version that the run has pinned, empty before."""

    request_key: str
    prompt: PromptName
    prompt_digest: str
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


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of what a model says. A higher attempt voids what lower ones said."""

    attempt: int
    text: str


Hear: TypeAlias = Callable[[Piece], None]


class Models(Protocol):
    async def generate(self, question: Question, hear: Hear | None) -> Answer | NoAnswer:
        """The checked answer. With `hear`, pieces of it are told as they come; none of them is the truth."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """People's leave for one exact call. `granted_by` decided last, `approved_by` are all who approved, `requested_by` asked for the run."""

    grant_id: str
    call_digest: str
    granted_by: str
    approved_by: tuple[str, ...] = ()
    requested_by: str = ""
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """`degraded` says what stood in for the tool's own result of now: tool:NAME, cached or fixed; empty when nothing did.

    `labels` say what the call did with data.
    """

    result: JsonValue
    degraded: str = ""
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """`unsettled` when the call may have acted: it is made again only under the same call key."""

    failure: Failure
    unsettled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedsApproval:
    proposal: Proposal


ToolOutcome: TypeAlias = Returned | Refused | NeedsApproval


class Tools(Protocol):
    async def definitions(self, names: Sequence[str]) -> Sequence[ToolDefinition]:
        """Those that exist, in the order asked for; `shop_*` stands for all whose names begin with `shop_`."""
        ...

    async def dispatch(
        self, call_key: str, tool: str, arguments: JsonObject, grants: Sequence[Grant], work: WorkContext, first: bool
    ) -> ToolOutcome:
        """`first` when the key was surely never sent before, by this claim of the run or another."""
        ...


class Grants(Protocol):
    async def revoke(self, grant_id: str) -> bool:
        """Take a grant back, so that no call is made with it any more; false when one was."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Passages:
    """Each passage as an object with text, source, title, document_id, score and span."""

    passages: Sequence[JsonObject]
    receipt: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Turned:
    """Something said; `origin` is user, assistant, tool or system."""

    origin: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """`subject` is empty when it is about the thread; `attribute` when it supersedes nothing."""

    subject: str
    attribute: str
    text: str
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What was kept, and in words what was not and why."""

    turns: int
    facts: int
    left_out: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What is to be remembered: in a thread, or facts in a collection; `key` makes a repeat harmless."""

    key: str
    thread_id: str
    collection: str
    turns: Sequence[Turned]
    facts: Sequence[Fact]
    learn: bool


class Memory(Protocol):
    async def search(self, collection: str, query: str, limit: int, filter_: JsonObject, work: WorkContext) -> Passages | Failure: ...

    async def remember(self, note: Note, work: WorkContext) -> Remembered: ...

    async def recall(self, thread_id: str, max_tokens: int, query: str) -> JsonObject:
        """{turns, summary, facts, recalled} of a thread."""
        ...

    async def report_use(self, answer: str, work: WorkContext) -> None:
        """Tell what an answer of this run drew on, if the run has searched. A signal of quality: it never fails, and may be lost."""
        ...
