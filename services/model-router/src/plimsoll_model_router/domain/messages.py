"""The neutral conversation: messages of ordered typed parts, tools, and why a model stopped. No provider's format leaks in here."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from plimsoll_runtime.json_types import JsonObject, JsonValue


class Role(StrEnum):
    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """An image or a file by reference, never inline."""

    media_type: str
    uri: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A tool that the model wants called.

    Attributes:
    call_id    unique in its conversation; names the result that answers it
    arguments  an object; anything else is what the model wrote instead (its raw text when that is not even JSON)
    """

    call_id: str
    tool: str
    arguments: JsonValue


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    call_id: str
    tool: str
    content: JsonValue
    is_error: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasoning:
    """Thinking that a model shows.

    Attributes:
    signature   the provider's proof that the text is unchanged; empty when there is none
    provenance  who made it, as `provider/model`; nobody else can read the signature
    """

    text: str
    signature: str = ""
    provenance: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Opaque:
    """A part that only the provider named in `provenance` understands: sent back to it untouched, dropped for others."""

    provenance: str
    content: JsonValue


Part: TypeAlias = Text | Media | ToolCall | ToolResult | Reasoning | Refusal | Opaque


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    role: Role
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """Its text parts, joined."""
        match self.parts:
            case (Text(text=only),):
                return only
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        return tuple([part for part in self.parts if isinstance(part, ToolCall)])

    @property
    def tool_results(self) -> tuple[ToolResult, ...]:
        return tuple(part for part in self.parts if isinstance(part, ToolResult))


def system(text: str) -> Message:
    return Message(role=Role.SYSTEM, parts=(Text(text=text),))


def user(text: str) -> Message:
    return Message(role=Role.USER, parts=(Text(text=text),))


def assistant(*parts: Part | str) -> Message:
    return Message(role=Role.ASSISTANT, parts=tuple(Text(text=part) if isinstance(part, str) else part for part in parts))


def results(*parts: ToolResult) -> Message:
    return Message(role=Role.TOOL, parts=parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolDefinition:
    name: str
    description: str
    arguments_schema: JsonObject = field(default_factory=dict)


class ToolChoice(StrEnum):
    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"
    NAMED = "named"  # the one tool that the question names


class StopReason(StrEnum):
    END_TURN = "end_turn"
    TOOL_CALLS = "tool_calls"
    MAX_TOKENS = "max_tokens"
    STOP_SEQUENCE = "stop_sequence"
    REFUSAL = "refusal"


class Effort(StrEnum):
    """How much a model may think before it answers."""

    NONE = "none"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How a model picks its words; None leaves it to the provider. `stop` are texts that end the answer."""

    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()


ANY_SAMPLING = Sampling()
