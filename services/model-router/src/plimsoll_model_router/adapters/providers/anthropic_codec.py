"""Anthropic Messages: neutral ↔ wire, without I/O."""

from collections.abc import Iterator

from plimsoll_runtime.json_types import JsonObject, JsonValue, dump_json
from plimsoll_runtime.usage import Usage

from plimsoll_model_router.adapters.providers import failures, schema_fit
from plimsoll_model_router.adapters.providers.conversation import (
    as_object,
    call_id,
    instructions,
    is_own,
    mended,
    provenance,
    schema_instruction,
    settled,
)
from plimsoll_model_router.adapters.providers.reading import an_object, count, objects, text, usage_told
from plimsoll_model_router.domain.conversion import Report
from plimsoll_model_router.domain.endpoints import Ask, Feature, ReasoningStyle
from plimsoll_model_router.domain.generation import Reply
from plimsoll_model_router.domain.messages import (
    Effort,
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

VERSION = "2023-06-01"
_MAX_TOKENS = 8192  # the field is required; used where neither the caller nor the model's entry sets a limit
_CHOICES = {ToolChoice.AUTO: "auto", ToolChoice.NONE: "none", ToolChoice.REQUIRED: "any", ToolChoice.NAMED: "tool"}
_BUDGETS = {Effort.LOW: 2048, Effort.MEDIUM: 8192, Effort.HIGH: 24576}
_LEAST_BUDGET = 1024
_STOPS = {
    "end_turn": StopReason.END_TURN,
    "tool_use": StopReason.TOOL_CALLS,
    "max_tokens": StopReason.MAX_TOKENS,
    "model_context_window_exceeded": StopReason.MAX_TOKENS,
    "stop_sequence": StopReason.STOP_SEQUENCE,
    "refusal": StopReason.REFUSAL,
}


def encode(ask: Ask, report: Report) -> JsonObject:
    """The request body. Raises ProviderError for what the dialect cannot say."""
    question = ask.question
    told = instructions(question.messages, report)
    turns = _turns(ask, report)
    body: JsonObject = {"model": ask.endpoint.model, "max_tokens": _max_tokens(ask)}
    config = _output_config(ask, told, report)
    _think(ask, body, config, turns, report)
    if config:
        body["output_config"] = config
    if told:
        body["system"] = "\n\n".join(told)
    body["messages"] = [{"role": role, "content": blocks} for role, blocks in turns]
    if question.tools:
        body["tools"] = [
            {"name": tool.name, "description": tool.description, "input_schema": {"type": "object", **tool.arguments_schema}}
            for tool in question.tools
        ]
        body["tool_choice"] = _choice(ask)
    if question.sampling.stop:
        body["stop_sequences"] = list(question.sampling.stop)
    for name, value in (
        ("temperature", question.sampling.temperature),
        ("top_p", question.sampling.top_p),
        ("seed", question.sampling.seed),
    ):
        if value is not None:
            report.dropped(name, "the dialect has no such parameter")
    if question.cache_prefix:
        body["cache_control"] = {"type": "ephemeral"}
    if ask.streaming:
        body["stream"] = True
    return body


def decode(body: JsonObject, ask: Ask, report: Report) -> Reply:
    """The reply in a response body. Raises ProviderError when it holds an error or makes no sense."""
    where = ask.endpoint.full_name
    if body.get("type") == "error" or "error" in body:
        raise error_in(body, 0, where)
    if not isinstance(body.get("content"), list):
        raise failures.malformed(where, "no content")
    taken: set[str] = set()
    parts = [part for block in objects(body["content"]) for part in part_of(block, taken, ask, report)]
    stop, explanation = text(body.get("stop_reason")), text(an_object(body.get("stop_details")).get("explanation"))
    return reply_of(parts, stop, an_object(body.get("usage")), text(body.get("model")), ask, refusal=explanation)


def reply_of(parts: list[Part], stop: str, usage: JsonObject, model: str, ask: Ask, *, refusal: str = "") -> Reply:
    """A complete reply. Raises ProviderError for a stop reason that means it is none."""
    reason = _STOPS.get(stop)
    if reason is None:  # also `pause_turn`, which only the provider's own tools lead to: we offer none
        raise failures.malformed(ask.endpoint.full_name, f"unknown stop reason {stop!r}"[:80], usage_of(usage))
    if reason is StopReason.REFUSAL and not any(isinstance(part, Refusal) for part in parts):
        parts = [*parts, Refusal(text=refusal)]
    return Reply(
        message=Message(role=Role.ASSISTANT, parts=tuple(parts)),
        stop_reason=settled(reason, parts),
        usage=usage_of(usage),
        model=model or ask.endpoint.model,
        raw_usage=usage,
        cache_written_tokens=count(usage.get("cache_creation_input_tokens")),
    )


def part_of(block: JsonObject, taken: set[str], ask: Ask, report: Report) -> Iterator[Part]:
    """A content block as a part; blocks that only the provider understands stay as they are."""
    match block.get("type"):
        case "text":
            if text(block.get("text")):
                yield Text(text=text(block.get("text")))
        case "tool_use":
            unique = call_id(text(block.get("id")), taken, report)
            yield ToolCall(call_id=unique, tool=text(block.get("name")), arguments=block.get("input", {}))
        case "thinking":
            yield Reasoning(text=text(block.get("thinking")), signature=text(block.get("signature")), provenance=provenance(ask))
        case _:
            yield Opaque(provenance=provenance(ask), content=block)


def usage_of(usage: JsonObject) -> Usage:
    """Anthropic counts cached input apart; ours counts it in."""
    read, written = count(usage.get("cache_read_input_tokens")), count(usage.get("cache_creation_input_tokens"))
    return usage_told(
        input_tokens=count(usage.get("input_tokens")) + read + written,
        output_tokens=count(usage.get("output_tokens")),
        cached_input_tokens=read,
        reasoning_tokens=count(an_object(usage.get("output_tokens_details")).get("thinking_tokens")),
    )


def error_in(body: JsonObject, status: int, where: str, retry_after_s: float | None = None, usage: Usage | None = None) -> ProviderError:
    """The error that a body tells of."""
    error = an_object(body.get("error"))
    code, message = text(error.get("type")), text(error.get("message"))
    return failures.refused(where, status, code=code, message=message, retry_after_s=retry_after_s, usage=usage)


def _max_tokens(ask: Ask) -> int:
    return ask.question.max_output_tokens or ask.endpoint.max_output_tokens or _MAX_TOKENS


def _output_config(ask: Ask, told: list[str], report: Report) -> JsonObject:
    """How the answer has to look; adds to `told` what can only be put into words."""
    schema = ask.question.output_schema
    if schema is None:
        return {}
    fitted = schema_fit.fitted(schema, schema_fit.ANTHROPIC_RULES) if Feature.OUTPUT_SCHEMA in ask.endpoint.features else None
    if fitted is None:
        told.append(schema_instruction(schema))
        report.emulated("output_schema", "put into words: the provider cannot enforce it")
        return {}
    if fitted.relaxed:
        told.append(schema_instruction(schema))
        report.approximated("output_schema", "the provider enforces its shape; the rest is put into words")
    return {"format": {"type": "json_schema", "schema": fitted.schema}}


def _think(ask: Ask, body: JsonObject, config: JsonObject, turns: list[tuple[str, list[JsonValue]]], report: Report) -> None:
    effort = ask.question.effort
    if effort is None:
        return
    if Feature.REASONING not in ask.endpoint.features:
        if effort is not Effort.NONE:
            report.dropped("effort", "the model cannot be told how much to think")
    elif effort is Effort.NONE:
        body["thinking"] = {"type": "disabled"}
    elif ask.endpoint.reasoning_style is ReasoningStyle.EFFORT:
        body["thinking"] = {"type": "adaptive"}
        config["effort"] = effort.value
    elif _resumes_without_thinking(turns):
        report.dropped("effort", "thinking cannot begin in the middle of a turn whose earlier thinking is not sent back")
    else:
        _think_for(_BUDGETS[effort], ask, body, report)


def _think_for(budget: int, ask: Ask, body: JsonObject, report: Report) -> None:
    """Manual thinking counts against the limit of the answer, and must stay below it."""
    limit = ask.question.max_output_tokens or ask.endpoint.max_output_tokens
    if 0 < limit < 2 * _LEAST_BUDGET:
        report.dropped("effort", "the answer's limit leaves no room to think")
        return
    if 0 < limit <= budget:
        budget = limit // 2
        report.approximated("effort", "less thinking, so that the answer fits below its limit")
    body["thinking"] = {"type": "enabled", "budget_tokens": budget}
    body["max_tokens"] = limit or budget + _MAX_TOKENS


def _resumes_without_thinking(turns: list[tuple[str, list[JsonValue]]]) -> bool:
    """Whether the question is in the middle of a tool loop whose last step shows no thinking."""
    if len(turns) < 2 or an_object(turns[-1][1][0]).get("type") != "tool_result":
        return False
    return an_object(turns[-2][1][0]).get("type") not in {"thinking", "redacted_thinking"}


def _choice(ask: Ask) -> JsonObject:
    question = ask.question
    choice: JsonObject = {"type": _CHOICES[question.tool_choice]}
    if question.tool_choice is ToolChoice.NAMED:
        choice["name"] = question.tool_name
    if question.single_call and question.tool_choice is not ToolChoice.NONE:
        choice["disable_parallel_tool_use"] = True
    return choice


def _turns(ask: Ask, report: Report) -> list[tuple[str, list[JsonValue]]]:
    """Alternating turns: neighbours of one role are merged, tool results come first in theirs."""
    turns: list[tuple[str, list[JsonValue]]] = []
    for message in mended(ask.question.messages, report):
        if message.role is Role.SYSTEM:
            continue
        role = "assistant" if message.role is Role.ASSISTANT else "user"
        blocks = [block for part in message.parts for block in _blocks(part, ask, report)]
        if not blocks:
            continue
        if turns and turns[-1][0] == role:
            turns[-1][1].extend(blocks)
        else:
            turns.append((role, blocks))
    return [(role, sorted(blocks, key=_after_results) if role == "user" else blocks) for role, blocks in turns]


def _after_results(block: JsonValue) -> bool:
    return an_object(block).get("type") != "tool_result"


def _blocks(part: Part, ask: Ask, report: Report) -> Iterator[JsonValue]:
    match part:
        case Text() | Refusal():
            if isinstance(part, Refusal):
                report.approximated("refusal", "sent as text")
            yield from _spoken(part.text)
        case Media():
            yield _media(part, ask.endpoint.full_name)
        case ToolCall():
            yield {"type": "tool_use", "id": part.call_id, "name": part.tool, "input": as_object(part.arguments, report)}
        case ToolResult():
            content = part.content if isinstance(part.content, str) else dump_json(part.content)
            yield {"type": "tool_result", "tool_use_id": part.call_id, "content": content, "is_error": part.is_error}
        case Reasoning() | Opaque():
            yield from _sent_back(part, ask, report)


def _spoken(text: str) -> Iterator[JsonValue]:
    if text.strip():  # the provider refuses empty blocks
        yield {"type": "text", "text": text}


def _sent_back(part: Reasoning | Opaque, ask: Ask, report: Report) -> Iterator[JsonValue]:
    """What the model made for itself, as it made it; nothing of another's."""
    if isinstance(part, Opaque):
        if is_own(part.provenance, ask):
            yield part.content
        else:
            report.dropped("opaque", "a part that only another model understands")
    elif part.signature and is_own(part.provenance, ask):
        yield {"type": "thinking", "thinking": part.text, "signature": part.signature}
    else:
        report.dropped("reasoning", "thinking that this model cannot take back")


def _media(part: Media, where: str) -> JsonValue:
    source: JsonObject = {"type": "url", "url": part.uri}
    if not part.uri.startswith(("https://", "http://")):
        raise failures.unsupported(where, "media that is not an http(s) address")
    if part.media_type.startswith("image/"):
        return {"type": "image", "source": source}
    if part.media_type == "application/pdf":
        return {"type": "document", "source": source}
    raise failures.unsupported(where, f"media of type {part.media_type}"[:80])
