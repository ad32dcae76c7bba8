"""Chat Completions, as OpenAI and compatible servers speak it: neutral ↔ wire, without I/O."""

from collections.abc import Iterator

from plimsoll_runtime.json_types import JsonObject, JsonValue, dump_json
from plimsoll_runtime.usage import Usage

from plimsoll_model_router.adapters.providers import failures, schema_fit
from plimsoll_model_router.adapters.providers.conversation import (
    arguments_of,
    call_id,
    mended,
    provenance,
    schema_instruction,
    settled,
)
from plimsoll_model_router.adapters.providers.reading import an_object, count, objects, text, usage_told
from plimsoll_model_router.domain.conversion import Report
from plimsoll_model_router.domain.endpoints import Ask, Dialect, Feature
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
)
from plimsoll_model_router.domain.tokens import parts_tokens, question_tokens
from plimsoll_model_router.errors import ProviderError

_STOPS = {
    "stop": StopReason.END_TURN,
    "length": StopReason.MAX_TOKENS,
    "tool_calls": StopReason.TOOL_CALLS,
    "function_call": StopReason.TOOL_CALLS,
    "content_filter": StopReason.REFUSAL,
}


def encode(ask: Ask, report: Report) -> JsonObject:
    """The request body. Raises ProviderError for what the dialect cannot say."""
    question = ask.question
    messages = [wire for message in mended(question.messages, report) for wire in _messages(message, ask, report)]
    body: JsonObject = {"model": ask.endpoint.model, "messages": messages}
    if question.max_output_tokens:
        # OpenAI's newer models refuse the old name, many compatible servers do not know the new one.
        body["max_completion_tokens" if _is_openai(ask) else "max_tokens"] = question.max_output_tokens
    if question.tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": {"type": "object", **tool.arguments_schema},
                },
            }
            for tool in question.tools
        ]
        body["tool_choice"] = _choice(ask)
        if question.single_call:
            body["parallel_tool_calls"] = False
    _shape(ask, body, messages, report)
    _sample(ask, body, report)
    if ask.streaming:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    return body


def decode(body: JsonObject, ask: Ask, report: Report) -> Reply:
    """The reply in a response body. Raises ProviderError when it holds an error or makes no sense."""
    where, usage = ask.endpoint.full_name, an_object(body.get("usage"))
    if body.get("error"):
        raise error_in(body, 0, where)
    choices = objects(body.get("choices"))
    if not choices:
        raise failures.malformed(where, "no choices", usage_of(usage))
    message = an_object(choices[0].get("message"))
    parts = [*_spoken(message, ask), *_calls(objects(message.get("tool_calls")), report)]
    return reply_of(parts, text(choices[0].get("finish_reason")), usage, text(body.get("model")), ask)


def reply_of(parts: list[Part], stop: str, usage: JsonObject, model: str, ask: Ask) -> Reply:
    """A complete reply. Raises ProviderError without a finish reason: nobody knows then whether it is complete."""
    spent = usage_of(usage) if usage else estimated(ask, parts)
    reason = _STOPS.get(stop)
    if reason is None:
        raise failures.malformed(ask.endpoint.full_name, f"unknown finish reason {stop!r}"[:80], spent)
    if any(isinstance(part, Refusal) for part in parts):
        reason = StopReason.REFUSAL
    elif reason is StopReason.REFUSAL:
        parts = [*parts, Refusal(text="")]
    return Reply(
        message=Message(role=Role.ASSISTANT, parts=tuple(parts)),
        stop_reason=settled(reason, parts),
        usage=spent,
        model=model or ask.endpoint.model,
        estimated=not usage,
        raw_usage=usage,
        cache_written_tokens=count(an_object(usage.get("prompt_tokens_details")).get("cache_write_tokens")),
    )


def spoken_parts(*, content: str, reasoning: str, refusal: str, ask: Ask) -> list[Part]:
    parts: list[Part] = []
    if reasoning:
        parts.append(Reasoning(text=reasoning, provenance=provenance(ask)))
    if content:
        parts.append(Text(text=content))
    if refusal:
        parts.append(Refusal(text=refusal))
    return parts


def usage_of(usage: JsonObject) -> Usage:
    """OpenAI counts cached input and reasoning in, as we do."""
    return usage_told(
        input_tokens=count(usage.get("prompt_tokens")),
        output_tokens=count(usage.get("completion_tokens")),
        cached_input_tokens=count(an_object(usage.get("prompt_tokens_details")).get("cached_tokens")),
        reasoning_tokens=count(an_object(usage.get("completion_tokens_details")).get("reasoning_tokens")),
    )


def estimated(ask: Ask, parts: list[Part]) -> Usage:
    """For answers that tell no usage: better about right than nothing."""
    return Usage(input_tokens=question_tokens(ask.question), output_tokens=parts_tokens(tuple(parts)))


def error_in(body: JsonObject, status: int, where: str, retry_after_s: float | None = None, usage: Usage | None = None) -> ProviderError:
    """The error that a body tells of; compatible servers send it as an object or as bare text."""
    told = body.get("error")
    error = an_object(told)
    code = text(error.get("code")) or text(error.get("type"))
    message = text(error.get("message")) or text(told) or text(body.get("message"))
    return failures.refused(where, status, code=code, message=message, retry_after_s=retry_after_s, usage=usage)


def reasoning_in(message: JsonObject) -> str:
    """Compatible servers show reasoning under one of two names."""
    return text(message.get("reasoning_content")) or text(message.get("reasoning"))


def effort_for(ask: Ask, report: Report) -> str:
    """The word for how much to think; empty to leave it out. Both of OpenAI's dialects use it."""
    effort = ask.question.effort
    if effort is None:
        return ""
    if Feature.REASONING in ask.endpoint.features:
        return effort.value
    if effort is not Effort.NONE:
        report.dropped("effort", "the model cannot be told how much to think")
    return ""


def _is_openai(ask: Ask) -> bool:
    return ask.endpoint.dialect is Dialect.OPENAI_CHAT


def _choice(ask: Ask) -> JsonValue:
    match ask.question.tool_choice:
        case ToolChoice.NAMED:
            return {"type": "function", "function": {"name": ask.question.tool_name}}
        case choice:
            return choice.value


def _shape(ask: Ask, body: JsonObject, messages: list[JsonValue], report: Report) -> None:
    """How the answer has to look: enforced by the provider as far as it can, the rest put into words."""
    schema, features = ask.question.output_schema, ask.endpoint.features
    if schema is None:
        return
    fitted = schema_fit.fitted(schema, schema_fit.OPENAI_RULES) if Feature.OUTPUT_SCHEMA in features else None
    if fitted is not None:
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "output", "schema": fitted.schema, "strict": True}}
        if not fitted.relaxed:
            return
        report.approximated("output_schema", "the provider enforces its shape; the rest is put into words")
    else:
        if Feature.JSON_OUTPUT in features and schema.get("type") == "object":
            body["response_format"] = {"type": "json_object"}
        report.emulated("output_schema", "put into words: the provider cannot enforce it")
    messages.insert(0, {"role": "system", "content": schema_instruction(schema)})


def _sample(ask: Ask, body: JsonObject, report: Report) -> None:
    sampling = ask.question.sampling
    for name, value in (("temperature", sampling.temperature), ("top_p", sampling.top_p)):
        if value is not None and Feature.SAMPLING in ask.endpoint.features:
            body[name] = value
        elif value is not None:
            report.dropped(name, "the model takes no such parameter")
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if effort := effort_for(ask, report):
        body["reasoning_effort"] = effort


def _spoken(message: JsonObject, ask: Ask) -> list[Part]:
    content = message.get("content")
    spoken = content if isinstance(content, str) else "".join(text(part.get("text")) for part in objects(content))
    return spoken_parts(content=spoken, reasoning=reasoning_in(message), refusal=text(message.get("refusal")), ask=ask)


def _calls(calls: list[JsonObject], report: Report) -> Iterator[Part]:
    taken: set[str] = set()
    for call in calls:
        function = an_object(call.get("function"))
        given = function.get("arguments")
        written = given if isinstance(given, str) else dump_json(given) if given is not None else ""
        unique = call_id(text(call.get("id")), taken, report)
        yield ToolCall(call_id=unique, tool=text(function.get("name")), arguments=arguments_of(written, report))


def _messages(message: Message, ask: Ask, report: Report) -> Iterator[JsonValue]:
    match message.role:
        case Role.SYSTEM:
            if message.text:
                yield {"role": "system", "content": message.text}
        case Role.ASSISTANT:
            yield from _assistant(message, ask, report)
        case Role.USER | Role.TOOL:
            for result in message.tool_results:
                content: JsonValue = {"error": result.content} if result.is_error else result.content
                if result.is_error:
                    report.emulated("tool_result", "an error is told inside the result")
                yield {
                    "role": "tool",
                    "tool_call_id": result.call_id,
                    "content": content if isinstance(content, str) else dump_json(content),
                }
            spoken = [wire for part in message.parts for wire in _user_parts(part, ask.endpoint.full_name)]
            if spoken:
                plain = not any(isinstance(part, Media) for part in message.parts)
                yield {"role": "user", "content": "".join(text(an_object(part).get("text")) for part in spoken) if plain else spoken}


def _assistant(message: Message, ask: Ask, report: Report) -> Iterator[JsonValue]:
    for part in message.parts:
        if isinstance(part, Reasoning | Opaque):
            report.dropped("reasoning" if isinstance(part, Reasoning) else "opaque", "the dialect takes none back")
        elif isinstance(part, Media):
            report.dropped("media", "an assistant's turn cannot hold media")
    spoken: JsonValue = "".join(part.text for part in message.parts if isinstance(part, Text | Refusal)) or None
    refusals = [part for part in message.parts if isinstance(part, Refusal) and part.text]
    if refusals and _is_openai(ask):
        told: list[JsonValue] = [{"type": "text", "text": part.text} for part in message.parts if isinstance(part, Text)]
        told += [{"type": "refusal", "refusal": part.text} for part in refusals]
        spoken = told
    elif refusals:
        report.approximated("refusal", "sent as text")
    calls: list[JsonValue] = [
        {
            "id": call.call_id,
            "type": "function",
            "function": {
                "name": call.tool,
                "arguments": call.arguments if isinstance(call.arguments, str) else dump_json(call.arguments),
            },
        }
        for call in message.tool_calls
    ]
    if spoken or calls:
        wire: JsonObject = {"role": "assistant", "content": spoken}
        yield {**wire, "tool_calls": calls} if calls else wire


def _user_parts(part: Part, where: str) -> Iterator[JsonValue]:
    match part:
        case Text():
            yield {"type": "text", "text": part.text}
        case Media():
            if not part.media_type.startswith("image/") or not part.uri.startswith(("https://", "http://")):
                raise failures.unsupported(where, "media other than images at http(s) addresses")
            yield {"type": "image_url", "image_url": {"url": part.uri}}
        case _:
            pass  # results have messages of their own, and `mended` leaves nothing else
