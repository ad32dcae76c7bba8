"""The calls in flight: bulkhead, retries, deadlines, callers that go away, shutting down."""

import asyncio

import pytest
from plimsoll_runtime.errors import Unavailable
from plimsoll_runtime.failures import Category
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_testkit.clock import FakeClock
from plimsoll_testkit.ids import FakeIds
from plimsoll_testkit.waiting import eventually
from plimsoll_tool_dispatcher import attempts
from plimsoll_tool_dispatcher.attempts import Work
from plimsoll_tool_dispatcher.domain.admission import Admitted, admit
from plimsoll_tool_dispatcher.domain.call import Failed, Report, Succeeded
from plimsoll_tool_dispatcher.domain.effects import EffectClass
from plimsoll_tool_dispatcher.domain.ledger import CallState, Claim
from plimsoll_tool_dispatcher.handler import ToolContext, ToolUnavailable
from tool_dispatcher_bench import Bench, assemble
from tool_dispatcher_fake_ledger import FakeCallLedger
from tool_dispatcher_fakes import FakeExecutor, FakeToolRegistry
from tool_dispatcher_samples import book, call, reservation, tool


async def find(arguments: JsonObject, context: ToolContext) -> JsonValue:
    return {"found": True}


def failed(report: Report) -> tuple[Category, str]:
    assert isinstance(report.outcome, Failed)
    return report.outcome.failure.category, report.outcome.failure.reason


async def test_a_database_that_is_away_for_a_moment_does_not_lose_a_result(bench: Bench) -> None:
    bench.offer(tool(EffectClass.NON_IDEMPOTENT), find)
    settle, refusals = bench.ledger.settle, iter([Unavailable(), Unavailable()])

    async def sometimes(*given: object) -> bool:
        for refusal in refusals:
            raise refusal
        return await settle(*given)  # type: ignore[arg-type]

    bench.ledger.settle = sometimes  # type: ignore[method-assign]
    assert (await bench.dispatch(call())).outcome == Succeeded(result={"found": True})


async def test_more_calls_than_the_tool_takes_wait_for_their_turn(bench: Bench) -> None:
    running, most = 0, 0
    gate = asyncio.Event()

    async def count(arguments: JsonObject, context: ToolContext) -> JsonValue:
        nonlocal running, most
        running, most = running + 1, max(most, running + 1)
        await gate.wait()
        running -= 1
        return {"found": True}

    bench.offer(tool(concurrency=2), count)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(bench.dispatch(call(f"key_{number}"))) for number in range(6)]
        await eventually(lambda: running == 2)
        gate.set()
    assert most == 2
    assert all(task.result().outcome == Succeeded(result={"found": True}) for task in tasks)


async def test_a_tool_that_is_too_busy_refuses_and_the_call_may_run_later(bench: Bench) -> None:
    gate = asyncio.Event()

    async def wait(arguments: JsonObject, context: ToolContext) -> JsonValue:
        await gate.wait()
        return {"found": True}

    bench.offer(tool(EffectClass.NON_IDEMPOTENT, concurrency=1, attempts=1), wait)
    async with asyncio.TaskGroup() as group:
        for number in range(17):
            group.create_task(bench.dispatch(call(f"key_{number}")))
        await eventually(lambda: len(bench.ledger.entries) == 17)
        refused = await bench.dispatch(call("one too many"))
        assert failed(refused) == (Category.RATE_LIMITED, "TOOL_BUSY")
        gate.set()
    assert (await bench.dispatch(call("one too many"))).outcome == Succeeded(result={"found": True})


async def test_retries_pause_longer_each_time_and_honour_what_the_upstream_asks(bench: Bench) -> None:
    asked = iter([None, 3.0, None])

    async def away(arguments: JsonObject, context: ToolContext) -> JsonValue:
        raise ToolUnavailable("MAINTENANCE", "back soon", retry_after_s=next(asked))

    bench.offer(tool(attempts=3), away)
    report = await bench.dispatch(call())
    assert failed(report) == (Category.UPSTREAM_UNAVAILABLE, "MAINTENANCE")
    assert isinstance(report.outcome, Failed)
    assert report.outcome.failure.retryable
    assert report.attempts == 3
    assert bench.pauses == [pytest.approx(0.1), pytest.approx(3.2)]


async def test_no_retry_begins_that_the_deadline_would_cut(bench: Bench) -> None:
    async def away(arguments: JsonObject, context: ToolContext) -> JsonValue:
        raise ToolUnavailable("MAINTENANCE", "back soon", retry_after_s=20.0)

    bench.offer(tool(attempts=3), away)
    report = await bench.dispatch(call(), within_s=10.0)
    assert (report.attempts, bench.pauses) == (1, [])


async def test_an_attempt_never_gets_more_time_than_the_caller_has(bench: Bench) -> None:
    bench.offer(tool(timeout_s=30.0), find)
    await bench.dispatch(call(), within_s=2.0)
    [invocation] = bench.executor.invocations
    assert invocation.timeout_s < 2.0


async def test_a_caller_without_time_gets_a_failure_and_the_call_may_run_later(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.offer(tool(EffectClass.NON_IDEMPOTENT), find)
    with monkeypatch.context() as hurried:
        hurried.setattr(attempts, "_LEAST_S", 60.0)  # so that what is left is too little however slow this machine is
        report = await bench.dispatch(call(), within_s=30.0)
    assert failed(report) == (Category.TIMEOUT, "NO_TIME_LEFT")
    assert (await bench.dispatch(call())).outcome == Succeeded(result={"found": True})


async def begun(bench: Bench, effect: EffectClass) -> tuple["asyncio.Task[Report]", asyncio.Event]:
    """A dispatch that has reached the tool, and the gate that lets it go on."""
    gate = asyncio.Event()

    async def wait(arguments: JsonObject, context: ToolContext) -> JsonValue:
        await gate.wait()
        return {"found": True}

    bench.offer(tool(effect, timeout_s=30), wait)
    task = asyncio.get_running_loop().create_task(bench.dispatch(call()))
    await eventually(lambda: bench.executor.invocations)
    return task, gate


@pytest.mark.parametrize("effect", [EffectClass.IDEMPOTENT, EffectClass.KEYED, EffectClass.NON_IDEMPOTENT])
async def test_a_call_that_may_act_is_finished_and_recorded_when_the_caller_goes_away(bench: Bench, effect: EffectClass) -> None:
    task, gate = await begun(bench, effect)
    task.cancel()
    await asyncio.wait([task])
    gate.set()
    report = await bench.dispatch(call())
    assert (report.outcome, report.recorded) == (Succeeded(result={"found": True}), True)
    assert (len(bench.executor.invocations), bench.executor.cancelled) == (1, 0)


async def test_a_read_only_call_is_stopped_when_the_caller_goes_away(bench: Bench) -> None:
    task, gate = await begun(bench, EffectClass.READ_ONLY)
    task.cancel()
    await asyncio.wait([task])
    await eventually(lambda: bench.executor.cancelled)
    gate.set()
    report = await bench.dispatch(call())
    assert (report.outcome, report.recorded) == (Succeeded(result={"found": True}), False)


async def test_calls_in_flight_keep_their_lease(bench: Bench) -> None:
    task, gate = await begun(bench, EffectClass.KEYED)
    [entry] = bench.ledger.entries.values()
    bench.clock.advance(3600)
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(bench.executions.keep_alive(stop))
        await eventually(lambda: entry.lease_until > bench.clock.now())
        stop.set()
        gate.set()
    assert (await task).outcome == Succeeded(result={"found": True})


async def test_shutting_down_leaves_what_may_have_acted_as_unknown(clock: FakeClock, ids: FakeIds) -> None:
    replica = assemble(FakeCallLedger(clock), FakeToolRegistry(), FakeExecutor(), clock, ids)
    async with replica.executions:
        task, _ = await begun(replica, EffectClass.NON_IDEMPOTENT)
    await asyncio.wait([task])
    [entry] = replica.ledger.entries.values()
    assert entry.state is CallState.UNKNOWN
    assert failed(await replica.dispatch(call())) == (Category.OUTCOME_UNKNOWN, "CUT_OFF")


async def test_shutting_down_frees_what_may_be_repeated(clock: FakeClock, ids: FakeIds) -> None:
    replica = assemble(FakeCallLedger(clock), FakeToolRegistry(), FakeExecutor(), clock, ids)
    async with replica.executions:
        task, _ = await begun(replica, EffectClass.KEYED)
    await asyncio.wait([task])
    [entry] = replica.ledger.entries.values()
    assert (entry.state, entry.lease_until) == (CallState.RESERVED, clock.now())


async def test_a_call_cancelled_before_its_first_step_leaves_nothing_behind(bench: Bench) -> None:
    bench.offer(tool(EffectClass.KEYED), find)
    claim = await bench.ledger.reserve(reservation(one=tool(EffectClass.KEYED)))
    assert isinstance(claim, Claim)
    admitted = admit(call(), tool(EffectClass.KEYED), book())
    assert isinstance(admitted, Admitted)
    loop = asyncio.get_running_loop()
    running = loop.create_task(bench.executions.run(Work(call=call(), admitted=admitted, claim=claim)))
    loop.call_soon(lambda: [task.cancel() for task in bench.executions._in_flight.values()])
    await asyncio.wait([running])
    stop = asyncio.Event()
    stop.set()
    async with asyncio.timeout(5):
        await bench.executions.keep_alive(stop)
    assert bench.executor.invocations == []
