"""The body of a request: JSON, complete, in time, and never more of them at once than there is memory for."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

from aiohttp import web
from plimsoll_runtime.errors import FieldProblem, Invalid

from plimsoll_gateway.config import HttpSettings
from plimsoll_gateway.errors import BodyTooLarge, BodyTooSlow, UnsupportedBody

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class BodyReader:
    """Reads bodies within the limits."""

    def __init__(self, settings: HttpSettings, room: Callable[[int], AbstractContextManager[None]]) -> None:
        self._limit = settings.body_bytes
        self._cap_s = settings.body_cap_s
        self._room = room

    async def read(self, request: web.BaseRequest, stack: ExitStack) -> bytes:
        """The body; its room in memory is kept until `stack` unwinds.

        Raises UnsupportedBody, BodyTooLarge, BodyTooSlow, Invalid for one that is cut, or TooManyInFlight.
        """
        if not request.body_exists:
            return b""
        _check_headers(request)
        declared = request.content_length
        if declared is not None and declared > self._limit:
            raise BodyTooLarge(self._limit)
        stack.enter_context(self._room(self._limit if declared is None else declared))
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(_CONTINUE)
            request.writer.output_size = 0  # the answer itself has not begun
        try:
            async with asyncio.timeout(self._cap_s):
                return await self._chunks(request)
        except TimeoutError as error:
            raise BodyTooSlow(f"the body was not there within {self._cap_s:g} s", remedy="send it faster, or in pieces") from error
        except web.RequestPayloadError as error:
            raise Invalid(problems=(FieldProblem("body", "is cut or malformed", "send it again"),), reason="INVALID_REQUEST") from error

    async def _chunks(self, request: web.BaseRequest) -> bytes:
        body = bytearray()
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > self._limit:
                raise BodyTooLarge(self._limit)
        return bytes(body)


def _check_headers(request: web.BaseRequest) -> None:
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding != "identity":
        raise UnsupportedBody(problems=(FieldProblem("Content-Encoding", f"is {encoding[:40]!r}", "send the body as it is"),))
    given = request.headers.get("Content-Type", "application/json").partition(";")[0].strip().lower()
    if given != "application/json":
        raise UnsupportedBody(
            problems=(FieldProblem("Content-Type", f"is {given[:80]!r}", "send JSON, with Content-Type: application/json"),)
        )
