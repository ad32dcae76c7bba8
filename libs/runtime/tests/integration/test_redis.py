"""Redis: its errors as ours, and no wait without an end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from plimsoll_runtime.errors import Internal, PlimsollError, Unavailable
from plimsoll_runtime.redis import open_redis, translating
from plimsoll_runtime.settings import InvalidSettings, RedisSettings, Secret
from redis.asyncio import Redis
from runtime_relay import relaying

SOON = 60.0


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Redis]:
    async with open_redis(RedisSettings(url=Secret(url))) as client:
        yield client


async def outcome(client: Redis, *command: str) -> PlimsollError | None:
    try:
        with translating():
            await client.execute_command(*command)
    except PlimsollError as error:
        return error
    return None


async def test_what_is_set_is_got(redis_url: str):
    async with connected(redis_url) as client:
        await client.set("berth", "7", ex=60)
        assert await client.get("berth") == b"7"


async def test_more_callers_than_connections_wait_for_their_turn(redis_url: str):
    async with connected(redis_url) as client:
        counted = await asyncio.gather(*(client.incr("ships") for _ in range(300)))
    assert sorted(counted) == list(range(1, 301))


async def test_a_server_that_goes_away_is_unavailable_at_once_and_comes_back(redis_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("plimsoll_runtime.redis._CAP_S", 3600.0)  # it is not this that ends the wait
    async with relaying(redis_url) as relay, connected(relay.url) as client:
        assert await outcome(client, "PING") is None
        await relay.close()
        async with asyncio.timeout(SOON):
            for _ in range(2):  # once on the connection that was cut, once on none
                error = await outcome(client, "PING")
                assert (type(error), error and error.reason) == (Unavailable, "REDIS_UNAVAILABLE")
        await relay.open()
        assert await outcome(client, "PING") is None


async def test_a_server_that_hangs_costs_no_more_than_the_cap(redis_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("plimsoll_runtime.redis._CAP_S", 0.1)
    async with relaying(redis_url) as relay, connected(relay.url) as client:
        assert await outcome(client, "PING") is None
        relay.hold()
        async with asyncio.timeout(SOON):
            assert isinstance(await outcome(client, "PING"), Unavailable)
        relay.release()


async def test_a_wrong_password_is_unavailable_and_not_told(redis_url: str):
    async with connected(redis_url.replace("@", "wrong@")) as client:
        error = await outcome(client, "PING")
    assert isinstance(error, Unavailable)
    assert "wrong" not in str(error)


async def test_a_command_that_is_refused_is_a_fault_of_ours(redis_url: str):
    async with connected(redis_url) as client:
        await client.set("berth", "seven")
        for command in (["INCR", "berth"], ["NO_SUCH_COMMAND"], ["LPUSH", "berth", "1"]):
            error = await outcome(client, *command)
            assert (type(error), error and error.reason) == (Internal, "REDIS_ERROR")


async def test_errors_of_ours_pass_as_they_are():
    with pytest.raises(Internal) as caught, translating():
        raise Internal("the ledger does not add up", reason="LEDGER_BROKEN")
    assert caught.value.reason == "LEDGER_BROKEN"


async def test_a_url_that_makes_no_sense_is_told_without_a_word_of_it():
    with pytest.raises(InvalidSettings) as caught:
        async with connected("redis://user:half/secret@host:6379/0"):
            pass
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__
