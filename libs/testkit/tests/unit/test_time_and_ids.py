"""Controlled time and ids behave like the real ones, as far as a test can see."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.ids import Ids
from plimsoll_testkit import FakeClock, FakeIds, eventually


def test_they_fit_where_the_real_ones_do(clock: FakeClock, ids: FakeIds) -> None:
    injected: tuple[Clock, Ids] = (clock, ids)
    assert injected == (clock, ids)


def test_time_stands_still_until_it_is_moved(clock: FakeClock) -> None:
    before = (clock.now(), clock.monotonic())
    assert (clock.now(), clock.monotonic()) == before
    clock.advance(90)
    assert (clock.now() - before[0], clock.monotonic() - before[1]) == (timedelta(seconds=90), 90)


def test_the_wall_clock_may_jump_alone(clock: FakeClock) -> None:
    elapsed = clock.monotonic()
    clock.set(datetime(2030, 1, 1, tzinfo=UTC))
    assert clock.now().year == 2030
    assert clock.monotonic() == elapsed


async def test_sleepers_wake_in_time_and_not_before(clock: FakeClock) -> None:
    async with asyncio.TaskGroup() as group:
        sleeping = group.create_task(clock.sleep(10))
        await eventually(lambda: clock.sleepers == 1)
        clock.advance(9.9)
        await asyncio.sleep(0)
        assert not sleeping.done()
        clock.advance(0.1)
    assert clock.sleepers == 0


def test_ids_count_per_prefix(ids: FakeIds) -> None:
    assert [ids.new("run"), ids.new("run"), ids.new("call")] == ["run_000001", "run_000002", "call_000001"]


async def test_eventually_returns_what_became_true() -> None:
    answers = iter([0, None, "", "here"])
    assert await eventually(lambda: next(answers)) == "here"


async def test_eventually_awaits_and_takes_a_failed_assertion_for_not_yet() -> None:
    tries = iter(range(5))

    async def third_time() -> bool:
        assert next(tries) >= 2
        return True

    assert await eventually(third_time)


async def test_eventually_gives_up_with_the_last_answer() -> None:
    with pytest.raises(AssertionError, match=r"within 0\.05 s; the last answer was 0"):
        await eventually(lambda: 0, within_s=0.05)


async def test_eventually_lets_other_errors_through_at_once() -> None:
    def broken() -> bool:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        await eventually(broken)
