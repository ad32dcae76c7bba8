"""Connections that stay with whoever asks all the time."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from plimsoll_runtime.kept_connections import KeptConnections
from plimsoll_runtime.postgres import open_pool
from plimsoll_runtime.settings import PostgresSettings, Secret
from plimsoll_testkit.waiting import eventually

PID = "select pg_backend_pid()"


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    async with open_pool(PostgresSettings(dsn=Secret(postgres_dsn), pool_min=0, pool_max=2), "harbour") as opened:
        yield opened


async def test_a_connection_stays_between_two_statements(pool: asyncpg.Pool) -> None:
    async with KeptConnections(pool, most=1) as kept:
        [first] = await kept.fetch(PID)
        assert pool.get_idle_size() == 0
        [second] = await kept.fetch(PID)
    assert first == second
    assert pool.get_idle_size() == 1, "at the end it goes back"


async def test_a_connection_that_ended_meanwhile_is_replaced_unnoticed(pool: asyncpg.Pool, postgres_dsn: str) -> None:
    async with KeptConnections(pool, most=1) as kept:
        [first] = await kept.fetch(PID)
        killer = await asyncpg.connect(postgres_dsn)
        await killer.execute("select pg_terminate_backend($1)", first["pg_backend_pid"])
        await killer.close()
        await eventually(lambda: pool.get_size() == 0)
        [second] = await kept.fetch(PID)
        assert second != first
        async with kept.acquire() as connection:
            assert await connection.fetchval(PID) == second["pg_backend_pid"]


async def test_a_connection_on_which_a_statement_failed_goes_back_to_the_pool(pool: asyncpg.Pool) -> None:
    async with KeptConnections(pool, most=1) as kept:
        with pytest.raises(asyncpg.UndefinedTableError):
            await kept.fetch("select * from nowhere")
        assert pool.get_idle_size() == 1
