"""Deadlines that shrink on the way, pauses that end early and grow, and ids that sort by time."""

import asyncio
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_runtime import deadline
from plimsoll_runtime.clock import SystemClock
from plimsoll_runtime.context import acting_for, current_caller
from plimsoll_runtime.errors import DeadlineExpired, Internal
from plimsoll_runtime.ids import RandomIds
from plimsoll_runtime.retry import Backoff, pause

SOON = 60.0


async def forever() -> None:
    await asyncio.Event().wait()


# --- deadlines ---------------------------------------------------------------------------------------------------------------


def test_without_a_deadline_a_call_has_its_own_cap():
    assert (deadline.remaining_s(), deadline.budget_s(7.0)) == (None, 7.0)


def test_a_call_has_its_cap_or_what_is_left_whichever_is_less():
    with deadline.expiring(5.0):
        assert deadline.budget_s(1.0) == 1.0
        assert 4.0 < deadline.budget_s(60.0) <= 5.0


def test_a_deadline_inside_another_never_lengthens_it():
    with deadline.expiring(1.0):
        with deadline.expiring(60.0):
            assert deadline.budget_s(60.0) <= 1.0
        with deadline.expiring(0.5):
            assert deadline.budget_s(60.0) <= 0.5
        with deadline.expiring(None):
            assert deadline.budget_s(60.0) <= 1.0
        assert 0.5 < deadline.budget_s(60.0) <= 1.0
    assert deadline.remaining_s() is None


def test_no_time_left_is_an_expired_deadline():
    with deadline.expiring(-1.0), pytest.raises(DeadlineExpired):
        deadline.budget_s(10.0)


async def test_work_that_takes_longer_is_cut_off():
    with pytest.raises(DeadlineExpired):
        async with deadline.within(0.01):
            await forever()


async def test_work_in_time_is_left_alone_and_knows_what_it_has():
    async with deadline.within(SOON):
        assert 0 < (deadline.remaining_s() or 0) <= SOON
    assert deadline.remaining_s() is None


async def test_the_outer_deadline_holds_inside_a_longer_one():
    begun = time.monotonic()
    with pytest.raises(DeadlineExpired):
        async with deadline.within(0.05), deadline.within(3600.0):
            await forever()
    assert time.monotonic() - begun < SOON


async def test_the_inner_deadline_expires_alone():
    async with deadline.within(SOON):
        with pytest.raises(DeadlineExpired):
            async with deadline.within(0.01):
                await forever()
        assert deadline.remaining_s() is not None


async def test_a_timeout_of_somebody_else_is_not_mistaken_for_the_deadline():
    with pytest.raises(TimeoutError):
        async with deadline.within(SOON):
            raise TimeoutError("the printer does not answer")


async def test_a_cancellation_is_not_mistaken_for_the_deadline():
    entered = asyncio.Event()

    async def work() -> None:
        async with deadline.within(SOON):
            entered.set()
            await forever()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(work())
        await entered.wait()
        task.cancel()
    assert task.cancelled()


async def test_children_of_a_task_inherit_the_deadline():
    async def child() -> float | None:
        return deadline.remaining_s()

    with deadline.expiring(SOON):
        async with asyncio.TaskGroup() as group:
            task = group.create_task(child())
    assert task.result() is not None


# --- the caller --------------------------------------------------------------------------------------------------------------


def test_there_is_a_caller_only_inside_of_a_request():
    with acting_for("acme", "key_1", service="gateway"):
        with acting_for("globex"):
            assert current_caller().tenant == "globex"
        caller = current_caller()
        assert (caller.tenant, caller.principal, caller.service) == ("acme", "key_1", "gateway")
    with pytest.raises(Internal) as caught:
        current_caller()
    assert caught.value.reason == "NO_CALLER"


# --- pauses ------------------------------------------------------------------------------------------------------------------


async def test_a_pause_ends_when_the_work_is_to_stop():
    stop = asyncio.Event()
    async with asyncio.timeout(SOON), asyncio.TaskGroup() as group:
        group.create_task(pause(3600.0, stop))
        group.create_task(Backoff(3600.0, 3600.0).pause(stop))
        await asyncio.sleep(0)
        stop.set()


async def test_a_pause_ends_when_it_is_over():
    async with asyncio.timeout(SOON):
        await pause(0.001, asyncio.Event())


async def test_a_pause_that_is_cancelled_is_cancelled():
    async with asyncio.TaskGroup() as group:
        task = group.create_task(pause(3600.0, asyncio.Event()))
        await asyncio.sleep(0)
        task.cancel()
    assert task.cancelled()


@given(st.floats(0.001, 10), st.floats(10, 1000), st.integers(0, 2000))
def test_pauses_double_up_to_the_longest_and_begin_anew(first_s: float, most_s: float, tries: int):
    backoff = Backoff(first_s, most_s)
    for number in range(12):
        longest = min(most_s, first_s * 2**number)
        assert longest / 2 <= backoff.next_s() <= longest
    backoff.reset()
    assert backoff.next_s() <= first_s
    assert Backoff(first_s, most_s, tries=tries).next_s() <= most_s


# --- clock and ids -----------------------------------------------------------------------------------------------------------


def test_the_clock_is_aware_and_its_other_hand_only_rises():
    clock = SystemClock()
    assert clock.now().utcoffset() is not None
    assert clock.monotonic() <= clock.monotonic()


def test_ids_have_their_prefix_are_unique_and_sort_by_time(monkeypatch: pytest.MonkeyPatch):
    moments = [0, 1, 31, 32, 1_000_000, 1_795_000_000_000, 1_795_000_000_001, 2**48 - 1]
    made: list[str] = []
    for milliseconds in moments:
        monkeypatch.setattr(time, "time_ns", lambda at=milliseconds: at * 1_000_000 + 999_999)
        made.append(RandomIds().new("run"))
    assert made == sorted(made)
    assert all(re.fullmatch(r"run_[0-9A-HJKMNP-TV-Z]{26}", one) for one in made)
    assert len({RandomIds().new("run") for _ in range(10_000)}) == 10_000
