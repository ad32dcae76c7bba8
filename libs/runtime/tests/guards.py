"""What a guard promises, whether Redis decides or this process: run against both. Time passes when a test says so."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from itertools import count

from plimsoll_runtime.breaker import BreakerPolicy, Open, Verdict
from plimsoll_runtime.guard import Decision, Entered, Guard, Upstream
from plimsoll_runtime.limiter import Limit, Limited, Rate

CRM = Upstream(name="crm", policy=BreakerPolicy(failures=5, window_s=60, cooldown_s=30, probe_s=10))
TEN_A_SECOND = Rate(count=10, per_s=1.0)


@dataclass(frozen=True, kw_only=True)
class World:
    """`replicas` of one service before the same upstreams (one of them when there is nothing that they share)."""

    replicas: tuple[Guard, ...]
    advance: Callable[[float], Awaitable[None]]

    @property
    def guard(self) -> Guard:
        return self.replicas[0]


class Calls:
    """Calls of an upstream, each with a token of its own."""

    def __init__(self, world: World, upstream: Upstream = CRM) -> None:
        self._world = world
        self._upstream = upstream
        self._numbers = count()

    async def enter(self, replica: int = 0) -> Decision:
        return await self._world.replicas[replica].enter(self._upstream, f"call_{next(self._numbers)}")

    async def end(self, verdict: Verdict, *, times: int = 1) -> None:
        for _ in range(times):
            entered = await self.enter()
            assert isinstance(entered, Entered), entered
            await self._world.guard.report(entered, verdict)


def limited(name: str, *limits: Limit) -> Upstream:
    return Upstream(name=name, limits=limits)


def about(value: float, wanted: float, slack: float = 0.25) -> bool:
    """Redis' own clock goes on between two calls."""
    return wanted - slack <= value <= wanted + 1e-6


class GuardBehaviour:
    """Subclasses give the fixture `world`."""

    async def test_five_failures_within_sixty_seconds_open_it_whatever_succeeds_between_them(self, world: World) -> None:
        calls = Calls(world)
        for _ in range(4):
            await calls.end(Verdict.FAILED)
            await calls.end(Verdict.SUCCEEDED)
            await world.advance(14.5)
        await calls.end(Verdict.FAILED)
        refused = await calls.enter()
        assert isinstance(refused, Open)
        assert about(refused.retry_after_s, 30.0)

    async def test_five_failures_in_sixty_one_seconds_leave_it_closed(self, world: World) -> None:
        calls = Calls(world)
        for _ in range(4):
            await calls.end(Verdict.FAILED)
            await world.advance(15.25)
        await calls.end(Verdict.FAILED)
        assert isinstance(await calls.enter(), Entered)

    async def test_cancellations_and_mistakes_of_the_caller_never_count(self, world: World) -> None:
        calls = Calls(world)
        await calls.end(Verdict.NEUTRAL, times=20)
        assert isinstance(await calls.enter(), Entered)

    async def test_a_failure_reported_twice_counts_once(self, world: World) -> None:
        entered = await Calls(world).enter()
        assert isinstance(entered, Entered)
        for _ in range(10):
            await world.guard.report(entered, Verdict.FAILED)
        assert isinstance(await Calls(world).enter(), Entered)

    async def test_after_the_cool_down_exactly_one_of_a_hundred_is_the_probe(self, world: World) -> None:
        calls = Calls(world)
        await calls.end(Verdict.FAILED, times=5)
        await world.advance(30.5)
        decisions = await asyncio.gather(*(calls.enter(number % len(world.replicas)) for number in range(100)))
        probes = [one for one in decisions if isinstance(one, Entered)]
        assert [probe.probe for probe in probes] == [True]
        refused = [one for one in decisions if isinstance(one, Open)]
        assert len(refused) == 99
        assert all(about(one.retry_after_s, 10.0) for one in refused)

    async def test_a_probe_that_succeeds_closes_it(self, world: World) -> None:
        calls = Calls(world)
        await calls.end(Verdict.FAILED, times=5)
        await world.advance(30.5)
        await calls.end(Verdict.SUCCEEDED)
        await calls.end(Verdict.FAILED, times=4)  # the earlier failures are forgotten
        assert isinstance(await calls.enter(), Entered)

    async def test_a_probe_that_fails_opens_it_for_another_cool_down(self, world: World) -> None:
        calls = Calls(world)
        await calls.end(Verdict.FAILED, times=5)
        await world.advance(30.5)
        await calls.end(Verdict.FAILED)
        refused = await calls.enter()
        assert isinstance(refused, Open)
        assert about(refused.retry_after_s, 30.0)

    async def test_a_probe_that_dies_is_replaced_and_has_no_say_any_more(self, world: World) -> None:
        calls = Calls(world)
        await calls.end(Verdict.FAILED, times=5)
        await world.advance(30.5)
        dead, _ = await calls.enter(), await world.advance(10.5)
        second = await calls.enter()
        assert isinstance(dead, Entered)
        assert isinstance(second, Entered)
        await world.guard.report(dead, Verdict.SUCCEEDED)
        assert isinstance(await calls.enter(), Open)
        await world.guard.report(second, Verdict.SUCCEEDED)
        assert isinstance(await calls.enter(), Entered)

    async def test_a_cancelled_probe_makes_room_for_another_at_once(self, world: World) -> None:
        calls = Calls(world)
        await calls.end(Verdict.FAILED, times=5)
        await world.advance(30.5)
        await calls.end(Verdict.NEUTRAL)
        again = await calls.enter()
        assert isinstance(again, Entered)
        assert again.probe

    async def test_a_success_from_before_it_opened_does_not_close_it(self, world: World) -> None:
        calls = Calls(world)
        early = await calls.enter()
        assert isinstance(early, Entered)
        await calls.end(Verdict.FAILED, times=5)
        await world.guard.report(early, Verdict.SUCCEEDED)
        assert isinstance(await calls.enter(), Open)

    async def test_breakers_of_upstreams_do_not_meet(self, world: World) -> None:
        await Calls(world).end(Verdict.FAILED, times=5)
        for name in ("crm2", "crm:breaker", "{crm}", "c", "crm}:x{"):
            assert isinstance(await Calls(world, replace(CRM, name=name)).enter(), Entered)

    async def test_a_burst_passes_and_what_is_over_it_hears_when_it_fits(self, world: World) -> None:
        calls = Calls(world, limited("api", Limit(name="all", rate=TEN_A_SECOND)))
        decisions = [await calls.enter() for _ in range(11)]
        assert all(isinstance(one, Entered) for one in decisions[:10])
        refused = decisions[10]
        assert isinstance(refused, Limited)
        assert refused.name == "all"
        assert about(refused.retry_after_s, 0.1, slack=0.1)
        await world.advance(refused.retry_after_s)
        assert isinstance(await calls.enter(), Entered)

    async def test_calls_that_come_evenly_always_pass(self, world: World) -> None:
        calls = Calls(world, limited("api", Limit(name="all", rate=Rate(count=10, per_s=1.0, burst=1))))
        for _ in range(25):
            assert isinstance(await calls.enter(), Entered)
            await world.advance(0.1)

    async def test_what_is_refused_takes_nothing(self, world: World) -> None:
        calls = Calls(world, limited("api", Limit(name="all", rate=Rate(count=1, per_s=60.0))))
        assert isinstance(await calls.enter(), Entered)
        for _ in range(50):
            assert isinstance(await calls.enter(), Limited)
        await world.advance(60.0)
        assert isinstance(await calls.enter(), Entered)

    async def test_every_limit_has_to_let_it_pass_and_one_that_refuses_leaves_the_others_alone(self, world: World) -> None:
        wide = Limit(name="all", rate=Rate(count=3, per_s=60.0))
        acme, other = (Limit(name=f"tenant:{name}", rate=Rate(count=1, per_s=60.0)) for name in ("acme", "other"))
        assert isinstance(await Calls(world, limited("api", wide, acme)).enter(), Entered)
        refused = await Calls(world, limited("api", wide, acme)).enter()
        assert isinstance(refused, Limited)
        assert refused.name == "tenant:acme"
        assert isinstance(await Calls(world, limited("api", wide, other)).enter(), Entered)
        assert isinstance(await Calls(world, limited("api", wide)).enter(), Entered)
        assert isinstance(await Calls(world, limited("api", wide)).enter(), Limited)

    async def test_a_cost_takes_so_much_of_the_limit(self, world: World) -> None:
        calls = Calls(world, limited("api", Limit(name="tokens", rate=Rate(count=1000, per_s=60.0), cost=400)))
        assert [type(await calls.enter()) for _ in range(3)] == [Entered, Entered, Limited]

    async def test_an_open_breaker_takes_nothing_from_a_limit(self, world: World) -> None:
        calls = Calls(world, replace(CRM, limits=(Limit(name="all", rate=Rate(count=6, per_s=600.0)),)))
        await calls.end(Verdict.FAILED, times=5)
        for _ in range(20):
            assert isinstance(await calls.enter(), Open)
        await world.advance(30.5)
        await calls.end(Verdict.SUCCEEDED)
        assert isinstance(await calls.enter(), Limited)

    async def test_a_full_limit_does_not_use_up_the_probe(self, world: World) -> None:
        upstream = replace(CRM, limits=(Limit(name="all", rate=Rate(count=5, per_s=600.0)),))
        await Calls(world, upstream).end(Verdict.FAILED, times=5)
        await world.advance(30.5)
        assert isinstance(await Calls(world, upstream).enter(), Limited)
        probe = await Calls(world).enter()
        assert isinstance(probe, Entered)
        assert probe.probe
