"""The call ledger on a real Postgres."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest
from plimsoll.tool_dispatcher.v1 import tool_events_pb2
from plimsoll_runtime.audit import AUDIT_MIGRATIONS
from plimsoll_runtime.outbox import OUTBOX_MIGRATIONS
from plimsoll_runtime.postgres import migrate, open_pool
from plimsoll_runtime.settings import PostgresSettings, Secret
from plimsoll_tool_dispatcher.adapters import postgres_housekeeping as housekeeping
from plimsoll_tool_dispatcher.adapters import postgres_records as records
from plimsoll_tool_dispatcher.adapters import postgres_statements as sql
from plimsoll_tool_dispatcher.adapters.postgres import MIGRATIONS, PostgresCallLedger
from plimsoll_tool_dispatcher.adapters.postgres_doubts import PostgresDoubtLedger, PostgresResultCache
from plimsoll_tool_dispatcher.adapters.postgres_tools import PostgresToolShelf
from plimsoll_tool_dispatcher.main import SCHEMA
from plimsoll_tool_dispatcher.transport.codec import CALL_ESCALATED, call_completed, call_escalated
from tool_dispatcher_behaviour import ResultCacheBehaviour, ToolShelfBehaviour
from tool_dispatcher_behaviour_ledger import Announced, CallLedgerBehaviour, DoubtLedgerBehaviour, in_doubt
from tool_dispatcher_behaviour_readings import ReadingsBehaviour
from tool_dispatcher_samples import ACME, reservation


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


@pytest.fixture
def doubts(pool: asyncpg.Pool) -> PostgresDoubtLedger:
    return PostgresDoubtLedger(pool, call_completed, call_escalated)


@pytest.fixture
def announced(pool: asyncpg.Pool) -> Announced:
    async def ids() -> list[str]:
        return [row["event_id"] for row in await pool.fetch("select event_id from outbox order by position")]

    return ids


class TestPostgresCallLedger(CallLedgerBehaviour):
    pass


class TestPostgresReadings(ReadingsBehaviour):
    pass


class TestPostgresDoubtLedger(DoubtLedgerBehaviour):
    pass


class TestPostgresResultCache(ResultCacheBehaviour):
    @pytest.fixture
    def cache(self, pool: asyncpg.Pool) -> PostgresResultCache:
        return PostgresResultCache(pool)


class TestPostgresToolShelf(ToolShelfBehaviour):
    @pytest.fixture
    def shelf(self, pool: asyncpg.Pool) -> PostgresToolShelf:
        return PostgresToolShelf(pool)


async def test_what_is_left_to_a_person_is_announced(ledger: PostgresCallLedger, doubts: PostgresDoubtLedger, pool: asyncpg.Pool) -> None:
    await in_doubt(ledger)
    [doubt] = await doubts.due(10, 60.0)
    assert await doubts.escalate(doubt, "evt_9")
    row = await pool.fetchrow("select * from outbox order by position desc limit 1")
    event = tool_events_pb2.ToolCallEscalated.FromString(row["payload"])
    assert (row["subject"], event.call_id, event.tool, event.reason) == (CALL_ESCALATED, "call_1", "look_up", "TOOL_TIMEOUT")


LOOK_UPS = [
    (sql.FIND, (ACME, "key_1", "run_1")),
    (sql.RENEW, ([ACME], ["key_1"], [1], timedelta(seconds=1))),
    (sql.ABANDONED, (10,)),
    (sql.LOOK_UP_MANY, ([1], [ACME], ["key_1"], ["run_1"], [1])),
    (records.OF_RUN, (ACME, "run_1", "", 10, 1000)),
    (records.OF_KEYS, (ACME, ["key_1"], "", 10, 1000)),
    (housekeeping.OLD_CALLS, (timedelta(days=1), 10)),
    (sql.DUE, (10, timedelta(seconds=1))),
]


@pytest.mark.parametrize(("statement", "arguments"), LOOK_UPS)
async def test_no_statement_of_the_ledger_reads_the_whole_table(
    statement: str, arguments: tuple[object, ...], ledger: PostgresCallLedger, pool: asyncpg.Pool
) -> None:
    await ledger.reserve(reservation())
    async with pool.acquire() as connection:
        await connection.execute("set enable_seqscan = off")  # a table of one row is read whole, whatever its indexes
        plan = str(await connection.fetch(f"explain {statement}", *arguments))
    assert "Seq Scan on calls" not in plan


@pytest.mark.parametrize(
    "statement", [sql.LOOK_UP_MANY, sql.RESERVE_MANY, sql.RECORD_MANY, sql.SETTLE_MANY], ids=["look", "reserve", "record", "settle"]
)
async def test_a_plan_made_for_an_empty_ledger_finds_calls_by_their_whole_key(statement: str, pool: asyncpg.Pool) -> None:
    """Plans are kept: one that looked a key up among all calls of its tenant would get slower with each call until the table is analysed."""
    parameters = max(int(number) for number in re.findall(r"\$(\d+)", statement))
    async with pool.acquire() as connection:
        await connection.execute("set plan_cache_mode = force_generic_plan")
        await connection.execute(f"prepare kept as {statement}")
        plan = str(await connection.fetch(f"explain execute kept({', '.join(['null'] * parameters)})"))
        await connection.execute("deallocate kept; reset plan_cache_mode")
    assert "Seq Scan on calls" not in plan
    assert "calls_of_run" not in plan
