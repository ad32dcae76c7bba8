"""Waiting for something that will become true, with a limit instead of a sleep."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

_POLL_S = 0.01
_PATIENCE_S = 60.0  # what comes true comes soon; a machine may stand still for seconds, though, and that is no failure


async def eventually(predicate: Callable[[], T | Awaitable[T]], within_s: float = _PATIENCE_S) -> T:
    """Call `predicate` until it returns something true and return that; an AssertionError it raises counts as not yet."""
    last: object = None
    try:
        async with asyncio.timeout(within_s):
            while True:
                try:
                    outcome = predicate()
                    value = await outcome if inspect.isawaitable(outcome) else outcome
                    if value:
                        return value
                    last = value
                except AssertionError as error:
                    last = error
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        reason = f"not true within {within_s:g} s; the last answer was {last!r}"
        raise AssertionError(reason) from (last if isinstance(last, AssertionError) else None)
