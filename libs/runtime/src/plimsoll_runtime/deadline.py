"""The deadline that travels: set by the first caller, shortened on the way, never lengthened."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar

from plimsoll_runtime.errors import DeadlineExpired

_expires_at: ContextVar[float | None] = ContextVar("plimsoll_deadline", default=None)  # time.monotonic()


def remaining_s() -> float | None:
    """Seconds left, None when nobody set a deadline; may be negative."""
    at = _expires_at.get()
    return None if at is None else at - time.monotonic()


def budget_s(cap_s: float) -> float:
    """Seconds that a call may take: its own cap or what is left, whichever is less. Raises DeadlineExpired when nothing is."""
    left = remaining_s()
    if left is None:
        return cap_s
    if left <= 0:
        raise DeadlineExpired
    return min(cap_s, left)


def expire(in_s: float) -> None:
    """Set the deadline that calls inherit from now on, without enforcing it here: for a task that is one request's own."""
    at = time.monotonic() + in_s
    outer = _expires_at.get()
    _expires_at.set(at if outer is None else min(at, outer))


@contextmanager
def expiring(in_s: float | None) -> Iterator[None]:
    """Set the deadline that calls inside the block inherit, without enforcing it here."""
    if in_s is None:
        yield
        return
    outer = _expires_at.get()
    expire(in_s)
    try:
        yield
    finally:
        _expires_at.set(outer)


@asynccontextmanager
async def within(cap_s: float) -> AsyncIterator[None]:
    """Enforce and hand on a deadline. Raises DeadlineExpired when the block takes longer."""
    seconds = budget_s(cap_s)
    with expiring(seconds):
        try:
            async with asyncio.timeout(seconds) as scope:
                yield
        except TimeoutError as error:
            if not scope.expired():  # somebody else's: the block had time left
                raise
            raise DeadlineExpired from error
