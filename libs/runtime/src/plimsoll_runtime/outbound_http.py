"""HTTP that leaves the mesh: through an egress guard, redirects judged again, sizes and times capped, and told whether anything was sent.

PlimsollError
├── Denied
│   └── EgressRefused      (egress) the target, or where it redirects to, is not allowed
├── Unavailable
│   ├── HostUnknown        (egress) the host has no address; nothing was sent
│   ├── Unreachable        no connection; nothing was sent
│   └── ConnectionBroken   the connection broke after the request may have been sent
├── DeadlineExpired
│   └── AnswerTooLate      the answer did not end in time
├── Invalid
│   └── RequestUnfit       the request itself cannot be sent
└── Internal
    └── AnswerUnfit        the answer is too large, cannot be decoded, or redirects without end
"""

import asyncio
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace, TracebackType
from typing import Any, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from multidict import CIMultiDict
from yarl import URL

from plimsoll_runtime.deadline import budget_s
from plimsoll_runtime.egress import EgressGuard, EgressRefused
from plimsoll_runtime.errors import DeadlineExpired, Internal, Invalid, PlimsollError, Unavailable
from plimsoll_runtime.faults import Edge, through

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SAFE_METHODS = frozenset({"GET", "HEAD"})
_METHOD = re.compile(r"[A-Z]{1,20}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]{0,8000}")
_OURS = frozenset({"connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"})
_KEPT_ELSEWHERE = frozenset({"accept", "accept-language", "user-agent"})  # all else may be meant for the first origin alone
_AGENT = "plimsoll"


class Unreachable(Unavailable):
    """No connection could be made; nothing was sent."""

    reason = "UNREACHABLE"


class ConnectionBroken(Unavailable):
    """The connection broke after the request may have been sent."""

    reason = "CONNECTION_BROKEN"


class AnswerTooLate(DeadlineExpired):
    """The answer did not end in time; `sent` says whether the request may have reached anybody."""

    reason = "ANSWER_TOO_LATE"

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class RequestUnfit(Invalid):
    """The request cannot be sent as it is."""

    reason = "REQUEST_UNFIT"


class AnswerUnfit(Internal):
    """The answer cannot be used."""

    reason = "ANSWER_UNFIT"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """`redirects` are followed for GET and HEAD only; another method's redirect is its answer."""

    connect_s: float = 5.0
    total_s: float = 30.0
    answer_bytes: int = 8 * 1024 * 1024
    redirects: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    method: str = "GET"
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """`url` is where the answer came from, after redirects; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    url: str


class OutboundHttp:
    """Sends requests through a guard; while it is entered, connections are kept.

    Only requests that may be repeated share kept connections: a stale one would leave it open whether another request was sent.
    """

    def __init__(self, guard: EgressGuard, limits: HttpLimits | None = None) -> None:
        self._guard = guard
        self._limits = limits or HttpLimits()
        self._stack = AsyncExitStack()
        self._shared: aiohttp.ClientSession | None = None
        self._fresh: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._shared = await self._stack.enter_async_context(self._session(fresh=False))
        self._fresh = await self._stack.enter_async_context(self._session(fresh=True))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._stack.aclose()

    async def send(self, request: HttpRequest, timeout_s: float | None = None) -> HttpAnswer:
        """The whole answer, whatever its status. Raises the errors drawn above; never takes longer than the limits or the deadline."""
        return await through(
            Edge.HTTP,
            _host(request.url),
            lambda: self._send(request, timeout_s),
            away=lambda: Unreachable("no connection to the host (a fault on demand)"),
            lost=lambda: ConnectionBroken("the connection broke before the answer ended (a fault on demand)"),
        )

    async def _send(self, request: HttpRequest, timeout_s: float | None) -> HttpAnswer:
        headers = _fit_headers(request)
        url = self._guard.target(request.url)
        progress = SimpleNamespace(sent=False)
        try:
            async with asyncio.timeout(budget_s(min(timeout_s or self._limits.total_s, self._limits.total_s))):
                with _told_apart(progress):
                    return await self._follow(request, url, headers, progress)
        except TimeoutError as error:
            raise AnswerTooLate("the answer did not end in time", sent=progress.sent) from error

    async def _follow(self, request: HttpRequest, url: URL, headers: Mapping[str, str], progress: SimpleNamespace) -> HttpAnswer:
        for _ in range(self._limits.redirects + 1):
            answer, location = await self._once(request, url, headers, progress)
            if not location:
                return answer
            onward = self._judged_redirect(url, location)
            if onward.origin() != url.origin():
                headers = {name: value for name, value in headers.items() if name.lower() in _KEPT_ELSEWHERE}
            url = onward
        raise AnswerUnfit(f"more than {self._limits.redirects} redirects")

    async def _once(self, request: HttpRequest, url: URL, headers: Mapping[str, str], progress: SimpleNamespace) -> tuple[HttpAnswer, str]:
        """One exchange; with the place it redirects to, if it is to be followed."""
        safe = request.method in _SAFE_METHODS
        session = self._shared if safe else self._fresh
        assert session is not None, "enter it first"
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._limits.connect_s)
        async with session.request(
            request.method,
            url,
            data=request.body or None,
            headers=headers,
            timeout=timeout,
            allow_redirects=False,
            trace_request_ctx=progress,
        ) as response:
            location = response.headers.get("location", "") if safe and response.status in _REDIRECTS else ""
            body = b"" if location else await self._body(response)
            named = {name.lower(): value for name, value in response.headers.items()}
            return HttpAnswer(status=response.status, headers=named, body=body, url=str(url)), location

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        most, pieces, size = self._limits.answer_bytes, [], 0
        if (response.content_length or 0) > most:
            response.close()
            raise AnswerUnfit(f"the answer is longer than {most} bytes")
        async for piece in response.content.iter_any():
            size += len(piece)
            if size > most:
                response.close()
                raise AnswerUnfit(f"the answer is longer than {most} bytes")
            pieces.append(piece)
        return b"".join(pieces)

    def _judged_redirect(self, url: URL, location: str) -> URL:
        """Raises EgressRefused, also for a way from https down to http."""
        try:
            onward = url.join(URL(location))
        except ValueError as error:
            raise EgressRefused("a redirect leads to a URL that cannot be read") from error
        if not location.isascii() or not location.isprintable() or "\\" in location:
            raise EgressRefused("a redirect leads to an unclear URL")
        judged = self._guard.target(str(onward))
        if url.scheme == "https" and judged.scheme != "https":
            raise EgressRefused("a redirect leads from https to http")
        return judged

    def _session(self, *, fresh: bool) -> aiohttp.ClientSession:
        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(_note_sent)
        connector = aiohttp.TCPConnector(
            resolver=_JudgedAddresses(self._guard),
            use_dns_cache=False,
            socket_factory=self._judged_socket,
            force_close=fresh,
            limit=256,
            limit_per_host=64,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"user-agent": _AGENT, "accept-encoding": "gzip, deflate"},
            trace_configs=[trace],
            trust_env=False,
        )

    def _judged_socket(self, address: tuple[Any, ...]) -> socket.socket:
        """The last look, at the very address that is connected to; the only one at addresses that stand in a URL."""
        family, kind, protocol, _, sockaddr = address
        self._guard.judge(str(sockaddr[0]), str(sockaddr[0]))
        return socket.socket(family=family, type=kind, proto=protocol)


class _JudgedAddresses(AbstractResolver):  # the library asks for a subclass
    def __init__(self, guard: EgressGuard) -> None:
        self._guard = guard

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[ResolveResult]:
        found = await self._guard.addresses(host, port)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in found
        ]

    async def close(self) -> None:
        """Nothing is held."""


async def _note_sent(session: aiohttp.ClientSession, context: SimpleNamespace, parameters: aiohttp.TraceRequestHeadersSentParams) -> None:
    context.trace_request_ctx.sent = True


def _host(url: str) -> str:
    return url.partition("://")[2].partition("/")[0]


def _fit_headers(request: HttpRequest) -> Mapping[str, str]:
    """Raises RequestUnfit for a method, a name or a value that would not travel as it stands, and for headers that are ours to set."""
    if _METHOD.fullmatch(request.method) is None:
        raise RequestUnfit(f"{request.method[:40]!r} is no method")
    fit = CIMultiDict[str]()
    for name, value in request.headers.items():
        if _HEADER_NAME.fullmatch(name) is None or name.lower() in _OURS or name in fit:
            raise RequestUnfit(f"{name[:80]!r} is no header that can be set, or it is set twice")
        if _HEADER_VALUE.fullmatch(value) is None:
            raise RequestUnfit(f"the header {name} has a value with other than printable ASCII characters, or a very long one")
        fit[name] = value
    return fit


@contextmanager
def _told_apart(progress: SimpleNamespace) -> Iterator[None]:
    """The client library's errors as ours; what the guard raises passes through."""
    try:
        yield
    except PlimsollError:
        raise
    except aiohttp.ConnectionTimeoutError as error:
        raise Unreachable("the host did not accept the connection in time") from error
    except (aiohttp.ClientConnectorError, ssl.SSLError) as error:
        raise Unreachable(f"no connection to the host: {_kind(error)}") from error
    except (aiohttp.InvalidURL, ValueError) as error:
        raise RequestUnfit("the request cannot be sent") from error
    except aiohttp.ClientPayloadError as error:
        raise ConnectionBroken("the answer is cut, or cannot be decoded") from error
    except aiohttp.ClientResponseError as error:
        raise AnswerUnfit("the answer is not HTTP as it should be") from error
    except (aiohttp.ClientError, ConnectionError) as error:
        if progress.sent:
            raise ConnectionBroken("the connection broke before the answer ended") from error
        raise Unreachable("the connection broke before anything was sent") from error


def _kind(error: BaseException) -> str:
    return "its certificate is not trusted" if isinstance(error, aiohttp.ClientConnectorCertificateError) else "refused or failed"
