"""OpenAI Responses: neutral ↔ wire, without I/O. Nothing is kept at the provider: every question holds its whole conversation."""

from collections.abc import Iterator

from plimsoll_runtime.json_types import JsonObject, JsonValue, dump_json
from plimsoll_runtime.usage import Usage

from plimsoll_model_router.adapters.providers import failures, schema_fit
from plimsoll_model_router.adapters.providers.conversation import (
    arguments_of,
    call_id,
    instructions,
    is_own,
    mended,
    provenance,
    schema_instruction,
    settled,
)
from plimsoll_model_router.adapters.providers.openai_chat_codec import effort_for
from plimsoll_model_router.adapters.providers.reading import an_object, count, objects, text, usage_told
from plimsoll_model_router.domain.conversion import Report
from plimsoll_model_router.domain.endpoints import Ask, Feature
from plimsoll_model_router.domain.generation import Reply
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
)
from plimsoll_model_router.errors import ProviderError

_ENCRYPTED = "reasoning.encrypted_content"


def encode(ask: Ask, report: Report) -> JsonObject:
    """The request body. Raises ProviderError for what the dialect cannot say."""
    question = ask.question
    told = instructions(question.messages, report)
    items = [item for message in mended(question.messages, report) for item in _items(message, ask, report)]
    body: JsonObject = {"model": ask.endpoint.model, "input": items, "store": False}
    if Feature.REASONING in ask.endpoint.features:
        body["include"] = [_ENCRYPTED]
    if question.max_output_tokens:
        body["max_output_tokens"] = question.max_output_tokens
    if question.tools:
        body["tools"] = [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": {"type": "object", **tool.arguments_schema},
                "strict": False,
            }
            for tool in question.tools
        ]
        named = question.tool_choice is ToolChoice.NAMED
        body["tool_choice"] = {"type": "function", "name": question.tool_name} if named else question.tool_choice.value
        if question.single_call:
            body["parallel_tool_calls"] = False
    _shape(ask, body, told, report)
    _sample(ask, body, report)
    if told:
        body["instructions"] = "\n\n".join(told)
    if ask.streaming:
        body["stream"] = True
    return body


def decode(body: JsonObject, ask: Ask, report: Report) -> Reply:
    """The reply in a response. Raises ProviderError when it failed, is not finished, or makes no sense."""
    where, usage = ask.endpoint.full_name, an_object(body.get("usage"))
    if body.get("error") or body.get("status") == "failed":
        raise error_in(body, 0, where, usage=usage_of(usage))
    if not isinstance(body.get("output"), list):
        raise failures.malformed(where, "no output", usage_of(usage))
    taken: set[str] = set()
    parts = [part for item in objects(body["output"]) for part in _parts(item, taken, ask, report)]
    reason = _stop_reason(body, parts, where)
    if reason is StopReason.REFUSAL and not any(isinstance(part, Refusal) for part in parts):
        parts = [*parts, Refusal(text="")]
    return Reply(
        message=Message(role=Role.ASSISTANT, parts=tuple(parts)),
        stop_reason=settled(reason, parts),
        usage=usage_of(usage),
        model=text(body.get("model")) or ask.endpoint.model,
        raw_usage=usage,
        cache_written_tokens=count(an_object(usage.get("input_tokens_details")).get("cache_write_tokens")),
    )


def usage_of(usage: JsonObject) -> Usage:
    """OpenAI counts cached input and reasoning in, as we do."""
    return usage_told(
        input_tokens=count(usage.get("input_tokens")),
        output_tokens=count(usage.get("output_tokens")),
        cached_input_tokens=count(an_object(usage.get("input_tokens_details")).get("cached_tokens")),
        reasoning_tokens=count(an_object(usage.get("output_tokens_details")).get("reasoning_tokens")),
    )


def error_in(body: JsonObject, status: int, where: str, retry_after_s: float | None = None, usage: Usage | None = None) -> ProviderError:
    """The error that a body, a failed response, or an event tells of."""
    error = an_object(body.get("error")) or body
    code, message = text(error.get("code")) or text(error.get("type")), text(error.get("message"))
    return failures.refused(where, status, code=code, message=message, retry_after_s=retry_after_s, usage=usage)


def _stop_reason(body: JsonObject, parts: list[Part], where: str) -> StopReason:
    match text(body.get("status")), text(an_object(body.get("incomplete_details")).get("reason")):
        case _ if any(isinstance(part, Refusal) for part in parts):
            return StopReason.REFUSAL
        case "completed", _:
            return StopReason.END_TURN
        case "incomplete", "max_output_tokens" | "max_messages":
            return StopReason.MAX_TOKENS
        case "incomplete", "content_filter":
            return StopReason.REFUSAL
        case status, reason:
            told = f"status {status!r}, {reason or 'no reason'}"[:80]
            raise failures.malformed(where, told, usage_of(an_object(body.get("usage"))))


def _parts(item: JsonObject, taken: set[str], ask: Ask, report: Report) -> Iterator[Part]:
    """An output item as parts. Thinking stays an item as a whole, beside the summary that can be read."""
    match item.get("type"):
        case "message":
            for part in objects(item.get("content")):
                if refusal := text(part.get("refusal")):
                    yield Refusal(text=refusal)
                elif spoken := text(part.get("text")):
                    yield Text(text=spoken)
        case "function_call":
            unique = call_id(text(item.get("call_id")), taken, report)
            written = text(item.get("arguments"))
            yield ToolCall(call_id=unique, tool=text(item.get("name")), arguments=arguments_of(written, report))
        case "reasoning":
            pieces = [*objects(item.get("summary")), *objects(item.get("content"))]
            if thought := "\n\n".join(text(piece.get("text")) for piece in pieces):
                yield Reasoning(text=thought, provenance=provenance(ask, bound=True))
            if item.get("encrypted_content"):
                yield Opaque(provenance=provenance(ask, bound=True), content=item)
        case _:
            yield Opaque(provenance=provenance(ask, bound=True), content=item)


def _items(message: Message, ask: Ask, report: Report) -> Iterator[JsonValue]:
    match message.role:
        case Role.SYSTEM:
            return
        case Role.ASSISTANT:
            for part in message.parts:
                yield from _said(part, ask, report)
        case Role.USER | Role.TOOL:
            for result in message.tool_results:
                content: JsonValue = {"error": result.content} if result.is_error else result.content
                if result.is_error:
                    report.emulated("tool_result", "an error is told inside the result")
                output = content if isinstance(content, str) else dump_json(content)
                yield {"type": "function_call_output", "call_id": result.call_id, "output": output}
            spoken = [wire for part in message.parts for wire in _user_parts(part, ask.endpoint.full_name)]
            if spoken:
                yield {"role": "user", "content": spoken}


def _said(part: Part, ask: Ask, report: Report) -> Iterator[JsonValue]:
    match part:
        case Text() | Refusal():
            if isinstance(part, Refusal):
                report.approximated("refusal", "sent as text")
            if part.text:
                yield {"role": "assistant", "content": part.text}
        case ToolCall():
            written = part.arguments if isinstance(part.arguments, str) else dump_json(part.arguments)
            yield {"type": "function_call", "call_id": part.call_id, "name": part.tool, "arguments": written}
        case Opaque():
            if is_own(part.provenance, ask, bound=True):
                yield part.content
            else:
                report.dropped("opaque", "a part that only another model, or another key, understands")
        case Reasoning():
            if not is_own(part.provenance, ask, bound=True):  # its own goes back as the item beside it
                report.dropped("reasoning", "thinking that this model cannot take back")
        case Media():
            report.dropped("media", "an assistant's turn cannot hold media")
        case _:
            pass  # `mended` leaves no results in an assistant's turn


def _user_parts(part: Part, where: str) -> Iterator[JsonValue]:
    match part:
        case Text():
            yield {"type": "input_text", "text": part.text}
        case Media():
            if not part.uri.startswith(("https://", "http://")):
                raise failures.unsupported(where, "media that is not an http(s) address")
            if part.media_type.startswith("image/"):
                yield {"type": "input_image", "image_url": part.uri, "detail": "auto"}
            else:
                yield {"type": "input_file", "file_url": part.uri}
        case _:
            pass  # results are items of their own, and `mended` leaves nothing else


def _shape(ask: Ask, body: JsonObject, told: list[str], report: Report) -> None:
    """How the answer has to look; adds to `told` what can only be put into words."""
    schema = ask.question.output_schema
    if schema is None:
        return
    fitted = schema_fit.fitted(schema, schema_fit.OPENAI_RULES) if Feature.OUTPUT_SCHEMA in ask.endpoint.features else None
    if fitted is not None:
        body["text"] = {"format": {"type": "json_schema", "name": "output", "schema": fitted.schema, "strict": True}}
        if not fitted.relaxed:
            return
        report.approximated("output_schema", "the provider enforces its shape; the rest is put into words")
    else:
        if Feature.JSON_OUTPUT in ask.endpoint.features and schema.get("type") == "object":
            body["text"] = {"format": {"type": "json_object"}}
        report.emulated("output_schema", "put into words: the provider cannot enforce it")
    told.append(schema_instruction(schema))


def _sample(ask: Ask, body: JsonObject, report: Report) -> None:
    sampling = ask.question.sampling
    for name, value in (("temperature", sampling.temperature), ("top_p", sampling.top_p)):
        if value is not None and Feature.SAMPLING in ask.endpoint.features:
            body[name] = value
        elif value is not None:
            report.dropped(name, "the model takes no such parameter")
    if sampling.seed is not None:
        report.dropped("seed", "the dialect has no such parameter")
    if sampling.stop:
        report.dropped("stop", "the dialect has no such parameter")
    if effort := effort_for(ask, report):
        body["reasoning"] = {"effort": effort, "summary": "auto"}
