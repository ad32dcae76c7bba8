"""The guard on a real Redis: one decision for a fleet, on one clock, in one round trip; and without one when Redis fails."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from plimsoll_runtime import logs
from plimsoll_runtime.breaker import BreakerPolicy, Open, Verdict
from plimsoll_runtime.clock import Clock, SystemClock
from plimsoll_runtime.guard import Entered, Guard, Upstream, open_guard
from plimsoll_runtime.limiter import Limit, Limited, Rate
from plimsoll_runtime.redis import open_redis
from plimsoll_runtime.settings import RedisSettings, Secret
from plimsoll_testkit.clock import FakeClock
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from runtime_guards import CRM, Calls, GuardBehaviour, World
from runtime_own_redis import own_redis
from runtime_relay import relaying

SPACE = "test"
PATIENT_S = 1.5  # a busy machine is not an outage
LIMITED = Upstream(name="api", limits=(Limit(name="all", rate=Rate(count=3, per_s=600.0)), Limit(name="tenant:a", rate=Rate(count=9))))


async def opened(
    stack: AsyncExitStack,
    url: str,
    clock: Clock | None = None,
    registry: CollectorRegistry | None = None,
    *,
    cap_s: float = PATIENT_S,
    trips: list[str] | None = None,
) -> Guard:
    """`trips` takes a word for every round trip."""
    redis = await stack.enter_async_context(open_redis(RedisSettings(url=Secret(url))))
    if trips is not None:
        make = redis.pipeline

        def counted(*, transaction: bool) -> object:
            trips.append("trip")
            return make(transaction=transaction)

        redis.pipeline = counted
    clock = clock or SystemClock()
    return await stack.enter_async_context(open_guard(redis, clock, logs.get("test"), space=SPACE, cap_s=cap_s, registry=registry))


async def let_pass(redis: Redis, seconds: float) -> None:
    """Make it so much later for everything that Redis knows: its clock cannot be set, what it wrote down can."""
    micros = round(seconds * 1e6)
    async for key in redis.scan_iter(match=f"plimsoll:{SPACE}:*"):
        match await redis.type(key):
            case b"hash":
                for name, value in (await redis.hgetall(key)).items():
                    if name.endswith(b"until"):
                        await redis.hset(key, name, int(value) - micros)
            case b"zset":
                for member, score in await redis.zrange(key, 0, -1, withscores=True):
                    await redis.zadd(key, {member: score - micros})
            case b"string":
                await redis.set(key, int(await redis.get(key)) - micros, keepttl=True)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with open_redis(RedisSettings(url=Secret(redis_url))) as client:
        yield client


@pytest.fixture
async def world(redis_url: str, redis: Redis) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        replicas = tuple([await opened(stack, redis_url) for _ in range(3)])
        yield World(replicas=replicas, advance=lambda seconds: let_pass(redis, seconds))


class TestSharedGuard(GuardBehaviour):
    pass


async def test_limit_and_breaker_are_one_round_trip(redis_url: str) -> None:
    trips: list[str] = []
    async with AsyncExitStack() as stack:
        guard = await opened(stack, redis_url, trips=trips)
        await guard.enter(LIMITED, "warm")
        trips.clear()
        entered = await guard.enter(LIMITED, "call_1")
        assert isinstance(entered, Entered)
        await guard.report(entered, Verdict.SUCCEEDED)
    assert trips == ["trip"]


async def test_a_closed_breaker_is_remembered_for_a_moment_and_no_failure_of_ones_own_is_missed(redis_url: str, clock: FakeClock) -> None:
    trips: list[str] = []
    async with AsyncExitStack() as stack:
        guard = await opened(stack, redis_url, clock, trips=trips)
        world = World(replicas=(guard, await opened(stack, redis_url, clock)), advance=asyncio.sleep)
        calls = Calls(world)
        for _ in range(20):
            assert isinstance(await calls.enter(), Entered)
        assert trips == ["trip"]
        for number in range(5):  # of the other replica
            entered = await world.replicas[1].enter(CRM, f"other_{number}")
            assert isinstance(entered, Entered)
            await world.replicas[1].report(entered, Verdict.FAILED)
        clock.advance(0.06)
        assert isinstance(await calls.enter(), Open)


async def test_what_one_replica_saw_holds_for_all(world: World) -> None:
    calls = Calls(world)
    await calls.end(Verdict.FAILED, times=5)
    for replica in range(3):
        assert isinstance(await calls.enter(replica), Open)


async def test_one_rate_for_the_whole_fleet(world: World) -> None:
    upstream = Upstream(name="api", limits=(Limit(name="all", rate=Rate(count=30, per_s=600.0)),))
    decisions = await asyncio.gather(*(world.replicas[number % 3].enter(upstream, str(number)) for number in range(300)))
    assert sum(isinstance(one, Entered) for one in decisions) == 30


async def test_clocks_of_replicas_that_differ_change_nothing(redis_url: str) -> None:
    async with AsyncExitStack() as stack:
        early, late = FakeClock(), FakeClock()
        late.advance(600)
        world = World(replicas=(await opened(stack, redis_url, early), await opened(stack, redis_url, late)), advance=asyncio.sleep)
        calls = Calls(world)
        await calls.end(Verdict.FAILED, times=5)
        first, second = await calls.enter(0), await calls.enter(1)
        assert isinstance(first, Open)
        assert isinstance(second, Open)
        assert abs(first.retry_after_s - second.retry_after_s) < 1
        limited = [await world.replicas[number % 2].enter(LIMITED, f"limited_{number}") for number in range(4)]
        assert [isinstance(one, Entered) for one in limited] == [True, True, True, False]


async def test_a_redis_that_lost_everything_starts_anew(world: World, redis: Redis) -> None:
    await Calls(world).end(Verdict.FAILED, times=5)
    await redis.flushdb()
    await redis.script_flush()
    entered = await Calls(world).enter()
    assert isinstance(entered, Entered)
    assert not entered.local


async def test_what_is_left_in_redis_expires(world: World, redis: Redis) -> None:
    await Calls(world, Upstream(name="crm", limits=LIMITED.limits, policy=BreakerPolicy(failures=3))).end(Verdict.FAILED, times=3)
    keys = [key async for key in redis.scan_iter()]
    assert keys
    lives_ms = [await redis.pttl(key) for key in keys]
    assert all(0 < life <= 2 * 3600_000 for life in lives_ms)


async def test_a_redis_that_goes_away_is_replaced_by_this_process_and_comes_back(redis_url: str, clock: FakeClock) -> None:
    registry = CollectorRegistry()
    async with relaying(redis_url) as relay, AsyncExitStack() as stack:
        guard = await opened(stack, relay.url, clock, registry)
        world = World(replicas=(guard,), advance=asyncio.sleep)
        assert isinstance(await Calls(world).enter(), Entered)
        await relay.close()
        await Calls(world).end(Verdict.FAILED, times=5)
        assert isinstance(await Calls(world).enter(), Open)
        assert registry.get_sample_value("plimsoll_guard_local") == 1
        assert registry.get_sample_value("plimsoll_breaker_open", {"upstream": "crm"}) == 1
        await relay.open()
        clock.advance(2)
        entered = await Calls(world).enter()
        assert isinstance(entered, Entered)
        assert not entered.local
        assert registry.get_sample_value("plimsoll_guard_local") == 0


async def test_a_redis_that_hangs_costs_one_short_wait_and_then_nothing(redis_url: str, clock: FakeClock) -> None:
    async with relaying(redis_url) as relay, AsyncExitStack() as stack:
        guard = await opened(stack, relay.url, clock, cap_s=0.1)
        await guard.enter(CRM, "warm")
        clock.advance(0.5)
        relay.hold()
        begun = time.monotonic()
        decisions = await asyncio.gather(*(guard.enter(CRM, str(number)) for number in range(500)))
        assert all(isinstance(one, Entered) and one.local for one in decisions)
        for number in range(500):
            await guard.enter(CRM, str(number))
        assert time.monotonic() - begun < 2.0  # one cap, not a thousand
        relay.release()


async def test_a_replica_that_only_reads_is_no_redis(tmp_path: Path) -> None:
    async with own_redis(tmp_path) as url, AsyncExitStack() as stack:
        guard = await opened(stack, url)
        redis = await stack.enter_async_context(open_redis(RedisSettings(url=Secret(url))))
        await redis.execute_command("REPLICAOF", "127.0.0.1", "1")
        entered = await guard.enter(LIMITED, "call_1")
        assert isinstance(entered, Entered)
        assert entered.local


async def test_tenants_and_services_with_awkward_names_do_not_meet(world: World, redis: Redis) -> None:
    one = Limit(name="tenant:a:b", rate=Rate(count=1, per_s=600.0))
    for name in ("tenant:a%3Ab", "tenant:a}b", "tenant:ä", "tenant:a b", "tenant:a:b:"):
        assert isinstance(await world.guard.enter(Upstream(name="api", limits=(one,)), name), Entered | Limited)
        other = Limit(name=name, rate=Rate(count=1, per_s=600.0))
        assert isinstance(await world.guard.enter(Upstream(name="api", limits=(other,)), name), Entered)


async def test_a_policy_of_one_call_is_its_own(world: World) -> None:
    strict = Upstream(name="strict", policy=BreakerPolicy(failures=1, cooldown_s=5))
    await Calls(world, strict).end(Verdict.FAILED)
    refused = await Calls(world, strict).enter()
    assert isinstance(refused, Open)
    assert 4 < refused.retry_after_s <= 5
