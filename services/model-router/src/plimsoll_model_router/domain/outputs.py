"""Reading a reply as the JSON that was asked for: it satisfies the schema, or it is a failure."""

import re

from plimsoll_runtime.errors import Invalid
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.json_types import JsonValue, parse_json

from plimsoll_model_router.domain.generation import Reply
from plimsoll_model_router.domain.messages import Refusal, StopReason
from plimsoll_model_router.domain.schemas import CompiledSchema
from plimsoll_model_router.errors import ProviderError, Remedy

_FENCE = re.compile(r"\A\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)


def checked(reply: Reply, where: str) -> Reply:
    """The reply, when it is an answer. Raises ProviderError when the model refused or said nothing at all."""
    refused = next((part for part in reply.message.parts if isinstance(part, Refusal)), None)
    if refused is not None or reply.stop_reason is StopReason.REFUSAL:
        raise _failed(reply, where, Category.MODEL_REFUSED, "REFUSED", "the model refused to answer", Remedy.NEVER)
    if not reply.message.parts and reply.stop_reason is not StopReason.MAX_TOKENS:
        raise _failed(reply, where, Category.MODEL_MALFORMED, "EMPTY_ANSWER", "the answer is empty", Remedy.RETRY)
    if reply.message.tool_calls and reply.stop_reason is StopReason.MAX_TOKENS:
        message = "the answer was cut at max_output_tokens before its tool calls were complete"
        raise _failed(reply, where, Category.MODEL_MALFORMED, "OUTPUT_TRUNCATED", message, Remedy.NEVER)
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
    problems = schema.problems(value)
    if problems:
        message = "the answer breaks its schema: " + "; ".join(map(str, problems))
        raise _failed(reply, where, Category.MODEL_MALFORMED, "OUTPUT_INVALID", message, Remedy.RETRY)
    return value


def _failed(reply: Reply, where: str, category: Category, reason: str, message: str, remedy: Remedy) -> ProviderError:
    failure = Failure(category=category, reason=reason, message=message, retryable=remedy is Remedy.RETRY, where=where)
    return ProviderError(failure, remedy, usage=reply.usage)
