"""What all codecs need to know of a conversation: calls and results that match, ids that every provider accepts, and provenance."""

import re
from collections.abc import Iterator
from dataclasses import replace

from plimsoll_runtime.errors import Invalid
from plimsoll_runtime.json_types import JsonObject, JsonValue, canonical, parse_json

from plimsoll_model_router.domain.conversion import Report
from plimsoll_model_router.domain.endpoints import Ask
from plimsoll_model_router.domain.generation import Reply
from plimsoll_model_router.domain.messages import Media, Message, Part, Role, StopReason, Text, ToolCall, ToolResult
from plimsoll_model_router.domain.tokens import parts_tokens, question_tokens

_WIRE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_UNANSWERED: JsonValue = {"error": "there is no result of this call"}


def mended(messages: tuple[Message, ...], report: Report) -> tuple[Message, ...]:
    """The conversation as every provider accepts it: call ids unique and plain, each call answered by exactly one result behind it.

    Calls of different turns may share an id with us, other providers' ids may hold anything, and a turn that was interrupted leaves
    calls without results.
    """
    used: set[str] = set()
    open_calls: list[tuple[str, ToolCall]] = []  # the id with us, and the call as it is sent
    out: list[Message] = []
    for message in messages:
        if open_calls and message.role in {Role.ASSISTANT, Role.SYSTEM}:
            out.append(_unanswered(open_calls, report))
        if message.role is Role.ASSISTANT:
            out.append(_with_fresh_ids(message, used, open_calls, report))
        else:
            spoken = _with_matched_results(message, open_calls, report)
            if open_calls and any(not isinstance(part, ToolResult) for part in spoken.parts):
                out.append(_unanswered(open_calls, report))
            out.append(spoken)
    if open_calls:
        out.append(_unanswered(open_calls, report))
    return tuple(out)


def call_id(given: str, taken: set[str], report: Report) -> str:
    """The id of a call in a reply: the provider's, unless it gave none or the same twice. It is taken from then on."""
    unique = given or f"call_{len(taken) + 1}"
    if unique in taken:
        unique = _fresh(unique, taken)
    if not given:
        report.emulated("call_id", "the provider gave a call no id")
    elif unique != given:
        report.emulated("call_id", "the provider gave two calls the same id")
    taken.add(unique)
    return unique


def arguments_of(written: str, report: Report) -> JsonValue:
    """A call's arguments; what is not JSON stays the text that the model wrote, no text at all is an empty object."""
    if not written.strip():
        return {}
    try:
        return parse_json(written)
    except Invalid:
        report.approximated("arguments", "the model wrote arguments that are not JSON: kept as text")
        return written


def as_object(arguments: JsonValue, report: Report) -> JsonObject:
    """A call's arguments for providers that take only objects."""
    if isinstance(arguments, dict):
        return arguments
    report.approximated("arguments", "arguments that are no object are sent inside one")
    return {"malformed": arguments}


def provenance(ask: Ask, *, bound: bool = False) -> str:
    """Who makes the thinking and the opaque parts of a reply. `bound` ones can only be read under keys of the same scope."""
    scope = f"#{ask.credential.scope}" if bound and ask.credential.scope else ""
    return ask.endpoint.full_name + scope


def is_own(part_provenance: str, ask: Ask, *, bound: bool = False) -> bool:
    """Whether a part can be sent back to where this question goes."""
    return ask.question.replay_reasoning and part_provenance == provenance(ask, bound=bound)


def conform(reply: Reply, ask: Ask, report: Report) -> Reply:
    """The reply, kept to what was asked, with the report of all that was converted."""
    reply, calls = _counted(reply, ask, report), reply.message.tool_calls
    if ask.question.single_call and len(calls) > 1:
        report.dropped("tool_calls", "only one call was asked for; the further ones are left out")
        kept = tuple(part for part in reply.message.parts if not isinstance(part, ToolCall) or part is calls[0])
        reply = replace(reply, message=replace(reply.message, parts=kept))
    return replace(reply, report=report.conversions) if report.conversions != reply.report else reply


def _counted(reply: Reply, ask: Ask, report: Report) -> Reply:
    """The reply; what its provider counted as nothing is counted by us: better about right than free."""
    told = reply.usage
    read = told.input_tokens or question_tokens(ask.question)
    written = told.output_tokens or parts_tokens(reply.message.parts)
    if (read, written) == (told.input_tokens, told.output_tokens):
        return reply
    report.approximated("usage", "the provider did not tell all of it: the rest is estimated")
    return replace(reply, usage=replace(told, input_tokens=read, output_tokens=written), estimated=True)


def settled(stop: StopReason, parts: list[Part]) -> StopReason:
    """Some providers say `stop` when the model calls tools."""
    calls = any(isinstance(part, ToolCall) for part in parts)
    return StopReason.TOOL_CALLS if calls and stop is StopReason.END_TURN else stop


def schema_instruction(schema: JsonObject) -> str:
    """What to tell a model whose provider cannot enforce the schema."""
    return f"Answer with one JSON value and nothing else. It must satisfy this JSON Schema:\n{canonical(schema)}"


def instructions(messages: tuple[Message, ...], report: Report) -> list[str]:
    """The system messages, for providers that take them apart from the conversation."""
    spoken = False
    told = []
    for message in messages:
        if message.role is not Role.SYSTEM:
            spoken = True
            continue
        if spoken:
            report.approximated("system", "a system message from the middle of the conversation is sent at its beginning")
        if message.text:
            told.append(message.text)
    return told


def _with_fresh_ids(message: Message, used: set[str], open_calls: list[tuple[str, ToolCall]], report: Report) -> Message:
    parts: list[Part] = []
    for part in message.parts:
        if isinstance(part, ToolCall):
            wire = replace(part, call_id=_fresh(part.call_id, used))
            if wire.call_id != part.call_id:
                report.approximated("call_id", "call ids were changed into what the provider accepts")
            used.add(wire.call_id)
            open_calls.append((part.call_id, wire))
            parts.append(wire)
        elif isinstance(part, ToolResult):
            report.approximated("tool_result", "a result inside an assistant's turn is sent as text")
            parts.append(_as_text(part))
        else:
            parts.append(part)
    return replace(message, parts=tuple(parts))


def _with_matched_results(message: Message, open_calls: list[tuple[str, ToolCall]], report: Report) -> Message:
    """Each result under the id of the call that it answers; of calls with one id, the first. What only a model says goes."""
    parts: list[Part] = []
    for part in message.parts:
        if isinstance(part, Text | Media):
            parts.append(part)
            continue
        if not isinstance(part, ToolResult):
            report.dropped(type(part).__name__.lower(), "only an assistant may say it")
            continue
        at = next((at for at, (ours, _) in enumerate(open_calls) if ours == part.call_id), None)
        if at is None:
            report.approximated("tool_result", "a result whose call is not in the conversation is sent as text")
            parts.append(_as_text(part))
        else:
            _, call = open_calls.pop(at)
            parts.append(replace(part, call_id=call.call_id, tool=call.tool))
    return replace(message, parts=tuple(parts))


def _unanswered(open_calls: list[tuple[str, ToolCall]], report: Report) -> Message:
    """Results for the calls that have none; they are closed then."""
    report.emulated("tool_result", "a call without a result is answered with an error")
    found: list[Part] = [ToolResult(call_id=call.call_id, tool=call.tool, content=_UNANSWERED, is_error=True) for _, call in open_calls]
    open_calls.clear()
    return Message(role=Role.TOOL, parts=tuple(found))


def _as_text(result: ToolResult) -> Text:
    return Text(text=f"Result of {result.tool or 'a tool'}: {canonical(result.content)}")


def _fresh(wanted: str, used: set[str]) -> str:
    plain = wanted if _WIRE_ID.fullmatch(wanted) else (re.sub(r"[^A-Za-z0-9_-]", "_", wanted)[:60] or "call")
    return next(name for name in _names(plain) if name not in used)


def _names(plain: str) -> Iterator[str]:
    yield plain
    number = 2
    while True:
        yield f"{plain[:58]}_{number}"
        number += 1
