"""Reading a reply as the JSON that was asked for: it satisfies the schema, or it is a failure."""

import re

from plimsoll_runtime.errors import Invalid
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.json_types import JsonValue, parse_json

from plimsoll_model_router.domain import plain
from plimsoll_model_router.domain.generation import Reply
from plimsoll_model_router.domain.messages import Part, Refusal, StopReason, Text
from plimsoll_model_router.domain.schemas import CompiledSchema
from plimsoll_model_router.errors import ProviderError, Remedy

_DEPTH_CAP = 100
_FENCE = re.compile(r"\A\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)


def checked(reply: Reply, where: str) -> Reply:
    """The reply, when it is an answer. Raises ProviderError when the model refused, said nothing, or said what nobody can keep."""
    refused = next((part for part in reply.message.parts if isinstance(part, Refusal)), None)
    if refused is not None or reply.stop_reason is StopReason.REFUSAL:
        raise _failed(reply, where, Category.MODEL_REFUSED, "REFUSED", "the model refused to answer", Remedy.NEVER)
    if not reply.message.text and not reply.message.tool_calls and reply.stop_reason is not StopReason.MAX_TOKENS:
        raise _failed(reply, where, Category.MODEL_MALFORMED, "EMPTY_ANSWER", "the answer is empty", Remedy.RETRY)
    if reply.message.tool_calls and reply.stop_reason is StopReason.MAX_TOKENS:
        message = "the answer was cut at max_output_tokens before its tool calls were complete"
        raise _failed(reply, where, Category.MODEL_MALFORMED, "OUTPUT_TRUNCATED", message, Remedy.NEVER)
    if any(_unfit_part(part) for part in reply.message.parts):
        message = f"the answer holds the character U+0000, or JSON nested deeper than {_DEPTH_CAP} levels"
        raise _failed(reply, where, Category.MODEL_MALFORMED, "UNFIT_ANSWER", message, Remedy.RETRY)
    return reply


def output_of(reply: Reply, schema: CompiledSchema, where: str) -> JsonValue:
    """The answer as JSON. Raises ProviderError when it was cut, is not JSON, or breaks the schema."""
    if reply.stop_reason is StopReason.MAX_TOKENS:
        message = "the answer was cut at max_output_tokens before its JSON was complete"
        raise _failed(reply, where, Category.MODEL_MALFORMED, "OUTPUT_TRUNCATED", message, Remedy.NEVER)
    text = reply.message.text
    fenced = _FENCE.match(text)
    try:
        value = parse_json(fenced[1] if fenced else text)
    except Invalid as error:
        message = "the answer is not JSON, although a schema was given"
        raise _failed(reply, where, Category.MODEL_MALFORMED, "OUTPUT_NOT_JSON", message, Remedy.RETRY) from error
    if _unfit(value, _DEPTH_CAP):
        message = f"the answer's JSON holds the character U+0000, or is nested deeper than {_DEPTH_CAP} levels"
        raise _failed(reply, where, Category.MODEL_MALFORMED, "UNFIT_ANSWER", message, Remedy.RETRY)
    problems = schema.problems(value)
    if problems:
        message = "the answer breaks its schema: " + "; ".join(map(str, problems))
        raise _failed(reply, where, Category.MODEL_MALFORMED, "OUTPUT_INVALID", message, Remedy.RETRY)
    return value


def _unfit_part(part: Part) -> bool:
    return (
        "\x00" in part.text if isinstance(part, Text) else _unfit(plain.part_to_plain(part), _DEPTH_CAP - 2)
    )  # it is kept two levels down


def _unfit(value: JsonValue, levels: int) -> bool:
    """Whether a value could not be stored or read by those who get it."""
    match value:
        case str():
            return "\x00" in value
        case list() | dict() if levels == 0:
            return True
        case list():
            return any(_unfit(item, levels - 1) for item in value)
        case dict():
            return any("\x00" in key or _unfit(item, levels - 1) for key, item in value.items())
        case _:
            return False


def _failed(reply: Reply, where: str, category: Category, reason: str, message: str, remedy: Remedy) -> ProviderError:
    failure = Failure(category=category, reason=reason, message=message, retryable=remedy is Remedy.RETRY, where=where)
    return ProviderError(failure, remedy, usage=reply.usage)
