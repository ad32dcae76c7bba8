"""The audit log: one gapless chain per tenant, however many write at once, and nobody changes it unseen."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from plimsoll_runtime import audit
from plimsoll_runtime.audit import AUDIT_MIGRATIONS, Anchor, AuditRecord
from plimsoll_runtime.errors import Internal
from plimsoll_runtime.postgres import migrate, open_pool, translating
from plimsoll_runtime.settings import PostgresSettings, Secret

TENANT = "acme"


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    async with open_pool(PostgresSettings(dsn=Secret(postgres_dsn), pool_max=8), "harbour") as opened:
        await migrate(opened, "harbour", [AUDIT_MIGRATIONS])
        yield opened


def record(number: int, tenant: str = TENANT) -> AuditRecord:
    return AuditRecord(tenant=tenant, actor="ada", action="tool.disabled", subject=f"tool:t{number}", details={"n": number, "é": "ü"})


async def write(pool: asyncpg.Pool, *records: AuditRecord) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await audit.append(connection, records)


@asynccontextmanager
async def burglary(pool: asyncpg.Pool) -> AsyncIterator[asyncpg.Connection]:
    """A connection with the triggers and policies of the log switched off, as its owner can."""
    async with pool.acquire() as connection:
        await connection.execute(
            "alter table audit_log disable trigger user; alter table audit_log no force row level security;"
            "alter table audit_heads no force row level security"
        )
        yield connection


async def test_what_was_appended_is_read_newest_first_and_the_chain_is_intact(pool: asyncpg.Pool):
    await write(pool, record(1), record(2))
    await write(pool, record(3))
    found = await audit.entries(pool, TENANT)
    assert [(entry.seq, entry.subject, entry.details) for entry in found] == [
        (3, "tool:t3", '{"n":3,"é":"ü"}'),
        (2, "tool:t2", '{"n":2,"é":"ü"}'),
        (1, "tool:t1", '{"n":1,"é":"ü"}'),
    ]
    assert [entry.seq for entry in await audit.entries(pool, TENANT, before=3, limit=1)] == [2]
    assert [entry.seq for entry in await audit.entries(pool, TENANT, subject="tool:t1", action="tool.disabled")] == [1]
    assert await audit.entries(pool, TENANT, action="tool.enabled") == []
    verdict = await audit.verify(pool, TENANT)
    assert verdict.is_intact
    assert (verdict.entries, verdict.head_hash) == (3, found[0].hash)


async def test_who_writes_at_once_makes_one_chain_without_a_gap_or_a_fork(pool: asyncpg.Pool):
    async def writer(lane: int) -> None:
        for turn in range(10):  # both orders of tenants, so that writers would wait for each other in a circle
            tenants = ("acme", "bolt") if (lane + turn) % 2 else ("bolt", "acme")
            await write(pool, *(record(lane * 100 + turn, tenant) for tenant in tenants))

    async with asyncio.TaskGroup() as group:
        for lane in range(8):
            group.create_task(writer(lane))
    for tenant in ("acme", "bolt"):
        verdict = await audit.verify(pool, tenant)
        assert (verdict.problem, verdict.entries) == ("", 80)


async def test_a_record_is_kept_with_what_it_tells_or_not_at_all(pool: asyncpg.Pool):
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await audit.append(connection, [record(1)])
        await transaction.rollback()
    await write(pool, record(2))
    assert [entry.subject for entry in await audit.entries(pool, TENANT)] == ["tool:t2"]
    assert (await audit.verify(pool, TENANT)).is_intact


async def test_a_chain_is_its_tenants_own(pool: asyncpg.Pool):
    await write(pool, record(1, "acme"), record(2, "bolt"), record(3, "acme"))
    assert [entry.seq for entry in await audit.entries(pool, "acme")] == [2, 1]
    assert [entry.seq for entry in await audit.entries(pool, "bolt")] == [1]
    assert await pool.fetchval("select count(*) from audit_log") == 0  # whoever names no tenant sees none


async def test_a_chain_that_nobody_began_is_intact(pool: asyncpg.Pool):
    assert await audit.verify(pool, "nobody") == audit.AuditVerdict(entries=0, head_hash="")


@pytest.mark.parametrize("statement", ["update audit_log set actor = 'eve'", "delete from audit_log", "truncate audit_log"])
async def test_rows_are_neither_changed_nor_deleted(pool: asyncpg.Pool, statement: str):
    await write(pool, record(1))
    with pytest.raises(Internal), translating():
        await pool.execute(statement)
    assert (await audit.verify(pool, TENANT)).entries == 1


@pytest.mark.parametrize(
    ("deed", "broken_at", "problem"),
    [
        ("update audit_log set actor = 'eve' where seq = 3", 3, "was changed"),
        ("update audit_log set details = '{}' where seq = 5", 5, "was changed"),
        ("update audit_log set at = at - interval '1 microsecond' where seq = 2", 2, "was changed"),
        ("delete from audit_log where seq = 3", 3, "is missing"),
        ("delete from audit_log where seq = 1", 1, "is missing"),
        ("delete from audit_log where seq = 5", 5, "is missing: the chain was cut off here"),
        ("delete from audit_log", 1, "is missing: the chain was cut off here"),
        ("update audit_log set seq = -seq where seq in (2, 3); update audit_log set seq = 5 + seq where seq < 0", 2, "does not follow"),
        (
            "insert into audit_log select tenant, 6, at, actor, action, subject, details, hash, hash from audit_log where seq = 5",
            6,
            "was ch",
        ),
        ("update audit_log set actor = 'eve', hash = audit_hash('', 'acme') where seq = 1", 1, "was changed"),
        ("delete from audit_heads", 5, "was added behind the back of the log"),
    ],
)
async def test_what_is_done_behind_its_back_is_found_where_it_was_done(pool: asyncpg.Pool, deed: str, broken_at: int, problem: str):
    await write(pool, *map(record, range(1, 6)))
    async with burglary(pool) as connection:
        await connection.execute(deed)
    verdict = await audit.verify(pool, TENANT)
    assert (verdict.broken_at, verdict.is_intact) == (broken_at, False)
    assert verdict.problem.startswith(problem)


async def test_a_row_forged_with_a_hash_of_its_own_does_not_fit_the_next(pool: asyncpg.Pool):
    await write(pool, record(1), record(2))
    async with burglary(pool) as connection:
        await connection.execute("update audit_log set actor = 'eve' where seq = 1")
        await connection.execute(
            "update audit_log set hash = audit_hash('', tenant, '1', (extract(epoch from at) * 1000000)::bigint::text, actor, action, subject,"
            " details) where seq = 1"
        )
    verdict = await audit.verify(pool, TENANT)
    assert (verdict.broken_at, verdict.problem) == (2, "does not follow the entry before it")


async def test_a_chain_that_was_made_anew_is_found_out_by_an_anchor_kept_elsewhere(pool: asyncpg.Pool):
    await write(pool, record(1), record(2))
    known = await audit.verify(pool, TENANT)
    anchor = Anchor(seq=known.entries, hash=known.head_hash)
    await write(pool, record(3))
    assert (await audit.verify(pool, TENANT, anchor=anchor)).is_intact
    async with burglary(pool) as connection:
        await connection.execute("delete from audit_log; delete from audit_heads")
    await write(pool, record(1), record(7))
    assert (await audit.verify(pool, TENANT)).is_intact
    assert (await audit.verify(pool, TENANT, anchor=anchor)).broken_at == 2
    async with burglary(pool) as connection:
        await connection.execute("delete from audit_log; delete from audit_heads")
    assert (await audit.verify(pool, TENANT, anchor=anchor)).broken_at == 1
