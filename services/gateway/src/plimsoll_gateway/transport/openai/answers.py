"""Answers of the router in OpenAI's form: whole, in pieces, and as errors."""

import base64
import struct
from collections.abc import Iterator, Sequence

import orjson
from plimsoll.common.v1 import usage_pb2
from plimsoll.model_router.v1 import message_pb2 as message
from plimsoll.model_router.v1 import model_router_service_pb2 as pb
from plimsoll_runtime.errors import ErrorKind, PlimsollError
from plimsoll_runtime.json_types import JsonObject, JsonValue

from plimsoll_gateway.transport.openai.chat import ROUTED
from plimsoll_gateway.transport.problems import FINER, STATUS

DONE = b"data: [DONE]\n\n"

_FINISH = {
    message.STOP_REASON_TOOL_CALLS: "tool_calls",
    message.STOP_REASON_MAX_TOKENS: "length",
}
_TYPES = {
    ErrorKind.UNAUTHENTICATED: "authentication_error",
    ErrorKind.DENIED: "permission_error",
    ErrorKind.NOT_FOUND: "invalid_request_error",
    ErrorKind.EXHAUSTED: "rate_limit_error",
    ErrorKind.INVALID: "invalid_request_error",
    ErrorKind.CONFLICT: "invalid_request_error",
}


def error_of(error: PlimsollError, trace_id: str) -> tuple[int, bytes]:
    """Status and body of an error."""
    status = FINER.get(type(error), STATUS[error.kind])
    body: JsonObject = {
        "message": error.message,
        "type": _TYPES.get(error.kind, "api_error"),
        "param": error.problems[0].field if error.problems else None,
        "code": error.reason,
        "trace_id": trace_id,
    }
    return status, orjson.dumps({"error": body})


def completion(answer: pb.Answer, made: int) -> bytes:
    """A whole answer."""
    said: JsonObject = {"role": "assistant", "content": _text(answer) or None, "refusal": _refusal(answer) or None}
    calls: list[JsonValue] = list(_calls(answer))
    if calls:
        said["tool_calls"] = calls
    document = _head(answer.call_id, answer.model, made, "chat.completion")
    document["choices"] = [{"index": 0, "message": said, "logprobs": None, "finish_reason": _finish(answer)}]
    document["usage"] = _usage(answer.usage)
    document["plimsoll"] = _ours(answer)
    return orjson.dumps(document)


class Chunks:
    """One stream's answer, piece by piece. Nothing that was told is told again at the end."""

    def __init__(self, made: int, *, with_usage: bool) -> None:
        self._made = made
        self._with_usage = with_usage
        self._model = ""
        self._opened = False
        self._told_text = False
        self._told_calls = False

    def began(self, began: pb.AttemptBegan) -> None:
        """Tells nothing yet: until the first piece another model may take over, or an error be the whole answer."""
        self._model = began.model

    def text(self, text: str) -> bytes:
        self._told_text = True
        return self._chunk({"content": text})

    def call(self, delta: message.ToolCallDelta) -> bytes:
        self._told_calls = True
        told: JsonObject = {"index": delta.index, "function": {"arguments": delta.arguments}}
        if delta.call_id:
            told = {"index": delta.index, "id": delta.call_id, "type": "function"}
            told["function"] = {"name": delta.tool, "arguments": delta.arguments}
        return self._chunk({"tool_calls": [told]})

    def end(self, answer: pb.Answer) -> bytes:
        """What was not told yet, why it ends, what it took, and the end."""
        self._model = answer.model or self._model
        pieces = []
        if not self._told_text and (text := _text(answer)):
            pieces.append(self._chunk({"content": text}))
        if refusal := _refusal(answer):
            pieces.append(self._chunk({"refusal": refusal}))
        if not self._told_calls and (calls := list(_calls(answer))):
            told: list[JsonValue] = [{"index": index, **call} for index, call in enumerate(calls)]
            pieces.append(self._chunk({"tool_calls": told}))
        pieces.append(self._chunk({}, _finish(answer)))
        if self._with_usage:
            document = _head("", self._model, self._made, "chat.completion.chunk")
            pieces.append(_event({**document, "choices": [], "usage": _usage(answer.usage), "plimsoll": _ours(answer)}))
        return b"".join(pieces) + DONE

    def _chunk(self, delta: JsonObject, finish: str | None = None) -> bytes:
        document = _head("", self._model, self._made, "chat.completion.chunk")
        if not self._opened:
            self._opened = True
            delta = {"role": "assistant", **delta}
        choice: JsonObject = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _event({**document, "choices": [choice]})


def broken(body: bytes) -> bytes:
    """The end of a stream that failed: never [DONE]."""
    return b"event: error\ndata: " + body + b"\n\n"


def embeddings(answer: pb.Embeddings, *, packed: bool) -> bytes:
    """Vectors, as numbers or as packed floats in base64."""
    data: list[JsonValue] = [
        {"object": "embedding", "index": index, "embedding": _packed(one.values) if packed else list(one.values)}
        for index, one in enumerate(answer.vectors)
    ]
    tokens = answer.usage.input_tokens
    return orjson.dumps({"object": "list", "data": data, "model": answer.model, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}})


def models(answer: pb.ListModelsResponse) -> list[JsonValue]:
    """Every model that can be asked for, and the route."""
    named: dict[str, JsonValue] = {ROUTED: {"id": ROUTED, "object": "model", "created": 0, "owned_by": "plimsoll"}}
    for model in answer.models:
        named.setdefault(model.name, {"id": model.name, "object": "model", "created": 0, "owned_by": model.provider})
    return list(named.values())


def _head(call_id: str, model: str, made: int, kind: str) -> JsonObject:
    return {"id": f"chatcmpl-{call_id or made}", "object": kind, "created": made, "model": model, "system_fingerprint": None}


def _ours(answer: pb.Answer) -> JsonObject:
    return {
        "call_id": answer.call_id,
        "provider": answer.provider,
        "rehearsal": answer.rehearsal,
        "cached": answer.cached,
        "cost_micros": answer.usage.cost_micros,
        "attempts": len(answer.attempts),
    }


def _text(answer: pb.Answer) -> str:
    said = "".join(part.text.text for part in answer.message.parts if part.WhichOneof("kind") == "text")
    return said or (answer.output.text if answer.HasField("output") else "")


def _refusal(answer: pb.Answer) -> str:
    return "".join(part.refusal.text for part in answer.message.parts if part.WhichOneof("kind") == "refusal")


def _calls(answer: pb.Answer) -> Iterator[JsonObject]:
    for part in answer.message.parts:
        if part.WhichOneof("kind") == "tool_call":
            function: JsonObject = {"name": part.tool_call.tool, "arguments": part.tool_call.arguments.text or "{}"}
            yield {"id": part.tool_call.call_id, "type": "function", "function": function}


def _finish(answer: pb.Answer) -> str:
    if answer.stop_reason == message.STOP_REASON_REFUSAL and not _refusal(answer):
        return "content_filter"
    return _FINISH.get(answer.stop_reason, "stop")


def _usage(usage: usage_pb2.Usage) -> JsonObject:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_input_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def _packed(values: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()


def _event(document: JsonObject) -> bytes:
    return b"data: " + orjson.dumps(document) + b"\n\n"
