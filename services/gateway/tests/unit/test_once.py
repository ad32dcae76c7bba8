"""A request with an idempotency key is done once, whatever becomes of the attempts."""

import asyncio

import pytest
from gateway_behaviour import ASKED, OTHER, RequestLedgerBehaviour
from gateway_fakes import FakeRequestLedger
from plimsoll_gateway.errors import RequestKeyReused
from plimsoll_gateway.service.once import Once, Outcome
from plimsoll_runtime import logs
from plimsoll_runtime.errors import Conflict, Unavailable
from plimsoll_testkit.clock import FakeClock
from plimsoll_testkit.ids import FakeIds


class TestFakeRequestLedger(RequestLedgerBehaviour):
    @pytest.fixture
    def ledger(self, clock: FakeClock) -> FakeRequestLedger:
        return FakeRequestLedger(clock)


@pytest.fixture
def ledger(clock: FakeClock) -> FakeRequestLedger:
    return FakeRequestLedger(clock)


@pytest.fixture
def once(ledger: FakeRequestLedger) -> Once:
    return Once(ledger, FakeIds(), logs.get("test"))


class Work:
    """Counts how often it is done; `refusals` are raised first."""

    def __init__(self, *refusals: BaseException) -> None:
        self._refusals = list(refusals)
        self.done = 0

    async def __call__(self) -> bytes:
        await asyncio.sleep(0)
        if self._refusals:
            raise self._refusals.pop(0)
        self.done += 1
        return b"%d" % self.done


async def test_repeats_side_by_side_get_the_one_answer(once: Once):
    work = Work()
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(once.do(ASKED, work)) for _ in range(50)]
    assert work.done == 1
    assert {task.result().answer for task in asked} == {b"1"}
    assert [task.result().replayed for task in asked].count(False) == 1


async def test_a_key_that_was_used_for_something_else_is_refused(once: Once):
    await once.do(ASKED, Work())
    with pytest.raises(RequestKeyReused):
        await once.do(OTHER, Work())


async def test_what_was_refused_may_be_asked_again_under_its_key(once: Once):
    work = Work(Conflict("not now"))
    with pytest.raises(Conflict, match="not now"):
        await once.do(ASKED, work)
    assert await once.do(ASKED, work) == Outcome(b"1", replayed=False)


async def test_a_client_that_left_before_the_answer_frees_the_key(once: Once):
    with pytest.raises(asyncio.CancelledError):
        await once.do(ASKED, Work(asyncio.CancelledError()))
    assert (await once.do(ASKED, Work())).replayed is False


async def test_nothing_is_done_while_it_cannot_be_known_whether_it_was(once: Once, ledger: FakeRequestLedger):
    ledger.away = True
    work = Work()
    with pytest.raises(Unavailable):
        await once.do(ASKED, work)
    assert work.done == 0


async def test_what_was_done_is_answered_even_when_it_cannot_be_recorded(once: Once, ledger: FakeRequestLedger):
    async def work() -> bytes:
        ledger.away = True
        return b"done"

    assert await once.do(ASKED, work) == Outcome(b"done", replayed=False)
