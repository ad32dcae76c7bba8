"""Timers, signals, pauses: runs that stand still hold nothing, and go on exactly once."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from orchestrator_fakes import STEPS, TENANT, Bench, LostSignals, open_bench
from plimsoll_orchestrator.domain.journal import RunStatus, SignalReceived
from plimsoll_orchestrator.domain.options import RunOptions
from plimsoll_orchestrator.errors import InvalidInput, MailboxFull, RunFinishedAlready, RunNotStopped
from plimsoll_orchestrator.ports import ToolOutcome
from plimsoll_runtime.errors import NotFound, Unavailable
from plimsoll_testkit.waiting import eventually


@pytest.fixture
async def bench(postgres_dsn: str) -> AsyncIterator[Bench]:
    async with open_bench(postgres_dsn) as bench:
        yield bench


PAYMENT = """
agent: payment
input: {type: object, properties: {order: {type: string}}}
state: {type: object, properties: {order: {type: string}, paid: {type: number}, by: {type: string}}}
start: wait
output: {paid: "has(state.paid) ? state.paid : 0"}
nodes:
  wait:
    wait: {signal: paid, where: "signal.payload.order == state.order", expires: 1h, on_expired: late}
    save: {paid: result.payload.amount, by: result.by}
    next: end
  late: {set: {paid: "-1"}, next: end}
"""


async def status(bench: Bench, run_id: str) -> RunStatus:
    return (await bench.service.get_run(TENANT, run_id)).run.status


async def waits(bench: Bench, run_id: str) -> bool:
    return await status(bench, run_id) is RunStatus.WAITING


async def test_a_signal_that_fits_ends_the_wait_and_another_does_not(bench: Bench) -> None:
    await bench.register(PAYMENT)
    async with bench.working():
        run_id = await bench.start("payment", {"order": "o1"})
        await eventually(lambda: waits(bench, run_id))
        await bench.control.signal_run(TENANT, run_id, "paid", {"order": "o2", "amount": 5}, "", "bank")
        await bench.control.signal_run(TENANT, run_id, "shipped", {"order": "o1"}, "", "post")
        await bench.control.signal_run(TENANT, run_id, "paid", {"order": "o1", "amount": 7}, "", "bank")
        view = await bench.ended(run_id)
    assert view.run.output == {"paid": 7}
    assert [signal.payload for signal in view.run.signals] == [{"order": "o2", "amount": 5}, {"order": "o1"}]


async def test_a_signal_that_came_before_the_wait_counts(postgres_dsn: str) -> None:
    async with open_bench(postgres_dsn, LostSignals()) as bench:
        await bench.register(PAYMENT)
        run_id = await bench.start("payment", {"order": "o1"})
        await bench.control.signal_run(TENANT, run_id, "paid", {"order": "o1", "amount": 7}, "", "bank")
        async with bench.working():
            assert (await bench.ended(run_id)).run.output == {"paid": 7}


async def test_the_same_signal_twice_is_one(bench: Bench) -> None:
    await bench.register(PAYMENT)
    run_id = await bench.start("payment", {"order": "o1"})
    first = await bench.control.signal_run(TENANT, run_id, "paid", {"order": "o9"}, "key", "bank")
    async with bench.working():
        await eventually(lambda: waits(bench, run_id))
        assert await bench.control.signal_run(TENANT, run_id, "paid", {"order": "o9"}, "key", "bank") == first
        await bench.control.signal_run(TENANT, run_id, "paid", {"order": "o1", "amount": 1}, "", "bank")
        view = await bench.ended(run_id)
    entries = await bench.runs.journal(TENANT, run_id, 0, 100)
    assert [entry.entry.signal_id for entry in entries if isinstance(entry.entry, SignalReceived)].count(first) == 1
    assert await bench.control.signal_run(TENANT, run_id, "paid", {"order": "o9"}, "key", "bank") == first
    assert view.run.status is RunStatus.SUCCEEDED


async def test_a_wait_that_nobody_ends_takes_its_route(bench: Bench) -> None:
    await bench.register(PAYMENT.replace("1h", "50ms"))
    assert (await bench.run("payment", {"order": "o1"})).run.output == {"paid": -1}


async def test_a_signal_to_a_finished_or_unknown_run_is_refused(bench: Bench) -> None:
    await bench.register(STEPS)
    view = await bench.run("steps", {"canary": "c"})
    with pytest.raises(RunFinishedAlready):
        await bench.control.signal_run(TENANT, view.run.run_id, "paid", None, "", "x")
    with pytest.raises(NotFound):
        await bench.control.signal_run(TENANT, "run_nobody", "paid", None, "", "x")
    with pytest.raises(NotFound):
        await bench.control.signal_run("other", view.run.run_id, "paid", None, "", "x")


async def test_a_mailbox_has_a_bound_and_a_signal_a_size(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plimsoll_orchestrator.adapters.postgres_runs._MAILBOX_CAP", 2)
    await bench.register(PAYMENT)
    run_id = await bench.start("payment", {"order": "o1"})
    for _ in range(2):
        await bench.control.signal_run(TENANT, run_id, "paid", {}, "", "x")
    with pytest.raises(MailboxFull):
        await bench.control.signal_run(TENANT, run_id, "paid", {}, "", "x")
    with pytest.raises(InvalidInput, match="262144"):
        await bench.control.signal_run(TENANT, run_id, "paid", "x" * 300_000, "", "x")


TIMER = """
agent: timer
input: {type: object, properties: {until: {type: string}}}
state: {type: object, properties: {until: {type: string}, woke: {type: string}}}
start: nap
output: {woke: state.woke}
nodes:
  nap: {wait: {KIND}, save: {woke: result.at}, next: end}
"""


@pytest.mark.parametrize("kind", ["for: 60ms", "until: state.until"])
async def test_a_timer_fires_by_the_databases_clock(bench: Bench, kind: str) -> None:
    await bench.register(TIMER.replace("KIND", kind))
    now = await bench.pool.fetchval("select now()")
    view = await bench.run("timer", {"until": (now + timedelta(milliseconds=60)).isoformat()})
    assert datetime.fromisoformat(str(view.run.output["woke"])) >= now + timedelta(milliseconds=50)  # type: ignore[index, call-overload]


async def test_a_moment_that_is_none_is_a_failure_that_says_so(bench: Bench) -> None:
    await bench.register(TIMER.replace("KIND", "until: state.until"))
    view = await bench.run("timer", {"until": "tomorrow"})
    assert view.run.failure is not None
    assert "2030-01-31T09:00:00Z" in view.run.failure.message


async def test_a_paused_run_stands_still_and_goes_on_with_the_same_keys(bench: Bench) -> None:
    await bench.register(STEPS)
    bench.tools.gate = asyncio.Event()
    async with bench.working():
        run_id = await bench.start("steps", {"canary": "c"})
        await eventually(lambda: under_way(bench, run_id))
        paused = await bench.control.pause_run(TENANT, run_id, "look", "ann")
        assert paused.run.status is RunStatus.PAUSED
        assert paused.summary.status is RunStatus.PAUSED
        bench.tools.gate.set()
        assert (await bench.control.pause_run(TENANT, run_id, "again", "ann")).run.seq == paused.run.seq
        [obstacle] = await bench.control.explain_run(TENANT, run_id)
        assert obstacle.reason == "PAUSED"
        await bench.control.resume_run(TENANT, run_id, "ann")
        view = await bench.ended(run_id)
    assert view.run.output == {"canary": "c", "seen": ["c", "c", "c"]}
    assert len(bench.tools.executed) == 1


async def under_way(bench: Bench, run_id: str) -> bool:
    return (await bench.service.get_run(TENANT, run_id)).run.step is not None


async def test_only_what_stands_still_can_be_resumed_and_a_cancelled_run_cannot(bench: Bench) -> None:
    await bench.register(STEPS)
    run_id = await bench.start("steps", {"canary": "c"})
    with pytest.raises(RunNotStopped):
        await bench.control.resume_run(TENANT, run_id, "ann")
    await bench.control.pause_run(TENANT, run_id, "", "ann")
    view = await bench.control.cancel_run(TENANT, run_id, "over", "ann")
    assert view.run.status is RunStatus.CANCELLED
    with pytest.raises(RunFinishedAlready):
        await bench.control.resume_run(TENANT, run_id, "ann")
    with pytest.raises(RunFinishedAlready):
        await bench.control.pause_run(TENANT, run_id, "", "ann")


async def test_a_delayed_run_starts_not_before_its_time_and_says_so(bench: Bench) -> None:
    await bench.register(STEPS)
    begin = datetime.now(UTC) + timedelta(hours=1)
    async with bench.working():
        run_id = await bench.start("steps", {"canary": "c"}, options=RunOptions(not_before=begin))
        [obstacle] = await bench.control.explain_run(TENANT, run_id)
        assert (obstacle.reason, obstacle.until) == ("DELAYED", begin)
        soon = await bench.start("steps", {"canary": "d"}, options=RunOptions(not_before=datetime.now(UTC) + timedelta(milliseconds=80)))
        view = await bench.ended(soon)
    assert view.run.status is RunStatus.SUCCEEDED
    assert await status(bench, run_id) is RunStatus.QUEUED


async def test_a_run_fails_when_its_deadline_passes_wherever_it_stands(bench: Bench) -> None:
    await bench.register(PAYMENT)
    async with bench.working():
        deadline = datetime.now(UTC) + timedelta(milliseconds=100)
        view = await bench.ended(await bench.start("payment", {"order": "o"}, options=RunOptions(deadline=deadline)))
    assert view.run.failure is not None
    assert view.run.failure.reason == "RUN_DEADLINE"


@pytest.mark.parametrize(
    ("expression", "value"),
    [("state.order", "o1"), ("run.status", "waiting"), ("has(state.paid)", False), ("run.steps + 1", 1)],
)
async def test_a_run_can_be_asked_while_it_lives(bench: Bench, expression: str, value: object) -> None:
    await bench.register(PAYMENT)
    async with bench.working():
        run_id = await bench.start("payment", {"order": "o1"})
        await eventually(lambda: waits(bench, run_id))
        assert (await bench.control.query_run(TENANT, run_id, expression))[0] == value


@pytest.mark.parametrize("expression", ["state.nothing.more", "1 / 0", "state.", "x"])
async def test_a_question_that_makes_no_sense_is_told(bench: Bench, expression: str) -> None:
    await bench.register(PAYMENT)
    run_id = await bench.start("payment", {"order": "o1"})
    with pytest.raises(InvalidInput):
        await bench.control.query_run(TENANT, run_id, expression)


async def go_on(bench: Bench, follow: bool, changed: str) -> object:
    """Start on one version, register another while the run waits, let it go on."""
    await bench.register(PAYMENT)
    async with bench.working():
        run_id = await bench.start("payment", {"order": "o1"}, options=RunOptions(follow_latest=follow))
        await eventually(lambda: waits(bench, run_id))
        await bench.register(changed)
        await bench.control.signal_run(TENANT, run_id, "paid", {"order": "o1", "amount": 7}, "", "bank")
        return (await bench.ended(run_id)).run.output


async def test_a_run_finishes_on_the_version_it_started_with_unless_it_asks_for_the_latest(bench: Bench) -> None:
    doubled = PAYMENT.replace("? state.paid : 0", "? state.paid * 2 : 0")
    assert await go_on(bench, False, doubled) == {"paid": 7}
    assert await go_on(bench, True, doubled) == {"paid": 14}


async def test_a_run_that_does_not_fit_the_latest_version_stays_on_its_own(bench: Bench) -> None:
    renamed = (
        PAYMENT.replace("wait:\n    wait:", "hold:\n    wait:")
        .replace("start: wait", "start: hold")
        .replace("? state.paid : 0", "? state.paid * 2 : 0")
    )
    assert await go_on(bench, True, renamed) == {"paid": 7}


async def test_a_deadline_reaches_the_step_that_is_under_way(bench: Bench) -> None:
    await bench.register(STEPS)
    bench.tools.gate = asyncio.Event()
    async with bench.working():
        deadline = datetime.now(UTC) + timedelta(milliseconds=300)
        view = await bench.ended(await bench.start("steps", {"canary": "c"}, options=RunOptions(deadline=deadline)))
    assert view.run.failure is not None
    assert view.run.failure.reason == "RUN_DEADLINE"
    assert bench.tools.executed == []


async def test_a_service_of_the_mesh_that_is_away_for_a_moment_is_no_failure_of_the_run(bench: Bench) -> None:
    await bench.register(STEPS)
    away = [1, 1]
    answer = bench.tools.dispatch

    async def restarting(*arguments: Any) -> ToolOutcome:
        if away:
            away.pop()
            raise Unavailable("tool-dispatcher cannot be reached", reason="UNREACHABLE")
        return await answer(*arguments)

    bench.tools.dispatch = restarting  # type: ignore[method-assign]
    assert (await bench.run("steps", {"canary": "c"})).run.status is RunStatus.SUCCEEDED
