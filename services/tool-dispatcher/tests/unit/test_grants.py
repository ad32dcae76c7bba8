"""Approvals: bound to exactly what executes, verified and spent at dispatch, by enough people, in time, once."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from plimsoll_runtime.failures import Category
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_tool_dispatcher.domain.call import ApprovalRequired, Call, Failed, Grant, Proposal, Report, Succeeded
from plimsoll_tool_dispatcher.domain.effects import EffectClass
from plimsoll_tool_dispatcher.domain.policy import Terms, Verb
from plimsoll_tool_dispatcher.domain.tool import OtherTool, Risk, Tool
from plimsoll_tool_dispatcher.handler import ToolContext, ToolUnavailable
from tool_dispatcher_bench import Bench
from tool_dispatcher_samples import ACME, UMBRELLA, call, rule, tool

FOUND = Succeeded(result={"found": True})


async def find(arguments: JsonObject, context: ToolContext) -> JsonValue:
    return {"found": True}


async def away(arguments: JsonObject, context: ToolContext) -> JsonValue:
    raise ToolUnavailable("AWAY", "come again")


@pytest.fixture
def risky(bench: Bench) -> Tool:
    return bench.offer(tool(EffectClass.KEYED, risk=Risk.HIGH, credentials=("shop",)), find)


@pytest.fixture(autouse=True)
def credentials(bench: Bench) -> None:
    bench.vault.values = {"shop": "hunter2"}


def ask_two(bench: Bench, *, four_eyes: bool = False) -> None:
    bench.rule(rule("two", Verb.APPROVE, terms=Terms(quorum=2, four_eyes=four_eyes)))


async def proposed(bench: Bench, asked: Call) -> Proposal:
    report = await bench.dispatch(replace(asked, grants=()))
    assert isinstance(report.outcome, ApprovalRequired), report.outcome
    return report.outcome.proposal


async def approved(bench: Bench, asked: Call, *people: str, grant_id: str = "apr_1") -> Call:
    """The call with a grant that these people gave for exactly what was proposed."""
    proposal = await proposed(bench, asked)
    last, *others = people or ("ada",)
    grant = Grant(id=grant_id, call_digest=proposal.call_digest, granted_by=last, approved_by=tuple(others))
    return replace(asked, grants=(grant,))


def with_grant(asked: Call, **changed: object) -> Call:
    return replace(asked, grants=(replace(asked.grants[0], **changed),))  # type: ignore[arg-type]


def refusal(report: Report) -> str:
    assert isinstance(report.outcome, Failed), report.outcome
    assert report.outcome.failure.category is Category.POLICY_DENIED
    return report.outcome.failure.reason


async def test_an_approver_sees_exactly_what_executes(bench: Bench, risky: Tool) -> None:
    proposal = await proposed(bench, call())
    assert proposal.effective_arguments == {"id": 7, "limit": 10}  # defaults filled in
    assert (proposal.tool, proposal.tool_digest) == ("look_up", risky.digest)
    await bench.dispatch(await approved(bench, call()))
    [invocation] = bench.executor.invocations
    assert invocation.arguments == proposal.effective_arguments


async def test_a01_arguments_changed_after_the_approval_are_asked_about_anew(bench: Bench, risky: Tool) -> None:
    granted = await approved(bench, call(arguments={"id": 7}))
    edited = replace(call(arguments={"id": 8}), grants=granted.grants)
    assert isinstance((await bench.dispatch(edited)).outcome, ApprovalRequired)
    assert bench.executor.invocations == []
    again = await approved(bench, call(arguments={"id": 8}), grant_id="apr_2")
    assert (await bench.dispatch(again)).outcome == FOUND


@pytest.mark.parametrize("change", ["definition", "policy", "credential", "tenant", "run", "key"])
async def test_a02_anything_that_the_grant_is_bound_to_changes_and_the_decision_has_to_be_made_anew(
    bench: Bench, risky: Tool, change: str
) -> None:
    granted = await approved(bench, call())
    match change:
        case "definition":
            bench.offer(replace(risky, digest="another"), find)
        case "policy":
            bench.rule(rule("people", Verb.APPROVE, message="for another reason now"))
        case "credential":
            bench.vault.values = {"shop": "rotated"}
        case "tenant":
            granted = replace(granted, tenant=UMBRELLA)
        case "run":
            granted = replace(granted, work=replace(granted.work, run_id="run_2"))
        case "key":
            granted = replace(granted, key="key_2")
    assert isinstance((await bench.dispatch(granted)).outcome, ApprovalRequired)
    assert (bench.executor.invocations, bench.ledger.grants) == ([], {})


async def test_a_policy_that_denies_by_now_is_stronger_than_a_grant(bench: Bench, risky: Tool) -> None:
    granted = await approved(bench, call())
    bench.rule(rule("no", Verb.DENY))
    assert refusal(await bench.dispatch(granted)) == "POLICY_DENIED"


async def test_a03_a_grant_is_spent_once_and_a_repeat_of_its_call_gets_the_recorded_result(bench: Bench, risky: Tool) -> None:
    granted = await approved(bench, call())
    reports = await asyncio.gather(*(bench.dispatch(granted) for _ in range(8)))
    assert {str(report.outcome) for report in reports} == {str(FOUND)}
    assert len(bench.executor.invocations) == 1


async def test_a04_a_grant_that_expired_by_a_moment_is_refused_by_the_ledgers_clock(bench: Bench, risky: Tool) -> None:
    granted = with_grant(await approved(bench, call()), expires_at=bench.clock.now() + timedelta(seconds=60))
    bench.clock.advance(60.001)
    assert refusal(await bench.dispatch(granted)) == "GRANT_EXPIRED"
    assert bench.executor.invocations == []


async def test_a_grant_in_time_is_good(bench: Bench, risky: Tool) -> None:
    granted = with_grant(await approved(bench, call()), expires_at=bench.clock.now() + timedelta(seconds=60))
    bench.clock.advance(59.9)
    assert (await bench.dispatch(granted)).outcome == FOUND


async def test_a04_a_grant_that_was_taken_back_is_refused(bench: Bench, risky: Tool) -> None:
    granted = await approved(bench, call())
    assert await bench.service.revoke(ACME, "apr_1", "bob")
    assert refusal(await bench.dispatch(granted)) == "GRANT_REVOKED"
    assert bench.executor.invocations == []


async def test_a_grant_that_was_used_cannot_be_taken_back(bench: Bench, risky: Tool) -> None:
    await bench.dispatch(await approved(bench, call()))
    assert not await bench.service.revoke(ACME, "apr_1", "bob")


async def test_a_grant_of_another_tenant_is_nothing_to_take_back_here(bench: Bench, risky: Tool) -> None:
    granted = await approved(bench, call())
    assert await bench.service.revoke(UMBRELLA, "apr_1", "eve")
    assert (await bench.dispatch(granted)).outcome == FOUND


@pytest.mark.parametrize(
    ("people", "reason"), [(("ada",), "GRANT_SHORT_OF_QUORUM"), (("ada", "ada"), "GRANT_SHORT_OF_QUORUM"), (("ada", "bob"), "")]
)
async def test_a_quorum_is_of_different_people(bench: Bench, risky: Tool, people: tuple[str, ...], reason: str) -> None:
    ask_two(bench)
    assert (await proposed(bench, call())).terms.quorum == 2
    report = await bench.dispatch(await approved(bench, call(), *people))
    assert (refusal(report) if reason else report.outcome) == (reason or FOUND)


@pytest.mark.parametrize(
    ("requested_by", "principal", "people", "reason"),
    [
        ("ada", "", ("ada", "bob"), "GRANT_SHORT_OF_QUORUM"),
        ("", "ada", ("ada", "bob"), "GRANT_SHORT_OF_QUORUM"),
        ("ada", "", ("ada",), "GRANT_BY_REQUESTER"),
        ("ada", "ada", ("bob", "eve"), ""),
    ],
)
async def test_a05_who_asked_is_not_one_of_the_four_eyes(
    bench: Bench, risky: Tool, requested_by: str, principal: str, people: tuple[str, ...], reason: str
) -> None:
    ask_two(bench, four_eyes=True)
    granted = with_grant(await approved(bench, replace(call(), principal=principal), *people), requested_by=requested_by)
    report = await bench.dispatch(granted)
    assert (refusal(report) if reason else report.outcome) == (reason or FOUND)


async def test_a05_a_grant_that_was_refused_is_announced(bench: Bench, risky: Tool) -> None:
    ask_two(bench)
    await bench.dispatch(await approved(bench, call(), "ada"))
    [announced] = bench.ledger.announced
    assert announced.failure is not None
    assert (announced.failure.reason, announced.rules) == ("GRANT_SHORT_OF_QUORUM", ("two",))


async def test_a06_one_of_three_calls_is_approved_and_only_it_runs(bench: Bench, risky: Tool) -> None:
    calls = [call(f"key_{number}", arguments={"id": number}) for number in (1, 2, 3)]
    granted = await approved(bench, calls[1])
    reports = await asyncio.gather(*(bench.dispatch(replace(asked, grants=granted.grants)) for asked in calls))
    assert [isinstance(report.outcome, ApprovalRequired) for report in reports] == [True, False, True]
    assert [invocation.arguments["id"] for invocation in bench.executor.invocations] == [2]


async def test_a07_the_order_of_keys_and_the_form_of_a_number_are_no_change(bench: Bench, risky: Tool) -> None:
    granted = await approved(bench, call(arguments={"id": 7, "limit": 5}))
    same = replace(call(arguments={"limit": 5.0, "id": 7}), grants=granted.grants)
    assert (await bench.dispatch(same)).outcome == FOUND


async def test_a_rule_may_ask_people_about_low_risk_too(bench: Bench) -> None:
    bench.offer(tool(), find)
    bench.rule(rule("look", Verb.APPROVE, "arguments.id > 5"))
    assert (await bench.dispatch(call(arguments={"id": 1}))).outcome == FOUND
    granted = await approved(bench, call("key_2"))
    assert (await bench.dispatch(granted)).outcome == FOUND
    assert len(bench.ledger.grants) == 1


async def test_what_was_decided_is_announced_with_what_it_was_decided_on(bench: Bench, risky: Tool) -> None:
    ask_two(bench)
    granted = await approved(bench, call(), "ada", "bob")
    await bench.dispatch(granted)
    [announced] = bench.ledger.announced
    assert (announced.grant_id, announced.approved_by, announced.rules) == ("apr_1", ("ada", "bob"), ("two",))
    assert announced.policy == bench.policies.policy.digest
    assert announced.call_digest == granted.grants[0].call_digest


async def test_a_credential_that_is_missing_is_told_before_anybody_is_asked(bench: Bench, risky: Tool) -> None:
    bench.vault.values = {}
    report = await bench.dispatch(call())
    assert isinstance(report.outcome, Failed)
    assert report.outcome.failure.reason == "CREDENTIAL_MISSING"


async def test_a_run_that_read_private_data_is_known_by_it(bench: Bench) -> None:
    bench.offer(tool(name="read", labels=("reads:private",)), find)
    bench.offer(tool(name="send", labels=("leaves:tenant",)), find)
    bench.rule(rule("unseen", Verb.DENY, '"leaves:tenant" in tool.labels && "reads:private" in run.labels'))
    assert (await bench.dispatch(call("key_1", name="send"))).outcome == FOUND
    assert (await bench.dispatch(call("key_2", name="read"))).outcome == FOUND
    assert refusal(await bench.dispatch(call("key_3", name="send"))) == "POLICY_DENIED"
    assert (await bench.dispatch(call("key_4", name="send", run_id="run_2"))).outcome == FOUND


async def test_a_run_that_holds_what_memory_or_other_runs_have_read_is_known_by_it(bench: Bench) -> None:
    bench.offer(tool(name="send", labels=("leaves:tenant",)), find)
    bench.rule(rule("unseen", Verb.DENY, '"leaves:tenant" in tool.labels && "reads:private" in run.labels'))
    told = call("key_1", name="send")
    holding = replace(told, work=replace(told.work, labels=("reads:private",)))
    assert refusal(await bench.dispatch(holding)) == "POLICY_DENIED"
    assert (await bench.dispatch(call("key_2", name="send"))).outcome == FOUND


async def test_who_calls_is_told_what_the_call_did_with_data(bench: Bench) -> None:
    bench.offer(tool(name="read", labels=("reads:private",)), find)
    bench.offer(tool(name="live", labels=("reads:untrusted",), attempts=1, fallback=OtherTool(name="read")), away)
    for name, labels in (("read", ("reads:private",)), ("live", ("reads:untrusted", "reads:private")), ("nothing", ())):
        asked = call(f"key_{name}", name=name)
        assert bench.service.labels(asked, await bench.dispatch(asked)) == labels
