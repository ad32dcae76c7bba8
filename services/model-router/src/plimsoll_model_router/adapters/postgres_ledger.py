"""The call ledger in PostgreSQL: reservations before calls, what they consumed after them, the events that tell of them, and answers kept
for repeats. What many calls want at the same time is one statement."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import asyncpg
from plimsoll_runtime import logs, telemetry
from plimsoll_runtime.batching import Batcher
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.json_types import JsonObject
from plimsoll_runtime.postgres import translating
from plimsoll_runtime.retry import pause

from plimsoll_model_router.adapters.call_rows import kept_call, row_of
from plimsoll_model_router.adapters.tenancy import working_for
from plimsoll_model_router.domain import plain
from plimsoll_model_router.domain.budgets import Budget, BudgetPeriod, BudgetScope, Estimate
from plimsoll_model_router.domain.calls import Busy, CompletedCall, KeptCall, Opened, Opening, Opens, OverBudget
from plimsoll_model_router.domain.generation import Answer
from plimsoll_model_router.errors import RequestKeyReused, UnknownCall

COMPLETED = "plimsoll.v1.model_router.call.completed"
EncodeEvent: TypeAlias = Callable[[str, CompletedCall], bytes]

_LEASE_S = 15.0
_RENEW_EVERY_S = 5.0
_FORGET_EVERY_S = 300.0
_LATE_CAP = 10_000
_LATE_RETRY_S = 1.0
_LAST_CAP_S = 3.0
_RECALL = "select fingerprint, answer from calls where tenant = $1 and request_key = $2 and answer is not null"
_CACHED = """
    select answer from calls where tenant = $1 and cache_key = $2 and started_at >= $3 and answer is not null
    order by started_at desc limit 1
"""
_LAST_MODEL = """
    select provider || '/' || model from calls
    where tenant = $1 and run_id = $2 and node = $3 and run_id <> '' and failure_category is null order by started_at desc limit 1
"""


@dataclass(frozen=True, slots=True)
class _Settling:
    row: JsonObject
    payload: bytes
    trace: str


class PostgresCallLedger:
    """`remember_s` is how long an answer is kept for repeats under its request key; `committed` is told of every new event.

    Works inside `running`.
    """

    def __init__(
        self, pool: asyncpg.Pool, encode: EncodeEvent, clock: Clock, log: logs.Log, *, remember_s: float, committed: Callable[[], None]
    ) -> None:
        self._pool = pool
        self._encode = encode
        self._clock = clock
        self._log = log
        self._remember = timedelta(seconds=remember_s)
        self._committed = committed
        # One round at a time: what comes meanwhile is the next one. More rounds side by side would each be smaller, and cost more together.
        self._opens: Batcher[JsonObject, JsonObject] = Batcher(self._flush_opens, flushers=1)
        self._settles: Batcher[_Settling, JsonObject] = Batcher(self._flush_settles, flushers=1)
        self._late: asyncio.Queue[CompletedCall] = asyncio.Queue(_LATE_CAP)
        self._mine: set[str] = set()  # calls that are open here

    async def open(self, opening: Opening) -> Opens:
        self._mine.add(opening.call_id)
        try:
            told = await self._opens.submit(_asked(opening, opening.wanted, extends=False))
            opens = _opens(told, opening)
        except BaseException:
            self._mine.discard(opening.call_id)
            raise
        if not isinstance(opens, Opened):
            self._mine.discard(opening.call_id)
        return opens

    async def extend(self, opening: Opening, more: Estimate) -> OverBudget | None:
        told = _opens(await self._opens.submit(_asked(opening, more, extends=True)), opening)
        return told if isinstance(told, OverBudget) else None

    async def record(self, call: CompletedCall) -> Answer | None:
        """A call that lost the race for its request key was paid for all the same: it is kept without its answer."""
        event_id = f"{call.call_id}.completed"
        row = row_of(call, self._remembered_until(call)) | {"event_id": event_id, "event_subject": COMPLETED}
        told = await self._settles.submit(_Settling(row, self._encode(event_id, call), telemetry.outgoing()))
        self._mine.discard(call.call_id)
        self._committed()
        return _same(told["fingerprint"], told["answer"], call.fingerprint) if told["state"] == "late" else None

    def post(self, call: CompletedCall) -> None:
        try:
            self._late.put_nowait(call)
        except asyncio.QueueFull:
            self._mine.discard(call.call_id)  # its lease ends
            self._log.error("ledger.call_lost", {"call": call.call_id, "cost_micros": call.outcome.usage.cost_micros})

    async def recall(self, tenant: str, request_key: str, fingerprint: str) -> Answer | None:
        async with working_for(self._pool, tenant) as connection:
            row = await connection.fetchrow(_RECALL, tenant, request_key)
        return _same(row["fingerprint"], row["answer"], fingerprint) if row is not None else None

    async def cached(self, tenant: str, cache_key: str, since: datetime) -> Answer | None:
        async with working_for(self._pool, tenant) as connection:
            answer = await connection.fetchval(_CACHED, tenant, cache_key, since)
        return plain.answer_from_plain(answer) if answer is not None else None

    async def last_model(self, tenant: str, run_id: str, node: str) -> str:
        async with working_for(self._pool, tenant) as connection:
            return await connection.fetchval(_LAST_MODEL, tenant, run_id, node) or ""

    async def get(self, tenant: str, call_id: str) -> KeptCall:
        async with working_for(self._pool, tenant) as connection:
            row = await connection.fetchrow("select * from calls where tenant = $1 and call_id = $2", tenant, call_id)
        if row is None:
            raise UnknownCall(f"there is no call {call_id!r}", remedy="take the id from an answer; calls in flight are not there yet")
        return kept_call(row)

    async def forget(self) -> int:
        """Drop answers whose time is over; returns how many."""
        with translating():
            return int(await self._pool.fetchval("select forget_answers($1)", self._clock.now()))

    async def release(self) -> int:
        """Let go of what calls hold whose replica died; returns how many there were."""
        with translating():
            return int(await self._pool.fetchval("select release_calls()"))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Calls are opened and settled inside the block; what was posted until its end is recorded, as far as there is time."""
        async with self._opens.running(), self._settles.running():
            yield
            over = asyncio.Event()
            over.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_CAP_S):
                    while not self._late.empty():
                        await self._post(self._late.get_nowait(), over)

    async def keep_house(self, stop: asyncio.Event) -> None:
        """Renew leases, release those of the dead, and forget old answers, until `stop` is set."""
        forget_at = 0.0
        while not stop.is_set():
            try:
                if self._mine:
                    with translating():
                        await self._pool.execute("select renew_calls($1, $2)", list(self._mine), _LEASE_S)
                if released := await self.release():
                    self._log.warning("ledger.released", {"calls": released})
                if self._clock.monotonic() >= forget_at:
                    await self.forget()
                    forget_at = self._clock.monotonic() + _FORGET_EVERY_S
            except PlimsollError as error:
                self._log.warning("ledger.house_not_kept", {"reason": error.reason})
            await pause(_RENEW_EVERY_S, stop)

    async def post_late(self, stop: asyncio.Event) -> None:
        """Record the calls that nobody waited for, until `stop` is set and all that came before is recorded or cannot be."""
        async with asyncio.TaskGroup() as group:
            stopped = group.create_task(stop.wait())
            while True:
                waiting = group.create_task(self._late.get())
                await asyncio.wait({waiting, stopped}, return_when=asyncio.FIRST_COMPLETED)
                if not waiting.done():
                    waiting.cancel()
                    return
                await self._post(waiting.result(), stop)

    async def _post(self, call: CompletedCall, stop: asyncio.Event) -> None:
        while True:
            try:
                await self.record(call)
            except PlimsollError as error:
                if error.retryable and not stop.is_set():
                    await pause(_LATE_RETRY_S, stop)
                    continue
                self._log.error("ledger.call_lost", {"call": call.call_id, "reason": error.reason})
            return

    def _remembered_until(self, call: CompletedCall) -> datetime | None:
        """The later of what the request key and the leave to cache ask for."""
        lasting = [self._remember] if call.generation.request_key else []
        if call.cache_key and call.generation.cache is not None:
            lasting.append(timedelta(seconds=call.generation.cache.max_age_s))
        return self._clock.now() + max(lasting) if lasting else None

    async def _flush_opens(self, batch: Sequence[JsonObject]) -> Sequence[JsonObject]:
        with translating():
            async with self._pool.acquire() as connection:
                rows = await connection.fetch("select open_calls($1, $2)", list(batch), _LEASE_S)
        return _in_order([row[0] for row in rows], [one["call_id"] for one in batch])

    async def _flush_settles(self, batch: Sequence[_Settling]) -> Sequence[JsonObject]:
        with translating():
            async with self._pool.acquire() as connection:
                rows = await connection.fetch(
                    "select settle_calls($1, $2, $3)",
                    [one.row for one in batch],
                    [one.payload for one in batch],
                    [one.trace for one in batch],
                )
        return _in_order([row[0] for row in rows], [one.row["call_id"] for one in batch])


def _asked(opening: Opening, wanted: Estimate, *, extends: bool) -> JsonObject:
    return {
        "tenant": opening.tenant,
        "call_id": opening.call_id,
        "request_key": opening.request_key,
        "fingerprint": opening.fingerprint,
        "agent": opening.agent,
        "key": opening.key,
        "tokens": wanted.tokens,
        "micros": wanted.cost_micros,
        "extends": extends,
    }


def _in_order(told: Sequence[JsonObject], call_ids: Sequence[object]) -> list[JsonObject]:
    """What came back, in the order of what was asked; a call may be asked about more than once in a batch."""
    by_call: dict[object, list[JsonObject]] = {}
    for one in told:
        by_call.setdefault(one["call_id"], []).append(one)
    return [by_call[call_id].pop(0) for call_id in call_ids]


def _opens(told: JsonObject, opening: Opening) -> Opens:
    match told["state"]:
        case "opened":
            return Opened(caps_tokens=bool(told["caps_tokens"]), caps_money=bool(told["caps_money"]))
        case "recorded":
            return _same(told["fingerprint"], told["answer"], opening.fingerprint)
        case "busy":
            if told["fingerprint"] != opening.fingerprint:
                raise RequestKeyReused(_REUSED, remedy=_FRESH)
            return Busy()
        case _:
            budget = Budget(scope=BudgetScope(str(told["scope"])), subject=str(told["subject"]), period=BudgetPeriod(str(told["period"])))
            renews, tokens, micros = told["renews"], told["tokens"], told["micros"]
            return OverBudget(
                budget=str(budget),
                room_tokens=tokens if isinstance(tokens, int) else None,
                room_cost_micros=micros if isinstance(micros, int) else None,
                renews_at=datetime.fromtimestamp(renews, UTC) if isinstance(renews, int | float) else None,
            )


_REUSED, _FRESH = "the request key was used for another question", "use a fresh key for every question"


def _same(fingerprint: object, answer: object, asked: str) -> Answer:
    if fingerprint != asked:
        raise RequestKeyReused(_REUSED, remedy=_FRESH)
    assert isinstance(answer, dict)
    return plain.answer_from_plain(answer)
