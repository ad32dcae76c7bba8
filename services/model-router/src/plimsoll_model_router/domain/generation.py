"""A question to a model and the answer to it, at both levels: what a caller asks the router, and what the router asks a provider."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from plimsoll_runtime.failures import Failure
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_runtime.usage import Usage
from plimsoll_runtime.work import WorkContext

from plimsoll_model_router.domain.messages import Message, StopReason, ToolChoice, ToolDefinition
from plimsoll_model_router.domain.prompts import PromptReference


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What a caller asks.

    Attributes:
    request_key      fixed by the caller before the first try; empty means every call is a new one
    prompt           None when the messages are the whole question
    messages         after the prompt's own: the conversation so far
    output_schema    the JSON Schema that the answer must satisfy; None means free text
    task             kind of task, by which the route is chosen
    model            asks for one model by name instead of a route
    max_cost_micros  what the call may cost at most; 0 means no limit of its own
    """

    request_key: str = ""
    prompt: PromptReference | None = None
    variables: JsonObject = field(default_factory=dict)
    messages: tuple[Message, ...] = ()
    tools: tuple[ToolDefinition, ...] = ()
    tool_choice: ToolChoice = ToolChoice.AUTO
    output_schema: JsonObject | None = None
    task: str = ""
    model: str = ""
    max_output_tokens: int = 0
    max_cost_micros: int = 0
    work: WorkContext = field(default_factory=WorkContext)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What one provider is asked: complete, with nothing left to look up. `max_output_tokens` 0 means the provider's own limit."""

    model: str
    messages: tuple[Message, ...]
    tools: tuple[ToolDefinition, ...] = ()
    tool_choice: ToolChoice = ToolChoice.AUTO
    output_schema: JsonObject | None = None
    max_output_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What one provider answered, complete. `confidence` is 0 to 1, None when the provider gives none."""

    message: Message
    stop_reason: StopReason
    usage: Usage
    model: str
    confidence: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDelta:
    """A piece of a reply's text, as it comes."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The verified end of a stream: before it, nothing is known to be complete."""

    reply: Reply


Chunk: TypeAlias = TextDelta | Finished


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try at one model; `failure` is None for the one that succeeded."""

    provider: str
    model: str
    duration_s: float
    usage: Usage
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the caller gets.

    Attributes:
    output      the answer as JSON, checked against the schema; None when no schema was given
    usage       of all attempts together
    rehearsal   the built-in rehearsal model answered, which is not a language model
    recorded    answered before under the same request key; cost nothing now
    """

    message: Message
    stop_reason: StopReason
    usage: Usage
    provider: str
    model: str
    rehearsal: bool
    prompt_digest: str
    attempts: tuple[Attempt, ...]
    confidence: float | None = None
    output: JsonValue = None
    has_output: bool = False
    recorded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Unanswered:
    """No candidate answered; `failure` is why the last one did not."""

    failure: Failure
    attempts: tuple[Attempt, ...]
    prompt_digest: str = ""

    @property
    def usage(self) -> Usage:
        return sum((attempt.usage for attempt in self.attempts), Usage())


Outcome: TypeAlias = Answer | Unanswered


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Text of one attempt while it comes; a higher attempt voids the text of the lower ones."""

    attempt: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletedCall:
    """One finished call as the ledger keeps it and as the event tells it."""

    call_id: str
    tenant: str
    generation: Generation
    fingerprint: str
    outcome: Outcome
    started_at: datetime
    duration_s: float
