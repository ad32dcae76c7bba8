"""A question to a model and the answer to it, at both levels: what a caller asks the router, and what the router asks a provider."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from plimsoll_runtime.failures import Failure
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_runtime.usage import Usage
from plimsoll_runtime.work import WorkContext

from plimsoll_model_router.domain.conversion import Conversion
from plimsoll_model_router.domain.messages import ANY_SAMPLING, Effort, Message, Sampling, StopReason, ToolChoice, ToolDefinition
from plimsoll_model_router.domain.prompts import PromptReference, Template


class Purpose(StrEnum):
    """Why a question is asked."""

    PRODUCTION = "production"
    EVALUATION = "evaluation"  # to judge a prompt or a model: kept apart from everything that production is steered by


class CacheScope(StrEnum):
    """Whose earlier answers may be given."""

    TENANT = "tenant"
    AGENT = "agent"
    RUN = "run"


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePolicy:
    """Leave to answer the very same question with an earlier answer of at most `max_age_s`; this one is kept as long."""

    max_age_s: float
    scope: CacheScope = CacheScope.TENANT


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
    effort           None leaves it to the model
    tool_name        the tool to call, when the choice is NAMED
    single_call      at most one tool call in an answer
    cache_prefix     ask the provider to keep the beginning of the conversation warm, where that is not automatic
    cache            None: ask anew
    candidate        in place of `prompt`: a version that is not registered; for evaluations
    model_digest     with `model` naming a model entry: this version of it, whatever its labels say
    wire             the question as its caller wrote it, for what is kept of the call
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
    sampling: Sampling = ANY_SAMPLING
    effort: Effort | None = None
    tool_name: str = ""
    single_call: bool = False
    cache_prefix: bool = False
    cache: CachePolicy | None = None
    work: WorkContext = field(default_factory=WorkContext)
    purpose: Purpose = Purpose.PRODUCTION
    candidate: Template | None = None
    model_digest: str = ""
    wire: bytes = field(default=b"", repr=False, compare=False)

    @property
    def prompt_name(self) -> str:
        """Empty without a prompt."""
        named = self.prompt or self.candidate
        return named.name if named is not None else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What one provider is asked: complete, with nothing left to look up.

    Attributes:
    max_output_tokens  0 means the provider's own limit
    replay_reasoning   send earlier thinking back to the model that made it; switched off when the model does not take it
    """

    messages: tuple[Message, ...]
    tools: tuple[ToolDefinition, ...] = ()
    tool_choice: ToolChoice = ToolChoice.AUTO
    tool_name: str = ""
    single_call: bool = False
    output_schema: JsonObject | None = None
    max_output_tokens: int = 0
    sampling: Sampling = ANY_SAMPLING
    effort: Effort | None = None
    cache_prefix: bool = False
    replay_reasoning: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What one provider answered, complete.

    Attributes:
    confidence            0 to 1, None when the provider gives none
    report                what its format did to the question and the answer
    estimated             the usage is ours: the provider told none
    raw_usage             the usage as the provider told it
    cache_written_tokens  the part of the input that was newly written into the provider's cache
    """

    message: Message
    stop_reason: StopReason
    usage: Usage
    model: str
    confidence: float | None = None
    report: tuple[Conversion, ...] = ()
    estimated: bool = False
    raw_usage: JsonObject = field(default_factory=dict)
    cache_written_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDelta:
    """A piece of a reply's text, as it comes."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningDelta:
    """A piece of thinking that the model shows."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallDelta:
    """A piece of a tool call while it is written.

    Attributes:
    index      which call of the answer, from 0
    call_id    with `tool`, only in the first piece of a call
    arguments  a piece of the arguments' JSON text
    """

    index: int
    call_id: str = ""
    tool: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The verified end of a stream: before it, nothing is known to be complete."""

    reply: Reply


Delta: TypeAlias = TextDelta | ReasoningDelta | ToolCallDelta
Chunk: TypeAlias = Delta | Finished
Hear: TypeAlias = Callable[[Delta], Awaitable[None]]
"""Whoever hears the pieces of a reply; the provider is not listened to while one is taken in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try at one model.

    Attributes:
    failure     None for the one that succeeded
    report      what the provider's format did to the question and the answer
    credential  the name of the credential that was used
    """

    provider: str
    model: str
    duration_s: float
    usage: Usage
    failure: Failure | None = None
    report: tuple[Conversion, ...] = ()
    credential: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the caller gets.

    Attributes:
    output      the answer as JSON, checked against the schema; None when no schema was given
    usage       of all attempts together
    rehearsal   the built-in rehearsal model answered, which is not a language model
    recorded    answered before under the same request key; cost nothing now
    cached      given before to the very same question; cost nothing now
    call_id     names what the ledger keeps of it
    priced      every attempt has a known price; otherwise the cost lacks something
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
    cached: bool = False
    call_id: str = ""
    priced: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Unanswered:
    """No candidate answered; `failure` is why the last one did not. Without attempts, nobody could be asked."""

    failure: Failure
    attempts: tuple[Attempt, ...]
    prompt_digest: str = ""
    call_id: str = ""
    priced: bool = True

    @property
    def usage(self) -> Usage:
        return sum((attempt.usage for attempt in self.attempts), Usage())


Outcome: TypeAlias = Answer | Unanswered


@dataclass(frozen=True, slots=True, kw_only=True)
class Began:
    """An attempt begins: what lower attempts said is void."""

    provider: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A piece of one attempt while it comes; a higher attempt voids all pieces of the lower ones."""

    attempt: int
    delta: Delta | Began

    @property
    def text(self) -> str:
        """The piece of the answer's text; empty for pieces of another kind."""
        return self.delta.text if isinstance(self.delta, TextDelta) else ""


Tell: TypeAlias = Callable[[Progress], Awaitable[None]]
"""Whoever is told how an answer comes about; the same holds for it."""


async def unheard(_: Delta | Progress) -> None:
    """For those who wait for the whole."""
