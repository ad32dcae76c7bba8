"""What became of one request on its way to an MCP server: noted by the transport, read by whoever sent the request.

The MCP library tells most of what goes wrong as one kind of error. Whether a call may have acted is decided by what is noted here.
"""

import asyncio
import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from plimsoll_runtime.errors import PlimsollError


@dataclass(slots=True)
class Exchange:
    """`until` is on the loop's clock; `fault` is why no whole answer came; `status` and `told` are of an HTTP error answer."""

    until: float = math.inf
    sent: bool = False
    status: int = 0
    retry_after: str | None = None
    told: str = ""
    fault: PlimsollError | None = None


_present: ContextVar[Exchange | None] = ContextVar("plimsoll_mcp_exchange", default=None)


def present_exchange() -> Exchange:
    """That of the request on whose behalf this runs; a fresh one for what belongs to none."""
    return _present.get() or Exchange()


@contextmanager
def exchange(timeout_s: float) -> Iterator[Exchange]:
    """Note what becomes of the one request that is sent inside the block."""
    one = Exchange(until=asyncio.get_running_loop().time() + timeout_s)
    token = _present.set(one)
    try:
        yield one
    finally:
        _present.reset(token)
