"""The guard's promises while Redis is away, and what only this process can promise."""

from collections.abc import AsyncIterator

import pytest
from plimsoll_runtime import logs
from plimsoll_runtime.breaker import BreakerPolicy, Verdict
from plimsoll_runtime.guard import Entered, Upstream, open_guard
from plimsoll_runtime.limiter import Limit, LocalLimiter, Rate
from plimsoll_runtime.redis import open_redis
from plimsoll_runtime.settings import RedisSettings, Secret
from plimsoll_testkit.clock import FakeClock
from runtime_guards import GuardBehaviour, World

NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture
async def world(clock: FakeClock) -> AsyncIterator[World]:
    async def advance(seconds: float) -> None:
        clock.advance(seconds)

    async with (
        open_redis(RedisSettings(url=Secret(NOWHERE))) as redis,
        open_guard(redis, clock, logs.get("test"), space="test") as guard,
    ):
        yield World(replicas=(guard,), advance=advance)


class TestLocalGuard(GuardBehaviour):
    pass


async def test_decisions_made_here_say_so(world: World) -> None:
    entered = await world.guard.enter(Upstream(name="crm"), "call_1")
    assert isinstance(entered, Entered)
    assert entered.local


async def test_a_share_keeps_all_replicas_together_within_the_rate(clock: FakeClock) -> None:
    limit = (Limit(name="all", rate=Rate(count=100, per_s=1.0)),)
    replicas = [LocalLimiter(clock, share=0.25) for _ in range(4)]
    passed = 0
    for _ in range(200):
        clock.advance(0.05)
        for one in replicas:
            for _ in range(3):
                if one.refusal("crm:", limit) is None:
                    one.take("crm:", limit)
                    passed += 1
    assert 950 <= passed <= 100 + 1000  # ten seconds and one burst


def test_a_limiter_remembers_a_bounded_number_of_limits(clock: FakeClock) -> None:
    limiter = LocalLimiter(clock)
    for number in range(10_500):
        limiter.take("crm:", (Limit(name=f"tenant:{number}", rate=Rate(count=1, per_s=3600.0)),))
    assert limiter.refusal("crm:", (Limit(name="tenant:10499", rate=Rate(count=1, per_s=3600.0)),)) is not None
    assert limiter.refusal("crm:", (Limit(name="tenant:0", rate=Rate(count=1, per_s=3600.0)),)) is None


@pytest.mark.parametrize(("count", "per_s", "burst"), [(0, 1.0, 0), (1, 0.0, 0), (1, 1.0, -1)])
def test_a_rate_that_lets_nothing_pass_is_refused(count: int, per_s: float, burst: int) -> None:
    with pytest.raises(ValueError, match="a rate needs"):
        Rate(count=count, per_s=per_s, burst=burst)


def test_a_cost_that_never_fits_is_refused() -> None:
    with pytest.raises(ValueError, match="never fits"):
        Limit(name="tokens", rate=Rate(count=10), cost=11)


async def test_five_is_what_the_policy_says_unless_told_otherwise() -> None:
    policy = BreakerPolicy()
    assert (policy.failures, policy.window_s) == (5, 60.0)


async def test_one_failure_opens_a_breaker_that_allows_none(world: World) -> None:
    strict = Upstream(name="crm", policy=BreakerPolicy(failures=1))
    entered = await world.guard.enter(strict, "call_1")
    assert isinstance(entered, Entered)
    await world.guard.report(entered, Verdict.FAILED)
    assert not isinstance(await world.guard.enter(strict, "call_2"), Entered)
