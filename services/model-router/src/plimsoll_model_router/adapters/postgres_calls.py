"""The call ledger in PostgreSQL: what every call consumed, the event that tells of it, and answers remembered for repeats."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TypeAlias

import asyncpg
from plimsoll_runtime import logs
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.outbox import OutboxEvent, add_events
from plimsoll_runtime.postgres import translating

from plimsoll_model_router.domain import plain
from plimsoll_model_router.domain.generation import Answer, CompletedCall, Unanswered
from plimsoll_model_router.errors import RequestKeyReused

COMPLETED = "plimsoll.v1.model_router.call.completed"
EncodeEvent: TypeAlias = Callable[[str, CompletedCall], bytes]

_FORGET_EVERY_S = 300.0
_RECALL = "select fingerprint, answer from calls where tenant = $1 and request_key = $2 and answer is not null"
_FORGET = """
    update calls set answer = null where (tenant, call_id) in (
        select tenant, call_id from calls where answer is not null and remembered_until < $1 limit 1000 for update skip locked)
"""
_INSERT = """
    insert into calls (tenant, call_id, request_key, fingerprint, run_id, step, node, agent, agent_version, task, provider, model, rehearsal,
        prompt_name, prompt_digest, input_tokens, output_tokens, cached_input_tokens, reasoning_tokens, cost_micros, attempts,
        failure_category, failure_reason, started_at, duration_s, answer, remembered_until)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27)
    on conflict (tenant, request_key) where answer is not null do nothing returning call_id
"""


class PostgresCallLedger:
    """`remember_s` is how long an answer is kept for repeats under its request key; `committed` is told of every new event."""

    def __init__(self, pool: asyncpg.Pool, encode: EncodeEvent, clock: Clock, *, remember_s: float, committed: Callable[[], None]) -> None:
        self._pool = pool
        self._encode = encode
        self._clock = clock
        self._remember = timedelta(seconds=remember_s)
        self._committed = committed

    async def recall(self, tenant: str, request_key: str, fingerprint: str) -> Answer | None:
        with translating():
            return _same(await self._pool.fetchrow(_RECALL, tenant, request_key), fingerprint)

    async def record(self, call: CompletedCall) -> Answer | None:
        """A call that lost the race for its request key was paid for all the same: it is kept without its answer."""
        key, event_id = call.generation.request_key, f"{call.call_id}.completed"
        event = OutboxEvent(event_id=event_id, subject=COMPLETED, tenant=call.tenant, payload=self._encode(event_id, call))
        until = self._clock.now() + self._remember
        with translating():
            async with self._pool.acquire() as connection, connection.transaction():
                kept = await connection.fetchval(_INSERT, *_row(call, until if key else None))
                earlier = None
                if kept is None:
                    earlier = _same(await connection.fetchrow(_RECALL, call.tenant, key), call.fingerprint)
                    await connection.execute(_INSERT, *_row(call, None))
                await add_events(connection, [event])
        self._committed()
        return earlier

    async def forget(self) -> int:
        """Drop answers whose time is over; returns how many."""
        with translating():
            status = await self._pool.execute(_FORGET, self._clock.now())
        return int(status.rpartition(" ")[2])

    async def run(self, stop: asyncio.Event, log: logs.Log) -> None:
        """Forget in the background until `stop` is set."""
        while not stop.is_set():
            try:
                forgotten = await self.forget()
                if forgotten:
                    log.info("answers.forgotten", {"count": forgotten})
            except PlimsollError as error:
                log.warning("answers.not_forgotten", {"reason": error.reason})
            with suppress(TimeoutError):
                async with asyncio.timeout(_FORGET_EVERY_S):
                    await stop.wait()


def _same(row: asyncpg.Record | None, fingerprint: str) -> Answer | None:
    if row is None:
        return None
    if row["fingerprint"] != fingerprint:
        raise RequestKeyReused("the request key was used for another question", remedy="use a fresh key for every question")
    return plain.answer_from_plain(row["answer"])


def _row(call: CompletedCall, remembered_until: datetime | None) -> list[object]:
    """The columns of _INSERT; without a time to remember it until, the answer is not kept."""
    work, outcome, usage, generation = call.generation.work, call.outcome, call.outcome.usage, call.generation
    last = outcome.attempts[-1]
    failure = outcome.failure if isinstance(outcome, Unanswered) else None
    keeps = remembered_until is not None and isinstance(outcome, Answer)
    return [
        call.tenant,
        call.call_id,
        generation.request_key,
        call.fingerprint,
        work.run_id,
        work.step,
        work.node,
        work.agent,
        work.agent_version,
        generation.task,
        last.provider,
        last.model,
        isinstance(outcome, Answer) and outcome.rehearsal,
        generation.prompt.name if generation.prompt is not None else "",
        outcome.prompt_digest,
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_input_tokens,
        usage.reasoning_tokens,
        usage.cost_micros,
        len(outcome.attempts),
        failure.category.value if failure is not None else None,
        failure.reason if failure is not None else None,
        call.started_at,
        call.duration_s,
        plain.answer_to_plain(outcome) if keeps and isinstance(outcome, Answer) else None,
        remembered_until if keeps else None,
    ]
