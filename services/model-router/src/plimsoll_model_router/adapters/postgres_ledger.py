"""The call ledger in PostgreSQL: reservations before calls, what they consumed after them, the events that tell of them, and answers kept
for repeats. What many calls want at the same time is one statement."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from functools import partial

import asyncpg
from plimsoll_runtime import logs, telemetry
from plimsoll_runtime.batching import Batcher
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.json_types import JsonObject
from plimsoll_runtime.kept_connections import KeptConnections
from plimsoll_runtime.postgres import translating
from plimsoll_runtime.retry import pause

from plimsoll_model_router.adapters import ledger_rounds
from plimsoll_model_router.adapters.call_rows import kept_call, row_of
from plimsoll_model_router.adapters.late_settling import Finished, LateSettling
from plimsoll_model_router.adapters.leases import Leases, Wish, asked
from plimsoll_model_router.adapters.ledger_rounds import LEASE_S, Encoding, Settling
from plimsoll_model_router.adapters.tenancy import working_for
from plimsoll_model_router.domain import plain
from plimsoll_model_router.domain.budgets import Estimate
from plimsoll_model_router.domain.calls import NO_BODY, CompletedCall, KeptCall, Opened, Opening, Opens, OverBudget
from plimsoll_model_router.domain.generation import Answer
from plimsoll_model_router.domain.told import choice_to_plain
from plimsoll_model_router.errors import UnknownCall

COMPLETED = "plimsoll.v1.model_router.call.completed"

_RENEW_EVERY_S = 5.0
_FORGET_EVERY_S = 300.0
_TEND_EVERY_S = 0.25
_KEPT = 2  # of the pool's connections: for calls that begin, and for those that end
_AT_A_TIME = 16  # calls that are made ready without a pause: a tenth of a millisecond each
_FORGET_ROUND = 1000  # what forget_answers takes at a time
_BODY_CAP = 8 * 1024 * 1024  # a longer question is not kept for replays
_GET = """
    select c.*, b.question as body_question, b.answer as body_answer, b.keep_until
    from calls c left join call_bodies b using (tenant, call_id) where c.tenant = $1 and c.call_id = $2
"""
_RECALL = "select fingerprint, answer from calls where tenant = $1 and request_key = $2 and answer is not null"
_CACHED = """
    select answer from calls where tenant = $1 and cache_key = $2 and started_at >= $3 and answer is not null
    order by started_at desc limit 1
"""
_LAST_MODEL = """
    select provider || '/' || model from calls
    where tenant = $1 and run_id = $2 and node = $3 and run_id <> '' and failure_category is null and purpose = 'production'
    order by started_at desc limit 1
"""


class PostgresCallLedger:
    """`remember_s` is how long an answer is kept for repeats under its request key, and question and answer for replays; `committed` is told
    of every new event.

    Works inside `running`.
    """

    def __init__(
        self, pool: asyncpg.Pool, encode: Encoding, clock: Clock, log: logs.Log, *, remember_s: float, committed: Callable[[], None]
    ) -> None:
        self._pool = pool
        self._kept = KeptConnections(pool, most=_KEPT)
        self._encode = encode
        self._clock = clock
        self._log = log
        self._remember = timedelta(seconds=remember_s)
        self._committed = committed
        # One round at a time: what comes meanwhile is the next one. More rounds side by side would each be smaller, and cost more together.
        self._opens: Batcher[JsonObject, JsonObject] = Batcher(partial(ledger_rounds.open_calls, self._kept), flushers=1)
        self._settles: Batcher[Settling, JsonObject] = Batcher(partial(ledger_rounds.settle_calls, self._kept), flushers=1)
        self._late = LateSettling(self._settle_all, self._lost, log)
        self._leases, self._wished = Leases(clock), asyncio.Event()
        self._asking: Wish | None = None
        self._mine: set[str] = set()  # calls and leases that are open here

    async def open(self, opening: Opening) -> Opens:
        """A call without a request key may be covered by a lease: then the ledger hears of it when it is settled."""
        if not opening.request_key and (covered := self._leases.take(opening)) is not None:
            if self._leases.wishes:
                self._wished.set()
            return covered
        told, behind = await self._open(opening), self._late.is_behind
        if told["state"] == "over" and behind:  # what finished calls held may be what is missing
            await self._late.catch_up()
            told = await self._open(opening)
        opens = ledger_rounds.opens(told, opening)
        if isinstance(opens, Opened):
            self._mine.add(opening.call_id)
            if not opening.request_key:
                self._leases.note(opening, opens, ledger_rounds.room(told))
                if self._leases.wishes:
                    self._wished.set()
        return opens

    async def _open(self, opening: Opening) -> JsonObject:
        """Its lease is renewed from the first moment on, whoever waits for it."""
        self._mine.add(opening.call_id)
        try:
            return await self._opens.submit(asked(opening, opening.wanted))
        finally:
            self._mine.discard(opening.call_id)

    async def extend(self, opening: Opening, more: Estimate) -> OverBudget | None:
        lease_id = self._leases.lease_of(opening.call_id)
        if lease_id is not None and (not lease_id or self._leases.extend(opening.call_id, more)):
            return None
        wanted = asked(opening, more) | {"call_id": lease_id or opening.call_id, "extends": True}
        told = ledger_rounds.opens(await self._opens.submit(wanted), opening)
        if isinstance(told, OverBudget):
            return told
        if lease_id is not None:
            self._leases.extended(opening.call_id, more)
        return None

    async def record(self, call: CompletedCall) -> Answer | None:
        """A call that lost the race for its request key was paid for all the same: it is kept without its answer."""
        told = await self._settles.submit(self._settling(_finished(call)))
        self._settled(call)
        return ledger_rounds.same(told["fingerprint"], told["answer"], call.fingerprint) if told["state"] == "late" else None

    async def settle(self, call: CompletedCall) -> None:
        await self._late.put(_finished(call))

    def post(self, call: CompletedCall) -> None:
        self._late.put_nowait(_finished(call))

    async def recall(self, tenant: str, request_key: str, fingerprint: str) -> Answer | None:
        async with working_for(self._pool, tenant) as connection:
            row = await connection.fetchrow(_RECALL, tenant, request_key)
        return ledger_rounds.same(row["fingerprint"], row["answer"], fingerprint) if row is not None else None

    async def cached(self, tenant: str, cache_key: str, since: datetime) -> Answer | None:
        async with working_for(self._pool, tenant) as connection:
            answer = await connection.fetchval(_CACHED, tenant, cache_key, since)
        return plain.answer_from_plain(answer) if answer is not None else None

    async def last_model(self, tenant: str, run_id: str, node: str) -> str:
        async with working_for(self._pool, tenant) as connection:
            return await connection.fetchval(_LAST_MODEL, tenant, run_id, node) or ""

    async def get(self, tenant: str, call_id: str) -> KeptCall:
        if self._late.is_behind:
            await self._late.catch_up()
        async with working_for(self._pool, tenant) as connection:
            row = await connection.fetchrow(_GET, tenant, call_id)
        if row is None:
            raise UnknownCall(f"there is no call {call_id!r}", remedy="take the id from an answer; calls in flight are not there yet")
        return kept_call(row, self._encode.answer)

    async def forget(self) -> int:
        """Drop answers and bodies whose time is over, as many as one go takes; returns of how many calls."""
        with translating():
            return int(await self._pool.fetchval("select forget_answers($1)", self._clock.now()))

    async def release(self) -> int:
        """Let go of what calls hold whose replica died; returns how many there were."""
        with translating():
            return int(await self._pool.fetchval("select release_calls()"))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Calls are opened and settled inside the block; what was left for later is settled at its end, as far as there is time."""
        async with self._kept, self._opens.running(), self._settles.running():
            async with asyncio.TaskGroup() as group:
                running = [group.create_task(self._late.run()), group.create_task(self._tend())]
                try:
                    yield
                finally:
                    for task in running:
                        task.cancel()
            await self._late.finish()
            if self._asking is not None:  # the end came between asking and holding
                self._leases.hold(self._asking, self._asking.opened, Estimate())
            await self._give_back(all_of_them=True)

    async def _tend(self) -> None:
        """Ask for the leases that calls would like to have, and give back those that have ended, for ever."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_TEND_EVERY_S):
                    await self._wished.wait()
            self._wished.clear()
            await self._hold()
            await self._give_back()

    async def _hold(self) -> None:
        """A lease that cannot be had is asked for again by the calls that come."""
        for payer, wish in list(self._leases.wishes.items()):
            with suppress(PlimsollError):
                self._asking = wish
                told = await self._opens.submit(wish.asked()) if wish.opened.capped else None
                self._asking = None
                if told is None:
                    self._leases.hold(wish, wish.opened, Estimate())
                elif told["state"] == "opened":
                    lease = self._leases.hold(wish, ledger_rounds.opened(told), ledger_rounds.room(told))
                    self._mine.add(lease.lease_id)
            del self._leases.wishes[payer]

    async def _give_back(self, *, all_of_them: bool = False) -> None:
        for lease in list(self._leases.over(all_of_them=all_of_them)):
            left = Estimate(tokens=max(0, lease.tokens), cost_micros=max(0, lease.micros))
            try:
                await self._opens.submit(asked(lease.first, left) | {"call_id": lease.lease_id, "request_key": "", "closes": True})
            except PlimsollError:
                self._leases.not_over(lease)
            else:
                self._mine.discard(lease.lease_id)

    async def keep_house(self, stop: asyncio.Event) -> None:
        """Renew leases, release those of the dead, and forget old answers, until `stop` is set."""
        forget_at = 0.0
        while not stop.is_set():
            try:
                if self._mine:
                    with translating():
                        await self._pool.execute("select renew_calls($1, $2)", list(self._mine), LEASE_S)
                if released := await self.release():
                    self._log.warning("ledger.released", {"calls": released})
                if self._clock.monotonic() >= forget_at:
                    while await self.forget() >= _FORGET_ROUND and not stop.is_set():
                        pass
                    forget_at = self._clock.monotonic() + _FORGET_EVERY_S
            except PlimsollError as error:
                self._log.warning("ledger.house_not_kept", {"reason": error.reason})
            await pause(_RENEW_EVERY_S, stop)

    async def _settle_all(self, calls: Sequence[Finished]) -> None:
        batch: list[Settling] = []
        for finished in calls:
            batch.append(self._settling(finished))
            if len(batch) % _AT_A_TIME == 0:
                await asyncio.sleep(0)  # who streams has a turn
        for told, finished in zip(await ledger_rounds.settle_calls(self._kept, batch), calls, strict=True):
            assert told["call_id"] == finished.call.call_id
            self._settled(finished.call)

    def _settling(self, finished: Finished) -> Settling:
        call = finished.call
        event_id = f"{call.call_id}.completed"
        choice = choice_to_plain(call.choice)
        row = row_of(call, choice, self._remembered_until(call)) | {
            "event_id": event_id,
            "event_subject": COMPLETED,
            "keep_until": (self._clock.now() + self._remember).isoformat(),
            "lease": self._leases.lease_of(call.call_id) or "",
        }
        body = self._encode.body(call)
        if len(body.question) + len(body.answer) > _BODY_CAP:
            body = NO_BODY
        return Settling(row, self._encode.event(event_id, call, choice), finished.trace, body)

    def _settled(self, call: CompletedCall) -> None:
        self._mine.discard(call.call_id)
        self._leases.settled(call.call_id, call.outcome.usage)
        self._committed()

    def _lost(self, call: CompletedCall) -> None:
        """What it held counts as spent when its lease ends."""
        self._mine.discard(call.call_id)
        self._leases.lost(call.call_id)

    def _remembered_until(self, call: CompletedCall) -> datetime | None:
        """The later of what the request key and the leave to cache ask for."""
        lasting = [self._remember] if call.generation.request_key else []
        if call.cache_key and call.generation.cache is not None:
            lasting.append(timedelta(seconds=call.generation.cache.max_age_s))
        return self._clock.now() + max(lasting) if lasting else None


def _finished(call: CompletedCall) -> Finished:
    """With the trace of the present work: whoever settles it later is part of none."""
    return Finished(call, telemetry.outgoing())
