"""Rate limits count fairly and say truly what is left and when to come again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_gateway.domain.principal import Principal
from plimsoll_gateway.service.limits import Quota, RateLimits, Rates
from plimsoll_gateway.transport.quotas import quota_headers
from plimsoll_runtime.guard import Decision, Entered, Upstream
from plimsoll_runtime.limiter import Limited, LocalLimiter, Rate
from plimsoll_testkit.clock import FakeClock


class LocalMeter:
    """The limiter that the guard falls back on, as a meter."""

    def __init__(self, clock: FakeClock) -> None:
        self._limiter = LocalLimiter(clock)

    async def enter(self, upstream: Upstream, token: str) -> Decision:
        refusal = self._limiter.refusal(upstream.name, upstream.limits)
        if refusal is not None:
            return refusal
        return Entered(upstream=upstream, token=token, empty_in_s=self._limiter.take(upstream.name, upstream.limits))


def limits(clock: FakeClock, key: int = 5, tenant: int = 8) -> RateLimits:
    rates = Rates(key=Rate(count=key), tenant=Rate(count=tenant), of_tenant={"big": Rate(count=1000)})
    return RateLimits(LocalMeter(clock), rates)


def asking(key: str = "key_1", tenant: str = "acme") -> Principal:
    return Principal(key_id=key, name="console", tenant=tenant, scopes=frozenset())


async def let_in(door: RateLimits, who: Principal, times: int) -> int:
    return sum([not isinstance(await door.take(who), Limited) for _ in range(times)])


async def test_a_key_gets_its_rate_and_a_tenant_its_own_over_all_keys(clock: FakeClock):
    door = limits(clock)
    assert await let_in(door, asking("key_1"), 10) == 5
    assert await let_in(door, asking("key_2"), 10) == 3
    assert await let_in(door, asking("key_1", "other"), 10) == 5
    assert await let_in(door, asking("key_1", "big"), 10) == 5


async def test_what_is_left_is_told(clock: FakeClock):
    door = limits(clock)
    taken = await door.take(asking())
    assert not isinstance(taken, Limited)
    assert quota_headers(taken) == {
        "RateLimit-Policy": '"key";q=5;w=1, "tenant";q=8;w=1',
        "RateLimit": '"key";r=4;t=1, "tenant";r=7;t=1',
    }


@given(times=st.lists(st.floats(0, 0.5), min_size=1, max_size=40))
async def test_who_waits_as_long_as_told_is_let_in_and_who_comes_earlier_is_not(times: list[float]):
    clock = FakeClock()
    door = limits(clock)
    for pause in times:
        clock.advance(pause)
        taken = await door.take(asking())
        if isinstance(taken, Limited):
            error, quota = door.refused(asking(), taken)
            assert error.retry_after_s == quota.full_in_s == taken.retry_after_s
            clock.advance(taken.retry_after_s * 0.9)
            assert isinstance(await door.take(asking()), Limited)
            clock.advance(taken.retry_after_s * 0.1 + 1e-6)
            assert not isinstance(await door.take(asking()), Limited)


@given(st.integers(1, 5))
async def test_as_many_requests_as_remain_are_let_in_at_once(asked: int):
    door = limits(FakeClock())
    taken: tuple[Quota, ...] | Limited = ()
    for _ in range(asked):
        taken = await door.take(asking())
    assert not isinstance(taken, Limited)
    assert await let_in(door, asking(), 10) == taken[0].remaining


@pytest.mark.parametrize(("name", "words"), [("key", "this key may ask 5 times in 1 s"), ("tenant", "this tenant may ask 8 times in 1 s")])
def test_the_refusal_names_the_limit(clock: FakeClock, name: str, words: str):
    error, quota = limits(clock).refused(asking(), Limited(name=name, retry_after_s=0.2))
    assert (error.message, error.retry_after_s, quota.remaining) == (words, 0.2, 0)
