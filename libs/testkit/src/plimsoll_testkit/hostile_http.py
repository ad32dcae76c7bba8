"""An HTTP server that does what servers should not: the path of a request says what goes wrong, and every request is noted."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit

import orjson

_CHUNK = b"x" * 65536
_BOMB_BYTES = 256 * 1024 * 1024
_ENDLESS = 4096  # chunks; far over any limit in use


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request, as it arrived."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes
    target: str


Answering: TypeAlias = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(attend: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[int]:
    """A port of 127.0.0.1 whose connections `attend` gets, until the block ends; those that are open then are cut."""
    tasks: set[asyncio.Task[None]] = set()

    async def noted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await attend(reader, writer)
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(noted, "127.0.0.1", 0, limit=1024 * 1024)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(slots=True)
class HostileHttp:
    """Serve it with `serving`. `pages` are fine answers by path; the faults are the methods of `_Faults`, by their path."""

    url: str = ""
    pages: dict[str, bytes] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    hung: asyncio.Event = field(default_factory=asyncio.Event)
    """Set it to let go of those that hang."""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["HostileHttp"]:
        """On a port of 127.0.0.1, until the block ends; connections that are open then are cut."""
        async with listening(self._attend) as port:
            self.url = f"http://127.0.0.1:{port}"
            yield self

    def paths(self) -> list[str]:
        """What was asked for, in order."""
        return [one.path for one in self.received]

    async def _attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await read_request(reader)
        self.received.append(request)
        await self._answer(request, writer)

    async def _answer(self, request: Received, writer: asyncio.StreamWriter) -> None:
        page = self.pages.get(request.path)
        if page is not None:
            await say(writer, page)
            return
        fault: Answering | None = getattr(_Faults(self), request.path.strip("/").split("/")[0].replace("-", "_"), None)
        await (fault or _not_found)(request, writer)


class _Faults:
    """One method per fault, named like its path."""

    def __init__(self, server: HostileHttp) -> None:
        self._server = server

    async def echo(self, request: Received, writer: asyncio.StreamWriter) -> None:
        """No fault: what arrived."""
        seen = {
            "method": request.method,
            "target": request.target,
            "headers": dict(request.headers),
            "body": request.body.decode("latin-1"),
        }
        await say(writer, orjson.dumps(seen))

    async def status(self, request: Received, writer: asyncio.StreamWriter) -> None:
        """/status/503?retry-after=2 answers so; /status/429/once does it for the first request only."""
        parts = request.path.strip("/").split("/")
        if "once" in parts and sum(one.path == request.path for one in self._server.received) > 1:
            await say(writer, b'{"found": true}')
            return
        after = request.query.get("retry-after", [""])[0]
        headers = {"retry-after": after} if after else {}
        await say(writer, b'{"error": "the upstream says no", "detail": "line 2"}', status=int(parts[1]), headers=headers)

    async def html(self, request: Received, writer: asyncio.StreamWriter) -> None:
        await say(writer, b"<html><body>Please log in</body></html>", kind="text/html")

    async def wrong(self, request: Received, writer: asyncio.StreamWriter) -> None:
        """JSON that fits nobody's schema."""
        await say(writer, b'{"found": "perhaps", "extra": [1, 2]}')

    async def truncated(self, request: Received, writer: asyncio.StreamWriter) -> None:
        await say(writer, b'{"found": tr')

    async def deep(self, request: Received, writer: asyncio.StreamWriter) -> None:
        await say(writer, b"[" * 5000 + b"]" * 5000)

    async def bytes(self, request: Received, writer: asyncio.StreamWriter) -> None:
        await say(writer, b"\xff\xfe\x00", kind="application/octet-stream")

    async def cut_headers(self, request: Received, writer: asyncio.StreamWriter) -> None:
        await write(writer, b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n")

    async def cut_body(self, request: Received, writer: asyncio.StreamWriter) -> None:
        await write(writer, b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{"found": ')

    async def dead(self, request: Received, writer: asyncio.StreamWriter) -> None:
        """Closes without a word, after the request was noted."""

    async def dead_once(self, request: Received, writer: asyncio.StreamWriter) -> None:
        if sum(one.path == request.path for one in self._server.received) > 1:
            await say(writer, b'{"found": true}')

    async def hang(self, request: Received, writer: asyncio.StreamWriter) -> None:
        await self._server.hung.wait()

    async def drip(self, request: Received, writer: asyncio.StreamWriter) -> None:
        """A little at a time, without end."""
        await write(writer, b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n")
        while not self._server.hung.is_set():
            await write(writer, b" ")
            await asyncio.sleep(0.01)

    async def endless(self, request: Received, writer: asyncio.StreamWriter) -> None:
        """As fast as it goes, without end."""
        await write(writer, b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(_ENDLESS):
            await write(writer, b"10000\r\n" + _CHUNK + b"\r\n")

    async def huge(self, request: Received, writer: asyncio.StreamWriter) -> None:
        await write(writer, b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1073741824\r\n\r\n")
        for _ in range(_ENDLESS):
            await write(writer, _CHUNK)

    async def gzip_bomb(self, request: Received, writer: asyncio.StreamWriter) -> None:
        """One megabyte that unpacks to a quarter of a gigabyte."""
        packed = await asyncio.to_thread(_bomb)
        await say(writer, packed, headers={"content-encoding": "gzip"})

    async def not_gzip(self, request: Received, writer: asyncio.StreamWriter) -> None:
        await say(writer, b'{"found": true}', headers={"content-encoding": "gzip"})

    async def many_headers(self, request: Received, writer: asyncio.StreamWriter) -> None:
        await say(writer, b"{}", headers={f"x-{number}": "y" * 1000 for number in range(2000)})

    async def not_http(self, request: Received, writer: asyncio.StreamWriter) -> None:
        await write(writer, b"SSH-2.0-OpenSSH_9.9\r\n")

    async def redirect(self, request: Received, writer: asyncio.StreamWriter) -> None:
        """/redirect?to=URL, with ?status=307 if wanted."""
        status = int(request.query.get("status", ["302"])[0])
        await say(writer, b"", status=status, headers={"location": request.query["to"][0]})

    async def loop(self, request: Received, writer: asyncio.StreamWriter) -> None:
        await say(writer, b"", status=302, headers={"location": "/loop"})

    async def cookie(self, request: Received, writer: asyncio.StreamWriter) -> None:
        await say(writer, b"{}", headers={"set-cookie": "session=secret; Path=/"})


async def _not_found(request: Received, writer: asyncio.StreamWriter) -> None:
    await say(writer, b'{"error": "no such page"}', status=404)


async def read_request(reader: asyncio.StreamReader) -> Received:
    """The next request on a connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *rest = head.strip().split("\r\n")
    method, target, _ = line.split(" ", 2)
    headers = {name.strip().lower(): value.strip() for name, _, value in (one.partition(":") for one in rest)}
    if "chunked" in headers.get("transfer-encoding", ""):
        body = b""
        while length := int((await reader.readline()).strip() or b"0", 16):
            body += (await reader.readexactly(length + 2))[:-2]
        await reader.readline()
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    split = urlsplit(target)
    return Received(method=method, path=unquote(split.path), query=parse_qs(split.query), headers=headers, body=body, target=target)


async def say(
    writer: asyncio.StreamWriter,
    body: bytes,
    *,
    status: int = 200,
    kind: str = "application/json",
    headers: Mapping[str, str] | None = None,
) -> None:
    """A whole answer, after which the connection is closed."""
    lines = [f"HTTP/1.1 {status} Said", f"content-type: {kind}", f"content-length: {len(body)}", "connection: close"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    await write(writer, "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)


async def write(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Some bytes, as they are."""
    writer.write(data)
    await writer.drain()


def _bomb() -> bytes:
    return gzip.compress(bytes(_BOMB_BYTES), compresslevel=1)
