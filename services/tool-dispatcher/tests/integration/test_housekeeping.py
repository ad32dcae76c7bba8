"""What is deleted when it is old, and what never is."""

from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest
from plimsoll_runtime import logs
from plimsoll_runtime.audit import AUDIT_MIGRATIONS
from plimsoll_runtime.outbox import OUTBOX_MIGRATIONS
from plimsoll_runtime.postgres import migrate, open_pool
from plimsoll_runtime.settings import PostgresSettings, Secret
from plimsoll_tool_dispatcher.adapters.postgres import MIGRATIONS, PostgresCallLedger
from plimsoll_tool_dispatcher.adapters.postgres_housekeeping import PostgresHousekeeping
from plimsoll_tool_dispatcher.domain.call import Failed, Succeeded
from plimsoll_tool_dispatcher.domain.effects import EffectClass
from plimsoll_tool_dispatcher.domain.ledger import Claim, GrantSpent, outcome_unknown
from plimsoll_tool_dispatcher.main import SCHEMA
from plimsoll_tool_dispatcher.transport.codec import call_completed
from tool_dispatcher_samples import call, completed, grant_for, reservation, tool

DAY_S = 86_400.0
FOUND = Succeeded(result=1)
UNKNOWN = Failed(failure=outcome_unknown("look_up", "TOOL_TIMEOUT", "it may have acted"))


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    async with open_pool(PostgresSettings(dsn=Secret(postgres_dsn)), SCHEMA) as pool:
        await migrate(pool, SCHEMA, [OUTBOX_MIGRATIONS, AUDIT_MIGRATIONS, MIGRATIONS])
        yield pool


@pytest.fixture
async def ledger(pool: asyncpg.Pool) -> AsyncIterator[PostgresCallLedger]:
    ledger = PostgresCallLedger(pool, call_completed)
    async with ledger.running():
        yield ledger


def house(pool: asyncpg.Pool) -> PostgresHousekeeping:
    return PostgresHousekeeping(pool, logs.get("test"), calls_s=DAY_S, results_s=DAY_S, runs_s=DAY_S)


async def claimed(ledger: PostgresCallLedger, key: str, effect: EffectClass, lease_s: float = 60.0) -> Claim:
    asked = reservation(call(key, run_id=f"run_{key}"), tool(effect), lease_s=lease_s, call_id=f"call_{key}")
    claim = await ledger.reserve(asked)
    assert isinstance(claim, Claim)
    return claim


async def age(pool: asyncpg.Pool, by: timedelta) -> None:
    """As if so much time had gone by; leases of calls that run are renewed meanwhile."""
    await pool.execute(
        "update calls set reserved_at = reserved_at - $1::interval, finished_at = finished_at - $1::interval,"
        " lease_until = case when lease_until > now() then lease_until else lease_until - $1::interval end",
        by,
    )
    await pool.execute("update run_epochs set touched_at = touched_at - $1::interval", by)
    await pool.execute("update cached_results set recorded_at = recorded_at - $1::interval", by)


async def keys(pool: asyncpg.Pool) -> set[str]:
    return {row["call_key"] for row in await pool.fetch("select call_key from calls")}


async def fill(ledger: PostgresCallLedger) -> None:
    """A call in every state that there is."""
    for key, outcome in (("done", FOUND), ("unknown", UNKNOWN)):
        claim = await claimed(ledger, key, EffectClass.NON_IDEMPOTENT)
        await ledger.mark_dispatched(claim, 60.0)
        assert await ledger.settle(claim, outcome, completed(outcome, f"evt_{key}"))
    await ledger.record(
        reservation(call("read", run_id="run_read"), tool(EffectClass.READ_ONLY), call_id="call_read"), FOUND, completed(FOUND)
    )
    await claimed(ledger, "running", EffectClass.KEYED)
    await claimed(ledger, "left", EffectClass.KEYED, lease_s=0.0)
    lost = await claimed(ledger, "lost", EffectClass.NON_IDEMPOTENT)
    await ledger.mark_dispatched(lost, 0.0)


async def test_ended_calls_go_when_they_are_old_and_no_doubt_ever(ledger: PostgresCallLedger, pool: asyncpg.Pool) -> None:
    await fill(ledger)
    everything = await keys(pool)
    await house(pool).sweep()
    assert await keys(pool) == everything
    await age(pool, timedelta(days=2))
    await house(pool).sweep()
    assert await keys(pool) == {"unknown", "running", "lost"}
    runs = {row["run_id"] for row in await pool.fetch("select run_id from run_epochs")}
    assert runs == {"run_unknown", "run_running", "run_lost"}


async def test_a_call_that_took_long_is_as_old_as_its_end(ledger: PostgresCallLedger, pool: asyncpg.Pool) -> None:
    claim = await claimed(ledger, "long", EffectClass.KEYED)
    await age(pool, timedelta(days=2))
    assert await ledger.settle(claim, FOUND, completed(FOUND))
    await house(pool).sweep()
    assert await keys(pool) == {"long"}


async def test_cached_results_go_when_they_are_old(pool: asyncpg.Pool) -> None:
    await pool.execute("insert into cached_results (tenant, tool_digest, arguments_digest, result) values ('acme', 'd', 'a', '1')")
    await house(pool).sweep()
    assert await pool.fetchval("select count(*) from cached_results") == 1
    await age(pool, timedelta(days=2))
    await house(pool).sweep()
    assert await pool.fetchval("select count(*) from cached_results") == 0


async def test_a_spent_grant_stays_spent_when_its_call_is_gone(ledger: PostgresCallLedger, pool: asyncpg.Pool) -> None:
    asked = grant_for(reservation())
    claim = await ledger.reserve(asked)
    assert isinstance(claim, Claim)
    assert await ledger.settle(claim, FOUND, completed(FOUND))
    await age(pool, timedelta(days=2))
    await house(pool).sweep()
    assert await keys(pool) == set()
    assert await ledger.reserve(grant_for(reservation(call("key_2")))) == GrantSpent()


async def test_a_long_backlog_goes_batch_by_batch_and_two_replicas_share_it(ledger: PostgresCallLedger, pool: asyncpg.Pool) -> None:
    await claimed(ledger, "model", EffectClass.KEYED, lease_s=0.0)
    await pool.execute(
        "insert into calls (tenant, call_key, call_id, state, effect, tool, tool_digest, call_digest, request_digest, run_id, step, node, agent,"
        " agent_version, epoch, lease_until, result, reserved_at, finished_at)"
        " select tenant, 'old_' || n, 'call_' || n, 'succeeded', effect, tool, tool_digest, call_digest, request_digest, run_id, step, node, agent,"
        " agent_version, epoch, now(), '1', now() - interval '2 days', now() - interval '2 days' from calls, generate_series(1, 1500) n"
    )
    assert await house(pool).sweep()
    assert len(await keys(pool)) == 501
    assert not await house(pool).sweep()
    assert await keys(pool) == {"model"}
