"""Connections to providers: opened when needed, kept and used again, one request at a time on each.

HTTP/1.1 POST and nothing else, because what a call costs beside its answer is here: no redirects, no cookies, no proxies from the environment.
"""

import asyncio
import math
import select
import socket
import ssl
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TypeAlias, cast
from urllib.parse import urlsplit

from aiohappyeyeballs import start_connection

from plimsoll_model_router.adapters.providers.response import BadResponse, ResponseReader

_IDLE_S = 15.0
_MOST_IDLE = 256  # for each address
_MOST_ADDRESSES = 1000
_NEXT_ADDRESS_S = 0.25  # a host with several addresses is tried at the next one while the first keeps silent
_PAUSE_AT = 512 * 1024  # a reader that is this far behind is waited for
_READABLE = select.POLLIN | select.POLLHUP | select.POLLERR
_Address: TypeAlias = tuple[str, str, int]


class ConnectionBroke(Exception):
    """The connection ended or was reset before the response was whole."""


class NotConnected(Exception):
    """The connection did not stand in time."""


class Unreachable(Exception):
    """Nobody listens there, the name is unknown, or TLS cannot be agreed on."""


class _Connection(asyncio.Protocol):
    """One connection, and the response that is read on it."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._poller = select.poll()
        self._waiter: asyncio.Future[None] | None = None
        self._until = math.inf
        self._timer: asyncio.TimerHandle | None = None  # set once for many waits and requests: one for each would cost more than they do
        self._due = math.inf
        self._error: Exception | None = None
        self._paused = False
        self.reader: ResponseReader | None = None
        self.idle_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # not every loop's transport is a subclass
        self._poller.register(transport.get_extra_info("socket").fileno(), _READABLE)

    def data_received(self, data: bytes) -> None:
        reader = self.reader
        if reader is None:  # nothing was asked: whatever that is, it answers nobody
            self.close()
            return
        try:
            reader.feed(data)
        except BadResponse as error:
            self._error = error
            self.close()
        if reader.held > _PAUSE_AT and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self.reader is not None and self._error is None:
            try:
                if error is None:
                    self.reader.end()
                elif not self.reader.done:
                    self._error = ConnectionBroke("the connection was reset")
            except BadResponse as cut:
                self._error = ConnectionBroke(str(cut))
        self._wake()

    def is_fresh(self) -> bool:
        """Whether it may carry another request. Asks the system itself: the loop may be behind with what the other side has done."""
        return self._transport is not None and not self._transport.is_closing() and not self._poller.poll(0)

    def send(self, request: bytes) -> ResponseReader:
        self.reader, self._error = ResponseReader(), None
        if self._transport is None:
            self._error = ConnectionBroke("the connection ended before it was used")
        else:
            self._transport.write(request)
        return self.reader

    async def piece(self, reader: ResponseReader, until: float = math.inf) -> bytes:
        """What has come of the body; empty at its end. Raises as `more` does."""
        while not reader.pieces:
            if reader.done:
                return b""
            await self.more(until)
        piece = reader.taken()
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return piece

    async def more(self, until: float = math.inf) -> None:
        """Wait until something came. Raises ConnectionBroke, BadResponse, or TimeoutError when nothing came by `until`, on the loop's clock."""
        if self._error is not None:
            raise self._error
        if self._transport is None:
            raise ConnectionBroke("the connection ended")
        loop = asyncio.get_running_loop()
        self._waiter, self._until = loop.create_future(), until
        if until < self._due:
            self._set_timer(loop, until)
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _set_timer(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._due = loop.call_at(due, self._look, loop), due

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Whether somebody has waited for too long; who came to wait later is looked after later."""
        self._timer, self._due = None, math.inf
        if self._waiter is None or self._waiter.done():
            return
        if loop.time() >= self._until:
            self._waiter.set_exception(TimeoutError())
        else:
            self._set_timer(loop, self._until)

    def _end_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._due = None, math.inf

    def close(self) -> None:
        self._end_timer()
        if self._transport is not None:
            self._transport.abort()

    def rest(self) -> bool:
        """Whether it is ready for another request: the response was whole, was read to its end, and leaves the connection open."""
        reader, self.reader = self.reader, None
        return reader is not None and reader.leaves_open and not reader.pieces and not self._paused

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Response:
    """A response whose head has come. Close it in the end: what was read whole leaves its connection to the next request."""

    def __init__(self, connection: _Connection, reader: ResponseReader, pool: "Connections", address: _Address) -> None:
        self._connection = connection
        self._reader = reader
        self._pool = pool
        self._address = address
        self.status = reader.status
        self.headers: Mapping[str, str] = reader.headers

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "application/octet-stream").partition(";")[0].strip().lower()

    async def piece(self, until: float = math.inf) -> bytes:
        """What has come of the body; empty at its end. Raises ConnectionBroke, BadResponse, or TimeoutError when nothing came by `until`."""
        return await self._connection.piece(self._reader, until)

    def close(self) -> None:
        self._pool.release(self._connection, self._address)


class Connections:
    """All connections of the process."""

    def __init__(self) -> None:
        self._tls = ssl.create_default_context()
        self._idle: OrderedDict[_Address, list[_Connection]] = OrderedDict()
        self._targets: dict[str, tuple[_Address, bytes]] = {}

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, connect_s: float, until: float = math.inf) -> Response:
        """The response, once its head has come. Raises NotConnected, Unreachable, ConnectionBroke or BadResponse, TimeoutError when no head
        came by `until`, on the loop's clock, and ValueError for what no request may hold. It is sent once: what becomes of a question that a
        provider may have heard is not decided here."""
        address, first = self._target(url)
        request = b"%b%bcontent-length: %d\r\n\r\n%b" % (first, _lines(headers), len(body), body)
        connection = self._kept(address)
        if connection is None:
            async with asyncio.timeout_at(until if until < math.inf else None):
                connection = await self._connect(address, connect_s)
        try:
            reader = connection.send(request)
            while not reader.has_head:
                await connection.more(until)
            return Response(connection, reader, self, address)
        except BaseException:
            connection.close()
            raise

    def release(self, connection: _Connection, address: _Address) -> None:
        """Keep the connection for the next request, when this one ended as it should."""
        kept = self._idle.setdefault(address, [])
        if not connection.rest() or len(kept) >= _MOST_IDLE:
            connection.close()
            return
        connection.idle_since = asyncio.get_running_loop().time()
        kept.append(connection)
        if len(self._idle) > _MOST_ADDRESSES:
            for old in self._idle.popitem(last=False)[1]:
                old.close()

    def close(self) -> None:
        for kept in self._idle.values():
            for connection in kept:
                connection.close()
        self._idle.clear()

    def _kept(self, address: _Address) -> _Connection | None:
        """The one used last; those that were idle for too long may be closed by the other side at any moment."""
        kept = self._idle.get(address)
        while kept:
            connection = kept.pop()
            if asyncio.get_running_loop().time() - connection.idle_since < _IDLE_S and connection.is_fresh():
                return connection
            connection.close()
        return None

    async def _connect(self, address: _Address, connect_s: float) -> _Connection:
        scheme, host, port = address
        loop, tls = asyncio.get_running_loop(), self._tls if scheme == "https" else None
        try:
            async with asyncio.timeout(connect_s):
                opened = await _opened(host, port)
                try:
                    _, connection = await loop.create_connection(_Connection, sock=opened, ssl=tls, server_hostname=host if tls else None)
                except BaseException:
                    opened.close()
                    raise
        except TimeoutError as error:
            raise NotConnected(f"{host}:{port}") from error
        except (OSError, ssl.SSLError, UnicodeError) as error:
            raise Unreachable(f"{host}:{port}") from error
        return connection

    def _target(self, url: str) -> tuple[_Address, bytes]:
        """Where to, and the beginning of the request. Raises Unreachable for what is no address."""
        known = self._targets.get(url)
        if known is not None:
            return known
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise Unreachable(f"{url[:200]!r} is no address") from error
        if parts.scheme not in {"http", "https"} or not parts.hostname or not url.isascii() or any(c <= " " or c == "\x7f" for c in url):
            raise Unreachable(f"{url[:200]!r} is no address")
        address = (parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80))
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        host = parts.netloc.rpartition("@")[2]
        first = f"POST {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: plimsoll\r\naccept-encoding: identity\r\n".encode("ascii")
        if len(self._targets) >= _MOST_ADDRESSES:
            self._targets.clear()
        self._targets[url] = address, first
        return address, first


async def _opened(host: str, port: int) -> socket.socket:
    """A socket that is connected. An address that stands in a URL needs nobody who knows names, nor a thread to ask them in."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    opened = await start_connection(found, happy_eyeballs_delay=_NEXT_ADDRESS_S, interleave=1)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return opened


def _lines(headers: Mapping[str, str]) -> bytes:
    """As they travel. Raises ValueError for what would end a line, or is no text that a header can hold."""
    lines = [f"{name}: {value}" for name, value in headers.items()]
    if any("\r" in line or "\n" in line or "\0" in line for line in lines):
        raise ValueError("a header holds a line break")
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1")


@asynccontextmanager
async def open_connections() -> AsyncIterator[Connections]:
    """The connections of the process, closed at the end of the block."""
    connections = Connections()
    try:
        yield connections
    finally:
        connections.close()
