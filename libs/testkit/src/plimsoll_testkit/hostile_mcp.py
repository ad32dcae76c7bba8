"""An MCP server that does what servers should not: the name of a called tool says what goes wrong, and every message is noted."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import orjson

from plimsoll_testkit.hostile_http import Received, listening, read_request, say, write

Json: TypeAlias = dict[str, Any]
Revision: TypeAlias = Literal["modern", "legacy"]

_MODERN = "2026-07-28"
_SESSION = "session-1"
_SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
_JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\nconnection: close\r\n\r\n"


def served_tool(name: str, **changed: object) -> Json:
    """A tool as a server lists it."""
    return {
        "name": name,
        "description": f"Does {name}",
        "inputSchema": {"type": "object", "properties": {"q": {"type": "string"}}},
        "outputSchema": {"type": "object", "required": ["found"], "properties": {"found": {"type": "boolean"}}},
        **changed,
    }


@dataclass(slots=True)
class HostileMcp:
    """Serve it with `serving`. `listing` says how it lists: fine, slow, endless, broken, silent."""

    revision: Revision = "modern"
    tools: list[Json] = field(default_factory=lambda: [served_tool("fine")])
    listing: str = "fine"
    url: str = ""
    elsewhere: str = "http://127.0.0.1:9/mcp"
    messages: list[tuple[Received, Json]] = field(default_factory=list)
    gets: int = 0
    sessions: int = 0
    forgotten: bool = False
    """A legacy server that has forgotten its session, until the next one."""
    hung: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["HostileMcp"]:
        """On a port of 127.0.0.1, until the block ends."""
        async with listening(self._attend) as port:
            self.url = f"http://127.0.0.1:{port}/mcp"
            yield self

    def calls(self, tool: str) -> list[Json]:
        """The parameters of every call of a tool that arrived."""
        return [body["params"] for _, body in self.messages if body.get("method") == "tools/call" and body["params"]["name"] == tool]

    async def _attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await read_request(reader)
        if request.method == "GET":
            self.gets += 1
            await self.hung.wait()
            return
        if request.method != "POST":
            await say(writer, b"", status=200)
            return
        body = orjson.loads(request.body)
        self.messages.append((request, body))
        await self._answer(request, body, writer)

    async def _answer(self, request: Received, body: Json, writer: asyncio.StreamWriter) -> None:
        method, asked = body.get("method"), body.get("id")
        if asked is None:
            await say(writer, b"", status=202)
        elif method == "server/discover" and self.revision == "modern":
            found = {"supportedVersions": [_MODERN], "capabilities": {"tools": {}}, "serverInfo": {"name": "hostile", "version": "1"}}
            await self._say(writer, asked, {**found, **self._cacheable()})
        elif method == "initialize" and self.revision == "legacy":
            self.sessions += 1
            self.forgotten = False
            found = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "hostile", "version": "1"}}
            await say(writer, _message(asked, found), headers={"mcp-session-id": f"{_SESSION}-{self.sessions}"})
        elif self.forgotten:
            await say(writer, b"no such session", status=404, kind="text/plain")
        elif method == "tools/list":
            await self._list(asked, body, writer)
        elif method == "tools/call":
            await self._call(request, asked, body["params"], writer)
        else:
            await say(writer, _error(asked, -32601, "no such method"))

    async def _list(self, asked: object, body: Json, writer: asyncio.StreamWriter) -> None:
        match self.listing:
            case "slow" | "silent":
                await self.hung.wait()
                await self._say(writer, asked, {"tools": self.tools, **self._cacheable()})
            case "broken":
                await say(writer, b"<html>", kind="text/html")
            case "endless":
                cursor = str((body.get("params") or {}).get("cursor") or "") + "x"
                tools = [{**tool, "name": f"{tool['name']}_{len(cursor)}"} for tool in self.tools]
                await self._say(writer, asked, {"tools": tools, "nextCursor": cursor, **self._cacheable()})
            case _:
                await self._say(writer, asked, {"tools": self.tools, **self._cacheable()})

    async def _call(self, request: Received, asked: object, params: Json, writer: asyncio.StreamWriter) -> None:
        fault = params["name"]
        if fault.endswith("_once"):
            fault = "fine" if len(self.calls(params["name"])) > 1 else fault.removesuffix("_once")
        raw = _RAW.get(fault)
        if raw is not None:
            await write(writer, raw)
            return
        result = _RESULTS.get(fault)
        if result is not None:
            await self._say(writer, asked, result | ({"resultType": "complete"} if self.revision == "modern" else {}))
            return
        call = _Call(self, request, asked, params, writer)
        await getattr(call, fault, call.unknown)()

    async def _say(self, writer: asyncio.StreamWriter, asked: object, result: Mapping[str, object]) -> None:
        await say(writer, _message(asked, result))

    def _cacheable(self) -> Json:
        return {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"} if self.revision == "modern" else {}


_RAW = {
    "cut_headers": _SSE,
    "cut_body": _JSON + b'{"jsonrpc": "2.0", "id": 3, "result": {"content": [',
    "cut_sse": _SSE + b'event: message\ndata: {"jsonrpc": "2.0"',
    "cut_resumable": _SSE + b"id: 7\nretry: 1\ndata:\n\n",
    "dead": b"",
    "not_http": b"SSH-2.0-OpenSSH_9.9\r\n",
}
_RESULTS: dict[str, Json] = {
    "fine": {"content": [{"type": "text", "text": "found"}], "structuredContent": {"found": True}},
    "says": {
        "content": [
            {"type": "text", "text": "one"},
            {"type": "text", "text": "two"},
            {"type": "image", "data": "eA==", "mimeType": "image/png"},
        ]
    },
    "reports": {"content": [{"type": "text", "text": "no such city\u202e"}], "isError": True},
    "wrong": {"content": [], "structuredContent": {"found": "perhaps"}},
    "unstructured": {"content": [{"type": "text", "text": "found"}]},
    "no_result": {"nothing": True},
}


@dataclass(slots=True)
class _Call:
    """One call whose fault takes more than an answer: a method per fault, named like the tool."""

    server: HostileMcp
    request: Received
    asked: object
    params: Json
    writer: asyncio.StreamWriter

    async def hang(self) -> None:
        await self.server.hung.wait()

    async def hang_sse(self) -> None:
        await write(self.writer, _SSE)
        await self.server.hung.wait()

    async def drip(self) -> None:
        """Signs of life, without end."""
        await write(self.writer, _SSE)
        while not self.server.hung.is_set():
            await write(self.writer, b": still here\n\n")
            await asyncio.sleep(0.01)

    async def huge(self) -> None:
        await write(self.writer, b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n")
        for _ in range(4096):
            await write(self.writer, b" " * 65536)

    async def flood(self) -> None:
        """A hundred thousand notifications before the answer."""
        await write(self.writer, _SSE)
        note = b'event: message\ndata: {"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}\n\n'
        for _ in range(100_000):
            await write(self.writer, note)

    async def stream(self) -> None:
        """No fault: the answer as an event."""
        await write(self.writer, _SSE + b"event: message\ndata: " + _message(self.asked, self._whole(_RESULTS["fine"])) + b"\n\n")

    async def asks(self) -> None:
        """Wants to know more, each time, with another state."""
        form = {"mode": "form", "message": "?", "requestedSchema": {"type": "object", "properties": {}}}
        state = f"state-{len(self.server.calls('asks'))}"
        question = {"q": {"method": "elicitation/create", "params": form}}
        await self._answer({"resultType": "input_required", "inputRequests": question, "requestState": state})

    async def unauthorized(self) -> None:
        """And names a place to sign on at, which is wherever it likes."""
        await self._no(401, challenge=f'Bearer resource_metadata="{self.server.elsewhere}"')

    async def busy(self) -> None:
        await self._no(429, "7")

    async def away(self) -> None:
        await self._no(503, "7")

    async def broken(self) -> None:
        await self._no(500)

    async def html(self) -> None:
        await say(self.writer, b"<html>log in</html>", kind="text/html")

    async def not_json(self) -> None:
        await say(self.writer, b'{"jsonrpc": "2.0", "id"')

    async def accepted(self) -> None:
        """As if it were a notification."""
        await say(self.writer, b"", status=202)

    async def other_id(self) -> None:
        """The answer to a question that nobody asked."""
        await say(self.writer, _message(999_999, self._whole(_RESULTS["fine"])))

    async def gzip(self) -> None:
        packed = gzip.compress(_message(self.asked, self._whole(_RESULTS["fine"])))
        await say(self.writer, packed, headers={"content-encoding": "gzip"})

    async def redirect(self) -> None:
        await say(self.writer, b"", status=307, headers={"location": self.server.elsewhere})

    async def echo(self) -> None:
        """No fault: what arrived."""
        seen = orjson.dumps({"params": self.params, "headers": dict(self.request.headers)}).decode()
        await self._answer(self._whole({"content": [{"type": "text", "text": seen}]}))

    async def unknown(self) -> None:
        await say(self.writer, _error(self.asked, -32602, f"no tool {self.params['name']}"))

    async def _no(self, status: int, retry_after: str = "", challenge: str = "") -> None:
        said = {"retry-after": retry_after, "www-authenticate": challenge}
        headers = {name: value for name, value in said.items() if value}
        await say(self.writer, b'{"error": "the upstream says no"}', status=status, headers=headers)

    async def _answer(self, result: Mapping[str, object]) -> None:
        await say(self.writer, _message(self.asked, result))

    def _whole(self, result: Json) -> Json:
        return result | ({"resultType": "complete"} if self.server.revision == "modern" else {})


def _message(asked: object, result: Mapping[str, object]) -> bytes:
    return orjson.dumps({"jsonrpc": "2.0", "id": asked, "result": result})


def _error(asked: object, code: int, message: str) -> bytes:
    return orjson.dumps({"jsonrpc": "2.0", "id": asked, "error": {"code": code, "message": message}})
