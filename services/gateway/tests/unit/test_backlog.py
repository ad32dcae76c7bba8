"""The load line holds: too much waiting work is refused, the least important first, with a time that is true."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll.orchestrator.v1 import orchestrator_service_pb2 as pb
from plimsoll_gateway.errors import QueueFull
from plimsoll_gateway.service.backlog import Backlog, Marks, Waiting, share_of
from plimsoll_runtime import logs
from plimsoll_runtime.errors import Unavailable
from plimsoll_testkit.clock import FakeClock

MARKS = Marks(runs=900, tenant_runs=450, oldest_s=90.0)


class Nobody:
    """No orchestrator: the tests tell the load themselves."""

    async def get_load(self, _: pb.GetLoadRequest) -> pb.GetLoadResponse:
        raise Unavailable


@pytest.fixture
def backlog(clock: FakeClock) -> Backlog:
    return Backlog(Nobody(), MARKS, clock, logs.get("test"))


def waiting(runs: int = 0, *, mine: int = 0, oldest_s: float = 0.0, finished_per_s: float = 10.0) -> Waiting:
    return Waiting(runs=runs, oldest_s=oldest_s, finished_per_s=finished_per_s, tenants={"acme": mine})


def refused(backlog: Backlog, priority: int = 9) -> float:
    """How long the one who is refused is told to wait."""
    with pytest.raises(QueueFull) as caught:
        backlog.admit("acme", priority)
    assert caught.value.retry_after_s is not None
    return caught.value.retry_after_s


@pytest.mark.parametrize("priority", range(1, 10))
def test_the_lower_the_priority_the_earlier_it_is_refused(backlog: Backlog, priority: int):
    room = 900 * share_of(priority)
    backlog.hear(waiting(int(room - 2)))
    backlog.admit("acme", priority)
    backlog.hear(waiting(int(room + 1)))
    refused(backlog, priority)
    if priority < 9:
        backlog.admit("acme", priority + 1)


def test_no_priority_is_the_middle_one():
    assert share_of(0) == share_of(5)


def test_what_is_let_in_between_two_tellings_counts(backlog: Backlog):
    backlog.hear(waiting(890))
    for _ in range(10):
        backlog.admit("acme", 9)
    refused(backlog)


def test_a_tenants_own_backlog_is_bounded_and_others_go_on(backlog: Backlog):
    backlog.hear(waiting(450, mine=450))
    with pytest.raises(QueueFull, match="450 runs of this tenant wait"):
        backlog.admit("acme", 9)
    backlog.admit("other", 9)


def test_work_that_waits_too_long_is_not_added_to(backlog: Backlog):
    backlog.hear(waiting(100, oldest_s=100.0))
    assert refused(backlog) == pytest.approx(1.0)  # a tenth of the queue, at ten runs a second


def test_without_a_telling_everything_is_let_in(backlog: Backlog, clock: FakeClock):
    backlog.admit("acme", 1)
    backlog.hear(waiting(10_000))
    refused(backlog)
    clock.advance(11)
    backlog.admit("acme", 1)


def test_when_nothing_gets_done_the_longest_time_is_told(backlog: Backlog):
    backlog.hear(waiting(10_000, finished_per_s=0.0))
    assert refused(backlog) == 60.0


@given(over=st.integers(1, 500), speed=st.floats(5.0, 200.0))
def test_who_waits_as_long_as_told_finds_room(over: int, speed: float):
    backlog = Backlog(Nobody(), MARKS, FakeClock(), logs.get("test"))
    backlog.hear(waiting(900 + over, finished_per_s=speed))
    wait_s = refused(backlog)
    left = max(0, 900 + over - int(wait_s * speed + 1e-6))
    backlog.hear(waiting(left, finished_per_s=speed))
    if wait_s < 60:
        backlog.admit("acme", 9)
    assert wait_s <= max(1.0, (over + 1) / speed + 1e-6)
