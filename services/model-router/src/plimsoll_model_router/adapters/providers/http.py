"""The transport that all dialects share: one question over HTTP, with four timers, and every way it can fail told apart."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from plimsoll_runtime.clock import Clock
from plimsoll_runtime.deadline import budget_s
from plimsoll_runtime.errors import DeadlineExpired, Invalid
from plimsoll_runtime.json_types import JsonObject, dump_json, parse_json, parse_object

from plimsoll_model_router.adapters.providers import failures
from plimsoll_model_router.adapters.providers.connections import ConnectionBroke, Connections, NotConnected, Response, Unreachable
from plimsoll_model_router.adapters.providers.response import BadResponse
from plimsoll_model_router.adapters.providers.sse import EventTooLarge, SseEvent, SseParser
from plimsoll_model_router.adapters.providers.wire import WireRefusal, WireRequest
from plimsoll_model_router.domain.endpoints import Timers
from plimsoll_model_router.errors import ProviderError

T = TypeVar("T")
_BODY_CAP = 32 * 1024 * 1024
_REFUSAL_CAP = 64 * 1024


class ProviderRefused(Exception):
    """The provider answered with an error status; its codec knows what that means."""

    def __init__(self, refusal: WireRefusal) -> None:
        self.refusal = refusal
        super().__init__(f"status {refusal.status}")


class Patience:
    """How long one try may still take. The timers run only while we wait for the provider, never while a consumer works."""

    def __init__(self, timers: Timers, where: str) -> None:
        """Raises ProviderError when the deadline of the caller has passed."""
        self._timers = timers
        self._where = where
        self._began = False
        try:
            self.ends_at = _now() + budget_s(timers.total_s)
        except DeadlineExpired as error:
            raise failures.late(where, "NO_TIME_LEFT", "was not asked: no time is left", sent=False) from error
        self.silent_at = self.ends_at  # nothing is expected before the end, unless the answer is streamed

    def expect_words(self) -> None:
        """The answer is streamed: from now on its first word is waited for."""
        self.silent_at = min(self.ends_at, _now() + self._timers.first_token_s)

    def heard(self) -> None:
        """A word of the answer came; pings and comments are none."""
        self._began = True
        self.silent_at = min(self.ends_at, _now() + self._timers.silence_s)

    async def wait(self, step: Awaitable[T]) -> T:
        """The step's result. Raises ProviderError when the time is over, or when the provider is silent for too long."""
        try:
            async with asyncio.timeout_at(self.silent_at):
                return await step
        except TimeoutError as error:
            raise self.late() from error

    def late(self) -> ProviderError:
        """What it means that nothing came until `silent_at`."""
        if self.silent_at >= self.ends_at:
            return failures.late(self._where, "TOO_SLOW", "did not finish in the time that was left")
        if self._began:
            return failures.late(self._where, "SILENT", "said nothing more for too long")
        return failures.late(self._where, "SLOW_START", "did not begin to answer in time")


class HttpTransport:
    """Sends requests on connections that somebody else opens and closes."""

    def __init__(self, connections: Connections, clock: Clock) -> None:
        self._connections = connections
        self._clock = clock

    async def answer(self, request: WireRequest, timers: Timers, where: str) -> JsonObject:
        """The JSON body of the answer. Raises ProviderError, or ProviderRefused for an error status."""
        patience = Patience(timers, where)
        with _told_apart(patience, where):
            response = await self._open(request, timers, patience)
            try:
                body = await _read(response, patience, where)
            finally:
                response.close()
        return _as_object(body, response, where)

    async def events(
        self, request: WireRequest, patience: Patience, timers: Timers, where: str
    ) -> AsyncGenerator[Sequence[SseEvent] | JsonObject, None]:
        """The events of a streamed answer, as they come in, until the connection ends cleanly. Raises as `answer` does.

        A server that does not stream sends one JSON object instead, and so does this.
        """
        parser, size = SseParser(), 0
        patience.expect_words()
        with _told_apart(patience, where):
            response = await self._open(request, timers, patience)
            try:
                if "event-stream" not in response.content_type:
                    whole = await _read(response, patience, where)
                    yield _as_object(whole, response, where)
                    return
                while piece := await response.piece(patience.silent_at):
                    size += len(piece)
                    if size > _BODY_CAP:
                        raise failures.malformed(where, "the answer is too large")
                    yield parser.feed(piece)
            finally:
                response.close()

    async def _open(self, request: WireRequest, timers: Timers, patience: Patience) -> Response:
        """The answer, once it began. Raises ProviderRefused for an error status."""
        headers = {"content-type": "application/json", "accept": "application/json, text/event-stream", **request.headers}
        body = dump_json(request.body).encode()
        response = await self._connections.post(request.url, headers, body, connect_s=timers.connect_s, until=patience.silent_at)
        if response.status == 200:
            return response
        try:
            raise ProviderRefused(await self._refusal(response, patience))
        finally:
            response.close()

    async def _refusal(self, response: Response, patience: Patience) -> WireRefusal:
        body = b""
        while len(body) < _REFUSAL_CAP and (piece := await response.piece(patience.silent_at)):
            body += piece
        try:
            told = parse_json(body)
        except Invalid:
            told = None
        if isinstance(told, list) and len(told) == 1:  # one dialect wraps its errors so
            told = told[0]
        headers = response.headers
        return WireRefusal(status=response.status, headers=headers, body=told if isinstance(told, dict) else {}, at=self._clock.now())


@contextmanager
def _told_apart(patience: Patience, where: str) -> Iterator[None]:
    """The errors of connections as ours."""
    try:
        yield
    except (ProviderError, ProviderRefused):
        raise
    except TimeoutError as error:
        raise patience.late() from error
    except NotConnected as error:
        raise failures.not_connected(where) from error
    except Unreachable as error:
        raise failures.unreachable(where) from error
    except EventTooLarge as error:
        raise failures.malformed(where, "an event is too large") from error
    except (ConnectionBroke, BadResponse) as error:
        raise failures.broken(where) from error
    except ValueError as error:  # a header with a line break
        raise failures.unsendable(where) from error


async def _read(response: Response, patience: Patience, where: str) -> bytes:
    pieces, size = [], 0
    while piece := await response.piece(patience.silent_at):
        size += len(piece)
        if size > _BODY_CAP:
            raise failures.malformed(where, "the answer is too large")
        pieces.append(piece)
    return b"".join(pieces)


def _as_object(body: bytes, response: Response, where: str) -> JsonObject:
    if "json" not in response.content_type:
        raise failures.not_json(where, response.content_type)
    try:
        return parse_object(body)
    except Invalid as error:
        raise failures.malformed(where, "it is not a JSON object") from error


def _now() -> float:
    return asyncio.get_running_loop().time()
