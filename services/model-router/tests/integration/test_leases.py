"""Budgets held in advance: no cap is ever exceeded, nothing is lost to those who share it, and a crash makes no room."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial

import asyncpg
import pytest
from model_router_behaviour import DAILY
from model_router_samples import ACME, call, opening
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from plimsoll_model_router.adapters.ledger_rounds import Encoding
from plimsoll_model_router.adapters.postgres_budgets import PostgresBudgetStore
from plimsoll_model_router.adapters.postgres_ledger import PostgresCallLedger
from plimsoll_model_router.adapters.tenancy import MIGRATIONS, working_for
from plimsoll_model_router.domain.budgets import BudgetStatus, Estimate
from plimsoll_model_router.domain.calls import CompletedCall, Opened, OverBudget
from plimsoll_model_router.domain.generation import Answer
from plimsoll_model_router.transport.codec import answer_to_bytes, body_of, completed_to_bytes
from plimsoll_runtime import logs
from plimsoll_runtime.clock import Clock, SystemClock
from plimsoll_runtime.postgres import migrate, open_pool
from plimsoll_runtime.settings import PostgresSettings, Secret
from plimsoll_runtime.usage import Usage
from plimsoll_testkit.clock import FakeClock
from plimsoll_testkit.waiting import eventually

ENCODING = Encoding(event=completed_to_bytes, body=body_of, answer=answer_to_bytes)
WANTED, USED = Estimate(tokens=14, cost_micros=7), 14
Made = Callable[[], PostgresCallLedger]


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    async with open_pool(PostgresSettings(dsn=Secret(postgres_dsn)), "model_router") as pool:
        await migrate(pool, "model_router", MIGRATIONS)
        yield pool


@pytest.fixture
def budgets(pool: asyncpg.Pool) -> PostgresBudgetStore:
    return PostgresBudgetStore(pool)


def ledger_by(clock: Clock, pool: asyncpg.Pool) -> PostgresCallLedger:
    return PostgresCallLedger(pool, ENCODING, clock, logs.get("test"), remember_s=60.0, committed=lambda: None)


@pytest.fixture
def made(pool: asyncpg.Pool) -> Made:
    return partial(ledger_by, SystemClock(), pool)


async def one(ledger: PostgresCallLedger, number: int, made: CompletedCall | None = None) -> bool:
    """A call; whether there was room for it."""
    opened = await ledger.open(opening(number, wanted=WANTED))
    if isinstance(opened, OverBudget):
        return False
    assert isinstance(opened, Opened)
    await ledger.settle(made or call(number))
    return True


async def status(budgets: PostgresBudgetStore) -> BudgetStatus:
    [found] = await budgets.all(ACME)
    return found


async def leased(pool: asyncpg.Pool) -> list[int]:
    async with working_for(pool, ACME) as connection:
        rows = await connection.fetch("select tokens from open_calls where call_id like 'lease%' and tokens > 0")
    return [row["tokens"] for row in rows]


async def until_leased(ledger: PostgresCallLedger, pool: asyncpg.Pool, start: int = 0) -> int:
    """Calls until the ledger holds a part of the budget; returns how many."""
    for number in range(start, start + 200):
        assert await one(ledger, number)
        if await leased(pool):
            return number + 1 - start
    raise AssertionError("no lease was taken")


async def test_who_calls_often_takes_from_a_lease_and_every_token_is_counted(budgets: PostgresBudgetStore, pool: asyncpg.Pool) -> None:
    await budgets.put(ACME, replace(DAILY, max_tokens=1_000_000, max_cost_micros=10**9))
    ledger = ledger_by(FakeClock(), pool)  # however slow the machine is, the lease does not end meanwhile
    async with ledger.running():
        calls = await until_leased(ledger, pool)
        async with asyncio.TaskGroup() as group:
            for number in range(1000, 1200):
                group.create_task(one(ledger, number))
        calls += 200
        [held] = await leased(pool)
        assert held <= 1_000_000 // 16
    settled = await status(budgets)
    assert (settled.spent_tokens, settled.reserved_tokens, settled.reserved_cost_micros) == (calls * USED, 0, 0)
    assert await pool.fetchval("select count(*) from outbox") == calls


async def test_replicas_that_hold_leases_never_exceed_the_cap_and_use_all_of_it(
    made: Made, budgets: PostgresBudgetStore, pool: asyncpg.Pool
) -> None:
    cap = USED * 600
    await budgets.put(ACME, replace(DAILY, max_tokens=cap, max_cost_micros=0))
    replicas, high = [made(), made(), made()], [0]
    ends = asyncio.Event()

    async def watch() -> None:
        while not ends.is_set():
            found = await status(budgets)
            high[0] = max(high[0], found.spent_tokens + found.reserved_tokens)

    async def caller(first: int) -> int:
        """Calls until there is no room, three times over."""
        went, refused, number = 0, 0, first
        while refused < 3:
            number += 1
            if await one(replicas[number % 3], number):
                went += 1
            else:
                refused += 1
        return went

    async with replicas[0].running(), replicas[1].running(), replicas[2].running():
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(watch())
            callers = [group.create_task(caller(at * 10_000)) for at in range(12)]
            for task in callers:
                await task
            ends.set()
            await watching
        went = sum(task.result() for task in callers)

        async def returned() -> bool:
            return not await leased(pool) and (await status(budgets)).reserved_tokens == 0

        await eventually(returned)
        number = 900_000
        while await one(replicas[0], number):
            went, number = went + 1, number + 1
    found = await status(budgets)
    assert (found.spent_tokens, found.reserved_tokens) == (went * USED, 0)
    assert went == 600
    assert high[0] <= cap


async def test_a_provider_that_consumed_more_than_was_held_is_told_in_full_and_holds_nothing_below_zero(
    made: Made, budgets: PostgresBudgetStore, pool: asyncpg.Pool
) -> None:
    await budgets.put(ACME, replace(DAILY, max_tokens=100_000, max_cost_micros=0))
    ledger = made()
    async with ledger.running():
        calls = await until_leased(ledger, pool)
        greedy = call(5000)
        assert isinstance(greedy.outcome, Answer)
        told = replace(greedy, outcome=replace(greedy.outcome, usage=Usage(input_tokens=90_000, output_tokens=20_000)))
        await one(ledger, 5000, told)
    found = await status(budgets)
    assert (found.spent_tokens, found.reserved_tokens) == (calls * USED + 110_000, 0)
    other = made()
    async with other.running():
        assert not await one(other, 6000)


async def test_what_a_replica_that_died_held_in_advance_counts_as_spent(
    made: Made, budgets: PostgresBudgetStore, pool: asyncpg.Pool
) -> None:
    await budgets.put(ACME, replace(DAILY, max_tokens=1_000_000, max_cost_micros=0))
    dead, other = made(), made()
    async with dead.running():
        await until_leased(dead, pool)
        held = await status(budgets)
        async with working_for(pool, ACME) as connection:  # it stops renewing
            await connection.execute("update open_calls set lease_until = now() - interval '1 second'")
        await other.release()
        found = await status(budgets)
        async with working_for(pool, ACME) as connection:  # what is held now was leased since: in this test the dead one goes on
            assert await connection.fetchval("select count(*) from open_calls where lease_until < now()") == 0
        assert found.spent_tokens >= held.spent_tokens + held.reserved_tokens
        assert found.spent_tokens <= 1_000_000 // 16 + held.spent_tokens + 2 * held.reserved_tokens


async def test_a_cap_that_is_set_or_lowered_holds_for_calls_under_a_lease_within_its_time(
    made: Made, budgets: PostgresBudgetStore, pool: asyncpg.Pool
) -> None:
    ledger = made()
    async with ledger.running():
        for number in range(20):  # nothing is capped: nothing is asked
            assert await one(ledger, number)
        await budgets.put(ACME, replace(DAILY, max_tokens=1, max_cost_micros=0))

        numbers = itertools.count(100)

        async def refused() -> bool:
            return not await one(ledger, next(numbers))

        await eventually(refused)


async def test_the_event_of_a_call_that_is_settled_later_continues_the_trace_of_the_call(made: Made, pool: asyncpg.Pool) -> None:
    work = SpanContext(trace_id=0xACE, span_id=0xBEE, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    ledger = made()
    async with ledger.running():
        with trace.use_span(NonRecordingSpan(work)):
            assert await one(ledger, 1)
    assert await pool.fetchval("select trace from outbox") == f"00-{0xACE:032x}-{0xBEE:016x}-01"
