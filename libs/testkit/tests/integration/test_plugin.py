"""What the fixtures promise to every test in the repository."""

import asyncpg
import nats
import pytest
import redis.asyncio


@pytest.mark.parametrize("turn", [1, 2, 3])
async def test_each_test_gets_an_empty_database_with_vectors(postgres_dsn: str, turn: int) -> None:
    connection = await asyncpg.connect(postgres_dsn)
    try:
        assert await connection.fetchval("select count(*) from pg_tables where schemaname = 'public'") == 0
        await connection.execute("create table mark (n int); create schema memory; create table memory.v (e vector(3))")
        await connection.execute("insert into memory.v values ('[1,2,3]')")
        assert await connection.fetchval("select '[1,2,3]'::vector <-> e from memory.v") == 0
    finally:
        await connection.close()


async def test_the_test_role_is_no_superuser(postgres_dsn: str) -> None:
    connection = await asyncpg.connect(postgres_dsn)
    try:
        assert await connection.fetchval("select rolsuper from pg_roles where rolname = current_user") is False
    finally:
        await connection.close()


async def test_a_database_is_dropped_even_with_sessions_left_open(postgres_dsn: str, postgres_superuser_dsn: str) -> None:
    connection = await asyncpg.connect(postgres_superuser_dsn)
    assert await connection.fetchval("select rolsuper from pg_roles where rolname = current_user") is True
    connection.terminate()


@pytest.mark.parametrize("turn", [1, 2])
async def test_each_test_finds_no_streams(nats_url: str, turn: int) -> None:
    client = await nats.connect(nats_url)
    try:
        streams = client.jetstream()
        assert await streams.streams_info() == []
        await streams.add_stream(name="EVENTS", subjects=["plimsoll.v1.>"])
        acknowledged = await streams.publish("plimsoll.v1.orchestrator.run.finished", b"{}")
        assert acknowledged.seq == 1
    finally:
        await client.close()


@pytest.mark.parametrize("turn", [1, 2])
async def test_each_test_finds_an_empty_redis(redis_url: str, turn: int) -> None:
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        assert await client.dbsize() == 0
        await client.set("mark", "1")
