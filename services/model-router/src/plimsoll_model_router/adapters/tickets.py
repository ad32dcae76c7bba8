"""Limits taken in advance: what a fast limit allows within a moment is asked of the guard once, and handed out here call by call."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TypeAlias

from plimsoll_runtime.breaker import Verdict
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.guard import Decision, Entered, Upstream

from plimsoll_model_router.ports import Gate

_HOLDS_S = 0.05  # as long as the guard itself takes a breaker to be closed
_MOST = 10_000
_Key: TypeAlias = tuple[str, ...]


@dataclass(slots=True)
class _Book:
    """What is left of each limit, in the order of the limits, until when it may be used, and how many calls have used it."""

    left: list[float]
    until: float
    calls: int
    used: int = 1


class Tickets:
    """A gate before the guard. It takes for as many calls as came within the last moment, doubling while they are used up: one that calls
    now and then takes one by one, and leaves nothing unused that others could have had."""

    def __init__(self, gate: Gate, clock: Clock) -> None:
        self._gate = gate
        self._clock = clock
        self._books: OrderedDict[_Key, _Book] = OrderedDict()
        self._taking: dict[_Key, asyncio.Event] = {}

    async def enter(self, upstream: Upstream, token: str) -> Decision:
        """Whether the attempt may go. No limit is exceeded: what is handed out here was taken from it before."""
        if not upstream.limits:
            return await self._gate.enter(upstream, token)
        key = _key(upstream)
        if self._covers(key, upstream):
            return Entered(upstream=upstream, token=token)
        taking = self._taking.get(key)
        if taking is not None:  # somebody takes already, perhaps also for us
            await taking.wait()
            if self._covers(key, upstream):
                return Entered(upstream=upstream, token=token)
            return await self._take(key, upstream, token)
        taking = self._taking[key] = asyncio.Event()
        try:
            return await self._take(key, upstream, token)
        finally:
            del self._taking[key]
            taking.set()

    async def _take(self, key: _Key, upstream: Upstream, token: str) -> Decision:
        """Ask the guard: for this call, and for those that are expected after it."""
        calls = self._calls(self._books.get(key), upstream)
        many = replace(upstream, limits=tuple(replace(limit, cost=limit.cost * calls) for limit in upstream.limits))
        decision = await self._gate.enter(many, token)
        if calls > 1 and not isinstance(decision, Entered):  # so many at once are too many; one may still fit
            calls, decision = 1, await self._gate.enter(upstream, token)
        if not isinstance(decision, Entered):
            return decision
        if not decision.probe and not decision.local:
            self._keep(key, _Book([limit.cost * (calls - 1) for limit in upstream.limits], self._clock.monotonic() + _HOLDS_S, calls))
        return replace(decision, upstream=upstream)

    async def report(self, entered: Entered, verdict: Verdict) -> None:
        """What became of it. After a failure the guard is asked again: the breaker may be open."""
        if verdict is Verdict.FAILED:
            self._books.pop(_key(entered.upstream), None)
        await self._gate.report(entered, verdict)

    def _covers(self, key: _Key, upstream: Upstream) -> bool:
        book = self._books.get(key)
        if book is None:
            return False
        costs = [limit.cost for limit in upstream.limits]
        if self._clock.monotonic() >= book.until or any(left < cost for left, cost in zip(book.left, costs, strict=True)):
            return False
        book.left = [left - cost for left, cost in zip(book.left, costs, strict=True)]
        book.used += 1
        return True

    def _calls(self, book: _Book | None, upstream: Upstream) -> int:
        """For how many calls like this one to take; no more than the limits allow while the tickets hold."""
        if book is None:
            return 1
        most = min(int(_HOLDS_S / limit.rate.interval_s / limit.cost) for limit in upstream.limits)
        wanted = 2 * book.calls if self._clock.monotonic() < book.until else book.used
        return max(1, min(most, wanted))

    def _keep(self, key: _Key, book: _Book) -> None:
        self._books[key] = book
        self._books.move_to_end(key)
        while len(self._books) > _MOST:
            self._books.popitem(last=False)


def _key(upstream: Upstream) -> _Key:
    return upstream.name, *(limit.name for limit in upstream.limits)
