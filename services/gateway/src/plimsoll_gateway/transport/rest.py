"""One REST request from its first byte to its answer, in the same frame that the gRPC server puts around a call."""

import asyncio
import re
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import ExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

from aiohttp import web
from google.protobuf.message import Message
from opentelemetry.trace import SpanKind
from plimsoll.gateway.v1 import learning_pb2, runs_pb2
from plimsoll_runtime import logs, names, telemetry
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.deadline import within
from plimsoll_runtime.errors import Cancelled, ErrorKind, NotFound, PlimsollError, unwrap
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.status import code_name, known

from plimsoll_gateway.config import HttpSettings
from plimsoll_gateway.errors import BadHeader
from plimsoll_gateway.service.doorway import Doorway, Visit
from plimsoll_gateway.service.models import Models
from plimsoll_gateway.transport.body import BodyReader
from plimsoll_gateway.transport.departure import Departure
from plimsoll_gateway.transport.desk import Desk
from plimsoll_gateway.transport.openai.answers import error_of
from plimsoll_gateway.transport.openai.facade import ROOT, Asked, Facade, Operation, Write, operation_of
from plimsoll_gateway.transport.openapi import LINES
from plimsoll_gateway.transport.pages import Page
from plimsoll_gateway.transport.problems import hidden, problem_of
from plimsoll_gateway.transport.quotas import quota_headers
from plimsoll_gateway.transport.routes import Match
from plimsoll_gateway.transport.servicer import GatewayServicer
from plimsoll_gateway.transport.sse import EventStream
from plimsoll_gateway.transport.transcoder import Received, Transcoder

_Matched: TypeAlias = "Match | Operation | NotFound | Page"
_GENERATE_CAP_S = 600.0

_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)
_CURSOR = re.compile(r"[0-9]{1,18}", re.ASCII)
_JSON = {"Content-Type": "application/json"}
_REPLAYED = {**_JSON, "Idempotent-Replayed": "true"}
_STREAM = {"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}
_HEADERS = {"Server": "plimsoll", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


@dataclass(slots=True)
class _Seen:
    """What the log line and the metrics say of a request."""

    route: str
    openai: bool = False
    visit: Visit = field(default_factory=Visit)
    status: int = 0
    code: str = "OK"
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What answers REST requests."""

    servicer: GatewayServicer
    desk: Desk
    doorway: Doorway
    transcoder: Transcoder
    settings: HttpSettings
    request_cap_s: float
    models: Models
    pages: Mapping[str, Page]
    metrics: Metrics
    log: logs.Log


class Rest:
    """Answers requests; `departure` ends the event streams when the gateway stops."""

    def __init__(self, parts: Parts, departure: Departure) -> None:
        self._parts = parts
        self._body = BodyReader(parts.settings, parts.doorway.body_room)
        self._facade = Facade(parts.models, departure.announced, parts.settings.heartbeat_s)
        self._departure = departure

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer, sent; every error but the client's own departure is one too."""
        path = request.raw_path.partition("?")[0]
        match = self._match(request.method, path)
        seen = _Seen(_route_name(request.method, match), openai=path.startswith(ROOT + "/"))
        started = time.perf_counter()
        with telemetry.span(seen.route, SpanKind.SERVER, _traceparent(request)) as trace_id:
            try:
                return await self._answer(request, match, seen, trace_id)
            except (asyncio.CancelledError, ConnectionError):
                seen.status, seen.code = 499, code_name(Cancelled())
                raise
            finally:
                self._note(seen, time.perf_counter() - started, trace_id)

    async def _answer(self, request: web.BaseRequest, match: _Matched, seen: _Seen, trace_id: str) -> web.StreamResponse:
        try:
            match match:
                case Page():
                    return await self._send(request, 200, match.headers, match.body, seen)
                case Operation():
                    return await self._speak(request, match, seen, trace_id)
                case Match():
                    return await self._serve(request, match, seen, trace_id)
                case NotFound() as error:
                    return await self._refuse(request, error, seen, trace_id)
        except Exception as error:
            cause = unwrap(error)
            if isinstance(cause, ConnectionError):
                raise cause from error
            return await self._refuse(request, error, seen, trace_id)

    async def _refuse(self, request: web.BaseRequest, error: Exception, seen: _Seen, trace_id: str) -> web.StreamResponse:
        told = self._told(error, seen)
        problem = problem_of(told, trace_id)
        if seen.openai:
            status, body = error_of(told, trace_id)
            return await self._send(request, status, {**problem.headers, **_JSON}, body, seen)
        return await self._send(request, problem.status, problem.headers, problem.body, seen)

    def _match(self, http: str, path: str) -> _Matched:
        """The route, or what is asked in OpenAI's form; the error when there is neither; a page for anybody."""
        if http == "GET" and path in self._parts.pages:
            return self._parts.pages[path]
        try:
            if path.startswith(ROOT + "/"):
                return operation_of(http, path)
            return self._parts.transcoder.table.match(http, path)
        except NotFound as error:
            return error

    async def _serve(self, request: web.BaseRequest, match: Match, seen: _Seen, trace_id: str) -> web.StreamResponse:
        parts, route = self._parts, match.route
        with ExitStack() as stack:
            shown = _only(request, "Authorization")
            principal = await parts.doorway.enter(seen.visit, shown, route.method, stack, streaming=route.streaming)
            stack.enter_context(acting_for(principal.tenant, principal.actor))
            if route.events:
                return await self._follow(request, self._received(request, match, b""), seen, trace_id)
            if route.streaming:
                return await self._lines(request, self._received(request, match, b""), seen)
            async with within(parts.request_cap_s):
                body = await self._body.read(request, stack)
                key = _only(request, "Idempotency-Key")
                served = await parts.desk.serve(route.method, self._received(request, match, body, key), key)
                text = parts.transcoder.answer(served.message)
        return await self._send(request, 200, _REPLAYED if served.replayed else _JSON, text, seen)

    async def _speak(self, request: web.BaseRequest, operation: Operation, seen: _Seen, trace_id: str) -> web.StreamResponse:
        """The same in OpenAI's form: JSON, or a stream of it."""
        parts, response = self._parts, web.StreamResponse(headers={**_HEADERS, **_STREAM})
        with ExitStack() as stack:
            shown = _only(request, "Authorization")
            principal = await parts.doorway.enter(seen.visit, shown, operation.name, stack, streaming=False)
            response.headers.update(quota_headers(seen.visit.quotas))
            stack.enter_context(acting_for(principal.tenant, principal.actor))
            async with within(_GENERATE_CAP_S):
                asked = Asked(
                    body=await self._body.read(request, stack),
                    key=_only(request, "Idempotency-Key"),
                    write=self._writer(request, response, seen),
                    to_error=lambda error: error_of(self._told(error, seen), trace_id)[1],
                )
                text = await self._facade.answer(operation, asked)
        if text is not None:
            return await self._send(request, 200, _JSON, text, seen)
        async with _patience(request, parts.settings.write_cap_s):
            await response.write_eof()
        return response

    def _received(self, request: web.BaseRequest, match: Match, body: bytes, key: str = "") -> Message:
        query = request.raw_path.partition("?")[2]
        return self._parts.transcoder.request(match, Received(query=query, body=body, idempotency_key=key))

    async def _follow(self, request: web.BaseRequest, message: Message, seen: _Seen, trace_id: str) -> web.StreamResponse:
        assert isinstance(message, runs_pb2.FollowRunRequest), "the contract has one stream of events"
        message.after_seq = _cursor(request, message.after_seq)
        response = web.StreamResponse(headers={**_HEADERS, **_STREAM, **quota_headers(seen.visit.quotas)})

        def to_problem(error: Exception) -> bytes:
            return problem_of(self._told(error, seen), trace_id).body

        stream = EventStream(self._parts.transcoder.answer, to_problem, self._departure, heartbeat_s=self._parts.settings.heartbeat_s)
        entries: AsyncGenerator[runs_pb2.FollowRunResponse, None] = self._parts.servicer.FollowRun(message, None)
        await stream.send(entries, self._writer(request, response, seen))
        async with _patience(request, self._parts.settings.write_cap_s):
            await response.write_eof()
        return response

    async def _lines(self, request: web.BaseRequest, message: Message, seen: _Seen) -> web.StreamResponse:
        """One message a line. What breaks it off after the first line cuts the connection: half a file must not look like a whole one."""
        assert isinstance(message, learning_pb2.ExportDatasetRequest), "the contract has one stream of lines"
        response = web.StreamResponse(headers={**_HEADERS, "Content-Type": LINES, **quota_headers(seen.visit.quotas)})
        write = self._writer(request, response, seen)
        async with aclosing(self._parts.servicer.ExportDataset(message, None)) as pieces:
            try:
                async for piece in pieces:
                    await write(self._parts.transcoder.answer(piece) + b"\n")
            except PlimsollError as error:
                if not response.prepared:
                    raise
                self._told(error, seen)
                _cut(request)
                raise ConnectionResetError("the export broke off") from error
        if not response.prepared:
            await write(b"")
        async with _patience(request, self._parts.settings.write_cap_s):
            await response.write_eof()
        return response

    def _writer(self, request: web.BaseRequest, response: web.StreamResponse, seen: _Seen) -> Write:
        async def write(data: bytes) -> None:
            async with _patience(request, self._parts.settings.write_cap_s):
                if not response.prepared:
                    seen.status = 200
                    await response.prepare(request)
                await response.write(data)

        return write

    async def _send(
        self, request: web.BaseRequest, status: int, headers: Mapping[str, str], body: bytes, seen: _Seen
    ) -> web.StreamResponse:
        response = web.Response(status=status, headers={**_HEADERS, **quota_headers(seen.visit.quotas), **headers}, body=body)
        seen.status = status
        async with _patience(request, self._parts.settings.write_cap_s):
            await response.prepare(request)
            await response.write_eof()
        return response

    def _told(self, error: Exception, seen: _Seen) -> PlimsollError:
        """The error as ours; one that nobody can mend by another request is logged, and hidden from the client."""
        ours = known(error)
        if ours.kind is ErrorKind.INTERNAL:
            self._parts.log.error("http.failed", {"route": seen.route, "reason": ours.reason}, error=error)
        seen.code, seen.reason = code_name(ours), ours.reason
        return hidden(ours)

    def _note(self, seen: _Seen, seconds: float, trace_id: str) -> None:
        self._parts.metrics.rpc_seconds.labels(seen.route, seen.code).observe(seconds)
        fields: dict[str, logs.Field] = {
            "route": seen.route,
            "status": seen.status,
            "ms": round(seconds * 1e3, 2),
            names.TRACE_ID: trace_id,
        }
        if seen.visit.principal is not None:
            fields[names.TENANT] = seen.visit.principal.tenant
        if seen.reason:
            fields["reason"] = seen.reason
        self._parts.log.info("http.answered", fields)


def _route_name(http: str, matched: _Matched) -> str:
    """How logs and metrics name the request: never by what a client made up."""
    match matched:
        case Match():
            return f"{http} {matched.route.path}"
        case Operation():
            return f"{http} {matched.name}"
        case Page():
            return f"{http} page"
        case _:
            return "no route"


@asynccontextmanager
async def _patience(request: web.BaseRequest, cap_s: float) -> AsyncIterator[None]:
    """Wait for a client to take what is written, so long and no longer; then cut the connection off."""
    try:
        async with asyncio.timeout(cap_s):
            yield
    except TimeoutError as late:
        _cut(request)
        raise ConnectionResetError("the client does not read its answer") from late


def _cut(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.abort()


def _traceparent(request: web.BaseRequest) -> str:
    """The client's trace, or a new one, so that every answer has an id to ask about."""
    given = request.headers.get(names.TRACE_KEY, "")
    return given if _TRACEPARENT.fullmatch(given) else f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def _only(request: web.BaseRequest, name: str) -> str:
    """The header; one that comes twice could be read differently by whoever stands before us, so it is refused."""
    values = request.headers.getall(name, [])
    if len(values) > 1:
        raise BadHeader(name, "comes more than once", "send it once")
    return values[0] if values else ""


def _cursor(request: web.BaseRequest, asked: int) -> int:
    """Where the stream goes on: Last-Event-ID when the client has one, because it asks with the same address every time."""
    text = request.headers.get("Last-Event-ID", "")
    if not text:
        return asked
    if not _CURSOR.fullmatch(text):
        raise BadHeader("Last-Event-ID", "is no cursor", "send the id of the last event that arrived")
    return int(text)
