"""The pipeline of a call, stage by stage, on fakes."""

import asyncio
from dataclasses import replace

import pytest
from plimsoll_runtime.failures import Category
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_runtime.work import WorkContext
from plimsoll_testkit.waiting import eventually
from plimsoll_tool_dispatcher.domain.call import ApprovalRequired, Call, Failed, Grant, Report, Succeeded
from plimsoll_tool_dispatcher.domain.effects import EffectClass
from plimsoll_tool_dispatcher.domain.tool import Risk
from plimsoll_tool_dispatcher.errors import CallKeyTaken, InvalidDispatch, StaleEpoch, ToolNotFound
from plimsoll_tool_dispatcher.handler import ToolContext
from tool_dispatcher_bench import Bench
from tool_dispatcher_samples import ACME, MOST_CHARS, call, granted, reservation, tool


async def find(arguments: JsonObject, context: ToolContext) -> JsonValue:
    return {"found": True}


def failed(report: Report) -> tuple[Category, str]:
    assert isinstance(report.outcome, Failed)
    return report.outcome.failure.category, report.outcome.failure.reason


async def test_a_call_is_answered_with_its_result(bench: Bench) -> None:
    bench.offer(tool(), find)
    report = await bench.dispatch(call())
    assert report == Report(outcome=Succeeded(result={"found": True}), call_id="call_000001", attempts=1, duration_s=0.0)
    [announced] = bench.ledger.announced
    assert (announced.call_id, announced.tool, announced.failure, announced.work) == ("call_000001", "look_up", None, call().work)


async def test_the_tool_gets_the_arguments_after_defaults(bench: Bench) -> None:
    bench.offer(tool(), find)
    await bench.dispatch(call(arguments={"id": 7}))
    [invocation] = bench.executor.invocations
    assert invocation.arguments == {"id": 7, "limit": 10}


async def test_an_unknown_tool_is_a_failure_that_names_it(bench: Bench) -> None:
    report = await bench.dispatch(call(name="teleport"))
    assert failed(report) == (Category.UNKNOWN_TOOL, "UNKNOWN_TOOL")
    assert isinstance(report.outcome, Failed)
    assert "teleport" in report.outcome.failure.message


async def test_wrong_arguments_are_a_failure_with_their_paths_and_without_their_values(bench: Bench) -> None:
    bench.offer(tool(), find)
    report = await bench.dispatch(call(arguments={"id": "the secret", "limit": 31.5}))
    assert failed(report) == (Category.INVALID_ARGUMENTS, "INVALID_ARGUMENTS")
    assert isinstance(report.outcome, Failed)
    assert "arguments.id" in report.outcome.failure.message
    assert "arguments.limit" in report.outcome.failure.message
    assert not {"secret", "31.5"} & set(report.outcome.failure.message.split())
    assert bench.executor.invocations == []


@pytest.mark.parametrize("arguments", [[], "text", 7, True])
async def test_arguments_that_are_no_object_are_a_failure(bench: Bench, arguments: JsonValue) -> None:
    bench.offer(tool(), find)
    assert failed(await bench.dispatch(call(arguments=arguments))) == (Category.INVALID_ARGUMENTS, "INVALID_ARGUMENTS")


async def test_huge_arguments_are_a_failure(bench: Bench) -> None:
    bench.offer(tool(), find)
    huge = replace(call(), arguments=None, arguments_chars=MOST_CHARS + 1)
    assert failed(await bench.dispatch(huge)) == (Category.INVALID_ARGUMENTS, "INVALID_ARGUMENTS")


async def test_arguments_of_extreme_depth_are_a_failure(bench: Bench) -> None:
    bench.offer(tool(arguments={"type": "object"}), find)
    deep: JsonValue = 1
    for _ in range(100):
        deep = {"inner": deep}
    assert failed(await bench.dispatch(call(arguments=deep))) == (Category.INVALID_ARGUMENTS, "INVALID_ARGUMENTS")


async def test_a_refused_call_is_announced_under_one_id_however_often_it_is_refused(bench: Bench) -> None:
    await bench.dispatch(call(name="teleport"))
    await bench.dispatch(call(name="teleport"))
    first, second = bench.ledger.announced
    assert first.event_id == second.event_id
    assert first.failure is not None
    assert first.failure.category is Category.UNKNOWN_TOOL


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"key": ""}, "call_key"),
        ({"key": "x" * 201}, "call_key"),
        ({"key": "a\0b"}, "call_key"),
        ({"tool": ""}, "tool"),
        ({"work": WorkContext(run_id="", epoch=1)}, "work.run_id"),
        ({"work": WorkContext(run_id="run_1", epoch=-1)}, "work.epoch"),
    ],
)
async def test_an_incomplete_dispatch_names_the_field(bench: Bench, changed: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidDispatch) as caught:
        await bench.dispatch(replace(call(), **changed))  # type: ignore[arg-type]
    assert [problem.field for problem in caught.value.problems] == [field]


async def test_a_risky_call_without_a_grant_asks_for_exactly_what_would_run(bench: Bench) -> None:
    risky = bench.offer(tool(EffectClass.KEYED, risk=Risk.HIGH), find)
    report = await bench.dispatch(call(arguments={"id": 7}))
    assert isinstance(report.outcome, ApprovalRequired)
    proposal = report.outcome.proposal
    assert (proposal.tool, proposal.tool_digest) == ("look_up", risky.digest)
    assert proposal.effective_arguments == {"id": 7, "limit": 10}
    assert (bench.executor.invocations, bench.ledger.announced, bench.ledger.entries) == ([], [], {})


async def test_a_grant_lets_exactly_the_approved_call_run(bench: Bench) -> None:
    risky = bench.offer(tool(EffectClass.KEYED, risk=Risk.HIGH), find)
    report = await bench.dispatch(granted(call(), risky))
    assert report.outcome == Succeeded(result={"found": True})
    assert bench.ledger.announced[0].grant_id == "apr_1"


async def test_a_grant_for_other_arguments_does_not_fit(bench: Bench) -> None:
    risky = bench.offer(tool(EffectClass.KEYED, risk=Risk.HIGH), find)
    approved = granted(call(), risky, id=8)
    assert isinstance((await bench.dispatch(approved)).outcome, ApprovalRequired)
    assert bench.executor.invocations == []


@pytest.mark.parametrize("other", [call("key_2"), call(run_id="run_2"), call(tenant="umbrella")])
async def test_a_grant_for_another_call_does_not_fit(bench: Bench, other: Call) -> None:
    risky = bench.offer(tool(EffectClass.KEYED, risk=Risk.HIGH), find)
    borrowed = replace(call(), grants=granted(other, risky).grants)
    assert isinstance((await bench.dispatch(borrowed)).outcome, ApprovalRequired)


async def test_a_grant_for_an_earlier_definition_does_not_fit(bench: Bench) -> None:
    before = tool(EffectClass.KEYED, risk=Risk.HIGH)
    bench.offer(tool(EffectClass.KEYED, risk=Risk.HIGH, description="Does something else now"), find)
    assert isinstance((await bench.dispatch(granted(call(), before))).outcome, ApprovalRequired)


async def test_a_grant_that_was_spent_elsewhere_is_denied(bench: Bench) -> None:
    risky = bench.offer(tool(EffectClass.KEYED, risk=Risk.HIGH), find)
    await bench.dispatch(granted(call("key_1"), risky, "apr_1"))
    report = await bench.dispatch(granted(call("key_2"), risky, "apr_1"))
    assert failed(report) == (Category.POLICY_DENIED, "GRANT_SPENT")
    assert len(bench.executor.invocations) == 1


async def test_a_spent_grant_still_gives_its_call_the_recorded_result(bench: Bench) -> None:
    risky = bench.offer(tool(EffectClass.KEYED, risk=Risk.HIGH), find)
    approved = granted(call(), risky)
    await bench.dispatch(approved)
    for repeat in (approved, replace(approved, grants=())):
        report = await bench.dispatch(repeat)
        assert (report.outcome, report.recorded) == (Succeeded(result={"found": True}), True)
    assert len(bench.executor.invocations) == 1


async def test_the_fitting_grant_among_several_is_spent(bench: Bench) -> None:
    risky = bench.offer(tool(EffectClass.KEYED, risk=Risk.HIGH), find)
    approved = granted(call(), risky, "apr_2")
    several = replace(approved, grants=(Grant(id="apr_1", call_digest="another", granted_by="ada"), *approved.grants))
    await bench.dispatch(several)
    assert list(bench.ledger.grants) == [(ACME, "apr_2")]


async def test_an_interrupted_risky_call_goes_on_without_its_grant_being_sent_again(bench: Bench) -> None:
    risky = bench.offer(tool(EffectClass.KEYED, risk=Risk.HIGH), find)
    approved = granted(call(arguments={"id": 7, "limit": 10}), risky)
    await bench.ledger.reserve(replace(reservation(approved, risky, grant=approved.grants[0]), lease_s=0.0))
    report = await bench.dispatch(replace(approved, grants=()))
    assert report.outcome == Succeeded(result={"found": True})


async def test_an_interrupted_risky_call_needs_a_new_grant_when_its_definition_changed(bench: Bench) -> None:
    before = tool(EffectClass.KEYED, risk=Risk.HIGH, description="Did something else then")
    approved = granted(call(arguments={"id": 7, "limit": 10}), before)
    await bench.ledger.reserve(replace(reservation(approved, before, grant=approved.grants[0]), lease_s=0.0))
    now = bench.offer(tool(EffectClass.KEYED, risk=Risk.HIGH), find)
    assert isinstance((await bench.dispatch(approved)).outcome, ApprovalRequired)
    report = await bench.dispatch(granted(approved, now, "apr_2"))
    assert report.outcome == Succeeded(result={"found": True})


async def test_a_result_that_breaks_its_schema_is_a_failure_and_is_not_retried(bench: Bench) -> None:
    async def lie(arguments: JsonObject, context: ToolContext) -> JsonValue:
        return {"found": "the secret"}

    bench.offer(tool(), lie)
    report = await bench.dispatch(call())
    assert failed(report) == (Category.MALFORMED_RESULT, "RESULT_BREAKS_SCHEMA")
    assert isinstance(report.outcome, Failed)
    assert "result.found" in report.outcome.failure.message
    assert "secret" not in report.outcome.failure.message
    assert report.attempts == 1


async def test_a_stale_epoch_is_refused_before_anything_runs(bench: Bench) -> None:
    bench.offer(tool(), find)
    await bench.dispatch(call("key_1", epoch=5))
    for stale in (call("key_2", epoch=4), call("key_1", epoch=4), call("key_3", name="teleport", epoch=4)):
        with pytest.raises(StaleEpoch) as caught:
            await bench.dispatch(stale)
        assert caught.value.reason == "STALE_EPOCH"
    assert len(bench.executor.invocations) == 1


async def test_a_key_used_for_another_request_is_refused(bench: Bench) -> None:
    bench.offer(tool(), find)
    await bench.dispatch(call(arguments={"id": 7}))
    with pytest.raises(CallKeyTaken):
        await bench.dispatch(call(arguments={"id": 8}))


async def test_the_recorded_result_outlives_the_tool_and_its_definition(bench: Bench) -> None:
    bench.offer(tool(), find)
    first = await bench.dispatch(call())
    bench.offer(tool(arguments={"type": "object", "required": ["another"]}), find)
    assert await bench.dispatch(call()) == replace(first, recorded=True)
    bench.registry.tools.clear()
    assert await bench.dispatch(call()) == replace(first, recorded=True)


async def test_abandoned_calls_are_settled_without_being_asked_for(bench: Bench) -> None:
    once = tool(EffectClass.NON_IDEMPOTENT)
    claim = await bench.ledger.reserve(reservation(one=once, lease_s=0.0))
    assert await bench.ledger.mark_dispatched(claim, 0.0)  # type: ignore[arg-type]
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(bench.doubts.watch(stop))
        await eventually(lambda: bench.ledger.announced)
        stop.set()
    [announced] = bench.ledger.announced
    assert announced.failure is not None
    assert (announced.failure.category, announced.failure.reason) == (Category.OUTCOME_UNKNOWN, "DISPATCHER_LOST")


def test_a_tool_is_shown_by_its_name(bench_tools: Bench) -> None:
    assert bench_tools.service.get_tool(ACME, "look_up").name == "look_up"
    with pytest.raises(ToolNotFound):
        bench_tools.service.get_tool(ACME, "teleport")


def test_tools_are_listed_all_or_by_name(bench_tools: Bench) -> None:
    assert [one.name for one in bench_tools.service.list_tools(ACME)] == ["answer", "look_up"]
    assert [one.name for one in bench_tools.service.list_tools(ACME, ["teleport", "look_up"])] == ["look_up"]


@pytest.fixture
def bench_tools(bench: Bench) -> Bench:
    bench.offer(tool(), find)
    bench.offer(tool(name="answer"), find)
    return bench
