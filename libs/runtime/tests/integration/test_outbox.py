"""The outbox: what is committed is published, at least once and oldest first, whatever fails between."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import nats
import pytest
from nats.js import JetStreamContext
from plimsoll_runtime import logs
from plimsoll_runtime.bus import DEAD_LETTER_STREAM, Bus
from plimsoll_runtime.outbox import OUTBOX_MIGRATIONS, Fetched, OutboxEvent, OutboxRelay, OutboxTable, add_events
from plimsoll_runtime.postgres import migrate, open_pool
from plimsoll_runtime.settings import PostgresSettings, Secret
from plimsoll_testkit import eventually
from runtime_harbour import ARRIVED, SOON, STREAM, connected
from runtime_own_nats import own_nats
from runtime_relay import relaying

LOG = logs.get("probe")


@asynccontextmanager
async def pooled(dsn: str) -> AsyncIterator[asyncpg.Pool]:
    async with open_pool(PostgresSettings(dsn=Secret(dsn)), "harbour") as pool:
        await migrate(pool, "harbour", [OUTBOX_MIGRATIONS])
        yield pool


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    async with pooled(postgres_dsn) as opened:
        yield opened


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    """A connection to a server that has no stream yet."""
    async with connected(nats_url) as opened:
        yield opened


@asynccontextmanager
async def relaying_events(*relays: OutboxRelay) -> AsyncIterator[None]:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for relay in relays:
            group.create_task(relay.run(stop))
        try:
            yield
        finally:
            stop.set()


async def commit(pool: asyncpg.Pool, *numbers: int) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await add_events(connection, [event(number) for number in numbers])


def event(number: int, payload: bytes | None = None) -> OutboxEvent:
    return OutboxEvent(event_id=f"evt-{number}", subject=ARRIVED, tenant="acme", payload=payload or str(number).encode())


async def published(streams: JetStreamContext) -> list[int]:
    """What is in the stream, in its order."""
    try:
        last = (await streams.stream_info(STREAM.name)).state.last_seq
    except nats.js.errors.NotFoundError:
        return []
    return [int((await streams.get_msg(STREAM.name, seq)).data or b"0") for seq in range(1, last + 1)]


async def left(pool: asyncpg.Pool) -> int:
    return int(await pool.fetchval("select count(*) from outbox"))


async def is_empty(pool: asyncpg.Pool) -> bool:
    return await left(pool) == 0


async def test_what_is_committed_is_published_in_order_and_cleared(pool: asyncpg.Pool, bus: Bus, streams: JetStreamContext):
    await commit(pool, *range(600))
    relay = OutboxRelay(pool, bus, STREAM, LOG)
    async with relaying_events(relay):
        await eventually(lambda: is_empty(pool), within_s=SOON)
        await commit(pool, 600)
        relay.wake()
        await eventually(lambda: is_empty(pool), within_s=SOON)
    assert await published(streams) == list(range(601))
    message = await streams.get_msg(STREAM.name, 8)
    assert (message.headers or {})["Nats-Msg-Id"] == "evt-7"
    assert (message.headers or {})["Plimsoll-Tenant"] == "acme"


async def test_what_is_not_committed_is_never_published(pool: asyncpg.Pool, bus: Bus, streams: JetStreamContext):
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await add_events(connection, [event(1)])
        async with relaying_events(OutboxRelay(pool, bus, STREAM, LOG)):
            await commit(pool, 2)
            await eventually(lambda: is_empty(pool), within_s=SOON)
            await transaction.rollback()
    assert await published(streams) == [2]


async def test_nobody_waits_for_the_next_look_when_the_relay_was_woken(pool: asyncpg.Pool, bus: Bus, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("plimsoll_runtime.outbox._POLL_S", 3600.0)
    relay = OutboxRelay(pool, bus, STREAM, LOG)
    async with relaying_events(relay):
        await commit(pool, 1)
        relay.wake()
        await eventually(lambda: is_empty(pool), within_s=SOON)


async def test_what_was_committed_before_the_end_is_published_before_it(pool: asyncpg.Pool, bus: Bus, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("plimsoll_runtime.outbox._POLL_S", 3600.0)
    async with relaying_events(OutboxRelay(pool, bus, STREAM, LOG)):
        await commit(pool, 1)
        await eventually(lambda: holds_the_lock(pool))
        await commit(pool, 2)
    assert await is_empty(pool)


async def holds_the_lock(pool: asyncpg.Pool) -> bool:
    return bool(
        await pool.fetchval(
            "select count(*) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())"
        )
    )


# --- crashes -----------------------------------------------------------------------------------------------------------------


class Crash(Exception):
    """The process ends here."""


class CrashingTable(OutboxTable):
    """Ends before it clears what was published, the first `times`."""

    def __init__(self, times: int) -> None:
        self.times = times

    async def clear(self, connection: asyncpg.Connection, positions: Sequence[int]) -> None:
        if self.times:
            self.times -= 1
            raise Crash
        await super().clear(connection, positions)


async def test_a_crash_between_publishing_and_clearing_repeats_and_loses_nothing(pool: asyncpg.Pool, bus: Bus, streams: JetStreamContext):
    await bus.ensure_stream(STREAM)
    await commit(pool, 1, 2, 3)
    crashing = OutboxRelay(pool, bus, STREAM, LOG, CrashingTable(1))
    with pytest.raises(ExceptionGroup) as caught:
        await crashing.run(asyncio.Event())
    assert isinstance(caught.value.exceptions[0], Crash)
    assert (await published(streams), await left(pool)) == ([1, 2, 3], 3)
    async with relaying_events(OutboxRelay(pool, bus, STREAM, LOG)):
        await eventually(lambda: is_empty(pool), within_s=SOON)
    assert await published(streams) == [1, 2, 3]  # the repeats were told by their ids


async def test_a_crash_before_publishing_loses_nothing(pool: asyncpg.Pool, bus: Bus, streams: JetStreamContext):
    class CrashingFetch(OutboxTable):
        async def fetch(self, connection: asyncpg.Connection, limit: int) -> Fetched:
            await super().fetch(connection, limit)
            raise Crash

    await commit(pool, 1)
    with pytest.raises(ExceptionGroup):
        await OutboxRelay(pool, bus, STREAM, LOG, CrashingFetch()).run(asyncio.Event())
    assert (await published(streams), await left(pool)) == ([], 1)
    async with relaying_events(OutboxRelay(pool, bus, STREAM, LOG)):  # and the lock was let go
        await eventually(lambda: is_empty(pool), within_s=SOON)
    assert await published(streams) == [1]


# --- several relays, and servers that come and go ----------------------------------------------------------------------------


async def test_of_two_relays_one_works_and_the_other_takes_over(
    postgres_dsn: str, bus: Bus, streams: JetStreamContext, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("plimsoll_runtime.outbox._STANDBY_S", 0.05)
    worked: list[str] = []

    class Watched(OutboxTable):
        def __init__(self, name: str) -> None:
            self.name = name

        async def clear(self, connection: asyncpg.Connection, positions: Sequence[int]) -> None:
            worked.append(self.name)
            await super().clear(connection, positions)

    async with pooled(postgres_dsn) as one, pooled(postgres_dsn) as other:
        second = OutboxRelay(other, bus, STREAM, LOG, Watched("second"))
        async with relaying_events(OutboxRelay(one, bus, STREAM, LOG, Watched("first"))):
            await eventually(lambda: holds_the_lock(one))
            stop = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                group.create_task(second.run(stop))
                for number in range(20):
                    await commit(other, number)
                    second.wake()  # on standby it does not listen to this
                await eventually(lambda: is_empty(one), within_s=SOON)
                assert set(worked) == {"first"}
                stop.set()
        async with relaying_events(second):
            await commit(other, 20)
            await eventually(lambda: is_empty(other), within_s=SOON)
    assert worked[-1] == "second"
    assert await published(streams) == list(range(21))


async def test_an_outage_of_the_database_delays_and_loses_nothing(
    postgres_dsn: str, bus: Bus, streams: JetStreamContext, pool: asyncpg.Pool
):
    async with relaying(postgres_dsn) as way, pooled(way.url) as cut, relaying_events(OutboxRelay(cut, bus, STREAM, LOG)):
        await commit(pool, 1)
        await eventually(lambda: is_empty(pool), within_s=SOON)
        await way.close()
        await commit(pool, 2, 3)
        await way.open()
        await eventually(lambda: is_empty(pool), within_s=SOON)
    assert await published(streams) == [1, 2, 3]


async def test_an_outage_of_nats_delays_and_loses_nothing(pool: asyncpg.Pool, tmp_path: Path):
    async with own_nats(tmp_path) as server, connected(server.url) as bus, relaying_events(OutboxRelay(pool, bus, STREAM, LOG)):
        await commit(pool, 1)
        await eventually(lambda: is_empty(pool), within_s=SOON)
        await server.stop()
        await commit(pool, 2, 3)
        await server.start()
        await eventually(lambda: is_empty(pool), within_s=SOON)
        client = await nats.connect(server.url)
        assert await published(client.jetstream()) == [1, 2, 3]
        await client.close()


async def test_a_stream_that_vanished_is_made_anew(pool: asyncpg.Pool, bus: Bus, streams: JetStreamContext):
    async with relaying_events(OutboxRelay(pool, bus, STREAM, LOG)):
        await commit(pool, 1)
        await eventually(lambda: is_empty(pool), within_s=SOON)
        await streams.delete_stream(STREAM.name)
        await commit(pool, 2)
        await eventually(lambda: is_empty(pool), within_s=SOON)
    assert await published(streams) == [2]


async def test_an_event_too_large_for_the_server_holds_up_no_other(pool: asyncpg.Pool, bus: Bus, streams: JetStreamContext):
    async with pool.acquire() as connection:
        await add_events(connection, [event(1), event(2, bytes(1_048_576)), event(3)])
    async with relaying_events(OutboxRelay(pool, bus, STREAM, LOG)):
        await eventually(lambda: is_empty(pool), within_s=SOON)
    assert await published(streams) == [1, 3]
    letter = await streams.get_last_msg(DEAD_LETTER_STREAM.name, "plimsoll.v1.dead_letter.outbox")
    headers = letter.headers or {}
    assert (headers["Nats-Msg-Id"], headers["Plimsoll-Subject"], headers["Plimsoll-Tenant"]) == ("outbox:evt-2", ARRIVED, "acme")
    assert headers["Plimsoll-Cause"].startswith("MESSAGE_TOO_LARGE: ")
