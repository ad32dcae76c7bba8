"""How the MCP library reaches a server over HTTP: through the egress guard, with sizes and times capped.

The library ends a whole connection, and every call in it, when a request of one call raises. So nothing is raised here: what goes wrong is
noted in the exchange, and the library gets an error answer or a stream that ends.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import Any, Self

import anyio
import httpcore2
import httpx2
from plimsoll_runtime.egress import EgressGuard, EgressRefused, HostUnknown
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.outbound_http import AnswerTooLate, AnswerUnfit, ConnectionBroken, Unreachable

from plimsoll_tool_dispatcher.adapters.sources.mcp.exchange import Exchange, present_exchange

_CONNECT_S = 5.0
_TOLD_BYTES = 1600
_ERROR_BYTES = 64 * 1024
_ERROR_ANSWER = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"no whole answer came"}}'
_SENT = frozenset({"http11.send_request_headers.started", "http2.send_request_headers.started"})


class GuardedTransport(httpx2.AsyncBaseTransport):  # the library asks for a subclass
    """One server's connections."""

    def __init__(self, guard: EgressGuard, answer_bytes: int) -> None:
        self._guard = guard
        self._answer_bytes = answer_bytes
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=ssl.create_default_context(),
            max_connections=128,
            max_keepalive_connections=16,
            keepalive_expiry=15.0,
            network_backend=_GuardedNetwork(guard),
        )

    async def __aenter__(self) -> Self:
        await self._pool.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None = None, exc_value: BaseException | None = None, traceback: TracebackType | None = None
    ) -> None:
        await self._pool.__aexit__(exc_type, exc_value, traceback)

    async def aclose(self) -> None:
        await self._pool.aclose()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET":  # a stream of what the server says by itself: we ask for what we want to know instead
            return httpx2.Response(405, request=request)
        exchange = present_exchange()
        try:
            return await self._sent(request, exchange)
        except PlimsollError as error:
            exchange.fault = error
        except (httpcore2.ConnectError, httpcore2.ConnectTimeout, httpcore2.PoolTimeout) as error:
            exchange.fault = Unreachable("no connection to the server")
            exchange.fault.__cause__ = error
        except TimeoutError:
            exchange.fault = AnswerTooLate("the answer did not begin in time", sent=exchange.sent)
        except (httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.ProtocolError) as error:
            exchange.fault = ConnectionBroken("the connection broke") if exchange.sent else Unreachable("no connection to the server")
            exchange.fault.__cause__ = error
        return httpx2.Response(502, headers={"content-type": "application/json"}, content=_ERROR_ANSWER, request=request)

    async def _sent(self, request: httpx2.Request, exchange: Exchange) -> httpx2.Response:
        self._guard.target(str(request.url))
        assert isinstance(request.stream, httpx2.AsyncByteStream)

        async def note(event: str, details: dict[str, Any]) -> None:
            exchange.sent = exchange.sent or event in _SENT

        async with asyncio.timeout_at(_at(exchange)):
            response = await self._pool.handle_async_request(
                httpcore2.Request(
                    method=request.method,
                    url=httpcore2.URL(
                        scheme=request.url.raw_scheme, host=request.url.raw_host, port=request.url.port, target=request.url.raw_path
                    ),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions={**request.extensions, "trace": note},
                )
            )
        body = CappedBody(response.stream, exchange, self._answer_bytes)
        plain = httpx2.Headers(response.headers)
        if plain.get("content-encoding", "identity") != "identity":
            await body.aclose()
            raise AnswerUnfit("the answer is encoded, which was not asked for")
        if response.status < 400:
            return httpx2.Response(response.status, headers=response.headers, stream=body, request=request)
        content = await body.start(_ERROR_BYTES)
        exchange.status, exchange.retry_after = response.status, plain.get("retry-after")
        exchange.told = content[:_TOLD_BYTES].decode("utf-8", "replace")
        return httpx2.Response(response.status, headers={"content-type": plain.get("content-type", "")}, content=content, request=request)


class CappedBody(httpx2.AsyncByteStream):
    """The body of an answer, which ends, never raises, and is no longer and takes no longer than it may."""

    def __init__(self, body: Any, exchange: Exchange, most_bytes: int) -> None:
        self._body = body
        self._exchange = exchange
        self._most_bytes = most_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size, pieces = 0, aiter(self._body)
        while True:
            try:
                async with asyncio.timeout_at(_at(self._exchange)):
                    piece = await anext(pieces, None)
            except TimeoutError:
                self._exchange.fault = AnswerTooLate("the answer did not end in time", sent=True)
                return
            except (httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.ProtocolError):
                self._exchange.fault = ConnectionBroken("the connection broke before the answer ended")
                return
            if piece is None:
                return
            size += len(piece)
            if size > self._most_bytes:
                self._exchange.fault = AnswerUnfit(f"the answer is longer than {self._most_bytes} bytes")
                return
            yield piece

    async def start(self, most_bytes: int) -> bytes:
        """What it begins with; the rest is let go."""
        content = b""
        async for piece in self:
            content += piece
            if len(content) >= most_bytes:
                break
        await self.aclose()
        return content[:most_bytes]

    async def aclose(self) -> None:
        if hasattr(self._body, "aclose"):
            await self._body.aclose()


class _GuardedNetwork(httpcore2.AsyncNetworkBackend):
    """Connects to judged addresses and to nothing else."""

    def __init__(self, guard: EgressGuard) -> None:
        self._guard = guard
        self._plain = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        try:
            with anyio.fail_after(_CONNECT_S):
                addresses = await self._guard.addresses(host, port)
        except TimeoutError as error:
            raise HostUnknown("the host was not resolved in time") from error
        failure: Exception = httpcore2.ConnectError("no address")
        for address in addresses:
            try:
                return await self._plain.connect_tcp(address, port, min(timeout or _CONNECT_S, _CONNECT_S), local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore2.AsyncNetworkStream:
        raise EgressRefused("sockets of this machine are not for tools")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def _at(exchange: Exchange) -> float | None:
    return None if exchange.until == float("inf") else exchange.until
