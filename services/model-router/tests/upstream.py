"""A scripted provider that speaks both dialects; the model's name says what goes wrong, and every attempt is logged."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

ANSWER = "The parcel is on its way and arrives on Tuesday."
CALL_ID, TOOL, ARGUMENTS = "toolu_01", "find_account", {"email": "ann@example.com"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One request that arrived."""

    path: str
    model: str
    streaming: bool
    body: dict[str, Any]
    headers: dict[str, str]


@dataclass(slots=True)
class ScriptedUpstream:
    """Serve it with `serving`. A model named after a fault shows it; one ending in `-once` shows it the first time only."""

    attempts: list[Attempt] = field(default_factory=list)
    url: str = ""
    gate: asyncio.Event = field(default_factory=asyncio.Event)  # what `silent` and `stall` wait for

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        attempt = Attempt(
            path=request.path,
            model=body["model"],
            streaming=bool(body.get("stream")),
            body=body,
            headers={name.lower(): value for name, value in request.headers.items()},
        )
        self.attempts.append(attempt)
        fault = attempt.model
        if fault.endswith("-once"):
            earlier = sum(one.model == fault for one in self.attempts) > 1
            fault = "fine" if earlier else fault.removesuffix("-once")
        anthropic = attempt.path.endswith("/messages")
        refusals: dict[str, Callable[[], Awaitable[web.StreamResponse]]] = {
            "limited": lambda: _error(429, anthropic, "rate_limit_error", "slow down", {"retry-after": "2"}),
            "limited-ms": lambda: _error(429, anthropic, "rate_limit_error", "slow down", {"retry-after-ms": "30"}),
            "quota": lambda: _error(429, anthropic, "billing_error" if anthropic else "insufficient_quota", "pay first"),
            "broken": lambda: _error(500, anthropic, "api_error", "internal error"),
            "overloaded": lambda: _error(529, anthropic, "overloaded_error", "overloaded"),
            "bad-key": lambda: _error(401, anthropic, "authentication_error", "invalid x-api-key"),
            "no-model": lambda: _error(404, anthropic, "not_found_error", "model: no-model"),
            "too-long": lambda: _error(400, anthropic, "invalid_request_error", "prompt is too long: 200000 tokens > 100000 maximum"),
            "bad-request": lambda: _error(400, anthropic, "invalid_request_error", "messages.0: wrong"),
            "html": _html,
            "html-200": lambda: _html(200),
            "error-inside": lambda: _error(200, anthropic, "api_error", "failed after all"),
            "silent": self._silent,
            "hang-up": lambda: _hang_up(request),
        }
        if fault in refusals:
            return await refusals[fault]()
        if not attempt.streaming:
            whole = _anthropic_body(fault) if anthropic else _openai_body(fault)
            return await _truncated(request, whole) if fault == "cut" else web.json_response(whole)
        frames = list(_anthropic_frames(fault) if anthropic else _openai_frames(fault))
        return await self._streamed(request, frames, fault)

    async def _silent(self) -> web.StreamResponse:
        await self.gate.wait()
        return web.Response(status=500)

    async def _streamed(self, request: web.Request, frames: list[bytes], fault: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        middle = len(frames) // 2
        for at, frame in enumerate(frames):
            if at == middle and fault == "cut":
                assert request.transport is not None
                request.transport.abort()
                return response
            if at == middle and fault == "clean-cut":
                return response
            if at == middle and fault == "stall":
                await self.gate.wait()
            if at == middle and fault == "malformed":
                frame = b'data: {"type": "content_block_del\n\n'  # noqa: PLW2901
            await response.write(frame)
        return response


@asynccontextmanager
async def serving() -> AsyncIterator[ScriptedUpstream]:
    """The upstream on a free port of this machine."""
    upstream = ScriptedUpstream()
    app = web.Application()
    app.add_routes([web.post("/v1/messages", upstream.handle), web.post("/v1/chat/completions", upstream.handle)])
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    upstream.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[attr-defined]
    try:
        yield upstream
    finally:
        upstream.gate.set()
        await runner.cleanup()


async def _error(status: int, anthropic: bool, kind: str, message: str, headers: dict[str, str] | None = None) -> web.StreamResponse:
    error = {"type": kind, "message": message}
    body: dict[str, Any] = {"type": "error", "error": error} if anthropic else {"error": {**error, "code": kind, "param": None}}
    return web.json_response(body, status=status, headers=headers)


async def _html(status: int = 502) -> web.StreamResponse:
    return web.Response(status=status, text="<html><h1>Bad gateway</h1></html>", content_type="text/html")


async def _hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def _truncated(request: web.Request, whole: dict[str, Any]) -> web.StreamResponse:
    raw = orjson.dumps(whole)
    response = web.StreamResponse(headers={"content-type": "application/json", "content-length": str(len(raw))})
    await response.prepare(request)
    await response.write(raw[: len(raw) // 2])
    assert request.transport is not None
    request.transport.abort()
    return response


def _anthropic_body(fault: str) -> dict[str, Any]:
    blocks: list[dict[str, Any]] = [{"type": "text", "text": ANSWER}]
    stop = "end_turn"
    if fault == "tools":
        blocks = [{"type": "text", "text": "Let me look."}, {"type": "tool_use", "id": CALL_ID, "name": TOOL, "input": ARGUMENTS}]
        stop = "tool_use"
    usage = {"input_tokens": 20, "output_tokens": 12, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 0}
    if fault == "empty":
        blocks = []
    if fault == "refusing":
        blocks, stop = [], "refusal"
    if fault == "capped":
        stop = "max_tokens"
    return {"id": "msg_1", "type": "message", "role": "assistant", "model": fault, "content": blocks, "stop_reason": stop, "usage": usage}


def _anthropic_frames(fault: str) -> Iterator[bytes]:
    whole = _anthropic_body(fault)
    start = {**whole, "content": [], "stop_reason": None, "usage": {**whole["usage"], "output_tokens": 1}}
    yield _frame({"type": "message_start", "message": start}, named=True)
    yield _frame({"type": "ping"}, named=True)
    for index, block in enumerate(whole["content"]):
        empty = {**block, "text": ""} if block["type"] == "text" else {**block, "input": {}}
        yield _frame({"type": "content_block_start", "index": index, "content_block": empty}, named=True)
        if block["type"] == "text":
            for word in block["text"].split(" "):
                glue = " " if word != block["text"].split(" ")[0] else ""
                yield _frame(
                    {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": glue + word}}, named=True
                )
        else:
            raw = orjson.dumps(block["input"]).decode()
            for piece in ("", raw[:9], raw[9:]):
                delta = {"type": "input_json_delta", "partial_json": piece}
                yield _frame({"type": "content_block_delta", "index": index, "delta": delta}, named=True)
        yield _frame({"type": "content_block_stop", "index": index}, named=True)
    if fault == "late-error":
        yield _frame({"type": "error", "error": {"type": "overloaded_error", "message": "overloaded"}}, named=True)
        return
    end = {"type": "message_delta", "delta": {"stop_reason": whole["stop_reason"], "stop_sequence": None}, "usage": {"output_tokens": 12}}
    yield _frame(end, named=True)
    if fault != "no-end":
        yield _frame({"type": "message_stop"}, named=True)


def _openai_body(fault: str) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": ANSWER, "refusal": None}
    finish = "stop"
    if fault == "tools":
        function = {"name": TOOL, "arguments": orjson.dumps(ARGUMENTS).decode()}
        message = {"role": "assistant", "content": None, "tool_calls": [{"id": CALL_ID, "type": "function", "function": function}]}
        finish = "tool_calls"
    if fault == "refusing":
        message = {"role": "assistant", "content": None, "refusal": "I cannot help with that."}
    if fault == "empty":
        message = {"role": "assistant", "content": ""}
    if fault == "capped":
        finish = "length"
    usage = {
        "prompt_tokens": 25,
        "completion_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 5},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    choices = [] if fault == "no-choices" else [{"index": 0, "message": message, "finish_reason": finish}]
    return {"id": "c_1", "object": "chat.completion", "model": fault, "choices": choices, "usage": usage}


def _openai_frames(fault: str) -> Iterator[bytes]:
    whole = _openai_body(fault)
    if not whole["choices"]:
        yield b"data: [DONE]\n\n"
        return
    message, finish = whole["choices"][0]["message"], whole["choices"][0]["finish_reason"]

    def chunk(delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return _frame({"id": "c_1", "object": "chat.completion.chunk", "model": fault, "choices": [choice]})

    yield chunk({"role": "assistant", "content": ""})
    for at, word in enumerate((message.get("content") or "").split(" ")):
        yield chunk({"content": f" {word}" if at else word})
    if message.get("refusal"):
        yield chunk({"refusal": message["refusal"]})
    for index, call in enumerate(message.get("tool_calls", [])):
        yield chunk({"tool_calls": [{**call, "index": index, "function": {"name": call["function"]["name"], "arguments": ""}}]})
        raw = call["function"]["arguments"]
        for piece in (raw[:9], raw[9:]):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    if fault == "late-error":
        yield _frame({"error": {"type": "server_error", "code": "overloaded_error", "message": "overloaded"}})
        return
    if fault == "no-finish":
        yield b"data: [DONE]\n\n"
        return
    yield chunk({}, finish)
    yield _frame({"id": "c_1", "object": "chat.completion.chunk", "model": fault, "choices": [], "usage": whole["usage"]})
    if fault != "no-end":
        yield b"data: [DONE]\n\n"


def _frame(data: dict[str, Any], *, named: bool = False) -> bytes:
    name = f"event: {data['type']}\n" if named else ""
    return f"{name}data: {orjson.dumps(data).decode()}\n\n".encode()
