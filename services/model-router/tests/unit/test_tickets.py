"""Limits taken in advance: never exceeded, and not wasted by who calls now and then."""

import asyncio

import pytest
from model_router_fakes import FakeGate
from plimsoll_model_router.adapters.tickets import Tickets
from plimsoll_runtime.breaker import Open, Verdict
from plimsoll_runtime.guard import Decision, Entered, Upstream
from plimsoll_runtime.limiter import Limit, Limited, Rate
from plimsoll_testkit.clock import FakeClock


class Counting(FakeGate):
    """Counts how often it is asked."""

    asked = 0

    async def enter(self, upstream: Upstream, token: str) -> Decision:
        self.asked += 1
        return await super().enter(upstream, token)


def limited(count: int, cost: int = 1) -> Upstream:
    return Upstream(name="p/m", limits=(Limit(name="k:requests", rate=Rate(count=count, per_s=60.0), cost=cost),))


async def went(tickets: Tickets, upstream: Upstream, calls: int) -> int:
    return [isinstance(await tickets.enter(upstream, f"t{number}"), Entered) for number in range(calls)].count(True)


async def test_many_calls_ask_the_guard_a_few_times(clock: FakeClock) -> None:
    gate = Counting(clock)
    assert await went(Tickets(gate, clock), limited(1_000_000), 500) == 500
    assert gate.asked < 12


@pytest.mark.parametrize("count", [3, 2500, 40_000])
async def test_no_more_go_than_the_limit_allows_and_all_that_it_allows_go(clock: FakeClock, count: int) -> None:
    gate = Counting(clock)
    one, other = Tickets(gate, clock), Tickets(gate, clock)
    total = 0
    for _ in range(count // 10 + 2):
        total += await went(one, limited(count), 10) + await went(other, limited(count), 10)
    assert total <= count
    assert total >= count - 2 * max(1, count * 0.05 / 60)
    assert isinstance(await one.enter(limited(count), "x"), Limited)


async def test_who_calls_now_and_then_takes_one_by_one(clock: FakeClock) -> None:
    gate = Counting(clock)
    tickets = Tickets(gate, clock)
    for _ in range(20):
        assert await went(tickets, limited(60_000), 1) == 1
        clock.advance(0.06)
    assert gate.asked == 20
    assert await went(tickets, limited(60_000), 1) == 1


async def test_tickets_end_with_a_failure_and_with_their_time(clock: FakeClock) -> None:
    gate = Counting(clock)
    tickets = Tickets(gate, clock)
    await went(tickets, limited(1_000_000), 100)
    entered = await tickets.enter(limited(1_000_000), "t")
    assert isinstance(entered, Entered)
    gate.open.add("p/m")
    await tickets.report(entered, Verdict.FAILED)
    assert isinstance(await tickets.enter(limited(1_000_000), "u"), Open)
    gate.open.clear()
    await went(tickets, limited(1_000_000), 100)
    clock.advance(0.051)
    gate.open.add("p/m")
    assert isinstance(await tickets.enter(limited(1_000_000), "v"), Open)


async def test_calls_that_cost_more_use_more_of_it(clock: FakeClock) -> None:
    gate = Counting(clock)
    tickets = Tickets(gate, clock)
    assert await went(tickets, limited(100_000, cost=1000), 200) == 100


async def test_who_comes_while_tickets_are_taken_shares_them(clock: FakeClock) -> None:
    class Slow(Counting):
        async def enter(self, upstream: Upstream, token: str) -> Decision:
            decision = await super().enter(upstream, token)
            await asyncio.sleep(0)  # as long as it takes the others to come
            return decision

    gate = Slow(clock)
    tickets, upstream = Tickets(gate, clock), limited(1_000_000)
    await went(tickets, upstream, 40)
    clock.advance(0.06)
    before = gate.asked
    decisions = await asyncio.gather(*(tickets.enter(upstream, f"u{number}") for number in range(8)))
    assert all(isinstance(one, Entered) for one in decisions)
    assert gate.asked == before + 1
