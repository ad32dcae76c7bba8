"""The scripted upstream in OpenAI Responses."""

from collections.abc import Iterator
from itertools import count

from plimsoll_runtime.json_types import JsonObject, JsonValue

from plimsoll_testkit.upstream import chat
from plimsoll_testkit.upstream import script as s
from plimsoll_testkit.upstream.frames import named
from plimsoll_testkit.upstream.script import Error, Script

error = chat.error


def late_error(told: Error) -> bytes:
    inner = s.an_object(chat.error(told)["error"])
    data: JsonObject = {"type": "error", "code": inner["code"], "message": told.message, "param": None, "sequence_number": 99}
    return named("error", data)


def ping() -> bytes:
    return b": still here\n\n"


def body(script: Script) -> JsonObject:
    items: list[JsonValue] = list(_items(script))
    limit = script.stops_at_limit
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1767225600,
        "status": None if script.fault == "no-finish" else "incomplete" if limit else "completed",
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if limit else None,
        "model": script.name,
        "output": None if script.fault == "no-choices" else items,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": _usage(),
    }


def frames(script: Script) -> Iterator[bytes]:
    numbers = count()

    def event(kind: str, data: JsonObject) -> bytes:
        return named(kind, {"type": kind, **data, "sequence_number": next(numbers)})

    whole = body(script)
    begun = {**whole, "status": "in_progress", "output": list[JsonValue](), "usage": None, "incomplete_details": None}
    yield event("response.created", {"response": begun})
    yield event("response.in_progress", {"response": begun})
    for index, item in enumerate(_items(script)):
        where: JsonObject = {"output_index": index, "item_id": item["id"]}
        empty: JsonObject = {key: [] if key in {"content", "summary"} else "" if key == "arguments" else item[key] for key in item}
        yield event("response.output_item.added", {"output_index": index, "item": {**empty, "status": "in_progress"}})
        for kind, piece in _pieces(item, script):
            yield event(kind, {**where, **piece})
        yield event("response.output_item.done", {"output_index": index, "item": item})
    if script.fault not in {"no-end", "no-finish"}:
        yield event("response.incomplete" if script.stops_at_limit else "response.completed", {"response": whole})


def holds_reasoning(request: JsonObject) -> bool:
    """Whether earlier thinking came with the request."""
    return any(item.get("type") == "reasoning" for item in s.objects(request.get("input")))


def problem(request: JsonObject) -> str:
    """Why the API would refuse the request; empty when it would not."""
    calls: list[JsonValue] = []
    items = s.objects(request.get("input"))
    if not items or items[-1].get("role") == "assistant":
        return "input: the last item must not be the assistant's"
    for item in items:
        if item.get("type") == "function_call":
            calls.append(item.get("call_id"))
        elif item.get("type") == "function_call_output":
            if item.get("call_id") not in calls:
                return "No tool call found for function call output"
            calls.remove(item.get("call_id"))
    if calls:
        return "No tool output found for function call"
    if any("strict" not in tool for tool in s.objects(request.get("tools"))):
        return "Missing required parameter: 'tools[0].strict'"
    return ""


def _items(script: Script) -> Iterator[JsonObject]:
    if script.fault == "no-choices":
        return
    if script.thinks:
        summary: JsonObject = {"type": "summary_text", "text": s.THOUGHT}
        yield {"type": "reasoning", "id": "rs_1", "summary": [summary], "encrypted_content": s.SIGNATURE}
    if script.text or script.refuses:
        said: JsonObject = {"type": "refusal", "refusal": s.REFUSAL}
        if not script.refuses:
            said = {"type": "output_text", "text": script.text, "annotations": []}
        status = "incomplete" if script.stops_at_limit else "completed"
        yield {"type": "message", "id": "msg_1", "role": "assistant", "status": status, "content": [said]}
    for number, call in enumerate(script.calls):
        yield {
            "type": "function_call",
            "id": f"fc_{number}",
            "call_id": call.call_id,
            "name": s.TOOL,
            "arguments": call.written,
            "status": "completed",
        }


def _pieces(item: JsonObject, script: Script) -> Iterator[tuple[str, JsonObject]]:
    match item["type"]:
        case "reasoning":
            for word in s.words(s.THOUGHT):
                yield "response.reasoning_summary_text.delta", {"summary_index": 0, "delta": word}
        case "message" if script.refuses:
            yield "response.refusal.delta", {"content_index": 0, "delta": s.REFUSAL}
        case "message":
            for word in s.words(script.text):
                yield "response.output_text.delta", {"content_index": 0, "delta": word, "logprobs": []}
        case _:
            for piece in s.halves(str(item["arguments"])):
                yield "response.function_call_arguments.delta", {"delta": piece}


def _usage() -> JsonObject:
    return {
        "input_tokens": s.INPUT_TOKENS,
        "input_tokens_details": {"cached_tokens": s.CACHED_TOKENS, "cache_write_tokens": 0},
        "output_tokens": s.OUTPUT_TOKENS,
        "output_tokens_details": {"reasoning_tokens": s.REASONING_TOKENS},
        "total_tokens": s.INPUT_TOKENS + s.OUTPUT_TOKENS,
    }
