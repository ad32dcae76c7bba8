"""Recorded questions between the model-router's messages and JSON that can be redacted: what is JSON in a message is JSON here as well."""

from collections.abc import Sequence
from typing import Any, Final

from google.protobuf import json_format
from plimsoll.model_router.v1 import message_pb2
from plimsoll.model_router.v1 import model_router_service_pb2 as pb
from plimsoll_runtime.json_types import JsonObject, JsonValue, dump_json, parse_json

from plimsoll_feedback.domain.learning.datasets import Recorded

_JSON_FIELDS: Final = frozenset({"arguments", "content", "arguments_schema", "output_schema"})
_KEPT: Final = (
    "messages",
    "tools",
    "tool_choice",
    "tool_choice_name",
    "single_tool_call",
    "output_schema",
    "max_output_tokens",
    "sampling",
    "effort",
)


def asked_from_proto(generation: pb.Generation) -> JsonObject:
    """What a replay asks beside the prompt and its variables."""
    told: dict[str, Any] = json_format.MessageToDict(generation, preserving_proto_field_name=True)
    return {name: _opened(told[name], name) for name in _KEPT if name in told}


def asked_to_proto(asked: JsonValue, more: Sequence[JsonValue] = ()) -> pb.Generation:
    """`more` are messages behind the recorded ones."""
    told = dict(asked) if isinstance(asked, dict) else {}
    before = told.get("messages")
    told["messages"] = [*(before if isinstance(before, list) else []), *more]
    closed = {name: _closed(value, name) for name, value in told.items()}
    return json_format.ParseDict(closed, pb.Generation())


def message_to_json(message: message_pb2.Message) -> JsonValue:
    told: JsonObject = _opened(json_format.MessageToDict(message, preserving_proto_field_name=True), "")
    return told


def tool_results(results: Sequence[tuple[str, Recorded]]) -> JsonValue:
    """The message that answers tool calls, by their ids."""
    parts: list[JsonValue] = [
        {"tool_result": {"call_id": call_id, "tool": one.tool, "content": one.result, "is_error": one.is_error}} for call_id, one in results
    ]
    return {"role": "ROLE_TOOL", "parts": parts}


def recorded_in(asked: JsonObject) -> tuple[Recorded, ...]:
    """The tools' answers that the question holds already."""
    messages = asked.get("messages")
    parts = [part for message in (messages if isinstance(messages, list) else []) for part in _parts(message)]
    calls = {one.get("call_id"): one for part in parts if isinstance(one := part.get("tool_call"), dict)}
    found = []
    for part in parts:
        result = part.get("tool_result")
        if isinstance(result, dict) and isinstance(asked_for := calls.get(result.get("call_id")), dict):
            found.append(
                Recorded(
                    tool=str(asked_for.get("tool", "")),
                    arguments=asked_for.get("arguments"),
                    result=result.get("content"),
                    is_error=result.get("is_error") is True,
                )
            )
    return tuple(found)


def _parts(message: JsonValue) -> list[JsonObject]:
    parts = message.get("parts") if isinstance(message, dict) else None
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []


def _opened(value: Any, name: str) -> Any:
    """JSON inside its wrapper becomes plain; what is inside it is left alone."""
    if name in _JSON_FIELDS and isinstance(value, dict):
        text = value.get("text", "")
        return parse_json(text, field=name) if text else None
    if isinstance(value, dict):
        return {key: _opened(item, key) for key, item in value.items()}
    return [_opened(item, name) for item in value] if isinstance(value, list) else value


def _closed(value: Any, name: str) -> Any:
    if name in _JSON_FIELDS:
        return {"text": dump_json(value)}
    if isinstance(value, dict):
        return {key: _closed(item, key) for key, item in value.items()}
    return [_closed(item, name) for item in value] if isinstance(value, list) else value
