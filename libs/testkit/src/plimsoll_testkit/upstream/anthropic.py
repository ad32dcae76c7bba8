"""The scripted upstream in Anthropic Messages."""

from collections.abc import Iterator

from plimsoll_runtime.json_types import JsonObject, JsonValue, dump_json

from plimsoll_testkit.upstream import script as s
from plimsoll_testkit.upstream.frames import named
from plimsoll_testkit.upstream.script import Error, Script

_KINDS = {
    "limited": "rate_limit_error",
    "quota": "billing_error",
    "broken": "api_error",
    "unavailable": "api_error",
    "overloaded": "overloaded_error",
    "key": "authentication_error",
    "model": "not_found_error",
    "invalid": "invalid_request_error",
}


def error(told: Error) -> JsonObject:
    return {"type": "error", "error": {"type": _KINDS[told.kind], "message": told.message}, "request_id": "req_1"}


def late_error(told: Error) -> bytes:
    return named("error", error(told))


def ping() -> bytes:
    return named("ping", {"type": "ping"})


def body(script: Script) -> JsonObject:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": script.name,
        "content": _blocks(script),
        "stop_reason": None if script.fault == "no-finish" else _stop(script),
        "stop_sequence": None,
        "usage": _usage(s.OUTPUT_TOKENS),
    }


def frames(script: Script) -> Iterator[bytes]:
    whole = body(script)
    start = {**whole, "content": list[JsonValue](), "stop_reason": None, "usage": _usage(1)}
    yield named("message_start", {"type": "message_start", "message": start})
    yield ping()
    for index, block in enumerate(_blocks(script)):
        yield from _block_frames(index, block, script)
    if script.fault != "no-finish":
        delta: JsonObject = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
        yield named("message_delta", {"type": "message_delta", "delta": delta, "usage": _usage(s.OUTPUT_TOKENS)})
    if script.fault != "no-end":
        yield named("message_stop", {"type": "message_stop"})


def holds_reasoning(request: JsonObject) -> bool:
    """Whether earlier thinking came with the request."""
    return any(block.get("type") == "thinking" for turn in s.objects(request.get("messages")) for block in s.objects(turn.get("content")))


def problem(request: JsonObject) -> str:
    """Why the API would refuse the request; empty when it would not."""
    limit, turns = request.get("max_tokens"), s.objects(request.get("messages"))
    if not isinstance(limit, int) or limit < 1:
        return "max_tokens: Field required"
    if not turns or turns[-1].get("role") == "assistant":
        return "This model does not support assistant message prefill"
    open_calls: list[JsonValue] = []
    for turn in turns:
        blocks = s.objects(turn.get("content"))
        results = [block.get("tool_use_id") for block in blocks if block.get("type") == "tool_result"]
        if sorted(map(str, results)) != sorted(map(str, open_calls)):
            return "`tool_use` ids were found without `tool_result` blocks immediately after"
        if any(block.get("type") == "text" and not str(block.get("text")).strip() for block in blocks):
            return "text content blocks must be non-empty"
        open_calls = [block.get("id") for block in blocks if block.get("type") == "tool_use"]
    return ""


def _blocks(script: Script) -> list[JsonValue]:
    blocks: list[JsonValue] = []
    if script.fault == "no-choices":
        return blocks
    if script.thinks:
        blocks.append({"type": "thinking", "thinking": s.THOUGHT, "signature": s.SIGNATURE})
    if script.text:
        blocks.append({"type": "text", "text": script.text})
    blocks += [{"type": "tool_use", "id": call.call_id, "name": s.TOOL, "input": call.arguments} for call in script.calls]
    return blocks


def _stop(script: Script) -> str:
    if script.calls:
        return "tool_use"
    return "refusal" if script.refuses else "max_tokens" if script.stops_at_limit else "end_turn"


def _usage(written: int) -> JsonObject:
    fresh = s.INPUT_TOKENS - s.CACHED_TOKENS
    return {"input_tokens": fresh, "output_tokens": written, "cache_read_input_tokens": s.CACHED_TOKENS, "cache_creation_input_tokens": 0}


def _block_frames(index: int, whole: JsonValue, script: Script) -> Iterator[bytes]:
    block = s.an_object(whole)
    match block["type"]:
        case "thinking":
            yield _event(index, "content_block_start", "content_block", {"type": "thinking", "thinking": "", "signature": ""})
            for word in s.words(s.THOUGHT):
                yield _event(index, "content_block_delta", "delta", {"type": "thinking_delta", "thinking": word})
            yield _event(index, "content_block_delta", "delta", {"type": "signature_delta", "signature": s.SIGNATURE})
        case "text":
            yield _event(index, "content_block_start", "content_block", {"type": "text", "text": ""})
            for word in s.words(str(block["text"])):
                yield _event(index, "content_block_delta", "delta", {"type": "text_delta", "text": word})
        case _:
            yield _event(index, "content_block_start", "content_block", {**block, "input": {}})
            written = script.calls[0].written if script.fault == "bad-arguments" else dump_json(block["input"])
            for piece in ("", *s.halves(written)):
                yield _event(index, "content_block_delta", "delta", {"type": "input_json_delta", "partial_json": piece})
    yield named("content_block_stop", {"type": "content_block_stop", "index": index})


def _event(index: int, kind: str, key: str, value: JsonObject) -> bytes:
    return named(kind, {"type": kind, "index": index, key: value})
