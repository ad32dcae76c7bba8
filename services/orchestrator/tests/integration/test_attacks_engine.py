"""Attacks on the engine: late messages, bad moments, full gates, strange signals, calls whose outcome is open."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from orchestrator_fakes import STEPS, TENANT, Bench, LostSignals, failure, open_bench, pending
from plimsoll_graph.parse import parse_graph
from plimsoll_orchestrator.adapters.consequences import deliver
from plimsoll_orchestrator.adapters.database_clock import DatabaseClock
from plimsoll_orchestrator.adapters.postgres_claims import PostgresClaimStore
from plimsoll_orchestrator.domain.computing import start_step
from plimsoll_orchestrator.domain.fold import fold
from plimsoll_orchestrator.domain.journal import RunFinished, RunStarted, RunStatus, StepFailed, StepStarted
from plimsoll_orchestrator.domain.letters import Delivery, SignalSent
from plimsoll_orchestrator.domain.options import RunOptions
from plimsoll_orchestrator.domain.run import Run
from plimsoll_orchestrator.ports import Append, Committed, Returned
from plimsoll_orchestrator.worker import Worker
from plimsoll_runtime.clock import SystemClock
from plimsoll_runtime.errors import Unavailable
from plimsoll_runtime.failures import Category, Failure
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


async def calling(bench: Bench, run_id: str) -> bool:
    run = (await bench.service.get_run(TENANT, run_id)).run
    return run.step is not None and run.step.node == "b"


async def test_a_call_to_stop_that_comes_late_costs_the_run_nothing_but_a_moment(bench: Bench) -> None:
    """It was meant for the holder before; the run has been claimed again since."""
    await bench.register(STEPS)
    bench.tools.gate = asyncio.Event()
    worker = bench.worker()
    async with bench.working(worker):
        run_id = await bench.start("steps", {"canary": "c"})
        await eventually(lambda: calling(bench, run_id))
        worker.hear_interruption(run_id)
        bench.tools.gate.set()
        assert (await bench.ended(run_id)).run.status is RunStatus.SUCCEEDED


class LosingStore(PostgresClaimStore):
    """The database goes away during one commit, once."""

    lost = 0

    async def append(self, batch: list[Append]) -> Committed:
        if not self.lost and any(len(append.entries) > 1 for append in batch):
            self.lost += 1
            raise Unavailable
        return await super().append(batch)


async def test_a_run_whose_commit_was_lost_goes_on_at_once_and_nobody_is_blamed(bench: Bench) -> None:
    await bench.register(STEPS)
    store = LosingStore(bench.pool, bench.claims._clock)
    async with bench.working(bench.worker(store=store)):
        run_id = await bench.start("steps", {"canary": "c"})
        view = await bench.ended(run_id)
    assert (view.run.status, store.lost) == (RunStatus.SUCCEEDED, 1)


TIMER = """
agent: timer
input: {type: object, properties: {at: {type: string}}}
state: {type: object, properties: {at: {type: string}}}
start: wait
output: {}
nodes:
  wait: {wait: {until: state.at}, next: end}
"""


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"])
async def test_a_moment_beyond_all_calendars_is_a_failure_of_its_step(bench: Bench, moment: str) -> None:
    await bench.register(TIMER)
    view = await bench.run("timer", {"at": moment})
    assert view.run.failure is not None
    assert view.run.failure.category is Category.CONTEXT_INVALID


SIGNAL = """
agent: payment
input: {type: object, properties: {order: {type: string}}}
state: {type: object, properties: {order: {type: string}}}
start: wait
output: {order: state.order}
nodes:
  wait: {wait: {signal: paid, where: "signal.payload.order == state.order", expires: 1h}, next: end}
"""


async def test_a_signal_that_makes_no_sense_does_not_end_a_run_that_waits(bench: Bench) -> None:
    await bench.register(SIGNAL)
    async with bench.working():
        run_id = await bench.start("payment", {"order": "o1"})
        for payload in (None, [], {"amount": 1}, "o1"):
            await bench.control.signal_run(TENANT, run_id, "paid", payload, "", "stranger")
        await bench.control.signal_run(TENANT, run_id, "paid", {"order": "o1"}, "", "bank")
        assert (await bench.ended(run_id)).run.status is RunStatus.SUCCEEDED


async def test_a_queue_in_one_thread_does_not_hold_up_others_at_a_key_with_room(postgres_dsn: str) -> None:
    async with open_bench(postgres_dsn, LostSignals()) as bench:
        await bench.register(CHAT)
        both = RunOptions(thread_id="t1", concurrency_key="all", concurrency_limit=3)
        queue = [await bench.start("chat", {"say": str(number)}, options=both) for number in range(70)]
        other = await bench.start("chat", {"say": "other"}, options=RunOptions(concurrency_key="all", concurrency_limit=3))
        assert not await gated(bench, other)
        last = await bench.start("chat", {"say": "last"}, options=RunOptions(thread_id="t2", concurrency_key="all", concurrency_limit=3))
        full = await bench.start("chat", {"say": "full"}, options=RunOptions(concurrency_key="all", concurrency_limit=3))
        assert [await gated(bench, one) for one in (queue[0], queue[1], last, full)] == [False, True, False, True]
        await bench.control.cancel_run(TENANT, other, "", "ann")
        assert [await gated(bench, one) for one in (queue[1], full)] == [True, False]
        await bench.control.cancel_run(TENANT, queue[0], "", "ann")
        assert [await gated(bench, one) for one in queue[1:3]] == [False, True]


async def gated(bench: Bench, run_id: str) -> bool:
    return bool(await bench.pool.fetchval("select gated from runs where run_id = $1", run_id))


def test_a_run_that_ends_in_mid_step_remembers_the_key_of_the_call_that_may_have_acted() -> None:
    at = datetime.now(UTC)
    run = Run(run_id="run_1", tenant=TENANT, agent="steps", agent_digest="d")
    entries = (RunStarted(input={}), StepStarted(node="b", node_kind="tool"), RunFinished(status=RunStatus.FAILED))
    ended = fold(run, ((seq, at, entry) for seq, entry in enumerate(entries, 1)), "a")
    assert ended.unsettled == {"b": "run_1:2"}


def test_what_undoes_a_node_does_not_go_under_the_key_of_its_call_that_may_have_acted() -> None:
    at, graph = datetime.now(UTC), parse_graph(STEPS, "steps.yaml")
    failed = Failure(category=Category.TIMEOUT, reason="SLOW", message="no answer")
    entries = (
        RunStarted(input={}),
        StepStarted(node="b", node_kind="tool"),
        StepFailed(node="b", node_kind="tool", failure=failed, next="c", unsettled=True),
    )
    fresh = Run(run_id="run_1", tenant=TENANT, agent="steps", agent_digest="d")
    run = fold(fresh, ((seq, at, entry) for seq, entry in enumerate(entries, 1)), "a")
    assert (start_step(run, graph.nodes["b"]).key, start_step(run, graph.nodes["b"], undo=True).key) == ("run_1:2", "")


NOTING = """
agent: noting
input: {type: object, properties: {say: {type: string}}}
state: {type: object, properties: {say: {type: string}}}
start: call
output: {say: state.say}
nodes:
  call: {tool: {name: look, arguments: {}}, next: note}
  note: {remember: {thread: true, turns: [{user: state.say}]}, next: end}
"""


async def test_a_retry_still_speaks_in_the_thread_of_the_run_that_failed(bench: Bench) -> None:
    await bench.register(NOTING)
    bench.tools.reply = lambda *_: failure(Category.UPSTREAM_REJECTED)
    async with bench.working():
        failed = await bench.start("noting", {"say": "hi"}, options=RunOptions(thread_id="t1"))
        await bench.ended(failed)
        bench.tools.reply = lambda *_: Returned(result={})
        started = await bench.control.retry_run(TENANT, failed, latest=False, idempotency_key="")
        retried = await bench.ended(started.view.run.run_id)
    assert retried.run.status is RunStatus.SUCCEEDED
    assert [note.thread_id for note in bench.memory.notes.values()] == ["t1"]


async def test_a_run_before_a_gate_fails_when_its_deadline_passes(bench: Bench) -> None:
    await bench.register(CHAT)
    async with bench.working():
        first = await bench.start("chat", {"say": "one"}, options=RunOptions(thread_id="t1"))
        await pending(bench, first)
        deadline = datetime.now(UTC) + timedelta(seconds=0.3)
        second = await bench.start("chat", {"say": "two"}, options=RunOptions(thread_id="t1", deadline=deadline))
        view = await bench.ended(second)
        assert view.run.failure is not None
        assert view.run.failure.reason == "RUN_DEADLINE"
        assert (await bench.service.get_run(TENANT, first)).run.status is RunStatus.WAITING
        assert await bench.pool.fetchval("select count(*) from gates") == 1


class StillClock(SystemClock):
    def monotonic(self) -> float:
        return 0.0


def test_the_databases_clock_goes_back_only_when_it_was_changed() -> None:
    clock, at = DatabaseClock(StillClock()), datetime(2026, 1, 1, tzinfo=UTC)
    clock.set(at)
    clock.set(at - timedelta(seconds=5))  # said by a transaction that waited for a lock
    assert clock.now() == at
    clock.set(at - timedelta(hours=1))
    assert clock.now() == at - timedelta(hours=1)


async def test_of_many_letters_that_come_at_once_none_is_left_unread(postgres_dsn: str) -> None:
    async with open_bench(postgres_dsn, LostSignals()) as bench:
        await bench.register(STEPS)
        bench.tools.gate = asyncio.Event()
        async with bench.working():
            run_id = await bench.start("steps", {"canary": "c"})
            await eventually(lambda: calling(bench, run_id))
            letters = [SignalSent(signal_id=f"sgn_{number}", name="tick") for number in range(600)]
            async with bench.pool.acquire() as connection:
                await deliver(connection, [Delivery(run_id=run_id, letter_id=one.signal_id, letter=one) for one in letters])
            bench.tools.gate.set()
            view = await bench.ended(run_id)
        assert (view.run.status, len(view.run.signals)) == (RunStatus.SUCCEEDED, 600)


class WatchedStore(PostgresClaimStore):
    """Puts a letter into the mailbox right before the commit of the end, and hands it to the holder before that commit is refused."""

    worker: Worker | None = None

    async def append(self, batch: list[Append]) -> Committed:
        ends = [append for append in batch if append.run.is_final]
        for append in ends if self.worker is not None else ():
            held, self.worker = self.worker._held[append.run_id], None
            async with self._pool.acquire() as connection:
                letter = SignalSent(signal_id="sgn_1", name="late")
                await deliver(connection, [Delivery(run_id=append.run_id, letter_id="sgn_1", letter=letter)])
            held.hold.receive(await self.letters(append.run_id, held.hold.mail))
        return await super().append(batch)


async def test_a_letter_that_is_fetched_while_the_end_is_refused_is_news(postgres_dsn: str) -> None:
    async with open_bench(postgres_dsn, LostSignals()) as bench:
        await bench.register(STEPS)
        store = WatchedStore(bench.pool, bench.claims._clock)
        store.worker = bench.worker(store=store)
        async with bench.working(store.worker):
            view = await bench.ended(await bench.start("steps", {"canary": "c"}))
        assert [one.name for one in view.run.signals] == ["late"]
        assert await bench.pool.fetchval("select max(epoch) from journal") == 1  # one holder did it all
