"""OpenAI Chat Completions, as OpenAI and compatible servers speak it: neutral ↔ wire, without I/O."""

from collections.abc import Iterator

from plimsoll_runtime.errors import Invalid
from plimsoll_runtime.json_types import JsonObject, JsonValue, dump_json, parse_json
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
from plimsoll_model_router.domain.tokens import parts_tokens, question_tokens
from plimsoll_model_router.errors import ProviderError

NAME = "openai"
_CHOICES = {ToolChoice.AUTO: "auto", ToolChoice.NONE: "none", ToolChoice.REQUIRED: "required"}
_STOPS = {
    "stop": StopReason.END_TURN,
    "length": StopReason.MAX_TOKENS,
    "tool_calls": StopReason.TOOL_CALLS,
    "function_call": StopReason.TOOL_CALLS,
    "content_filter": StopReason.REFUSAL,
}


def encode(question: Question, where: str, *, stream: bool, limit_field: str) -> Encoded:
    """The request body; `limit_field` is the name that the server knows for the most tokens to write.

    Raises ProviderError for what the dialect cannot say.
    """
    notes: list[str] = []
    messages = [wire for message in with_wire_ids(question.messages) for wire in _messages(message, question, where, notes)]
    body: JsonObject = {"model": question.model, "messages": messages}
    if question.max_output_tokens:
        body[limit_field] = question.max_output_tokens
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
        body["tool_choice"] = _CHOICES[question.tool_choice]
    if question.output_schema is not None:
        strict = is_closed(question.output_schema)
        schema: JsonObject = {"name": "output", "schema": question.output_schema, "strict": strict}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
        if not strict:
            messages.insert(0, {"role": "system", "content": schema_instruction(question.output_schema)})
            notes.append("output schema put into words: the provider cannot enforce it strictly")
    if stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    return Encoded(body=body, notes=tuple(notes))


def decode(body: JsonObject, question: Question, where: str) -> Reply:
    """The reply in a response body. Raises ProviderError when it holds an error or makes no sense."""
    if body.get("error"):
        raise error_in(body, 0, where)
    choices = objects(body.get("choices"))
    if not choices:
        raise failures.malformed(where, "no choices", usage_of(an_object(body.get("usage"))))
    message = an_object(choices[0].get("message"))
    parts = [*_spoken(message, question), *_calls(objects(message.get("tool_calls")))]
    usage = usage_of(an_object(body.get("usage"))) if body.get("usage") else estimated(question, parts)
    return reply_of(parts, text(choices[0].get("finish_reason")), usage, text(body.get("model")) or question.model, where)


def reply_of(parts: list[Part], stop: str, usage: Usage, model: str, where: str) -> Reply:
    """A complete reply. Raises ProviderError without a finish reason: nobody knows then whether it is complete."""
    reason = _STOPS.get(stop)
    if reason is None:
        raise failures.malformed(where, f"unknown finish reason {stop!r}", usage)
    if any(isinstance(part, Refusal) for part in parts):
        reason = StopReason.REFUSAL
    elif reason is StopReason.REFUSAL:
        parts = [*parts, Refusal(text="")]
    elif reason is StopReason.END_TURN and any(isinstance(part, ToolCall) for part in parts):
        reason = StopReason.TOOL_CALLS  # some compatible servers say `stop`
    return Reply(message=Message(role=Role.ASSISTANT, parts=tuple(parts)), stop_reason=reason, usage=usage, model=model)


def call_of(given_id: str, name: str, written: str, position: int, taken: set[str]) -> ToolCall:
    """A tool call; arguments that are not JSON stay the text that the model wrote, no text at all is an empty object."""
    unique = call_id(given_id, position, taken)
    taken.add(unique)
    try:
        arguments: JsonValue = parse_json(written) if written.strip() else {}
    except Invalid:
        arguments = written
    return ToolCall(call_id=unique, tool=name, arguments=arguments)


def spoken_parts(*, content: str, reasoning: str, refusal: str, question: Question) -> list[Part]:
    parts: list[Part] = []
    if reasoning:
        parts.append(Reasoning(text=reasoning, provenance=provenance(NAME, question)))
    if content:
        parts.append(Text(text=content))
    if refusal:
        parts.append(Refusal(text=refusal))
    return parts


def usage_of(usage: JsonObject) -> Usage:
    """OpenAI counts cached input and reasoning in, as we do."""
    return Usage(
        input_tokens=count(usage.get("prompt_tokens")),
        output_tokens=count(usage.get("completion_tokens")),
        cached_input_tokens=count(an_object(usage.get("prompt_tokens_details")).get("cached_tokens")),
        reasoning_tokens=count(an_object(usage.get("completion_tokens_details")).get("reasoning_tokens")),
    )


def estimated(question: Question, parts: list[Part]) -> Usage:
    """For servers that tell no usage: better about right than nothing."""
    return Usage(input_tokens=question_tokens(question), output_tokens=parts_tokens(tuple(parts)))


def error_in(body: JsonObject, status: int, where: str, retry_after_s: float | None = None) -> ProviderError:
    """The error that a body tells of; compatible servers send it as an object or as bare text."""
    told = body.get("error")
    error = an_object(told)
    code = text(error.get("code")) or text(error.get("type"))
    message = text(error.get("message")) or text(told) or text(body.get("message"))
    return failures.refused(where, status, code=code, message=message, retry_after_s=retry_after_s)


def reasoning_in(message: JsonObject) -> str:
    """Compatible servers show reasoning under one of two names."""
    return text(message.get("reasoning_content")) or text(message.get("reasoning"))


def _spoken(message: JsonObject, question: Question) -> list[Part]:
    content = message.get("content")
    spoken = content if isinstance(content, str) else "".join(text(part.get("text")) for part in objects(content))
    return spoken_parts(content=spoken, reasoning=reasoning_in(message), refusal=text(message.get("refusal")), question=question)


def _calls(calls: list[JsonObject]) -> Iterator[Part]:
    taken: set[str] = set()
    for position, call in enumerate(calls):
        function = an_object(call.get("function"))
        given = function.get("arguments")
        written = given if isinstance(given, str) else dump_json(given) if given is not None else ""
        yield call_of(text(call.get("id")), text(function.get("name")), written, position, taken)


def _messages(message: Message, question: Question, where: str, notes: list[str]) -> Iterator[JsonValue]:
    match message.role:
        case Role.SYSTEM:
            yield {"role": "system", "content": message.text}
        case Role.ASSISTANT:
            yield from _assistant(message, notes)
        case Role.USER | Role.TOOL:
            for result in message.tool_results:
                content: JsonValue = {"error": result.content} if result.is_error else result.content
                yield {
                    "role": "tool",
                    "tool_call_id": result.call_id,
                    "content": content if isinstance(content, str) else dump_json(content),
                }
            spoken = [part for part in message.parts if not isinstance(part, ToolResult)]
            content_parts = [wire for part in spoken for wire in _user_parts(part, where, notes)]
            if content_parts:
                plain = all(isinstance(part, Text) for part in spoken)
                yield {"role": "user", "content": message.text if plain else content_parts}


def _assistant(message: Message, notes: list[str]) -> Iterator[JsonValue]:
    spoken = "".join(part.text for part in message.parts if isinstance(part, Text | Refusal))
    notes += [
        "part that chat completions do not take back dropped" for part in message.parts if isinstance(part, Reasoning | Opaque | Media)
    ]
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
        wire: JsonObject = {"role": "assistant", "content": spoken or None}
        yield {**wire, "tool_calls": calls} if calls else wire


def _user_parts(part: Part, where: str, notes: list[str]) -> Iterator[JsonValue]:
    match part:
        case Text():
            yield {"type": "text", "text": part.text}
        case Media():
            if not part.media_type.startswith("image/") or not part.uri.startswith(("https://", "http://")):
                raise failures.unsupported(where, "media other than images at http(s) addresses")
            yield {"type": "image_url", "image_url": {"url": part.uri}}
        case _:
            notes.append("part that only an assistant may say dropped")
