"""Attacks on turns: who supersedes whom, input that nobody reads, runs that begin later, keys that are used again."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from orchestrator_fakes import STEPS, TENANT, Bench, LostSignals, comes, failure, open_bench, pending
from plimsoll_orchestrator.domain.journal import InputReceived, RunStatus
from plimsoll_orchestrator.domain.options import RunOptions, ThreadPolicy
from plimsoll_orchestrator.errors import IdempotencyKeyReused
from plimsoll_orchestrator.ports import Returned, RunFilter
from plimsoll_runtime.failures import Category
from plimsoll_testkit.waiting import eventually

CHAT = """
agent: chat
input: {type: object, properties: {say: {type: string}}}
state: {type: object, properties: {say: {type: string}}}
start: ask
output: {say: state.say}
nodes:
  ask: {approve: {summary: state.say, details: {}, expires: 1h, on_rejected: end}, next: end}
"""


@pytest.fixture
async def bench(postgres_dsn: str) -> AsyncIterator[Bench]:
    async with open_bench(postgres_dsn) as bench:
        yield bench


def on(thread: str, policy: ThreadPolicy = ThreadPolicy.ENQUEUE) -> RunOptions:
    return RunOptions(thread_id=thread, thread_policy=policy)


async def decide(bench: Bench, run_id: str) -> None:
    view = await pending(bench, run_id)
    await bench.control.decide_approval(TENANT, view.approval.approval_id, True, "", "ann")


async def calling(bench: Bench, run_id: str) -> bool:
    step = (await bench.service.get_run(TENANT, run_id)).run.step
    return step is not None and step.node == "b"


async def of_thread(bench: Bench, thread: str, *but: str) -> list[str]:
    runs = await bench.service.list_runs(TENANT, RunFilter(thread_id=thread), "", 50)
    return sorted(run.run_id for run in runs if run.run_id not in but)


@pytest.mark.parametrize("policy", [ThreadPolicy.INTERRUPT, ThreadPolicy.ROLLBACK])
async def test_of_several_that_supersede_each_other_only_the_last_one_runs(bench: Bench, policy: ThreadPolicy) -> None:
    await bench.register(CHAT)
    async with bench.working():
        first = await bench.start("chat", {"say": "one"}, options=on("t1"))
        await pending(bench, first)
        queued = await bench.start("chat", {"say": "later"}, options=on("t1"))
    superseding = [await bench.start("chat", {"say": f"no, {n}"}, options=on("t1", policy)) for n in range(3)]
    async with bench.working():
        for run_id in (first, *superseding[:2]):
            view = await bench.ended(run_id)
            assert (view.run.status, view.run.steps) == (RunStatus.CANCELLED, 0)
        await decide(bench, superseding[2])
        await decide(bench, queued)
        assert (await bench.ended(queued)).run.status is RunStatus.SUCCEEDED
    assert await bench.pool.fetchval("select count(*) from gates") == 0


async def test_the_same_steering_request_after_the_run_ended_is_answered_with_that_run(bench: Bench) -> None:
    await bench.register(STEPS)
    bench.tools.gate = asyncio.Event()
    async with bench.working():
        first = await bench.start("steps", {"canary": "old"}, options=on("t1"))
        await eventually(lambda: calling(bench, first))
        steer = on("t1", ThreadPolicy.STEER)
        await bench.start("steps", {"canary": "new"}, "key", steer)
        bench.tools.gate.set()
        await bench.ended(first)
        again = await bench.service.start_run(TENANT, "steps", {"canary": "new"}, "key", steer)
        assert (again.view.run.run_id, again.steered, again.created) == (first, True, False)
        with pytest.raises(IdempotencyKeyReused):
            await bench.start("steps", {"canary": "other"}, "key", steer)
    entries = [entry.entry for entry in await bench.runs.journal(TENANT, first, 0, 100)]
    assert sum(isinstance(entry, InputReceived) for entry in entries) == 1


@pytest.mark.parametrize("end", ["fails", "is cancelled", "is superseded"])
async def test_input_that_a_run_never_read_becomes_a_run_of_its_own(bench: Bench, end: str) -> None:
    await bench.register(STEPS)
    bench.tools.gate = asyncio.Event()
    async with bench.working():
        first = await bench.start("steps", {"canary": "old"}, options=on("t1"))
        await eventually(lambda: calling(bench, first))
        assert await bench.start("steps", {"canary": "new"}, "key", on("t1", ThreadPolicy.STEER)) == first
        last = []
        if end == "fails":
            bench.tools.reply = lambda tool, arguments, grants: (
                failure(Category.UPSTREAM_REJECTED) if arguments["value"] == "old" else Returned(result=arguments)
            )
            bench.tools.gate.set()
        elif end == "is cancelled":
            await bench.control.cancel_run(TENANT, first, "", "ann")
        else:
            last.append(await bench.start("steps", {"canary": "last"}, options=on("t1", ThreadPolicy.INTERRUPT)))
        await bench.ended(first)
        bench.tools.gate.set()
        [heir] = await of_thread(bench, "t1", first, *last)
        view = await bench.ended(heir)
    assert (view.run.status, view.run.output) == (RunStatus.SUCCEEDED, {"canary": "new", "seen": ["new", "new", "new"]})
    assert view.run.origin.steered_run_id == first


async def test_a_run_that_begins_later_is_in_nobodys_way_until_then(postgres_dsn: str) -> None:
    async with open_bench(postgres_dsn, LostSignals()) as bench:
        await bench.register(CHAT)
        later = RunOptions(thread_id="t1", concurrency_key="k", concurrency_limit=1, not_before=datetime.now(UTC) + timedelta(hours=1))
        delayed = await bench.start("chat", {"say": "later"}, options=later)
        assert [one.reason for one in await bench.control.explain_run(TENANT, delayed)] == ["DELAYED"]
        now = await bench.start("chat", {"say": "now"}, options=on("t1", ThreadPolicy.REJECT))
        keyed = await bench.start("chat", {"say": "key"}, options=RunOptions(concurrency_key="k", concurrency_limit=1))
        async with bench.working():
            await pending(bench, now)
            await pending(bench, keyed)


async def test_a_run_that_begins_later_queues_when_its_time_comes(bench: Bench) -> None:
    await bench.register(CHAT)
    async with bench.working():
        begin = datetime.now(UTC) + timedelta(minutes=30)
        delayed = await bench.start("chat", {"say": "later"}, options=RunOptions(thread_id="t1", not_before=begin))
        first = await bench.start("chat", {"say": "now"}, options=on("t1"))
        await pending(bench, first)
        await comes(bench, delayed, begin)

        async def in_the_queue() -> bool:
            return [one.reason for one in await bench.control.explain_run(TENANT, delayed)] == ["THREAD"]

        await eventually(in_the_queue)
        behind = await bench.start("chat", {"say": "behind"}, options=on("t1"))
        for run_id in (first, delayed, behind):
            await decide(bench, run_id)
            assert (await bench.ended(run_id)).run.status is RunStatus.SUCCEEDED
    assert await bench.pool.fetchval("select max(cardinality(abandoned)) from runs") == 0


async def test_whoever_waits_long_before_a_gate_passes_those_of_higher_priority(postgres_dsn: str) -> None:
    async with open_bench(postgres_dsn, LostSignals()) as bench:
        await bench.register(CHAT)

        async def start(priority: int) -> str:
            return await bench.start("chat", {"say": "x"}, options=RunOptions(priority=priority, concurrency_key="k", concurrency_limit=1))

        first, patient, old = [await start(priority) for priority in (5, 1, 1)]
        await bench.pool.execute("update gates set since = since - interval '5 minutes' where run_id = $1", old)
        urgent = await start(9)
        order = []
        for _ in range(4):
            [admitted] = [row["run_id"] for row in await bench.pool.fetch("select run_id from gates where admitted")]
            order.append(admitted)
            await bench.control.cancel_run(TENANT, admitted, "", "ann")
        assert order == [first, old, urgent, patient]


async def test_why_a_run_stands_still_is_told_with_names_and_reasons(bench: Bench) -> None:
    await bench.register(CHAT)
    async with bench.working():
        deadline = datetime.now(UTC) + timedelta(hours=1)
        first = await bench.start("chat", {"say": "one"}, options=RunOptions(thread_id="t1", deadline=deadline))
        await pending(bench, first)
        await bench.control.pause_run(TENANT, first, "the bank is closed", "ann")
        second = await bench.start("chat", {"say": "two"}, options=on("t1"))
        [paused, *_] = await bench.control.explain_run(TENANT, first)
        assert (paused.reason, paused.until) == ("PAUSED", deadline)
        assert paused.message == "ann paused it: the bank is closed. Resume it to let it go on"
        [behind] = await bench.control.explain_run(TENANT, second)
        assert (behind.reason, behind.subject) == ("THREAD", first)
        assert behind.message == f"waits for its turn in thread t1: {first} (paused)"
