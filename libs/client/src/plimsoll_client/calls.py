"""Every call to the gateway passes here: the key, the deadline, the repeats that are safe, and the errors as ours."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from random import Random, SystemRandom
from typing import Protocol, TypeVar

import grpc
from plimsoll_runtime.errors import DeadlineExpired, ErrorKind, PlimsollError
from plimsoll_runtime.status import error_from_rpc

from plimsoll_client.backoff import Backoff
from plimsoll_client.errors import Unreachable

Request = TypeVar("Request")
Response = TypeVar("Response")
Item = TypeVar("Item")
Token = TypeVar("Token", bound="Page")

CALL_S = 15.0
"""What a call may take when nobody says otherwise, repeats included."""

_REPEATABLE = frozenset({ErrorKind.UNAVAILABLE, ErrorKind.EXHAUSTED})


class Page(Protocol):
    """A response that is one page of a list."""

    next_page_token: str


class Calls:
    """One channel's calls. `pause` and `rng` are there for tests."""

    def __init__(
        self,
        target: str,
        api_key: str,
        *,
        backoff: Backoff | None = None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: Random | None = None,
    ) -> None:
        self._target = target
        self._metadata = (("authorization", f"Bearer {api_key}"),)
        self._backoff = backoff or Backoff()
        self._pause = pause
        self._rng = rng or SystemRandom()

    async def once(
        self, method: grpc.aio.UnaryUnaryMultiCallable[Request, Response], request: Request, *, cap_s: float = CALL_S
    ) -> Response:
        """Call, and never repeat: for what would happen twice."""
        try:
            return await method(request, timeout=cap_s, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise self._known(error) from error

    async def repeatable(
        self, method: grpc.aio.UnaryUnaryMultiCallable[Request, Response], request: Request, *, cap_s: float = CALL_S
    ) -> Response:
        """Call, and repeat while the mesh is away or full: for reads and for what happens once however often it is asked."""
        ends_at, tried = time.monotonic() + cap_s, 0
        while True:
            left_s = ends_at - time.monotonic()
            if left_s <= 0:
                raise DeadlineExpired(f"the mesh at {self._target} did not answer within {cap_s:g} s")
            try:
                return await self.once(method, request, cap_s=left_s)
            except PlimsollError as error:
                tried += 1
                await self.pause_after(error, tried, self._backoff)

    async def stream(
        self, method: grpc.aio.UnaryStreamMultiCallable[Request, Response], request: Request, *, cap_s: float
    ) -> AsyncGenerator[Response, None]:
        """One stream, not resumed. Leaving the loop cancels it."""
        answers = method(request, timeout=cap_s, metadata=self._metadata)
        try:
            async for answer in answers:
                yield answer
        except grpc.aio.AioRpcError as error:
            raise self._known(error) from error
        finally:
            answers.cancel()

    async def pause_after(self, error: PlimsollError, tried: int, backoff: Backoff) -> None:
        """Wait before the next try, or raise `error` when it will not help or there were enough."""
        wait_s = backoff.wait_s(tried, self._rng, at_least_s=error.retry_after_s) if error.kind in _REPEATABLE else None
        if wait_s is None:
            raise error
        await self._pause(wait_s)

    def _known(self, error: grpc.aio.AioRpcError) -> PlimsollError:
        known = error_from_rpc(error, f"the mesh at {self._target}")
        if known.reason != Unreachable.reason:
            return known
        return Unreachable(f"no mesh answers at {self._target}", remedy="See `plimsoll status`; start it with `plimsoll up`")


async def every(
    page: Callable[[int, str], Awaitable[Token]], items: Callable[[Token], Iterable[Item]], *, limit: int, page_size: int = 100
) -> list[Item]:
    """The first `limit` items of a list, however many pages they take. `page` is called with a size and a token."""
    found: list[Item] = []
    token = ""
    while len(found) < limit:
        answer = await page(min(page_size, limit - len(found)), token)
        found.extend(items(answer))
        token = answer.next_page_token
        if not token:
            break
    return found[:limit]
