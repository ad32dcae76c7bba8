"""The transport that all providers share: one question over HTTP, with four timers, and every way it can fail told apart."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import aiohttp
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.deadline import budget_s
from plimsoll_runtime.errors import DeadlineExpired, Invalid
from plimsoll_runtime.json_types import JsonObject, dump_json, parse_object

from plimsoll_model_router.adapters.providers import failures
from plimsoll_model_router.adapters.providers.sse import EventTooLarge, SseEvent, SseParser
from plimsoll_model_router.errors import ProviderError

T = TypeVar("T")
_BODY_CAP = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Timers:
    """Seconds: until the connection stands, until a stream says its first word, between two words of it, and for the whole answer."""

    connect_s: float = 5.0
    first_token_s: float = 15.0
    silence_s: float = 20.0
    total_s: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WireRequest:
    """`where` is the provider and model, for messages."""

    url: str
    headers: Mapping[str, str]
    body: JsonObject
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorAnswer:
    """An answer with an error status; `body` is empty when it is not JSON."""

    status: int
    body: JsonObject
    retry_after_s: float | None


class ProviderAnswered(Exception):
    """The provider answered with an error status; its codec knows what it means."""

    def __init__(self, answer: ErrorAnswer) -> None:
        self.answer = answer
        super().__init__(f"status {answer.status}")


def open_session() -> aiohttp.ClientSession:
    """The one session of the process: connections are kept and shared, no cookies, no proxies from the environment."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, limit_per_host=512, ttl_dns_cache=60),
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=True,
    )


class HttpTransport:
    """Sends requests on a session that somebody else opens and closes."""

    def __init__(self, session: aiohttp.ClientSession, timers: Timers, clock: Clock) -> None:
        self._session = session
        self._timers = timers
        self._clock = clock

    async def ask(self, request: WireRequest) -> JsonObject:
        """The JSON body of the answer. Raises ProviderError, or ProviderAnswered for an error status."""
        ends_at = self._ends_at(request.where)
        with _told_apart(request.where):
            response = await self._before(ends_at, self._open(request), request.where)
            try:
                body = await self._before(ends_at, _read(response, request.where), request.where)
            finally:
                response.close()
        return _as_object(body, response, request.where)

    async def events(self, request: WireRequest) -> AsyncGenerator[SseEvent, None]:
        """The events of a streamed answer, until the connection ends cleanly. Raises as `ask` does.

        The timers run only while we wait for the provider, never while the consumer works.
        """
        where, ends_at, parser = request.where, self._ends_at(request.where), SseParser()
        silent_at = min(ends_at, _now() + self._timers.first_token_s)
        with _told_apart(where):
            response = await self._before(ends_at, self._open(request), where, silent_at=silent_at)
            try:
                if "json" in response.content_type:  # an error inside, or a server that cannot stream
                    whole = await self._before(ends_at, _read(response, where), where)
                    yield SseEvent(name="", data=dump_json(_as_object(whole, response, where)))
                    return
                if "event-stream" not in response.content_type:
                    raise failures.not_json(where, response.content_type)
                while piece := await self._before(ends_at, response.content.readany(), where, silent_at=silent_at):
                    for event in parser.feed(piece):
                        yield event
                    silent_at = _now() + self._timers.silence_s
            finally:
                response.close()

    def _ends_at(self, where: str) -> float:
        """When the whole answer must be here: the caller's deadline, or our own cap when that is nearer."""
        try:
            return _now() + budget_s(self._timers.total_s)
        except DeadlineExpired as error:
            raise failures.late(where, "NO_TIME_LEFT", "was not asked: no time is left") from error

    async def _before(self, ends_at: float, step: Awaitable[T], where: str, *, silent_at: float | None = None) -> T:
        """The step's result. Raises ProviderError when the time is over, or when the provider is silent for too long."""
        try:
            async with asyncio.timeout_at(min(ends_at, silent_at or ends_at)):
                return await step
        except TimeoutError as error:
            if isinstance(error, aiohttp.ClientError):
                raise
            if silent_at is not None and silent_at < ends_at:
                raise failures.late(where, "SILENT", "said nothing for too long") from error
            raise failures.late(where, "TOO_SLOW", "did not finish in the time that was left") from error

    async def _open(self, request: WireRequest) -> aiohttp.ClientResponse:
        """The answer, once it began. Raises ProviderAnswered for an error status."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._timers.connect_s)
        headers = {"content-type": "application/json", "accept": "application/json, text/event-stream", **request.headers}
        body = dump_json(request.body).encode()
        response = await self._session.post(request.url, data=body, headers=headers, timeout=timeout, allow_redirects=False)
        if response.status == 200:
            return response
        try:
            raise ProviderAnswered(await self._error(response))
        finally:
            response.close()

    async def _error(self, response: aiohttp.ClientResponse) -> ErrorAnswer:
        raw = await response.content.read(64 * 1024)
        try:
            body = parse_object(raw)
        except Invalid:
            body = JsonObject()
        wait = failures.retry_after_s(dict(response.headers), self._clock.now())
        return ErrorAnswer(status=response.status, body=body, retry_after_s=wait)


@contextmanager
def _told_apart(where: str) -> Iterator[None]:
    """The client library's errors as ours."""
    try:
        yield
    except ProviderError:
        raise
    except aiohttp.ConnectionTimeoutError as error:
        raise failures.late(where, "CONNECT_TIMEOUT", "did not accept the connection in time") from error
    except (aiohttp.ClientConnectorError, aiohttp.InvalidURL, ssl.SSLError) as error:
        raise failures.unreachable(where) from error
    except EventTooLarge as error:
        raise failures.malformed(where, "an event is too large") from error
    except (aiohttp.ClientError, ConnectionError) as error:
        raise failures.broken(where) from error


async def _read(response: aiohttp.ClientResponse, where: str) -> bytes:
    pieces, size = [], 0
    async for piece in response.content.iter_any():
        size += len(piece)
        if size > _BODY_CAP:
            raise failures.malformed(where, "the answer is too large")
        pieces.append(piece)
    return b"".join(pieces)


def _as_object(body: bytes, response: aiohttp.ClientResponse, where: str) -> JsonObject:
    if "json" not in response.content_type:
        raise failures.not_json(where, response.content_type)
    try:
        return parse_object(body)
    except Invalid as error:
        raise failures.malformed(where, "it is not a JSON object") from error


def _now() -> float:
    return asyncio.get_running_loop().time()
