"""The verbs of feedback, on fakes."""

from datetime import timedelta

import pytest
from feedback_fakes import FakeOperationStore, FakeSignalStore, FakeTraceStore
from feedback_samples import ACME, GOOD, UMBRELLA, draft, failure, journal, operation, run, tool_call
from plimsoll_feedback.domain.operation import OperationFilter, RunId
from plimsoll_feedback.domain.paging import PAGE_SIZE_CAP, PageRequest
from plimsoll_feedback.domain.signal import Scored
from plimsoll_feedback.errors import IdempotencyKeyReused, InvalidQuery, InvalidSignal, OperationNotFound, RunNotFound
from plimsoll_feedback.service import FeedbackService
from plimsoll_feedback.transport.event_codec import run_advanced, tool_call_completed
from plimsoll_testkit.clock import FakeClock
from plimsoll_testkit.ids import FakeIds

RUN = RunId("run_1")


@pytest.fixture
def operations() -> FakeOperationStore:
    return FakeOperationStore()


@pytest.fixture
def signals() -> FakeSignalStore:
    return FakeSignalStore()


@pytest.fixture
def service(operations: FakeOperationStore, signals: FakeSignalStore, clock: FakeClock, ids: FakeIds) -> FeedbackService:
    return FeedbackService(operations, signals, FakeTraceStore(operations), clock, ids)


EVENTS = [run_advanced(message.SerializeToString()) for message in journal()] + [tool_call_completed(tool_call().SerializeToString())]


class TestRecordOperations:
    async def test_events_in_any_order_and_number_store_the_same(self, service: FeedbackService, operations: FakeOperationStore) -> None:
        await service.record_operations(EVENTS)
        once = dict(operations.operations)
        await service.record_operations(EVENTS[::-1])
        await service.record_operations([*EVENTS, *EVENTS])
        assert operations.operations == once
        assert len(once) == 5

    async def test_events_that_tell_nothing_are_fine(self, service: FeedbackService, operations: FakeOperationStore) -> None:
        await service.record_operations([])
        assert operations.operations == {}


class TestListOperations:
    async def test_a_page_ends_where_the_next_begins(self, service: FeedbackService, operations: FakeOperationStore) -> None:
        await operations.record([operation(number) for number in range(5)], [])
        first = await service.list_operations(ACME, OperationFilter(), PageRequest(size=3))
        second = await service.list_operations(ACME, OperationFilter(), PageRequest(size=3, after=first.next))
        assert [one.step for one in (*first.rows, *second.rows)] == [4, 3, 2, 1, 0]
        assert second.next is None

    async def test_a_page_that_is_full_and_last_has_no_next(self, service: FeedbackService, operations: FakeOperationStore) -> None:
        await operations.record([operation(1)], [])
        assert (await service.list_operations(ACME, OperationFilter(), PageRequest(size=1))).next is None

    @pytest.mark.parametrize("size", [-1, 0, PAGE_SIZE_CAP + 1])
    async def test_a_page_size_out_of_range_is_refused(self, service: FeedbackService, size: int) -> None:
        with pytest.raises(InvalidQuery, match="page_size"):
            await service.list_operations(ACME, OperationFilter(), PageRequest(size=size))
        with pytest.raises(InvalidQuery, match="page_size"):
            await service.list_signals(ACME, RUN, PageRequest(size=size))

    async def test_the_operations_of_a_run_that_does_not_exist_are_none(self, service: FeedbackService) -> None:
        assert (await service.list_operations(ACME, OperationFilter(run_id=RunId("run_9")), PageRequest())).rows == ()


class TestCountFailures:
    async def test_without_times_the_last_24_hours_count(
        self, service: FeedbackService, operations: FakeOperationStore, clock: FakeClock
    ) -> None:
        ages_s = (1, 3600, 86_399, 86_401)
        await operations.record(
            [
                operation(number, run=f"run_{number}", failed=failure(), started_at=clock.now() - timedelta(seconds=age_s))
                for number, age_s in enumerate(ages_s)
            ],
            [],
        )
        counts = await service.count_failures(ACME, None, None, None)
        assert (counts.counts[0].count, counts.operations) == (3, 3)

    async def test_a_window_that_ends_before_it_begins_is_refused(self, service: FeedbackService, clock: FakeClock) -> None:
        with pytest.raises(InvalidQuery, match="after_time"):
            await service.count_failures(ACME, clock.now(), clock.now(), None)
        with pytest.raises(InvalidQuery, match="after_time"):
            await service.count_failures(ACME, clock.now() + timedelta(hours=1), None, None)

    async def test_with_an_end_alone_the_24_hours_before_it_count(self, service: FeedbackService, clock: FakeClock) -> None:
        assert (await service.count_failures(ACME, None, clock.now() - timedelta(days=365), None)).counts == ()


class TestRecordSignal:
    @pytest.fixture(autouse=True)
    async def known(self, operations: FakeOperationStore) -> None:
        await operations.record([operation(1)], [run(), run("run_2")])

    async def test_a_signal_gets_an_id_and_a_time(self, service: FeedbackService, clock: FakeClock) -> None:
        recorded = await service.record_signal(ACME, draft(of=operation(1).id, comment="nice"), "")
        assert (recorded.id, recorded.created_at, recorded.tenant) == ("sig_000001", clock.now(), ACME)
        assert (recorded.value, recorded.comment, recorded.operation_id) == (GOOD, "nice", operation(1).id)

    async def test_the_same_key_again_returns_the_first(self, service: FeedbackService, signals: FakeSignalStore) -> None:
        first = await service.record_signal(ACME, draft(), "key_1")
        assert await service.record_signal(ACME, draft(), "key_1") == first
        assert signals.announced == [first]

    async def test_the_same_key_for_something_else_is_refused(self, service: FeedbackService) -> None:
        await service.record_signal(ACME, draft(), "key_1")
        with pytest.raises(IdempotencyKeyReused):
            await service.record_signal(ACME, draft(Scored(score=0.5)), "key_1")

    async def test_an_unknown_run_and_a_foreign_one_are_refused_alike(self, service: FeedbackService) -> None:
        with pytest.raises(RunNotFound) as unknown:
            await service.record_signal(ACME, draft(run="run_9"), "")
        with pytest.raises(RunNotFound) as foreign:
            await service.record_signal(UMBRELLA, draft(run="run_1"), "")
        assert unknown.value.message == foreign.value.message.replace("run_1", "run_9")

    async def test_an_operation_of_another_run_is_refused(self, service: FeedbackService) -> None:
        with pytest.raises(OperationNotFound):
            await service.record_signal(ACME, draft(run="run_2", of=operation(1).id), "")

    async def test_what_is_wrong_is_refused_before_anything_is_looked_up(self, service: FeedbackService, signals: FakeSignalStore) -> None:
        with pytest.raises(InvalidSignal) as refusal:
            await service.record_signal(ACME, draft(Scored(score=2), run=""), "k" * 257)
        assert [problem.field for problem in refusal.value.problems] == ["score", "run_id", "idempotency_key"]
        assert signals.signals == []


class TestListSignals:
    async def test_a_run_tells_its_signals_oldest_first(
        self, service: FeedbackService, operations: FakeOperationStore, clock: FakeClock
    ) -> None:
        await operations.record([], [run()])
        recorded = []
        for _ in range(3):
            recorded.append(await service.record_signal(ACME, draft(), ""))
            clock.advance(1)
        first = await service.list_signals(ACME, RUN, PageRequest(size=2))
        rest = await service.list_signals(ACME, RUN, PageRequest(size=2, after=first.next))
        assert [*first.rows, *rest.rows] == recorded

    async def test_a_run_that_is_not_known_is_refused(self, service: FeedbackService) -> None:
        with pytest.raises(RunNotFound):
            await service.list_signals(ACME, RUN, PageRequest())

    async def test_signals_are_listed_for_a_run(self, service: FeedbackService) -> None:
        with pytest.raises(InvalidQuery, match="run_id: is empty"):
            await service.list_signals(ACME, RunId(""), PageRequest())
