"""What every store of traces promises: run against the fake and against Postgres."""

from dataclasses import replace
from datetime import timedelta

import pytest
from feedback_samples import ACME, NOON, UMBRELLA, at, failure, operation, run
from plimsoll_feedback.domain.operation import Operation, OperationId, OperationKind, RunId
from plimsoll_feedback.domain.paging import PageRequest, Position
from plimsoll_feedback.domain.trace import TAGS_CAP, TraceFilter, TraceStatus
from plimsoll_feedback.errors import TooManyTags
from plimsoll_feedback.ports import OperationStore, TraceStore
from plimsoll_runtime.failures import Category
from plimsoll_runtime.usage import Usage

EVERYTHING = TraceFilter()
TEN = PageRequest(size=10)
RUN = RunId("run_1")


def finished(
    number: int, run_id: str, *, status: str = "succeeded", cost: int = 10, seconds: float = 2.0, agent: str = "support"
) -> Operation:
    """The operation that ends a run which began `number` seconds after noon."""
    failed = failure(Category.MODEL_REFUSED, "NO_WAY") if status == "failed" else None
    base = operation(number, run=run_id, kind=OperationKind.RUN, agent=agent, failed=failed)
    return replace(
        base,
        id=OperationId(f"{run_id}.9"),
        node="",
        name=agent,
        duration_s=seconds,
        usage=Usage(input_tokens=5, output_tokens=3, cost_micros=cost),
        facts={"status": status, "steps": 4},
    )


class TraceStoreBehaviour:
    """Subclasses give the fixtures `operations` and `store`: where things are recorded, and where traces are read from it."""

    async def test_a_run_is_listed_from_its_first_entry_and_told_whole_at_its_last(
        self, operations: OperationStore, store: TraceStore
    ) -> None:
        await operations.record([operation(1)], [replace(run(), thread_id="thr_1", parent_run_id="run_0")])
        [begun] = await store.find(ACME, EVERYTHING, TEN)
        assert (begun.run_id, begun.status, begun.duration_s, begun.thread_id, begun.parent_run_id) == (
            RUN,
            TraceStatus.RUNNING,
            None,
            "thr_1",
            "run_0",
        )
        await operations.record([finished(0, "run_1", status="failed", cost=70)], [run(started_at=at(2))])
        [ended] = await store.find(ACME, EVERYTHING, TEN)
        assert (ended.status, ended.duration_s, ended.finished_at, ended.steps) == (TraceStatus.FAILED, 2.0, at(2), 4)
        assert (ended.category, ended.reason, ended.usage.cost_micros) == (Category.MODEL_REFUSED, "NO_WAY", 70)
        assert (ended.started_at, ended.thread_id, ended.categories) == (NOON, "thr_1", (Category.MODEL_REFUSED,))

    async def test_the_order_in_which_events_come_makes_no_difference(self, operations: OperationStore, store: TraceStore) -> None:
        broken = operation(1, failed=failure())
        await operations.record([finished(0, "run_1")], [run(started_at=at(2))])
        await operations.record([broken], [])
        await operations.record([], [run()])
        await operations.record([operation(2, run="run_2", failed=failure())], [run("run_2")])
        await operations.record([finished(0, "run_2")], [run("run_2", started_at=at(2))])
        one, two = await store.find(ACME, EVERYTHING, TEN)
        assert replace(one, run_id=RUN) == replace(two, run_id=RUN)

    async def test_a_run_that_only_calls_speak_of_is_not_listed(self, operations: OperationStore, store: TraceStore) -> None:
        await operations.record([operation(1)], [])
        assert await store.find(ACME, EVERYTHING, TEN) == []
        assert await store.get(ACME, RUN, TEN) is None
        await operations.record([], [run()])
        assert [trace.run_id for trace in await store.find(ACME, EVERYTHING, TEN)] == [RUN]

    async def test_pages_join_newest_first_without_gap_or_repeat(self, operations: OperationStore, store: TraceStore) -> None:
        await operations.record([], [run(f"run_{number}", started_at=at(number // 2)) for number in range(9)])
        seen, after = [], None
        while page := await store.find(ACME, EVERYTHING, PageRequest(size=4, after=after)):
            seen += [trace.run_id for trace in page]
            after = Position(at=page[-1].started_at, id=page[-1].run_id)
        assert seen == [f"run_{number}" for number in range(8, -1, -1)]

    @pytest.mark.parametrize(
        "where",
        [
            TraceFilter(agent="documents"),
            TraceFilter(agent_version="d2"),
            TraceFilter(category=Category.TIMEOUT),
            TraceFilter(tags=("vip", "ticket:1")),
            TraceFilter(status=TraceStatus.CANCELLED),
            TraceFilter(after=at(10)),
            TraceFilter(min_cost_micros=500),
            TraceFilter(min_duration_s=30),
            TraceFilter(text="find_account LATE"),
            TraceFilter(thread_id="thr_9"),
            TraceFilter(parent_run_id=RunId("run_7")),
            TraceFilter(agent="documents", min_cost_micros=500, text="late"),
        ],
        ids=repr,
    )
    async def test_a_filter_finds_the_run_that_fits_and_no_other(
        self, operations: OperationStore, store: TraceStore, where: TraceFilter
    ) -> None:
        wanted = replace(run("run_w", started_at=at(10)), agent="documents", agent_version="d2", thread_id="thr_9", parent_run_id="run_7")
        late = replace(failure(), reason="TOO_LATE", message="the account came late")
        await operations.record(
            [
                replace(operation(11, run="run_w", failed=late, agent="documents"), agent_version="d2"),
                replace(finished(10, "run_w", status="cancelled", cost=500, seconds=30, agent="documents"), agent_version="d2"),
                finished(1, "run_1", status="failed"),
                operation(2, run="run_2", failed=failure(Category.TOOL_ERROR)),
            ],
            [wanted, run("run_1"), run("run_2")],
        )
        await store.annotate(ACME, RunId("run_w"), ["vip", "ticket:1"], [])
        await store.annotate(ACME, RUN, ["vip"], [])
        assert [trace.run_id for trace in await store.find(ACME, where, TEN)] == ["run_w"]

    async def test_each_call_stands_below_the_step_that_made_it(self, operations: OperationStore, store: TraceStore) -> None:
        def step(seq: int, node: str) -> Operation:
            return replace(operation(seq, kind=OperationKind.TRANSITION), id=OperationId(f"run_1.{seq}"), node=node)

        def called(name: str, step: int, node: str) -> Operation:
            return replace(operation(step, kind=OperationKind.TOOL_CALL), id=OperationId(name), step=step, node=node)

        calls = [called("first", 2, "lookup"), called("again", 5, "lookup"), called("open", 9, "refund")]
        await operations.record([step(3, "lookup"), step(6, "lookup"), finished(0, "run_1"), *calls], [run()])
        page = await store.get(ACME, RUN, PageRequest(size=100))
        assert page is not None
        assert {entry.operation.id: entry.parent for entry in page.entries if entry.parent} == {"first": "run_1.3", "again": "run_1.6"}
        assert {entry.operation.id: entry.depth for entry in page.entries} == {
            "run_1.3": 1,
            "run_1.6": 1,
            "run_1.9": 0,
            "first": 2,
            "again": 2,
            "open": 2,
        }

    async def test_a_timelines_pages_join_and_keep_their_places(self, operations: OperationStore, store: TraceStore) -> None:
        step = replace(operation(50, kind=OperationKind.TRANSITION), id=OperationId("step"))
        calls = [replace(operation(number), step=7) for number in range(7)]
        await operations.record([step, *calls], [run()])
        seen, after = [], None
        while True:
            page = await store.get(ACME, RUN, PageRequest(size=3, after=after))
            assert page is not None
            if not page.entries:
                break
            seen += [(entry.operation.id, entry.parent) for entry in page.entries]
            last = page.entries[-1].operation
            after = Position(at=last.started_at, id=last.id)
        assert seen == [*[(call.id, "step") for call in calls], ("step", "")]

    async def test_a_trace_shows_the_runs_that_it_started(self, operations: OperationStore, store: TraceStore) -> None:
        children = [replace(run(f"run_c{number}", started_at=at(number)), parent_run_id="run_1") for number in (2, 1)]
        await operations.record([], [run(), run("run_2"), *children, replace(run("run_x", tenant=UMBRELLA), parent_run_id="run_1")])
        page = await store.get(ACME, RUN, TEN)
        assert page is not None
        assert [child.run_id for child in page.children] == ["run_c1", "run_c2"]

    async def test_tags_come_and_go_and_are_bounded(self, operations: OperationStore, store: TraceStore) -> None:
        await operations.record([], [run()])
        added = await store.annotate(ACME, RUN, ["b", "a", "b"], ["c"])
        assert added is not None
        assert added.tags == ("a", "b")
        removed = await store.annotate(ACME, RUN, ["c"], ["a"])
        assert removed is not None
        assert removed.tags == ("b", "c")
        with pytest.raises(TooManyTags):
            await store.annotate(ACME, RUN, [f"t{number}" for number in range(TAGS_CAP)], [])
        [kept] = await store.find(ACME, EVERYTHING, TEN)
        assert kept.tags == ("b", "c")

    async def test_a_tag_leads_to_its_bearers_of_this_tenant(self, operations: OperationStore, store: TraceStore) -> None:
        await operations.record([], [run("run_1"), run("run_2"), run("run_3"), run("run_4", tenant=UMBRELLA)])
        for run_id in ("run_1", "run_2", "run_3"):
            await store.annotate(ACME, RunId(run_id), ["many"], [])
        await store.annotate(ACME, RUN, ["only"], [])
        await store.annotate(UMBRELLA, RunId("run_4"), ["only"], [])
        found = await store.tagged(ACME, ["only", "many", "none"])
        assert (found["only"], len(found["many"]), found["none"]) == ([RUN], 2, [])

    async def test_a_tag_is_meant_to_the_letter(self, operations: OperationStore, store: TraceStore) -> None:
        odd = ["it's", "a & b", "back\\slash", "'", "Ünï:* !x|(y)", "a  b"]
        await operations.record([], [run(f"run_{number}") for number in range(len(odd))])
        for number, tag in enumerate(odd):
            await store.annotate(ACME, RunId(f"run_{number}"), [tag], [])
        assert await store.tagged(ACME, [*odd, "a", "b", "its"]) == {
            **{tag: [f"run_{number}"] for number, tag in enumerate(odd)},
            **{tag: [] for tag in ("a", "b", "its")},
        }
        for number, tag in enumerate(odd):
            assert [trace.run_id for trace in await store.find(ACME, TraceFilter(tags=(tag,)), TEN)] == [f"run_{number}"]

    async def test_what_exists_is_told_apart_from_what_does_not(self, operations: OperationStore, store: TraceStore) -> None:
        await operations.record([operation(1), operation(2, run="run_2")], [run(), run("run_9", tenant=UMBRELLA)])
        first, second, foreign = operation(1).id, operation(2).id, RunId("run_9")
        subjects = [(RUN, None), (RUN, first), (RUN, second), (RunId("run_2"), None), (foreign, None)]
        assert await store.known(ACME, subjects) == {(RUN, None), (RUN, first)}

    async def test_another_tenants_traces_do_not_exist(self, operations: OperationStore, store: TraceStore) -> None:
        await operations.record([operation(1)], [run()])
        assert await store.find(UMBRELLA, EVERYTHING, TEN) == []
        assert await store.get(UMBRELLA, RUN, TEN) is None
        assert await store.annotate(UMBRELLA, RUN, ["mine"], []) is None
        assert await store.find(ACME, TraceFilter(after=NOON - timedelta(days=1), tags=("mine",)), TEN) == []
