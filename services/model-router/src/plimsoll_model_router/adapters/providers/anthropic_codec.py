"""Anthropic Messages: neutral ↔ wire, without I/O."""

from collections.abc import Iterator

from plimsoll_runtime.json_types import JsonObject, JsonValue, dump_json
from plimsoll_runtime.usage import Usage

from plimsoll_model_router.adapters.providers import failures
from plimsoll_model_router.adapters.providers.conversation import (
    Encoded,
    call_id,
    is_closed,
    provenance,
    schema_instruction,
    with_wire_ids,
)
from plimsoll_model_router.adapters.providers.reading import an_object, count, objects, text
from plimsoll_model_router.domain.generation import Question, Reply
from plimsoll_model_router.domain.messages import (
    Media,
    Message,
    Opaque,
    Part,
    Reasoning,
    Refusal,
    Role,
    StopReason,
    Text,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from plimsoll_model_router.errors import ProviderError

NAME = "anthropic"
VERSION = "2023-06-01"
_MAX_TOKENS = 8192  # the field is required; used where the caller sets no limit
_CHOICES = {ToolChoice.AUTO: "auto", ToolChoice.NONE: "none", ToolChoice.REQUIRED: "any"}
_STOPS = {
    "end_turn": StopReason.END_TURN,
    "tool_use": StopReason.TOOL_CALLS,
    "max_tokens": StopReason.MAX_TOKENS,
    "model_context_window_exceeded": StopReason.MAX_TOKENS,
    "stop_sequence": StopReason.STOP_SEQUENCE,
    "refusal": StopReason.REFUSAL,
}


def encode(question: Question, where: str, *, stream: bool) -> Encoded:
    """The request body. Raises ProviderError for what the dialect cannot say."""
    notes: list[str] = []
    told = [message.text for message in question.messages if message.role is Role.SYSTEM]
    body: JsonObject = {"model": question.model, "max_tokens": question.max_output_tokens or _MAX_TOKENS}
    if question.output_schema is not None:
        if is_closed(question.output_schema):
            body["output_config"] = {"format": {"type": "json_schema", "schema": question.output_schema}}
        else:
            told.append(schema_instruction(question.output_schema))
            notes.append("output schema put into words: the provider cannot enforce it")
    if told:
        body["system"] = "\n\n".join(told)
    body["messages"] = _turns(question, where, notes)
    if question.tools:
        body["tools"] = [
            {"name": tool.name, "description": tool.description, "input_schema": {"type": "object", **tool.arguments_schema}}
            for tool in question.tools
        ]
        body["tool_choice"] = {"type": _CHOICES[question.tool_choice]}
    if stream:
        body["stream"] = True
    return Encoded(body=body, notes=tuple(notes))


def decode(body: JsonObject, question: Question, where: str) -> Reply:
    """The reply in a response body. Raises ProviderError when it holds an error or makes no sense."""
    if body.get("type") == "error" or "error" in body:
        raise error_in(body, 0, where)
    if not isinstance(body.get("content"), list):
        raise failures.malformed(where, "no content")
    usage = usage_of(an_object(body.get("usage")))
    taken: set[str] = set()
    parts = [part for at, block in enumerate(objects(body["content"])) for part in part_of(block, at, taken, question)]
    return reply_of(parts, text(body.get("stop_reason")), usage, text(body.get("model")) or question.model, where)


def reply_of(parts: list[Part], stop: str, usage: Usage, model: str, where: str) -> Reply:
    """A complete reply. Raises ProviderError for a stop reason that means it is none."""
    reason = _STOPS.get(stop)
    if reason is None:
        raise failures.malformed(where, f"unknown stop reason {stop!r}", usage)
    if reason is StopReason.REFUSAL and not any(isinstance(part, Refusal) for part in parts):
        parts = [*parts, Refusal(text="")]
    if any(isinstance(part, ToolCall) for part in parts) and reason is StopReason.END_TURN:
        reason = StopReason.TOOL_CALLS
    return Reply(message=Message(role=Role.ASSISTANT, parts=tuple(parts)), stop_reason=reason, usage=usage, model=model)


def part_of(block: JsonObject, position: int, taken: set[str], question: Question) -> Iterator[Part]:
    """A content block as a part; blocks that only the provider understands stay as they are."""
    made_by = provenance(NAME, question)
    match block.get("type"):
        case "text":
            if text(block.get("text")):
                yield Text(text=text(block.get("text")))
        case "tool_use":
            unique = call_id(text(block.get("id")), position, taken)
            taken.add(unique)
            yield ToolCall(call_id=unique, tool=text(block.get("name")), arguments=block.get("input", {}))
        case "thinking":
            yield Reasoning(text=text(block.get("thinking")), signature=text(block.get("signature")), provenance=made_by)
        case _:
            yield Opaque(provenance=made_by, content=block)


def usage_of(usage: JsonObject) -> Usage:
    """Anthropic counts cached input apart; ours counts it in."""
    read, written = count(usage.get("cache_read_input_tokens")), count(usage.get("cache_creation_input_tokens"))
    return Usage(
        input_tokens=count(usage.get("input_tokens")) + read + written,
        output_tokens=count(usage.get("output_tokens")),
        cached_input_tokens=read,
    )


def error_in(body: JsonObject, status: int, where: str, retry_after_s: float | None = None) -> ProviderError:
    """The error that a body tells of."""
    error = an_object(body.get("error"))
    return failures.refused(where, status, code=text(error.get("type")), message=text(error.get("message")), retry_after_s=retry_after_s)


def _turns(question: Question, where: str, notes: list[str]) -> list[JsonValue]:
    """Alternating turns: neighbours of one role are merged, tool results come first in theirs."""
    turns: list[tuple[str, list[JsonValue]]] = []
    for message in with_wire_ids(question.messages):
        if message.role is Role.SYSTEM:
            continue
        role = "assistant" if message.role is Role.ASSISTANT else "user"
        blocks = [block for part in message.parts for block in _blocks(part, question, where, notes)]
        if not blocks:
            continue
        if turns and turns[-1][0] == role:
            turns[-1][1].extend(blocks)
        else:
            turns.append((role, blocks))
    return [{"role": role, "content": sorted(blocks, key=_after_results) if role == "user" else blocks} for role, blocks in turns]


def _after_results(block: JsonValue) -> bool:
    return an_object(block).get("type") != "tool_result"


def _blocks(part: Part, question: Question, where: str, notes: list[str]) -> Iterator[JsonValue]:
    match part:
        case Text() | Refusal():
            if part.text.strip():  # the provider refuses empty blocks
                yield {"type": "text", "text": part.text}
        case Media():
            yield _media(part, where)
        case ToolCall():
            given: JsonObject = part.arguments if isinstance(part.arguments, dict) else {"malformed": part.arguments}
            yield {"type": "tool_use", "id": part.call_id, "name": part.tool, "input": given}
        case ToolResult():
            content = part.content if isinstance(part.content, str) else dump_json(part.content)
            yield {"type": "tool_result", "tool_use_id": part.call_id, "content": content, "is_error": part.is_error}
        case Reasoning():
            if part.signature and part.provenance == provenance(NAME, question):
                yield {"type": "thinking", "thinking": part.text, "signature": part.signature}
            else:
                notes.append("reasoning of another model dropped")
        case Opaque():
            if part.provenance == provenance(NAME, question):
                yield part.content
            else:
                notes.append("part of another provider dropped")


def _media(part: Media, where: str) -> JsonValue:
    source: JsonObject = {"type": "url", "url": part.uri}
    if not part.uri.startswith(("https://", "http://")):
        raise failures.unsupported(where, "media that is not an http(s) address")
    if part.media_type.startswith("image/"):
        return {"type": "image", "source": source}
    if part.media_type == "application/pdf":
        return {"type": "document", "source": source}
    raise failures.unsupported(where, f"media of type {part.media_type}")
