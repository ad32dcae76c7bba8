"""Calls whose caller says that they are the first under their key: what holds, though it was said wrongly."""

from dataclasses import replace

import pytest
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_tool_dispatcher.domain.call import Call, Succeeded
from plimsoll_tool_dispatcher.domain.effects import EffectClass
from plimsoll_tool_dispatcher.errors import CallKeyTaken, StaleEpoch
from plimsoll_tool_dispatcher.handler import ToolContext
from tool_dispatcher_bench import Bench
from tool_dispatcher_samples import call, tool


def first(asked: Call) -> Call:
    return replace(asked, first=True)


@pytest.fixture
def ran(bench: Bench) -> list[str]:
    """Under which keys tools of every effect class ran; each run has a result of its own."""
    keys: list[str] = []

    async def run(arguments: JsonObject, context: ToolContext) -> JsonValue:
        keys.append(context.call_key)
        return {"found": True, "run": len(keys)}

    for effect in EffectClass:
        bench.offer(tool(effect, name=effect.value), run)
    return keys


async def test_a_first_read_is_recorded_like_any_other(bench: Bench, ran: list[str]) -> None:
    report = await bench.dispatch(first(call(name="read_only")))
    again = await bench.dispatch(call(name="read_only"))
    assert (again.outcome, again.recorded, again.call_id) == (report.outcome, True, report.call_id)
    assert (ran, len(bench.ledger.announced)) == (["key_1"], 1)


async def test_a_read_wrongly_said_to_be_the_first_is_answered_and_announced_once(bench: Bench, ran: list[str]) -> None:
    asked = first(call(name="read_only"))
    reports = [await bench.dispatch(asked) for _ in range(3)]
    assert {(report.call_id, str(report.outcome)) for report in reports} == {
        (reports[0].call_id, str(Succeeded(result={"found": True, "run": 1})))
    }
    assert (len(ran), len(bench.ledger.announced)) == (3, 1)


@pytest.mark.parametrize("effect", [effect for effect in EffectClass if effect is not EffectClass.READ_ONLY])
async def test_what_may_act_runs_once_whatever_is_said(bench: Bench, ran: list[str], effect: EffectClass) -> None:
    asked = first(call(name=effect.value))
    assert [(await bench.dispatch(asked)).recorded for _ in range(2)] == [False, True]
    assert ran == ["key_1"]


async def test_a_superseded_claim_learns_it_though_it_says_first(bench: Bench, ran: list[str]) -> None:
    await bench.dispatch(call("key_1", name="read_only", epoch=2))
    with pytest.raises(StaleEpoch):
        await bench.dispatch(first(call("key_2", name="read_only", epoch=1)))
    assert len(bench.ledger.announced) == 1


async def test_another_request_under_a_taken_key_is_refused_though_it_says_first(bench: Bench, ran: list[str]) -> None:
    await bench.dispatch(call(name="read_only"))
    with pytest.raises(CallKeyTaken):
        await bench.dispatch(first(call(name="read_only", arguments={"id": 8})))
