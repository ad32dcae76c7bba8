"""The pipeline around a tool: limits, breaker, retries, fallbacks and what is checked in an answer, each in its place."""

import asyncio
from dataclasses import replace

import pytest
from plimsoll_runtime.breaker import Verdict
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_runtime.limiter import Rate
from plimsoll_testkit.waiting import eventually
from plimsoll_tool_dispatcher.domain.call import Degraded, Failed, Report, Succeeded
from plimsoll_tool_dispatcher.domain.effects import EffectClass, Mishap
from plimsoll_tool_dispatcher.domain.execution import Stopped
from plimsoll_tool_dispatcher.domain.policy import Verb
from plimsoll_tool_dispatcher.domain.registry import Bar, Barred
from plimsoll_tool_dispatcher.domain.tool import CachedResult, FixedAnswer, OtherTool, Rates, Risk
from plimsoll_tool_dispatcher.handler import ToolContext, ToolRejected, ToolUnavailable
from tool_dispatcher_bench import Bench
from tool_dispatcher_fakes import Function, Scripted
from tool_dispatcher_samples import ACME, UMBRELLA, call, rule, tool

FOUND = Succeeded(result={"found": True})


async def find(arguments: JsonObject, context: ToolContext) -> JsonValue:
    return {"found": True}


async def away(arguments: JsonObject, context: ToolContext) -> JsonValue:
    raise ToolUnavailable("MAINTENANCE", "back soon")


async def reject(arguments: JsonObject, context: ToolContext) -> JsonValue:
    raise ToolRejected("SOLD_OUT", "no more of these")


def ending(category: Category, mishap: Mishap | None) -> Function:
    async def function(arguments: JsonObject, context: ToolContext) -> JsonValue:
        raise Scripted(Stopped(failure=Failure(category=category, reason="SO", message="so", where="look_up"), mishap=mishap))

    return function


def failed(report: Report) -> tuple[Category, str]:
    assert isinstance(report.outcome, Failed), report.outcome
    return report.outcome.failure.category, report.outcome.failure.reason


async def fail(bench: Bench, times: int, *, name: str = "look_up") -> None:
    for number in range(times):
        await bench.dispatch(call(f"fail_{name}_{number}_{bench.clock.monotonic()}", name=name))


# --- the order of the stages -------------------------------------------------------------------------------------------------------


async def test_each_stage_comes_before_the_next_and_fails_in_its_own_category(bench: Bench) -> None:
    """Whatever is wrong further down, the first stage that objects answers, and nothing behind it happens."""
    bench.rule(rule("no", Verb.DENY, "arguments.id == 1"), rule("yes", Verb.APPROVE, 'tool.risk == "high"'))
    bench.offer(tool(EffectClass.KEYED, risk=Risk.HIGH, rates=Rates(all=Rate(count=1, per_s=3600.0)), attempts=1), away)
    assert failed(await bench.dispatch(call("k1", name="nothing", arguments={"id": "x"}))) == (Category.UNKNOWN_TOOL, "UNKNOWN_TOOL")
    assert failed(await bench.dispatch(call("k2", arguments={"id": "x"}))) == (Category.INVALID_ARGUMENTS, "INVALID_ARGUMENTS")
    assert failed(await bench.dispatch(call("k3", arguments={"id": 1}))) == (Category.POLICY_DENIED, "POLICY_DENIED")
    asked = await bench.dispatch(call("k4", arguments={"id": 2}))
    assert not isinstance(asked.outcome, Failed | Succeeded)
    assert (bench.ledger.entries, bench.gate.entered, bench.executor.invocations) == ({}, [], [])


async def test_a_full_limit_is_met_before_the_bulkhead_and_the_tool(bench: Bench) -> None:
    bench.offer(tool(rates=Rates(tenant=Rate(count=2, per_s=60.0)), attempts=1), find)
    assert [(await bench.dispatch(call(f"key_{number}"))).outcome for number in (1, 2)] == [FOUND, FOUND]
    report = await bench.dispatch(call("key_3"))
    assert failed(report) == (Category.RATE_LIMITED, "RATE_LIMITED")
    assert isinstance(report.outcome, Failed)
    assert report.outcome.failure.retry_after_s == pytest.approx(30.0)
    assert len(bench.executor.invocations) == 2


async def test_b07_one_tenants_limit_is_not_anothers(bench: Bench) -> None:
    bench.offer(tool(rates=Rates(tenant=Rate(count=1, per_s=60.0)), attempts=1), find)
    reports = [await bench.dispatch(call(f"key_{number}", tenant=ACME)) for number in range(10)]
    assert reports[0].outcome == FOUND
    for report in reports[1:]:
        assert isinstance(report.outcome, Failed)
        assert report.outcome.failure.category is Category.RATE_LIMITED
        assert 0 < (report.outcome.failure.retry_after_s or 0) <= 60
    assert (await bench.dispatch(call(tenant=UMBRELLA, run_id="run_2"))).outcome == FOUND


async def test_a_call_that_a_limit_refused_runs_when_it_is_asked_for_again(bench: Bench) -> None:
    bench.offer(tool(EffectClass.NON_IDEMPOTENT, rates=Rates(all=Rate(count=1, per_s=60.0)), attempts=1), find)
    await bench.dispatch(call("key_1"))
    assert failed(await bench.dispatch(call("key_2")))[0] is Category.RATE_LIMITED
    bench.clock.advance(60)
    report = await bench.dispatch(call("key_2"))
    assert (report.outcome, report.recorded) == (FOUND, False)


async def test_a_limit_that_opens_soon_is_waited_for(bench: Bench) -> None:
    bench.offer(tool(rates=Rates(all=Rate(count=1, per_s=5.0))), find)
    reports = [await bench.dispatch(call(f"key_{number}")) for number in (1, 2)]
    assert [report.outcome for report in reports] == [FOUND, FOUND]
    assert bench.pauses == [pytest.approx(5.1)]


# --- the breaker ------------------------------------------------------------------------------------------------------------------


async def test_five_failures_open_the_breaker_of_the_upstream_for_all_its_tools(bench: Bench) -> None:
    bench.offer(tool(attempts=1), away)
    bench.offer(tool(name="another", attempts=1), find)
    await fail(bench, 5)
    report = await bench.dispatch(call("key_9", name="another"))
    assert failed(report) == (Category.UPSTREAM_UNAVAILABLE, "BREAKER_OPEN")
    assert isinstance(report.outcome, Failed)
    assert report.outcome.failure.retry_after_s == pytest.approx(30.0)
    assert len(bench.executor.invocations) == 5


async def test_after_the_cool_down_one_call_decides_for_all(bench: Bench) -> None:
    bench.offer(tool(attempts=1), away)
    await fail(bench, 5)
    bench.clock.advance(31)
    gate = asyncio.Event()

    async def wait(arguments: JsonObject, context: ToolContext) -> JsonValue:
        await gate.wait()
        return {"found": True}

    bench.offer(tool(attempts=1), wait)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(bench.dispatch(call(f"key_{number}"))) for number in range(20)]
        await eventually(lambda: sum(task.done() for task in tasks) == 19)
        gate.set()
    assert sum(task.result().outcome == FOUND for task in tasks) == 1
    assert (await bench.dispatch(call("after"))).outcome == FOUND


@pytest.mark.parametrize(
    ("category", "mishap", "verdict"),
    [
        (Category.TIMEOUT, Mishap.LOST, Verdict.FAILED),
        (Category.UPSTREAM_UNAVAILABLE, Mishap.NOT_ACTED, Verdict.FAILED),
        (Category.UPSTREAM_UNAVAILABLE, Mishap.REFUSED, Verdict.FAILED),
        (Category.TOOL_ERROR, None, Verdict.FAILED),
        (Category.MALFORMED_RESULT, None, Verdict.FAILED),
        (Category.UPSTREAM_REJECTED, None, Verdict.SUCCEEDED),
        (Category.RATE_LIMITED, Mishap.NOT_ACTED, Verdict.NEUTRAL),
        (Category.POLICY_DENIED, None, Verdict.NEUTRAL),
    ],
)
async def test_b04_what_an_attempt_says_about_its_upstream(
    bench: Bench, category: Category, mishap: Mishap | None, verdict: Verdict
) -> None:
    bench.offer(tool(attempts=1), ending(category, mishap))
    await bench.dispatch(call())
    assert bench.gate.verdicts == [verdict]


async def test_t12_an_answer_that_breaks_its_schema_counts_as_a_failure_of_the_upstream(bench: Bench) -> None:
    async def lie(arguments: JsonObject, context: ToolContext) -> JsonValue:
        return {"found": "maybe"}

    bench.offer(tool(attempts=1), lie)
    await bench.dispatch(call())
    assert bench.gate.verdicts == [Verdict.FAILED]


async def test_b04_a_cancelled_call_says_nothing(bench: Bench) -> None:
    async def wait(arguments: JsonObject, context: ToolContext) -> JsonValue:
        await asyncio.Event().wait()

    bench.offer(tool(), wait)
    task = asyncio.get_running_loop().create_task(bench.dispatch(call()))
    await eventually(lambda: bench.executor.invocations)
    task.cancel()
    await asyncio.wait([task])
    await eventually(lambda: bench.gate.verdicts == [Verdict.NEUTRAL])


async def test_a_call_that_waited_long_for_its_slot_asks_the_breaker_again(bench: Bench) -> None:
    gate = asyncio.Event()

    async def wait(arguments: JsonObject, context: ToolContext) -> JsonValue:
        await gate.wait()
        raise ToolUnavailable("MAINTENANCE", "back soon")

    bench.offer(tool(concurrency=5, attempts=1), wait)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(bench.dispatch(call(f"key_{number}"))) for number in range(6)]
        await eventually(lambda: len(bench.executor.invocations) == 5 and len(bench.gate.entered) == 6)
        bench.clock.advance(1.0)
        gate.set()
    reasons = [failed(task.result())[1] for task in tasks]
    assert reasons == ["MAINTENANCE"] * 5 + ["BREAKER_OPEN"]


# --- retries ----------------------------------------------------------------------------------------------------------------------


async def test_b09_an_upstream_that_always_fails_is_not_buried_under_retries(bench: Bench) -> None:
    function = ending(Category.RATE_LIMITED, Mishap.NOT_ACTED)  # neutral, so that the breaker leaves it to the budget
    bench.offer(tool(attempts=3, concurrency=1000), function)
    for number in range(500):
        await bench.dispatch(call(f"key_{number}"))
    seconds = bench.clock.monotonic()
    assert 0 < len(bench.executor.invocations) - 500 <= 0.2 * 500 + seconds + 10


@pytest.mark.parametrize("asked_s", [3600.0, 31.0])
async def test_x10_an_upstream_that_asks_for_a_long_pause_is_left_alone(bench: Bench, asked_s: float) -> None:
    async def busy(arguments: JsonObject, context: ToolContext) -> JsonValue:
        raise ToolUnavailable("BUSY", "later", retry_after_s=asked_s)

    bench.offer(tool(attempts=3), busy)
    report = await bench.dispatch(call(), within_s=7200.0)
    assert (report.attempts, bench.pauses) == (1, [])
    assert isinstance(report.outcome, Failed)
    assert report.outcome.failure.retry_after_s == asked_s


async def test_x09_no_pause_outlasts_the_deadline_whatever_attempts_are_left(bench: Bench) -> None:
    bench.offer(tool(attempts=10, timeout_s=60.0), ending(Category.RATE_LIMITED, Mishap.NOT_ACTED))  # neutral for the breaker
    report = await bench.dispatch(call(), within_s=5.0)
    assert max(bench.pauses) < 4.5
    assert report.attempts < 10
    assert all(invocation.timeout_s < 5.0 for invocation in bench.executor.invocations)  # the tool is told what is left
    assert failed(report) == (Category.RATE_LIMITED, "SO")


# --- fallbacks --------------------------------------------------------------------------------------------------------------------


async def test_a_fixed_answer_is_given_instead_and_marked(bench: Bench) -> None:
    bench.offer(tool(attempts=1, fallback=FixedAnswer(value={"found": False})), away)
    report = await bench.dispatch(call())
    assert isinstance(report.outcome, Succeeded)
    assert report.outcome.result == {"found": False}
    assert report.outcome.degraded is not None
    assert (report.outcome.degraded.by, report.outcome.degraded.failure.reason) == ("fixed", "MAINTENANCE")
    assert (await bench.dispatch(call())).outcome == report.outcome  # as it was recorded
    assert bench.ledger.announced[0].degraded == "fixed"


async def test_the_last_result_is_given_instead_with_its_age(bench: Bench) -> None:
    fallback = CachedResult(max_age_s=600)
    bench.offer(tool(attempts=1, fallback=fallback), find)
    await bench.dispatch(call("key_1"))
    bench.offer(tool(attempts=1, fallback=fallback), away)
    bench.clock.advance(60)
    report = await bench.dispatch(call("key_2"))
    assert isinstance(report.outcome, Succeeded)
    assert (report.outcome.result, report.outcome.degraded) == (
        {"found": True},
        Degraded(by="cached", failure=bench_failure(), age_s=60.0),
    )
    for other in (call("key_3", arguments={"id": 8}), call("key_4", tenant=UMBRELLA)):
        assert failed(await bench.dispatch(other)) == (Category.UPSTREAM_UNAVAILABLE, "MAINTENANCE")
    bench.clock.advance(600)
    assert failed(await bench.dispatch(call("key_5"))) == (Category.UPSTREAM_UNAVAILABLE, "MAINTENANCE")


def bench_failure() -> Failure:
    return Failure(category=Category.UPSTREAM_UNAVAILABLE, reason="MAINTENANCE", message="back soon", retryable=True, where="look_up")


async def test_another_tool_is_called_instead_and_named(bench: Bench) -> None:
    bench.offer(tool(attempts=1, fallback=OtherTool(name="archive")), away)
    bench.offer(tool(name="archive"), find)
    report = await bench.dispatch(call())
    assert isinstance(report.outcome, Succeeded)
    assert report.outcome.degraded is not None
    assert (report.outcome.result, report.outcome.degraded.by) == ({"found": True}, "tool:archive")


@pytest.mark.parametrize("why", ["denied", "asks people", "non_idempotent", "barred", "absent", "other arguments", "fails too"])
async def test_x11_another_tool_passes_every_stage_by_itself_or_is_not_called(bench: Bench, why: str) -> None:
    bench.offer(tool(attempts=1, fallback=OtherTool(name="archive")), away)
    effect = EffectClass.NON_IDEMPOTENT if why == "non_idempotent" else EffectClass.READ_ONLY
    risk = Risk.HIGH if why == "asks people" else Risk.LOW
    schema: JsonObject = {"type": "object", "required": ["other"]} if why == "other arguments" else {"type": "object"}
    archive = bench.offer(tool(effect, name="archive", risk=risk, arguments=schema, attempts=1), away if why == "fails too" else find)
    if why == "denied":
        bench.rule(rule("no", Verb.DENY, 'tool.name == "archive"'))
    if why == "barred":
        bench.registry.tools["archive"] = Barred(tool=archive, bar=Bar.DISABLED)
    if why == "absent":
        del bench.registry.tools["archive"]
    assert failed(await bench.dispatch(call())) == (Category.UPSTREAM_UNAVAILABLE, "MAINTENANCE")
    assert len(bench.executor.invocations) == (2 if why == "fails too" else 1)


@pytest.mark.parametrize("function", [reject, ending(Category.POLICY_DENIED, None)])
async def test_a_no_has_no_fallback(bench: Bench, function: Function) -> None:
    bench.offer(tool(fallback=FixedAnswer(value={"found": False})), function)
    assert isinstance((await bench.dispatch(call())).outcome, Failed)


async def test_an_unknown_outcome_has_no_fallback(bench: Bench) -> None:
    lost = ending(Category.TIMEOUT, Mishap.LOST)
    bench.offer(tool(EffectClass.NON_IDEMPOTENT, fallback=FixedAnswer(value={"found": False})), lost)
    assert failed(await bench.dispatch(call()))[0] is Category.OUTCOME_UNKNOWN


async def test_an_open_breaker_falls_back_without_a_call(bench: Bench) -> None:
    bench.offer(tool(attempts=1), away)
    await fail(bench, 5)
    bench.offer(tool(attempts=1, fallback=FixedAnswer(value={"found": False})), away)
    report = await bench.dispatch(call())
    assert isinstance(report.outcome, Succeeded)
    assert len(bench.executor.invocations) == 5


# --- what comes back ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ({"found": True, "text": "a\0b"}, "RESULT_HOLDS_ZERO"),
        ({"found": True, "a\0b": 1}, "RESULT_HOLDS_ZERO"),
        ({"found": True, "deep": [[{"x": "it is hunter2 here"}]]}, "RESULT_HOLDS_CREDENTIAL"),
        ({"found": True, "hunter2": 1}, "RESULT_HOLDS_CREDENTIAL"),
        ({"found": "yes"}, "RESULT_BREAKS_SCHEMA"),
    ],
)
async def test_an_answer_that_nobody_may_get_is_malformed(bench: Bench, result: JsonValue, reason: str) -> None:
    async def answer(arguments: JsonObject, context: ToolContext) -> JsonValue:
        return result

    bench.vault.values = {"shop": "hunter2"}
    bench.offer(tool(credentials=("shop",), attempts=3), answer)
    report = await bench.dispatch(call())
    assert failed(report) == (Category.MALFORMED_RESULT, reason)
    assert isinstance(report.outcome, Failed)
    assert "hunter2" not in report.outcome.failure.message
    assert report.attempts == 1


async def test_a_text_that_only_looks_like_an_escape_is_fine(bench: Bench) -> None:
    async def answer(arguments: JsonObject, context: ToolContext) -> JsonValue:
        return {"found": True, "text": "\\u0000"}

    bench.offer(tool(), answer)
    assert isinstance((await bench.dispatch(call())).outcome, Succeeded)


async def test_credentials_reach_the_executor_and_nobody_else(bench: Bench) -> None:
    bench.vault.values = {"shop": "hunter2", "other": "secret"}
    bench.offer(tool(credentials=("shop",)), find)
    report = await bench.dispatch(call())
    [invocation] = bench.executor.invocations
    assert invocation.credentials == {"shop": "hunter2"}
    assert "hunter2" not in repr(report) + repr(invocation) + repr(bench.ledger.entries)


# --- names ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bar", list(Bar), ids=str)
async def test_a09_a_barred_tool_is_told_apart_from_an_absent_one(bench: Bench, bar: Bar) -> None:
    bench.registry.tools["look_up"] = Barred(tool=tool(), bar=bar)
    assert failed(await bench.dispatch(call())) == (Category.POLICY_DENIED, bar.value)
    assert failed(await bench.dispatch(call("key_2", name="nothing"))) == (Category.UNKNOWN_TOOL, "UNKNOWN_TOOL")
    shown = bench.service.get_tool(ACME, "look_up")
    assert isinstance(shown, Barred)


async def test_policy_is_asked_with_who_calls(bench: Bench) -> None:
    bench.offer(tool(), find)
    bench.rule(rule("eve", Verb.DENY, 'caller.principal == "eve"'))
    assert (await bench.dispatch(replace(call("key_1"), principal="ada"))).outcome == FOUND
    assert failed(await bench.dispatch(replace(call("key_2"), principal="eve"))) == (Category.POLICY_DENIED, "POLICY_DENIED")
