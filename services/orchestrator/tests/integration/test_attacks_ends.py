"""Attacks on ends: journals that cannot be read, deadlines that pass in odd moments, calls and grants that a run leaves behind, poison."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from orchestrator_fakes import PROPOSAL, STEPS, TENANT, Bench, LostSignals, answer, comes, needs_grant, open_bench, pending, rests
from plimsoll_orchestrator.domain.journal import ModelTurn, RunStatus, StepProgressed, ToolCall, ToolTurn
from plimsoll_orchestrator.domain.options import RunOptions
from plimsoll_orchestrator.errors import JournalBroken, RunFinishedAlready
from plimsoll_orchestrator.ports import NeedsApproval, RunFilter
from plimsoll_runtime import deadline as deadlines
from plimsoll_testkit.clock import FakeClock
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
FAMILY = """
agent: family
input: {type: object, properties: {want: {type: string}}}
state: {type: object, properties: {want: {type: string}}}
start: both
output: {want: state.want}
nodes:
  both: {parallel: {branches: {slow: ask, other: wait}, merge: {}, on_branch_failure: collect}, next: end}
  ask: {approve: {summary: state.want, details: {}, expires: 1h}, next: join}
  wait: {wait: {signal: go, expires: 1h, on_expired: join}, next: join}
"""


@pytest.fixture
async def bench(postgres_dsn: str) -> AsyncIterator[Bench]:
    async with open_bench(postgres_dsn) as bench:
        yield bench


async def spoil(bench: Bench, run_id: str) -> None:
    """An entry that this version cannot read, and nothing else to go by."""
    await bench.pool.execute('update journal set entry = \'{"kind": "from the future"}\' where run_id = $1 and seq = 1', run_id)
    await bench.pool.execute("delete from snapshots where run_id = $1", run_id)


async def quarantined(bench: Bench, run_id: str) -> bool:
    return (await bench.service.get_run(TENANT, run_id)).summary.status is RunStatus.QUARANTINED


async def test_a_run_that_cannot_be_read_is_seen_and_cancelled_and_makes_room(bench: Bench) -> None:
    await bench.register(CHAT)
    both = RunOptions(thread_id="t1", concurrency_key="k", concurrency_limit=1)
    run_id = await bench.start("chat", {"say": "one"}, options=both)
    behind = await bench.start("chat", {"say": "two"}, options=both)
    await spoil(bench, run_id)
    async with bench.working():
        await eventually(lambda: quarantined(bench, run_id))
        view = await bench.service.get_run(TENANT, run_id)
        assert view.run.failure is not None
        assert view.run.failure.reason == "JOURNAL_BROKEN"
        with pytest.raises(JournalBroken):
            await bench.control.resume_run(TENANT, run_id, "ann")
        ended = await bench.control.cancel_run(TENANT, run_id, "beyond repair", "ann")
        assert ended.summary.status is ended.run.status is RunStatus.CANCELLED
        assert ended.run.failure is not None
        assert "cancelled by ann: beyond repair (its journal could not be read" in ended.run.failure.message
        assert (await bench.control.cancel_run(TENANT, run_id, "", "bob")).run.failure == ended.run.failure
        await pending(bench, behind)
    assert [row["run_id"] for row in await bench.pool.fetch("select run_id from gates where admitted")] == [behind, behind]


async def test_a_run_that_cannot_be_read_and_has_ended_is_not_cancelled(bench: Bench) -> None:
    await bench.register(STEPS)
    view = await bench.run("steps", {"canary": "c"})
    await spoil(bench, view.run.run_id)
    with pytest.raises(RunFinishedAlready):
        await bench.control.cancel_run(TENANT, view.run.run_id, "", "ann")
    assert (await bench.service.get_run(TENANT, view.run.run_id)).run.output == view.run.output


async def test_the_family_of_a_run_that_cannot_be_read_learns_of_its_end(bench: Bench) -> None:
    await bench.register(FAMILY)
    async with bench.working():
        parent = await bench.start("family", {"want": "x"})

        async def both() -> list[str]:
            found = await bench.service.list_runs(TENANT, RunFilter(parent_run_id=parent, status=RunStatus.WAITING), "", 10)
            return [child.run_id for child in found] if len(found) == 2 else []

        children = await eventually(both)
        [asking] = [one.run_id for one in await bench.service.list_approvals(TENANT, None, "", "", 10)]
    await spoil(bench, asking)
    await bench.control.cancel_run(TENANT, asking, "", "ann")
    [asked] = await bench.service.list_approvals(TENANT, None, asking, "", 10)
    assert asked.approval.status.value == "withdrawn"
    async with bench.working():
        [other] = [one for one in children if one != asking]
        await bench.control.signal_run(TENANT, other, "go", {}, "", "ann")
        assert (await bench.ended(parent)).run.status is RunStatus.SUCCEEDED

        parent = await bench.start("family", {"want": "y"})
        children = await eventually(both)
        await spoil(bench, parent)
        await bench.control.cancel_run(TENANT, parent, "", "ann")
        for child in children:
            assert (await bench.ended(child)).run.status is RunStatus.CANCELLED


async def test_a_paused_run_fails_at_its_deadline(bench: Bench) -> None:
    await bench.register(CHAT)
    async with bench.working():
        deadline = datetime.now(UTC) + timedelta(minutes=30)
        run_id = await bench.start("chat", {"say": "one"}, options=RunOptions(deadline=deadline))
        await pending(bench, run_id)
        await bench.control.pause_run(TENANT, run_id, "", "ann")
        await comes(bench, run_id, deadline)
        view = await bench.ended(run_id)
    assert view.run.failure is not None
    assert (view.run.status, view.run.failure.reason) == (RunStatus.FAILED, "RUN_DEADLINE")


async def test_a_run_that_was_paused_before_a_gate_fails_at_its_deadline(bench: Bench) -> None:
    await bench.register(CHAT)
    async with bench.working():
        first = await bench.start("chat", {"say": "one"}, options=RunOptions(thread_id="t1"))
        await pending(bench, first)
        deadline = datetime.now(UTC) + timedelta(minutes=30)
        paused, resumed = [
            await bench.start("chat", {"say": "two"}, options=RunOptions(thread_id="t1", deadline=deadline)) for _ in range(2)
        ]
        for run_id in (paused, resumed):
            await bench.control.pause_run(TENANT, run_id, "", "ann")
        await bench.control.resume_run(TENANT, resumed, "ann")
        for run_id in (paused, resumed):
            await eventually(partial(rests, bench, run_id))
            await comes(bench, run_id, deadline)
            view = await bench.ended(run_id)
            assert view.run.failure is not None
            assert view.run.failure.reason == "RUN_DEADLINE"


AGENT = """
agent: helper
input: {type: object, properties: {say: {type: string}}}
state: {type: object, properties: {say: {type: string}, text: {type: string}}}
start: loop
output: {text: state.text}
nodes:
  loop: {agent: {prompt: help, tools: [look], turns: 5}, timeout: TIMEOUT, save: {text: result.text}, next: end}
"""


def calls_and_answers(entries: list[object]) -> tuple[list[str], list[str]]:
    turns = [entry.turn for entry in entries if isinstance(entry, StepProgressed)]
    return (
        [call.call_id for turn in turns if isinstance(turn, ModelTurn) for call in turn.calls],
        [one.call_id for turn in turns if isinstance(turn, ToolTurn) for one in turn.answers],
    )


class Timers:
    """Ends timers when it is told to: what a test waits for before is there, however slow the machine is."""

    def __init__(self) -> None:
        self._running: list[tuple[float, asyncio.Timeout]] = []

    @asynccontextmanager
    async def timeout(self, seconds: float) -> AsyncIterator[asyncio.Timeout]:
        async with asyncio.timeout(seconds) as timer:
            self._running.append((seconds, timer))
            try:
                yield timer
            finally:
                self._running.remove((seconds, timer))

    def end_the_step(self) -> None:
        """Its timer is the first of the long ones: all others are of what it does."""
        timer = next(timer for seconds, timer in self._running if seconds > 600)
        timer.reschedule(asyncio.get_running_loop().time())


@pytest.mark.parametrize("ends", ["the step's time", "the run's time", "the run's time, while nobody held it"])
async def test_an_agent_that_fails_in_the_middle_leaves_no_call_without_an_answer(
    bench: Bench, ends: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    timers = Timers()
    monkeypatch.setattr(deadlines, "asyncio", timers)
    await bench.register(AGENT.replace("TIMEOUT", "1h"))
    bench.models.reply = lambda question: answer(calls=[ToolCall(call_id=name, tool="look", arguments={}) for name in ("c1", "c2")])
    bench.tools.gate = asyncio.Event()
    deadline = datetime.now(UTC) + timedelta(minutes=30)
    options = RunOptions() if ends == "the step's time" else RunOptions(deadline=deadline)

    async def asked() -> bool:
        step = (await bench.service.get_run(TENANT, run_id)).run.step
        return step is not None and bool(step.turns)

    async with bench.working(bench.worker(local=clock)):
        run_id = await bench.start("helper", {"say": "hi"}, options=options)
        await eventually(asked)
        if ends.endswith("nobody held it"):
            await bench.control.pause_run(TENANT, run_id, "", "ann")
            await eventually(partial(rests, bench, run_id))
            await comes(bench, run_id, deadline)
        else:
            clock.advance(3600)
            timers.end_the_step()
        view = await bench.ended(run_id)
    assert view.run.status is RunStatus.FAILED
    entries = [entry.entry for entry in await bench.runs.journal(TENANT, run_id, 0, 100)]
    assert calls_and_answers(entries) == (["c1", "c2"], ["c1", "c2"])


BRANCHING = """
agent: branching
input: {type: object, properties: {want: {type: string}}}
state: {type: object, properties: {want: {type: string}}}
start: both
output: {want: state.want}
nodes:
  both: {parallel: {branches: {pays: refund, other: wait}, merge: {}}, next: end}
  refund: {tool: {name: refund, arguments: {}}, next: join}
  wait: {wait: {signal: go, expires: 1h, on_expired: join}, next: join}
"""


async def test_a_child_that_its_parent_stops_gives_its_grants_back(bench: Bench) -> None:
    await bench.register(BRANCHING)
    bench.tools.reply = lambda *_: NeedsApproval(proposal=PROPOSAL)
    async with bench.working():
        parent = await bench.start("branching", {"want": "x"})
        [asked] = await eventually(lambda: bench.service.list_approvals(TENANT, None, "", "", 10))
        bench.tools.gate, bench.tools.reply = asyncio.Event(), needs_grant
        await bench.control.decide_approval(TENANT, asked.approval.approval_id, True, "", "ann")
        await eventually(lambda: len(bench.tools.asked) > 1)  # about to use it
        await bench.control.cancel_run(TENANT, parent, "", "ann")
        assert (await bench.ended(asked.run_id)).run.status is RunStatus.CANCELLED
        bench.tools.gate.set()
    assert bench.tools.revoked == {asked.approval.approval_id}
    assert bench.tools.executed == []


async def test_letters_do_not_clear_a_run_that_ends_its_workers(postgres_dsn: str) -> None:
    async with open_bench(postgres_dsn, LostSignals()) as bench:
        await bench.register(STEPS)
        bench.tools.gate = asyncio.Event()
        run_id = await bench.start("steps", {"canary": "c"})
        for number in range(3):
            async with bench.working():

                async def has(heard: int = number) -> bool:
                    run = (await bench.service.get_run(TENANT, run_id)).run
                    return run.step is not None and run.step.node == "b" and len(run.signals) == heard

                await eventually(has)
            await bench.pool.execute("update runs set worker = 'dead', suspects = 1, wake_at = now() where run_id = $1", run_id)
            await bench.control.signal_run(TENANT, run_id, f"tick {number}", {}, "", "ann")
        async with bench.working():
            await eventually(lambda: quarantined(bench, run_id))
        view = await bench.service.get_run(TENANT, run_id)
        assert len(view.run.evidence) == 3
        assert all(one.startswith("dead at") for one in view.run.evidence)
        await bench.control.resume_run(TENANT, run_id, "ann")
        bench.tools.gate.set()
        async with bench.working():
            view = await bench.ended(run_id)
        assert view.run.status is RunStatus.SUCCEEDED
        assert [one.name for one in view.run.signals] == ["tick 0", "tick 1", "tick 2"]
        assert await bench.pool.fetchval("select cardinality(abandoned) from runs where run_id = $1", run_id) == 0
