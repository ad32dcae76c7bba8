"""The effect table: what happens to a call, cell by cell. The cells in which a process dies are in integration/test_crashes.py."""

import asyncio

import pytest
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_testkit.clock import FakeClock
from plimsoll_testkit.ids import FakeIds
from plimsoll_tool_dispatcher.domain.call import Failed, Report, Succeeded
from plimsoll_tool_dispatcher.domain.effects import EffectClass, Mishap, Move, move_after, needs_dispatch_mark
from plimsoll_tool_dispatcher.domain.execution import Stopped
from plimsoll_tool_dispatcher.domain.ledger import Claim
from plimsoll_tool_dispatcher.handler import ToolContext
from tool_dispatcher_bench import Bench, assemble
from tool_dispatcher_fake_ledger import FakeCallLedger
from tool_dispatcher_fakes import FakeExecutor, FakeToolRegistry, Function, Scripted
from tool_dispatcher_samples import call, reservation, tool

EVERY_CLASS = pytest.mark.parametrize("effect", list(EffectClass), ids=str)
REPEATABLE = [effect for effect in EffectClass if effect is not EffectClass.NON_IDEMPOTENT]
FOUND = Succeeded(result={"found": True})


def failing_once(mishap: Mishap, category: Category) -> Function:
    """Ends its first attempt in a mishap, and answers the second."""
    attempts = iter(range(100))

    async def function(arguments: JsonObject, context: ToolContext) -> JsonValue:
        if next(attempts) == 0:
            failure = Failure(category=category, reason="ONCE", message="only once", where="look_up")
            raise Scripted(Stopped(failure=failure, mishap=mishap))
        return {"found": True}

    return function


async def working(arguments: JsonObject, context: ToolContext) -> JsonValue:
    return {"found": True}


def keys(bench: Bench) -> list[str]:
    return [invocation.call_key for invocation in bench.executor.invocations]


@pytest.mark.parametrize("mishap", list(Mishap), ids=str)
@EVERY_CLASS
def test_the_table_is_the_one_that_is_printed(mishap: Mishap, effect: EffectClass) -> None:
    sent = mishap in {Mishap.LOST, Mishap.KILLED}
    doubtful = sent and effect is EffectClass.NON_IDEMPOTENT
    assert move_after(mishap, effect) is (Move.UNKNOWN if doubtful else Move.REPEAT)
    assert needs_dispatch_mark(effect) is (effect is EffectClass.NON_IDEMPOTENT)


@EVERY_CLASS
async def test_refused_before_it_was_sent_is_retried(bench: Bench, effect: EffectClass) -> None:
    bench.offer(tool(effect), failing_once(Mishap.REFUSED, Category.RATE_LIMITED))
    report = await bench.dispatch(call())
    assert (report.outcome, report.attempts) == (FOUND, 2)


@EVERY_CLASS
async def test_transient_error_before_acting_is_retried_with_the_same_key(bench: Bench, effect: EffectClass) -> None:
    bench.offer(tool(effect), failing_once(Mishap.NOT_ACTED, Category.UPSTREAM_UNAVAILABLE))
    report = await bench.dispatch(call())
    assert (report.outcome, report.attempts, keys(bench)) == (FOUND, 2, ["key_1", "key_1"])


@pytest.mark.parametrize("effect", REPEATABLE, ids=str)
async def test_lost_after_it_was_sent_is_retried_with_the_same_key(bench: Bench, effect: EffectClass) -> None:
    bench.offer(tool(effect), failing_once(Mishap.LOST, Category.TIMEOUT))
    report = await bench.dispatch(call())
    assert (report.outcome, report.attempts, keys(bench)) == (FOUND, 2, ["key_1", "key_1"])


@pytest.mark.parametrize("last", [Mishap.REFUSED, Mishap.NOT_ACTED, Mishap.LOST], ids=str)
@pytest.mark.parametrize("effect", REPEATABLE, ids=str)
async def test_no_attempt_had_a_definite_answer_and_a_keyed_call_stays_open_under_its_key(
    bench: Bench, effect: EffectClass, last: Mishap
) -> None:
    """Lost first, and then without luck: it may have acted. What is recorded as failed would be tried again under another key."""
    mishaps = iter([Mishap.LOST, last])

    async def unlucky(arguments: JsonObject, context: ToolContext) -> JsonValue:
        if (mishap := next(mishaps, None)) is None:
            return {"found": True}
        raise Scripted(Stopped(failure=Failure(category=Category.TIMEOUT, reason="SO", message="so", where="look_up"), mishap=mishap))

    bench.offer(tool(effect, attempts=2), unlucky)
    first = await bench.dispatch(call())
    assert isinstance(first.outcome, Failed)
    assert first.outcome.unsettled is (effect is EffectClass.KEYED)
    again = await bench.dispatch(call())
    assert (again.outcome, again.recorded) == ((FOUND, False) if effect is EffectClass.KEYED else (first.outcome, True))
    assert set(keys(bench)) == {"key_1"}


async def test_lost_after_it_was_sent_is_unknown_for_non_idempotent_and_never_repeated(bench: Bench) -> None:
    bench.offer(tool(EffectClass.NON_IDEMPOTENT), failing_once(Mishap.LOST, Category.TIMEOUT))
    for recorded in (False, True):
        report = await bench.dispatch(call())
        assert isinstance(report.outcome, Failed)
        assert report.outcome.failure.category is Category.OUTCOME_UNKNOWN
        assert not report.outcome.failure.retryable
        assert report.recorded is recorded
    assert len(bench.executor.invocations) == 1


@pytest.mark.parametrize("effect", REPEATABLE, ids=str)
async def test_dispatcher_killed_in_flight_runs_again_with_the_same_key(bench: Bench, effect: EffectClass) -> None:
    bench.offer(tool(effect), working)
    await bench.ledger.reserve(reservation(one=tool(effect), lease_s=0.0))
    report = await bench.dispatch(call())
    assert (report.outcome, report.recorded, keys(bench)) == (FOUND, False, ["key_1"])


async def test_dispatcher_killed_in_flight_is_unknown_for_non_idempotent(bench: Bench) -> None:
    once = bench.offer(tool(EffectClass.NON_IDEMPOTENT), working)
    claim = await bench.ledger.reserve(reservation(one=once, lease_s=0.0))
    assert isinstance(claim, Claim)
    assert await bench.ledger.mark_dispatched(claim, 0.0)
    report = await bench.dispatch(call())
    assert isinstance(report.outcome, Failed)
    assert report.outcome.failure.category is Category.OUTCOME_UNKNOWN
    assert bench.executor.invocations == []


async def test_dispatcher_killed_before_it_sent_runs_again_even_for_non_idempotent(bench: Bench) -> None:
    once = bench.offer(tool(EffectClass.NON_IDEMPOTENT), working)
    await bench.ledger.reserve(reservation(one=once, lease_s=0.0))
    assert (await bench.dispatch(call())).outcome == FOUND
    assert (await bench.dispatch(call())).recorded
    assert [invocation.call_key for invocation in bench.executor.invocations] == ["key_1"]


@pytest.mark.parametrize("replicas", [1, 2], ids=["one_replica", "two_replicas"])
@EVERY_CLASS
async def test_duplicate_deliveries_at_once_execute_once(effect: EffectClass, replicas: int, clock: FakeClock, ids: FakeIds) -> None:
    """A read_only call, which reserves nothing, once in each replica; whoever asked gets the one result that was recorded."""
    ledger, registry, executor = FakeCallLedger(clock), FakeToolRegistry(), FakeExecutor()
    benches = [assemble(ledger, registry, executor, clock, ids) for _ in range(replicas)]
    gate = asyncio.Event()

    async def wait(arguments: JsonObject, context: ToolContext) -> JsonValue:
        await gate.wait()
        return {"found": True}

    benches[0].offer(tool(effect), wait)
    async with benches[0].executions, benches[-1].executions if replicas > 1 else asyncio.timeout(None), asyncio.TaskGroup() as group:
        tasks = [group.create_task(benches[number % replicas].dispatch(call())) for number in range(10)]
        for _ in range(20):
            await asyncio.sleep(0)
        gate.set()
    reports: list[Report] = [task.result() for task in tasks]
    assert len(executor.invocations) == (replicas if effect is EffectClass.READ_ONLY else 1)
    assert len(ledger.announced) == 1
    assert {str(report.outcome) for report in reports} == {str(FOUND)}
    assert [report.recorded for report in reports].count(False) == 1
    assert len({report.call_id for report in reports}) == 1


@EVERY_CLASS
async def test_retried_by_the_orchestrator_after_its_own_crash_gets_the_recorded_result(bench: Bench, effect: EffectClass) -> None:
    bench.offer(tool(effect), working)
    first = await bench.dispatch(call(epoch=1))
    again = await bench.dispatch(call(epoch=2))
    assert (again.outcome, again.recorded, again.call_id) == (FOUND, True, first.call_id)
    assert len(bench.executor.invocations) == 1
