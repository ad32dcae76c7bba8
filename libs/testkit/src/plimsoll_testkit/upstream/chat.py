"""The scripted upstream in Chat Completions."""

from collections.abc import Iterator

from plimsoll_runtime.json_types import JsonObject, JsonValue

from plimsoll_testkit.upstream import script as s
from plimsoll_testkit.upstream.frames import DONE, bare
from plimsoll_testkit.upstream.script import Error, Script

_KINDS = {
    "limited": ("requests", "rate_limit_exceeded"),
    "quota": ("insufficient_quota", "insufficient_quota"),
    "broken": ("server_error", "server_error"),
    "unavailable": ("server_error", "server_error"),
    "overloaded": ("server_error", "overloaded_error"),
    "key": ("invalid_request_error", "invalid_api_key"),
    "model": ("invalid_request_error", "model_not_found"),
    "invalid": ("invalid_request_error", None),
}


def error(told: Error) -> JsonObject:
    kind, code = _KINDS[told.kind]
    return {"error": {"message": told.message, "type": kind, "param": None, "code": code}}


def late_error(told: Error) -> bytes:
    return bare(error(told))


def ping() -> bytes:
    return b": still here\n\n"


def body(script: Script) -> JsonObject:
    choice: JsonObject = {"index": 0, "message": _message(script), "finish_reason": _finish(script), "logprobs": None}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1767225600,
        "model": script.name,
        "choices": [] if script.fault == "no-choices" else [choice],
        "usage": _usage(),
    }


def frames(script: Script) -> Iterator[bytes]:
    if script.fault == "no-choices":
        yield DONE
        return
    yield _chunk(script, {"role": "assistant", "content": ""})
    for word in s.words(s.THOUGHT) if script.thinks else ():
        yield _chunk(script, {"reasoning_content": word})
    for word in s.words(script.text):
        yield _chunk(script, {"content": word})
    if script.refuses:
        yield _chunk(script, {"refusal": s.REFUSAL})
    for index, call in enumerate(script.calls):
        named: JsonObject = {"name": s.TOOL, "arguments": ""}
        given: JsonObject = {"id": call.call_id} if call.call_id else {}
        yield _chunk(script, {"tool_calls": [{"index": index, **given, "type": "function", "function": named}]})
        for piece in s.halves(call.written):
            yield _chunk(script, {"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    if script.fault != "no-finish":
        yield _chunk(script, {}, _finish(script))
        yield bare({**_head(script), "choices": [], "usage": _usage()})
    if script.fault != "no-end":
        yield DONE


def holds_reasoning(request: JsonObject) -> bool:
    """The dialect takes none back."""
    return False


def problem(request: JsonObject) -> str:
    """Why the API would refuse the request; empty when it would not."""
    messages = s.objects(request.get("messages"))
    if not messages or messages[-1].get("role") == "assistant":
        return "the last message must not be the assistant's"
    open_calls: list[JsonValue] = []
    for message in messages:
        if message.get("role") == "tool":
            if message.get("tool_call_id") not in open_calls:
                return "messages with role 'tool' must be a response to a preceding message with 'tool_calls'"
            open_calls.remove(message.get("tool_call_id"))
        elif open_calls:
            return "an assistant message with 'tool_calls' must be followed by tool messages"
        else:
            open_calls = [call.get("id") for call in s.objects(message.get("tool_calls"))]
    return "an assistant message with 'tool_calls' must be followed by tool messages" if open_calls else ""


def embeddings(request: JsonObject) -> JsonObject:
    texts, size = request.get("input"), request.get("dimensions")
    asked = texts if isinstance(texts, list) else [texts]
    vectors = [s.numbers(str(text), size if isinstance(size, int) else 0) for text in asked]
    data: list[JsonValue] = [{"object": "embedding", "index": at, "embedding": vector} for at, vector in enumerate(vectors)]
    return {"object": "list", "data": data, "model": request.get("model"), "usage": {"prompt_tokens": 7, "total_tokens": 7}}


def _message(script: Script) -> JsonObject:
    message: JsonObject = {"role": "assistant", "content": script.text or None, "refusal": s.REFUSAL if script.refuses else None}
    if script.fault == "empty":
        message["content"] = ""
    if script.thinks:
        message["reasoning_content"] = s.THOUGHT
    if script.calls:
        message["tool_calls"] = [
            {"id": call.call_id, "type": "function", "function": {"name": s.TOOL, "arguments": call.written}} for call in script.calls
        ]
    return message


def _finish(script: Script) -> JsonValue:
    if script.fault == "no-finish":
        return None
    return "tool_calls" if script.calls else "length" if script.stops_at_limit else "stop"


def _usage() -> JsonObject:
    return {
        "prompt_tokens": s.INPUT_TOKENS,
        "completion_tokens": s.OUTPUT_TOKENS,
        "total_tokens": s.INPUT_TOKENS + s.OUTPUT_TOKENS,
        "prompt_tokens_details": {"cached_tokens": s.CACHED_TOKENS},
        "completion_tokens_details": {"reasoning_tokens": s.REASONING_TOKENS},
    }


def _head(script: Script) -> JsonObject:
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1767225600, "model": script.name}


def _chunk(script: Script, delta: JsonObject, finish: JsonValue = None) -> bytes:
    return bare({**_head(script), "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
