"""What every store of feedback promises, whatever it stands on: run against the fakes and against Postgres."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from feedback_samples import ACME, GOOD, NOON, UMBRELLA, at, failure, operation, run, signal
from plimsoll_feedback.domain.operation import OperationFilter, OperationId, OperationKind, RunId, Window
from plimsoll_feedback.domain.paging import PageRequest, Position
from plimsoll_feedback.domain.signal import Demonstrated, Ended, IdempotencyKey, Judged, Relabelled, Remarked, Scored, Verdict
from plimsoll_feedback.errors import IdempotencyKeyReused
from plimsoll_feedback.ports import OperationStore, SignalStore
from plimsoll_runtime.failures import Category

EVERYTHING = OperationFilter()
ALL_DAY = Window(after=NOON - timedelta(hours=12), before=NOON + timedelta(hours=12))
TEN = PageRequest(size=10)
RUN = RunId("run_1")


class OperationStoreBehaviour:
    """Subclasses give the fixture `store`."""

    async def test_an_operation_comes_back_as_it_was_recorded(self, store: OperationStore) -> None:
        worked, broken = operation(1), operation(2, failed=failure())
        await store.record([worked, broken], [])
        assert await store.find(ACME, EVERYTHING, TEN) == [broken, worked]

    async def test_an_operation_recorded_twice_is_stored_once(self, store: OperationStore) -> None:
        await store.record([operation(1), operation(2), operation(1)], [run(), run()])
        await store.record([operation(2), operation(1)], [run()])
        assert len(await store.find(ACME, EVERYTHING, TEN)) == 2

    async def test_nothing_to_record_is_fine(self, store: OperationStore) -> None:
        await store.record([], [])
        assert await store.find(ACME, EVERYTHING, TEN) == []

    async def test_operations_of_any_time_are_kept(self, store: OperationStore) -> None:
        old, new = operation(1, started_at=NOON - timedelta(days=4000)), operation(2, started_at=NOON + timedelta(days=4000))
        await store.record([new, old], [])
        assert await store.find(ACME, EVERYTHING, TEN) == [new, old]

    async def test_a_run_is_told_in_order_of_time_and_the_rest_newest_first(self, store: OperationStore) -> None:
        await store.record([operation(3), operation(1), operation(2)], [run()])
        assert [one.step for one in await store.find(ACME, OperationFilter(run_id=RUN), TEN)] == [1, 2, 3]
        assert [one.step for one in await store.find(ACME, EVERYTHING, TEN)] == [3, 2, 1]

    async def test_a_run_is_told_even_when_only_its_calls_have_arrived(self, store: OperationStore) -> None:
        await store.record([operation(1)], [])
        assert await store.find(ACME, OperationFilter(run_id=RUN), TEN) == [operation(1)]

    async def test_pages_join_without_gap_or_repeat(self, store: OperationStore) -> None:
        same_time = [operation(number, started_at=NOON) for number in range(5)]
        later = [operation(number) for number in range(5, 10)]
        await store.record([*later, *same_time], [run()])
        for where, steps in ((EVERYTHING, [*range(9, -1, -1)]), (OperationFilter(run_id=RUN), [*range(10)])):
            seen, after = [], None
            while page := await store.find(ACME, where, PageRequest(size=3, after=after)):
                seen += [one.step for one in page]
                after = Position(at=page[-1].started_at, id=page[-1].id)
            assert seen == steps

    async def test_every_part_of_a_filter_must_hold(self, store: OperationStore) -> None:
        wanted = operation(1, kind=OperationKind.MODEL_CALL, agent="documents", failed=failure(Category.MODEL_REFUSED))
        others = [
            operation(2, kind=OperationKind.MODEL_CALL, agent="documents", failed=failure()),
            operation(3, kind=OperationKind.MODEL_CALL, agent="documents"),
            operation(4, kind=OperationKind.MODEL_CALL),
            operation(5, run="run_2"),
        ]
        await store.record([wanted, *others], [])
        where = OperationFilter(agent="documents", kind=OperationKind.MODEL_CALL, category=Category.MODEL_REFUSED, failed_only=True)
        assert await store.find(ACME, where, TEN) == [wanted]
        assert [one.step for one in await store.find(ACME, OperationFilter(failed_only=True), TEN)] == [2, 1]
        assert [one.step for one in await store.find(ACME, OperationFilter(run_id=RunId("run_2"), failed_only=False), TEN)] == [5]

    async def test_another_tenants_operations_and_runs_do_not_exist(self, store: OperationStore) -> None:
        await store.record([operation(1), operation(1, tenant=UMBRELLA, failed=failure())], [run()])
        assert await store.find(ACME, EVERYTHING, TEN) == [operation(1)]
        assert (await store.count_failures(ACME, ALL_DAY, None)).counts == ()
        assert not await store.has_run(UMBRELLA, RUN)
        assert not await store.has_operation("nobody", RUN, operation(1).id)

    async def test_a_run_is_known_from_any_entry_of_its_journal(self, store: OperationStore) -> None:
        assert not await store.has_run(ACME, RUN)
        await store.record([], [run(started_at=at(9)), run(started_at=at(3))])
        await store.record([operation(4)], [run(started_at=at(1))])
        assert await store.has_run(ACME, RUN)
        assert await store.find(ACME, OperationFilter(run_id=RUN), TEN) == [operation(4)]

    async def test_an_operation_is_known_in_its_own_run_only(self, store: OperationStore) -> None:
        await store.record([operation(1)], [run(), run("run_2")])
        assert await store.has_operation(ACME, RUN, operation(1).id)
        assert not await store.has_operation(ACME, RunId("run_2"), operation(1).id)
        assert not await store.has_operation(ACME, RUN, OperationId("op_absent"))

    async def test_a_failure_that_call_step_and_run_report_counts_once(self, store: OperationStore) -> None:
        kinds = (OperationKind.TOOL_CALL, OperationKind.TRANSITION, OperationKind.RUN)
        await store.record([operation(number, kind=kind, failed=failure()) for number, kind in enumerate(kinds)], [])
        [count] = (await store.count_failures(ACME, ALL_DAY, None)).counts
        assert (count.category, count.count) == (Category.TIMEOUT, 1)

    async def test_failures_of_different_runs_and_repeats_in_one_all_count(self, store: OperationStore) -> None:
        repeats = [operation(number, failed=failure()) for number in range(3)]
        elsewhere = [
            operation(4, run="run_2", failed=failure()),
            operation(5, run="", failed=failure()),
            operation(6, run="", failed=failure()),
        ]
        await store.record([*repeats, *elsewhere], [])
        [count] = (await store.count_failures(ACME, ALL_DAY, None)).counts
        assert (count.count, count.last_at) == (6, at(6))

    async def test_categories_and_reasons_come_most_frequent_first(self, store: OperationStore) -> None:
        timeouts = [operation(number, run=f"run_{number}", failed=failure(reason=f"R{number % 7 // 2}")) for number in range(14)]
        refusals = [operation(20, failed=failure(Category.MODEL_REFUSED, "NO"))]
        await store.record([*refusals, *timeouts, operation(21)], [])
        counts = await store.count_failures(ACME, ALL_DAY, None)
        assert [(count.category, count.count) for count in counts.counts] == [(Category.TIMEOUT, 14), (Category.MODEL_REFUSED, 1)]
        assert counts.counts[0].reasons == ("R0", "R1", "R2", "R3")
        assert counts.operations == 16

    async def test_a_window_holds_its_beginning_and_not_its_end(self, store: OperationStore) -> None:
        await store.record([operation(number, run=f"run_{number}", failed=failure()) for number in range(4)], [])
        counts = await store.count_failures(ACME, Window(after=at(1), before=at(3)), None)
        assert (counts.counts[0].count, counts.operations) == (2, 2)

    async def test_counting_can_be_limited_to_an_agent(self, store: OperationStore) -> None:
        await store.record([operation(1, agent="documents", failed=failure()), operation(2, failed=failure())], [])
        counts = await store.count_failures(ACME, ALL_DAY, "documents")
        assert (counts.counts[0].count, counts.operations) == (1, 1)


VALUES = [
    GOOD,
    Judged(verdict=Verdict.BAD),
    Scored(score=0.0),
    Scored(score=1.0),
    Relabelled(category=Category.WRONG_TOOL),
    Demonstrated(answer={"intent": "refund", "text": "a\x00b \ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16")}),
    Demonstrated(answer=None),
    Ended(succeeded=False),
    Remarked(),
]
KEY = IdempotencyKey(key="key_1", fingerprint="f1")


class SignalStoreBehaviour:
    """Subclasses give the fixture `store`, and `announced()`: the signals that were told to others so far."""

    @pytest.mark.parametrize("value", VALUES, ids=repr)
    async def test_a_signal_comes_back_as_it_was_recorded(self, store: SignalStore, value: object) -> None:
        one = signal(1, value=value, of="op_1")
        assert await store.record(one, None) == one
        assert await store.find(ACME, RUN, TEN) == [one]

    async def test_the_same_key_again_returns_the_first_signal(self, store: SignalStore) -> None:
        assert await store.record(signal(1), KEY) == signal(1)
        assert await store.record(signal(2), KEY) == signal(1)
        assert await store.find(ACME, RUN, TEN) == [signal(1)]

    async def test_a_key_that_said_something_else_is_refused(self, store: SignalStore) -> None:
        await store.record(signal(1), KEY)
        with pytest.raises(IdempotencyKeyReused):
            await store.record(signal(2), IdempotencyKey(key="key_1", fingerprint="f2"))
        assert await store.find(ACME, RUN, TEN) == [signal(1)]

    async def test_a_key_belongs_to_its_tenant(self, store: SignalStore) -> None:
        await store.record(signal(1), KEY)
        other = signal(2, tenant=UMBRELLA)
        assert await store.record(other, KEY) == other

    async def test_without_a_key_each_signal_is_a_new_one(self, store: SignalStore) -> None:
        await store.record(signal(1), None)
        await store.record(signal(2), None)
        assert await store.find(ACME, RUN, TEN) == [signal(1), signal(2)]

    async def test_each_signal_is_announced_once(self, store: SignalStore, announced: Callable[[], Awaitable[list[str]]]) -> None:
        await store.record(signal(1), KEY)
        await store.record(signal(2), KEY)
        await store.record(signal(3, tenant=UMBRELLA), None)
        assert sorted(await announced()) == ["sig_0001", "sig_0003"]

    async def test_pages_join_oldest_first(self, store: SignalStore) -> None:
        for number in (3, 1, 2):
            await store.record(signal(number), None)
        first = await store.find(ACME, RUN, PageRequest(size=2))
        rest = await store.find(ACME, RUN, PageRequest(size=2, after=Position(at=first[-1].created_at, id=first[-1].id)))
        assert [*first, *rest] == [signal(1), signal(2), signal(3)]

    async def test_signals_of_other_runs_and_tenants_are_not_seen(self, store: SignalStore) -> None:
        await store.record(signal(1, run="run_2"), None)
        await store.record(signal(2, tenant=UMBRELLA), None)
        assert await store.find(ACME, RUN, TEN) == []
