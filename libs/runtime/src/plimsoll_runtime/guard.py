"""The guard before an upstream: rate limits and circuit breaker, decided together in one round trip to Redis, for the whole fleet.

    async with open_guard(redis, clock, log) as guard:
        decision = await guard.enter(Upstream(name="crm", limits=(Limit(name="tenant:acme", rate=Rate(count=50)),)), token)
        match decision:
            case Entered(): ...call it, then: await guard.report(decision, Verdict.FAILED)
            case Limited() | Open(): ...decision.retry_after_s is true

While Redis is away or slow, decisions are made in this process, with the same meaning and no wait; the log and the gauge say so.
"""

import hashlib
from asyncio import timeout
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias
from urllib.parse import quote

from prometheus_client import CollectorRegistry, Gauge
from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from plimsoll_runtime import names
from plimsoll_runtime.batching import Batcher
from plimsoll_runtime.breaker import BreakerPolicy, Change, LocalBreaker, Open, Verdict
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import PlimsollError, Unavailable
from plimsoll_runtime.guard_script import SCRIPT
from plimsoll_runtime.limiter import Limit, Limited, LocalLimiter
from plimsoll_runtime.logs import Log
from plimsoll_runtime.redis import translating

_CAP_S = 0.1  # a decision that takes longer is made here: a guard must not become the slow dependency
_AWAY_S = 1.0  # then Redis is left alone for so long
_CLOSED_S = 0.05  # for so long a breaker that Redis called closed is taken to be: no more than a call that was let in just before it opened
_MOST_BREAKERS = 10_000
_SHA = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()  # Redis names scripts so
_PROBE, _OPEN, _LIMITED = 1, 2, 3
_BREAKER_KEYS = 2
_CHANGES = {1: Change.OPENED, 2: Change.CLOSED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """What is to be called. One breaker per `name` and service; every limit has to let the call pass."""

    name: str
    limits: tuple[Limit, ...] = ()
    policy: BreakerPolicy = field(default_factory=BreakerPolicy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entered:
    """The call may go: report what became of it. `probe` says that the fleet waits for it to decide; `local`, that Redis was away;
    `empty_in_s`, for each limit in order, how long until nothing of it is taken."""

    upstream: Upstream
    token: str
    probe: bool = False
    local: bool = False
    empty_in_s: tuple[float, ...] = ()


Decision: TypeAlias = Entered | Limited | Open
_Words: TypeAlias = tuple[list[str], list[str | float]]


class Guard:
    """`space` is the service's own part of Redis: the name of its Redis user, which is confined to it. Use `open_guard`."""

    def __init__(
        self,
        redis: Redis,
        clock: Clock,
        log: Log,
        *,
        space: str,
        share: float,
        cap_s: float,
        registry: CollectorRegistry | None,
        rounds: int = 4,
    ) -> None:
        self._redis = redis
        self._clock = clock
        self._log = log
        self._space = space
        self._cap_s = cap_s
        self._limiter = LocalLimiter(clock, share=share)
        self._breakers: OrderedDict[str, LocalBreaker] = OrderedDict()
        self._closed_until: OrderedDict[str, float] = OrderedDict()
        self._away_until = 0.0
        self._is_away = False
        self._trips: Batcher[_Words, list[int]] = Batcher(self._trip, flushers=rounds, batch_cap=128)
        self._local_gauge = Gauge(names.GUARD_LOCAL, "1 while limits and breakers are decided in this process", registry=registry)
        self._open_gauge = Gauge(names.BREAKER_OPEN, "1 while the upstream's breaker is open", ("upstream",), registry=registry)

    async def enter(self, upstream: Upstream, token: str) -> Decision:
        """Whether the call that `token` names may go. The token is the attempt's own: what is reported twice under it counts once."""
        if not upstream.limits and self._clock.monotonic() < self._closed_until.get(upstream.name, 0.0):
            return Entered(upstream=upstream, token=token)
        keys = [self._key(upstream, "breaker"), self._key(upstream, "failures")]
        keys += [self._key(upstream, f"rate:{limit.name}") for limit in upstream.limits]
        words: list[str | float] = ["enter", token, upstream.policy.probe_s * 1e6]
        for limit in upstream.limits:
            words += [limit.rate.interval_s * 1e6, limit.rate.at_once, limit.cost]
        reply = await self._ask(keys, words)
        if reply is None:
            return self._enter_here(upstream, token)
        verdict, wait_us, index, *empty_us = reply
        if verdict == _OPEN:
            return Open(retry_after_s=wait_us / 1e6)
        if verdict == _LIMITED:
            return Limited(name=upstream.limits[index - 1].name, retry_after_s=wait_us / 1e6)
        if verdict != _PROBE:
            self._closed_until[upstream.name] = self._clock.monotonic() + _CLOSED_S
            while len(self._closed_until) > _MOST_BREAKERS:
                self._closed_until.popitem(last=False)
        return Entered(upstream=upstream, token=token, probe=verdict == _PROBE, empty_in_s=tuple(us / 1e6 for us in empty_us))

    async def report(self, entered: Entered, verdict: Verdict) -> None:
        """What became of the call. Costs a round trip only for a failure, and for the probe."""
        if verdict is not Verdict.FAILED and not entered.probe:
            return
        upstream, policy = entered.upstream, entered.upstream.policy
        self._closed_until.pop(upstream.name, None)
        change = self._breaker(upstream).report(entered.token, verdict) if entered.local or verdict is Verdict.FAILED else None
        if not entered.local:
            keys = [self._key(upstream, "breaker"), self._key(upstream, "failures")]
            words: list[str | float] = [verdict.value, entered.token, policy.window_s * 1e6, policy.failures, policy.cooldown_s * 1e6]
            reply = await self._ask(keys, words)
            change = _CHANGES.get(reply[0]) if reply is not None else change
        if change is not None:
            self._open_gauge.labels(upstream.name).set(change is Change.OPENED)
            self._log.warning(f"breaker.{change}", {"upstream": upstream.name, "in_this_process_only": entered.local})

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The rounds to Redis run inside the block."""
        async with self._trips.running():
            yield

    def _enter_here(self, upstream: Upstream, token: str) -> Decision:
        """The same decision without Redis, in the same order: nothing is taken from a limit by a call that the breaker refuses."""
        refusal = self._limiter.refusal(self._key(upstream, ""), upstream.limits)
        if refusal is not None:
            return refusal
        entered = self._breaker(upstream).enter(token)
        if isinstance(entered, Open):
            return entered
        empty = self._limiter.take(self._key(upstream, ""), upstream.limits)
        return Entered(upstream=upstream, token=token, probe=entered, local=True, empty_in_s=empty)

    def _breaker(self, upstream: Upstream) -> LocalBreaker:
        breaker = self._breakers.get(upstream.name)
        if breaker is None:
            breaker = self._breakers[upstream.name] = LocalBreaker(upstream.policy, self._clock)
            if len(self._breakers) > _MOST_BREAKERS:
                self._breakers.popitem(last=False)
        return breaker

    def _key(self, upstream: Upstream, part: str) -> str:
        """The braces make a cluster keep all keys of an upstream in one place; names are quoted, so that none can pose as another."""
        return f"plimsoll:{self._space}:{{{_quoted(upstream.name, '')}}}:{_quoted(part, ':')}"

    async def _ask(self, keys: list[str], words: list[str | float]) -> list[int] | None:
        """What the script says; None when Redis does not answer, or did not just now."""
        if self._clock.monotonic() < self._away_until:
            return None
        try:
            reply = await self._trips.submit((keys, words))
        except PlimsollError as error:
            self._away_until = self._clock.monotonic() + _AWAY_S
            self._note_away(error.reason)
            return None
        self._note_back()
        return reply

    async def _trip(self, batch: Sequence[_Words]) -> list[list[int]]:
        """All that was asked meanwhile, in one round trip."""
        try:
            async with timeout(self._cap_s):
                with translating():
                    try:
                        return await self._run(batch)
                    except NoScriptError:  # a server that was restarted
                        await self._redis.script_load(SCRIPT)
                        return await self._run(batch)
        except TimeoutError:
            raise Unavailable("Redis did not answer in time", reason="REDIS_SLOW") from None

    async def _run(self, batch: Sequence[_Words]) -> list[list[int]]:
        """Calls that ask the same breaker and no limit share one answer; a probe is the first one's alone."""
        pipe = self._redis.pipeline(transaction=False)
        places: list[int] = []
        asked: dict[tuple[str, str | float], int] = {}
        for number, (keys, words) in enumerate(batch):
            shared = words[0] == "enter" and len(keys) == _BREAKER_KEYS
            place = asked.setdefault((keys[0], words[2] if shared else f"#{number}"), len(asked))
            if place == len(pipe.command_stack):
                pipe.execute_command("EVALSHA", _SHA, len(keys), *keys, *words)
            places.append(place)
        replies: list[Any] = await pipe.execute()
        taken: set[int] = set()
        answers: list[list[int]] = []
        for place, (_, words) in zip(places, batch, strict=True):
            repeat = place in taken and replies[place][0] == _PROBE and words[0] == "enter"
            answers.append([_OPEN, int(words[2]), 0] if repeat else replies[place])
            taken.add(place)
        return answers

    def _note_away(self, reason: str) -> None:
        if not self._is_away:
            self._is_away = True
            self._local_gauge.set(1)
            self._log.error("guard.local", {"reason": reason, "means": "limits and breakers are this process's own until Redis is back"})

    def _note_back(self) -> None:
        if self._is_away:
            self._is_away = False
            self._local_gauge.set(0)
            self._log.info("guard.shared")


_quoted = lru_cache(4096)(quote)  # several keys for every decision, of a few upstreams


@asynccontextmanager
async def open_guard(
    redis: Redis,
    clock: Clock,
    log: Log,
    *,
    space: str,
    share: float = 1.0,
    cap_s: float = _CAP_S,
    registry: CollectorRegistry | None = None,
    rounds: int = 4,
) -> AsyncIterator[Guard]:
    """A guard whose rounds run inside the block. `share` is this replica's part of each rate while Redis is away: 1 / replicas.

    A decision that takes Redis longer than `cap_s` is made here. `rounds` go to Redis side by side: fewer make larger batches, which cost
    less together and wait a little longer each.
    """
    guard = Guard(redis, clock, log, space=space, share=share, cap_s=cap_s, registry=registry, rounds=rounds)
    async with guard.running():
        yield guard
