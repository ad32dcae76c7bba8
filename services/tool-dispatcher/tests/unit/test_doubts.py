"""Unknown outcomes: asked about where the tool declares how, never repeated, and left to a person in the end."""

import asyncio

import pytest
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_testkit.waiting import eventually
from plimsoll_tool_dispatcher.domain.call import Failed, Report, Succeeded
from plimsoll_tool_dispatcher.domain.effects import EffectClass, Mishap
from plimsoll_tool_dispatcher.domain.execution import Stopped
from plimsoll_tool_dispatcher.domain.ledger import Acted, CallState, Claim, NotActed
from plimsoll_tool_dispatcher.errors import DoubtNotFound, InvalidResolution
from plimsoll_tool_dispatcher.handler import ToolContext
from tool_dispatcher_bench import Bench
from tool_dispatcher_fakes import Function, Scripted
from tool_dispatcher_samples import ACME, UMBRELLA, call, reservation, tool

FOUND = Succeeded(result={"found": True})
PAY = tool(EffectClass.NON_IDEMPOTENT, reconcile="what_became")
ASK: JsonObject = {"type": "object", "required": ["call_key", "arguments"]}


def lost_once() -> Function:
    attempts = iter(range(100))

    async def function(arguments: JsonObject, context: ToolContext) -> JsonValue:
        if next(attempts) == 0:
            failure = Failure(category=Category.TIMEOUT, reason="TOOL_TIMEOUT", message="no answer", where="look_up")
            raise Scripted(Stopped(failure=failure, mishap=Mishap.LOST))
        return {"found": True}

    return function


def saying(*answers: JsonValue) -> Function:
    said = iter(answers)

    async def function(arguments: JsonObject, context: ToolContext) -> JsonValue:
        return next(said)

    return function


def offer_reconcile(bench: Bench, *answers: JsonValue, effect: EffectClass = EffectClass.READ_ONLY) -> None:
    bench.offer(tool(effect, name="what_became", arguments=ASK, result={}), saying(*answers))


def failed(report: Report) -> tuple[Category, str]:
    assert isinstance(report.outcome, Failed), report.outcome
    return report.outcome.failure.category, report.outcome.failure.reason


def paid(bench: Bench) -> int:
    return sum(invocation.arguments == {"id": 7, "limit": 10} for invocation in bench.executor.invocations)


async def test_a_lost_answer_is_found_out_and_is_the_result(bench: Bench) -> None:
    bench.offer(PAY, lost_once())
    offer_reconcile(bench, {"acted": True, "result": {"found": True}})
    report = await bench.dispatch(call())
    assert report.outcome == FOUND
    assert paid(bench) == 1
    asked = bench.executor.invocations[-1]
    assert asked.arguments == {"call_key": "key_1", "arguments": {"id": 7, "limit": 10}}


async def test_a_call_that_did_not_act_is_attempted_again(bench: Bench) -> None:
    bench.offer(PAY, lost_once())
    offer_reconcile(bench, {"acted": False})
    report = await bench.dispatch(call())
    assert (report.outcome, report.attempts, paid(bench)) == (FOUND, 2, 2)


@pytest.mark.parametrize("answer", [{"acted": None}, {}, {"acted": "yes"}, None, {"acted": True}, {"acted": True, "result": {"found": 1}}])
async def test_an_upstream_that_cannot_say_leaves_it_unknown_and_unrepeated(bench: Bench, answer: JsonValue) -> None:
    bench.offer(PAY, lost_once())
    offer_reconcile(bench, answer)
    assert failed(await bench.dispatch(call())) == (Category.OUTCOME_UNKNOWN, "TOOL_TIMEOUT")
    assert paid(bench) == 1


async def test_only_a_tool_that_cannot_act_is_asked(bench: Bench) -> None:
    bench.offer(PAY, lost_once())
    offer_reconcile(bench, {"acted": False}, effect=EffectClass.KEYED)
    assert failed(await bench.dispatch(call()))[0] is Category.OUTCOME_UNKNOWN
    assert len(bench.executor.invocations) == 1


async def test_without_a_way_to_ask_a_person_has_to_settle_it_at_once(bench: Bench) -> None:
    bench.offer(tool(EffectClass.NON_IDEMPOTENT), lost_once())
    await bench.dispatch(call())
    await bench.doubts.look()
    assert len(bench.ledger.escalations) == 1
    [doubt] = await bench.doubts.open(ACME, 10)
    assert (doubt.escalated, doubt.arguments) == (True, {"id": 7, "limit": 10})
    await bench.doubts.look()
    assert len(bench.ledger.escalations) == 1


async def test_an_upstream_that_is_away_is_asked_again_and_then_a_person_is(bench: Bench) -> None:
    bench.offer(PAY, lost_once())
    offer_reconcile(bench, *[None] * 10)
    await bench.dispatch(call())
    for _ in range(10):
        await bench.doubts.look()
        bench.clock.advance(31)
    assert len(bench.ledger.escalations) == 1
    assert len(bench.executor.invocations) == 1 + 1 + 5  # the call, asked inline, and five times later
    assert paid(bench) == 1


async def test_what_is_found_out_later_is_what_a_repeat_gets(bench: Bench) -> None:
    bench.offer(PAY, lost_once())
    offer_reconcile(bench, None, None, {"acted": True, "result": {"found": True}})
    assert failed(await bench.dispatch(call()))[0] is Category.OUTCOME_UNKNOWN
    for _ in range(2):
        await bench.doubts.look()
        bench.clock.advance(31)
    report = await bench.dispatch(call())
    assert (report.outcome, report.recorded) == (FOUND, True)
    assert [completed.resolved_by for completed in bench.ledger.announced] == ["", "reconcile"]
    assert bench.ledger.escalations == []


async def test_a_call_of_a_dead_dispatcher_is_found_out_too(bench: Bench) -> None:
    bench.offer(PAY, lost_once())
    offer_reconcile(bench, {"acted": True, "result": {"found": True}})
    claim = await bench.ledger.reserve(reservation(one=PAY, lease_s=0.0))
    assert isinstance(claim, Claim)
    assert await bench.ledger.mark_dispatched(claim, 0.0)
    await bench.doubts.look()
    report = await bench.dispatch(call())
    assert (report.outcome, paid(bench)) == (FOUND, 0)


async def test_a_person_says_that_it_acted(bench: Bench) -> None:
    bench.offer(tool(EffectClass.NON_IDEMPOTENT), lost_once())
    call_id = (await bench.dispatch(call())).call_id
    await bench.doubts.resolve(ACME, call_id, Acted(result={"found": False}), "ada")
    report = await bench.dispatch(call())
    assert (report.outcome, report.recorded) == (Succeeded(result={"found": False}), True)
    assert bench.ledger.announced[-1].resolved_by == "ada"
    assert paid(bench) == 1


async def test_a_person_says_that_it_did_not_act_and_it_runs_when_it_is_asked_for(bench: Bench) -> None:
    bench.offer(tool(EffectClass.NON_IDEMPOTENT), lost_once())
    call_id = (await bench.dispatch(call())).call_id
    await bench.doubts.resolve(ACME, call_id, NotActed(), "ada")
    [entry] = bench.ledger.entries.values()
    assert (entry.state, paid(bench)) == (CallState.RESERVED, 1)
    report = await bench.dispatch(call())
    assert (report.outcome, paid(bench)) == (FOUND, 2)


async def test_a_call_is_resolved_once_by_its_own_tenant_with_a_result_that_the_tool_could_give(bench: Bench) -> None:
    bench.offer(tool(EffectClass.NON_IDEMPOTENT), lost_once())
    call_id = (await bench.dispatch(call())).call_id
    with pytest.raises(DoubtNotFound):
        await bench.doubts.resolve(UMBRELLA, call_id, NotActed(), "eve")
    with pytest.raises(InvalidResolution) as caught:
        await bench.doubts.resolve(ACME, call_id, Acted(result={"found": "perhaps"}), "ada")
    assert caught.value.problems[0].field == "result.found"
    await bench.doubts.resolve(ACME, call_id, NotActed(), "ada")
    with pytest.raises(DoubtNotFound):
        await bench.doubts.resolve(ACME, call_id, NotActed(), "ada")


async def test_x15_an_upstream_that_is_slow_to_say_delays_no_other(bench: Bench) -> None:
    asked, gate = asyncio.Event(), asyncio.Event()

    async def slow(arguments: JsonObject, context: ToolContext) -> JsonValue:
        if not asked.is_set():  # inline, by the call itself
            asked.set()
            return None
        await gate.wait()
        return {"acted": False}

    bench.offer(PAY, lost_once())
    bench.offer(tool(name="what_became", arguments=ASK, result={}), slow)
    bench.offer(tool(EffectClass.NON_IDEMPOTENT, name="another"), lost_once())
    await bench.dispatch(call("key_1"))
    await bench.dispatch(call("key_2", name="another"))
    async with asyncio.TaskGroup() as group:
        group.create_task(bench.doubts.look())
        await eventually(lambda: bench.ledger.escalations)
        gate.set()
    [entry, _] = bench.ledger.entries.values()
    assert entry.state is CallState.RESERVED
