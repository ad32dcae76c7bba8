"""Approvals by the terms of policy: how many people, who may not be one of them, how long it holds, and taking it back."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import pytest
from msgspec.structs import replace
from orchestrator_fakes import PROPOSAL, TENANT, Bench, open_bench, pending
from plimsoll_orchestrator.domain.journal import ApprovalGiven, ApprovalStatus, RunStatus, Terms
from plimsoll_orchestrator.domain.options import RunOptions, RunOrigin
from plimsoll_orchestrator.errors import ApprovalDecidedAlready, ApproverNotAllowed, InvalidInput
from plimsoll_orchestrator.ports import ApprovalView, Grant, NeedsApproval, Returned
from plimsoll_orchestrator.service import Fork
from plimsoll_runtime.json_types import JsonObject
from plimsoll_testkit.waiting import eventually

REFUND = """
agent: refund
input: {type: object, properties: {amount: {type: number}}, required: [amount]}
state: {type: object, properties: {amount: {type: number}, done: {type: boolean}, note: {type: string}}}
start: pay
output: {done: "has(state.done) && state.done", note: "has(state.note) ? state.note : ''"}
nodes:
  pay:
    tool: {name: refund, arguments: {amount: state.amount}}
    save: {done: result.done}
    on_failure: {approval_rejected: explain, any: fail}
    next: end
  explain: {set: {note: failure.message}, next: end}
"""
INSIDE = """
agent: outer
input: {type: object, properties: {amount: {type: number}}, required: [amount]}
state: {type: object, properties: {amount: {type: number}}}
start: pay
output: {amount: state.amount}
nodes:
  pay: {subgraph: {agent: refund, input: {amount: state.amount}}, next: end}
"""
GATE = """
agent: gate
input: {type: object}
state: {type: object}
start: ask
output: {}
nodes:
  ask: {approve: {summary: "'May I?'", expires: 1h, on_rejected: end, on_expired: end}, next: end}
"""
TWO_OTHERS = Terms(quorum=2, four_eyes=True, expires_s=600.0)


@pytest.fixture
async def bench(postgres_dsn: str) -> AsyncIterator[Bench]:
    async with open_bench(postgres_dsn) as bench:
        bench.tools.reply = asking(TWO_OTHERS)
        await bench.register(REFUND)
        yield bench


def asking(terms: Terms):
    proposal = replace(PROPOSAL, terms=terms)

    def reply(tool: str, arguments: JsonObject, grants: Sequence[Grant]) -> Returned | NeedsApproval:
        granted = any(grant.call_digest == proposal.call_digest for grant in grants)
        return Returned(result={"done": True}) if granted else NeedsApproval(proposal=proposal)

    return reply


async def start(bench: Bench, by: str = "rita") -> str:
    origin = RunOrigin(requested_by=by)
    return (await bench.service.start_run(TENANT, "refund", {"amount": 900}, "", RunOptions(), origin)).view.summary.run_id


async def say(bench: Bench, asked: ApprovalView, by: str, *, approve: bool = True, comment: str = "") -> ApprovalView:
    return await bench.control.decide_approval(TENANT, asked.approval.approval_id, approve, comment, by)


async def test_a_call_waits_for_as_many_people_as_policy_says_and_each_is_in_the_journal(bench: Bench) -> None:
    async with bench.working():
        run_id = await start(bench)
        asked = await pending(bench, run_id)
        first = await say(bench, asked, "ann", comment="fine")
        assert (first.approval.status, first.approval.approved_by) == (ApprovalStatus.PENDING, ("ann",))
        view = await bench.service.get_run(TENANT, run_id)
        assert (view.summary.status, view.run.status) == (RunStatus.WAITING, RunStatus.WAITING)
        [obstacle] = await bench.control.explain_run(TENANT, run_id)
        assert "1 of 2 have approved" in obstacle.message
        assert not bench.tools.executed
        second = await say(bench, asked, "bob")
        assert (second.approval.status, second.approval.approved_by) == (ApprovalStatus.APPROVED, ("ann", "bob"))
        ended = await bench.ended(run_id)
    assert ended.run.output == {"done": True, "note": ""}
    assert len(bench.tools.executed) == 1
    entries = [entry.entry for entry in await bench.runs.journal(TENANT, run_id, 0, 100)]
    assert [one for one in entries if isinstance(one, ApprovalGiven)] == [
        ApprovalGiven(approval_id=asked.approval.approval_id, node="pay", decided_by="ann", comment="fine")
    ]


async def test_the_grant_says_who_approved_who_asked_and_until_when(bench: Bench) -> None:
    async with bench.working():
        run_id = await start(bench)
        asked = await pending(bench, run_id)
        await say(bench, asked, "ann")
        await say(bench, asked, "bob")
        await bench.ended(run_id)
    [grant] = bench.tools.granted
    assert (grant.approved_by, grant.granted_by, grant.requested_by) == (("ann", "bob"), "bob", "rita")
    assert grant.expires_at == asked.approval.expires_at
    assert abs(asked.approval.expires_at - asked.approval.asked_at - timedelta(seconds=600)) < timedelta(seconds=5)


async def test_the_same_person_twice_counts_once(bench: Bench) -> None:
    async with bench.working():
        run_id = await start(bench)
        asked = await pending(bench, run_id)
        await say(bench, asked, "ann")
        again = await say(bench, asked, "ann")
        assert (again.approval.status, again.approval.approved_by) == (ApprovalStatus.PENDING, ("ann",))
    assert not bench.tools.executed


async def test_people_who_approve_at_the_same_moment_all_count_and_the_call_is_made_once(bench: Bench) -> None:
    bench.tools.reply = asking(Terms(quorum=4))
    async with bench.working():
        run_id = await start(bench)
        asked = await pending(bench, run_id)
        await asyncio.gather(*(say(bench, asked, name) for name in ("ann", "bob", "cyd", "dan") * 2))
        await bench.ended(run_id)
    assert sorted(bench.tools.granted[0].approved_by) == ["ann", "bob", "cyd", "dan"]
    assert len(bench.tools.executed) == 1


@pytest.mark.parametrize("by", ["rita", ""])
async def test_under_four_eyes_neither_who_asked_nor_nobody_approves(bench: Bench, by: str) -> None:
    async with bench.working():
        asked = await pending(bench, await start(bench))
        with pytest.raises(ApproverNotAllowed):
            await say(bench, asked, by)
        [still] = await bench.service.list_approvals(TENANT, ApprovalStatus.PENDING, asked.run_id, "", 10)
        assert still.approval.approved_by == ()
    assert not bench.tools.executed


async def test_who_asked_may_still_say_no(bench: Bench) -> None:
    async with bench.working():
        run_id = await start(bench)
        await say(bench, await pending(bench, run_id), "rita", approve=False, comment="a mistake of mine")
        ended = await bench.ended(run_id)
    assert ended.run.output == {"done": False, "note": "a mistake of mine"}


async def test_one_no_is_enough_whoever_said_yes_before(bench: Bench) -> None:
    async with bench.working():
        run_id = await start(bench)
        asked = await pending(bench, run_id)
        await say(bench, asked, "ann")
        rejected = await say(bench, asked, "bob", approve=False, comment="too much")
        assert rejected.approval.status is ApprovalStatus.REJECTED
        ended = await bench.ended(run_id)
        with pytest.raises(ApprovalDecidedAlready):
            await say(bench, asked, "cyd")
    assert ended.run.output == {"done": False, "note": "too much"}
    assert not bench.tools.executed


async def test_who_asked_for_a_run_asked_for_the_runs_that_it_starts_and_for_its_forks_who_forks(bench: Bench) -> None:
    await bench.register(INSIDE)
    async with bench.working():
        outer = await bench.service.start_run(TENANT, "outer", {"amount": 900}, "", RunOptions(), RunOrigin(requested_by="rita"))
        [asked] = await eventually(lambda: bench.service.list_approvals(TENANT, ApprovalStatus.PENDING, "", "", 10))
        assert asked.run_id.startswith(outer.view.summary.run_id + ".")
        with pytest.raises(ApproverNotAllowed):
            await say(bench, asked, "rita")
        mine = await start(bench)
        await pending(bench, mine)
        forked = await bench.control.fork_run(TENANT, mine, Fork(changes={}, asked_by="fay"), RunOptions(), "")
        theirs = await pending(bench, forked.view.summary.run_id)
        with pytest.raises(ApproverNotAllowed):
            await say(bench, theirs, "fay")


def by_arguments(tool: str, arguments: JsonObject, grants: Sequence[Grant]) -> Returned | NeedsApproval:
    proposal = replace(PROPOSAL, terms=Terms(four_eyes=True), effective_arguments=arguments, call_digest=f"of {arguments['amount']}")
    granted = any(grant.call_digest == proposal.call_digest for grant in grants)
    return Returned(result={"done": True}) if granted else NeedsApproval(proposal=proposal)


async def test_other_arguments_are_a_no_to_these_and_a_new_question(bench: Bench) -> None:
    bench.tools.reply = by_arguments
    async with bench.working():
        run_id = await start(bench)
        asked = await pending(bench, run_id)
        left = await bench.control.propose_instead(TENANT, asked.approval.approval_id, {"amount": 100}, "less", "ann")
        assert left.approval.status is ApprovalStatus.REJECTED
        less = await pending(bench, run_id)
        assert less.approval.approval_id != asked.approval.approval_id
        assert less.approval.proposal is not None
        assert (less.approval.proposal.effective_arguments, less.approval.proposal.call_digest) == ({"amount": 100}, "of 100")
        with pytest.raises(ApproverNotAllowed, match="proposed these arguments"):
            await say(bench, less, "ann")
        await say(bench, less, "bob")
        ended = await bench.ended(run_id)
    assert ended.run.output == {"done": True, "note": ""}
    assert [arguments for _, _, arguments in bench.tools.executed] == [{"amount": 100}]


async def test_arguments_may_be_put_back_as_they_were(bench: Bench) -> None:
    bench.tools.reply = by_arguments
    async with bench.working():
        run_id = await start(bench)
        for amount in (100, 900):
            asked = await pending(bench, run_id)
            await bench.control.propose_instead(TENANT, asked.approval.approval_id, {"amount": amount}, "", "ann")
        asked = await pending(bench, run_id)
        await say(bench, asked, "bob")
        ended = await bench.ended(run_id)
    assert ended.run.output["done"] is True
    assert [arguments for _, _, arguments in bench.tools.executed] == [{"amount": 900}]


async def test_an_edited_call_whose_answer_was_lost_is_asked_for_again_as_it_was_made(bench: Bench) -> None:
    await bench.register(
        REFUND.replace("    on_failure:", "    retry: {attempts: 3, backoff: 1ms, on: [upstream_unavailable]}\n    on_failure:")
    )
    bench.tools.reply = by_arguments
    async with bench.working():
        run_id = await start(bench)
        asked = await pending(bench, run_id)
        await bench.control.propose_instead(TENANT, asked.approval.approval_id, {"amount": 100}, "", "ann")
        less = await pending(bench, run_id)
        bench.tools.lose_answers = 1
        await say(bench, less, "bob")
        await bench.ended(run_id)
    assert {(key, arguments["amount"]) for key, _, arguments in bench.tools.asked[-2:]} == {(bench.tools.executed[0][0], 100)}
    assert len(bench.tools.executed) == 1


async def test_a_question_without_a_call_takes_no_arguments(bench: Bench) -> None:
    await bench.register(GATE)
    async with bench.working():
        run_id = await bench.start("gate", {})
        asked = await pending(bench, run_id)
        with pytest.raises(InvalidInput, match="no call is bound"):
            await bench.control.propose_instead(TENANT, asked.approval.approval_id, {"amount": 1}, "", "ann")
        await bench.control.cancel_run(TENANT, run_id, "", "ann")


async def test_a_yes_leaves_a_paused_run_paused(bench: Bench) -> None:
    async with bench.working():
        run_id = await start(bench)
        asked = await pending(bench, run_id)
        await bench.control.pause_run(TENANT, run_id, "", "ops")
        for name in ("ann", "bob"):
            await say(bench, asked, name)
            assert (await bench.service.get_run(TENANT, run_id)).summary.status is RunStatus.PAUSED
        await bench.control.resume_run(TENANT, run_id, "ops")
        assert (await bench.ended(run_id)).run.output == {"done": True, "note": ""}


async def test_who_approved_may_take_it_back_until_the_call_is_made(bench: Bench) -> None:
    async with bench.working():
        run_id = await start(bench)
        asked = await pending(bench, run_id)
        await bench.control.pause_run(TENANT, run_id, "", "ops")
        await say(bench, asked, "ann")
        await say(bench, asked, "bob")
        with pytest.raises(ApprovalDecidedAlready):
            await say(bench, asked, "cyd", approve=False)
        withdrawn = await say(bench, asked, "ann", approve=False, comment="I was wrong")
        assert withdrawn.approval.status is ApprovalStatus.REJECTED
        assert bench.tools.revoked == {asked.approval.approval_id}
        await bench.control.resume_run(TENANT, run_id, "ops")
        ended = await bench.ended(run_id)
    assert ended.run.output == {"done": False, "note": "I was wrong"}
    assert not bench.tools.executed


async def test_once_the_call_is_made_nothing_is_taken_back(bench: Bench) -> None:
    async with bench.working():
        run_id = await start(bench)
        asked = await pending(bench, run_id)
        for name in ("ann", "bob"):
            await say(bench, asked, name)
        await bench.ended(run_id)
        with pytest.raises(ApprovalDecidedAlready):
            await say(bench, asked, "ann", approve=False)
    assert len(bench.tools.executed) == 1


async def test_cancelling_a_run_takes_back_the_grants_that_it_has_not_used(bench: Bench) -> None:
    async with bench.working():
        run_id = await start(bench)
        asked = await pending(bench, run_id)
        await bench.control.pause_run(TENANT, run_id, "", "ops")
        for name in ("ann", "bob"):
            await say(bench, asked, name)
        await bench.control.cancel_run(TENANT, run_id, "", "ops")
    assert bench.tools.revoked == {asked.approval.approval_id}
    assert not bench.tools.executed
