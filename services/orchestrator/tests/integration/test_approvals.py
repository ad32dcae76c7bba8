"""Questions to people: asked once, decided once, and nothing done without leave."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from orchestrator_fakes import PROPOSAL, TENANT, Bench, needs_grant, open_bench, pending
from plimsoll_orchestrator.domain.journal import ApprovalStatus, RunStatus
from plimsoll_orchestrator.errors import ApprovalDecidedAlready


@pytest.fixture
async def bench(postgres_dsn: str) -> AsyncIterator[Bench]:
    async with open_bench(postgres_dsn) as bench:
        yield bench


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


async def test_a_high_risk_call_waits_for_leave_and_is_made_with_the_grant(bench: Bench) -> None:
    await bench.register(REFUND)
    bench.tools.reply = needs_grant
    async with bench.working():
        run_id = await bench.start("refund", {"amount": 900})
        asked = await pending(bench, run_id)
        assert asked.approval.proposal == PROPOSAL
        assert not bench.tools.executed
        assert (await bench.service.get_run(TENANT, run_id)).summary.status is RunStatus.WAITING
        await bench.control.decide_approval(TENANT, asked.approval.approval_id, approve=True, comment="ok", decided_by="ann")
        view = await bench.ended(run_id)
    assert view.run.output == {"done": True, "note": ""}
    assert len(bench.tools.executed) == 1


async def test_a_rejected_call_is_never_made_and_takes_its_route(bench: Bench) -> None:
    await bench.register(REFUND)
    bench.tools.reply = needs_grant
    async with bench.working():
        run_id = await bench.start("refund", {"amount": 900})
        asked = await pending(bench, run_id)
        await bench.control.decide_approval(TENANT, asked.approval.approval_id, approve=False, comment="too much", decided_by="ann")
        view = await bench.ended(run_id)
    assert view.run.output == {"done": False, "note": "too much"}
    assert not bench.tools.executed


async def test_an_approval_is_decided_once(bench: Bench) -> None:
    await bench.register(REFUND)
    bench.tools.reply = needs_grant
    async with bench.working():
        run_id = await bench.start("refund", {"amount": 900})
        approval_id = (await pending(bench, run_id)).approval.approval_id
        decisions = [bench.control.decide_approval(TENANT, approval_id, approve=True, comment="", decided_by=f"p{n}") for n in range(8)]
        first, *rest = await asyncio.gather(*decisions)
        assert all(again.approval.decided_by == first.approval.decided_by for again in rest)
        with pytest.raises(ApprovalDecidedAlready):
            await bench.control.decide_approval(TENANT, approval_id, approve=False, comment="", decided_by="late")
        await bench.ended(run_id)
    assert len(bench.tools.executed) == 1


async def test_an_approval_that_nobody_decides_expires(bench: Bench) -> None:
    await bench.register(REFUND)
    bench.tools.reply = needs_grant
    async with bench.working():
        run_id = await bench.start("refund", {"amount": 900})
        await pending(bench, run_id)
        async with bench.pool.acquire() as connection, connection.transaction():
            # time passes: the journal says so, and the run is due
            await connection.execute(
                """update journal set entry = regexp_replace(entry, '"expires_at":"[^"]+"', '"expires_at":"2001-01-01T00:00:00Z"') where run_id = $1""",
                run_id,
            )
            await connection.execute("update runs set wake_at = now() where run_id = $1", run_id)
        view = await bench.ended(run_id)
    assert view.run.output == {"done": False, "note": "nobody decided in time"}
    approvals = await bench.service.list_approvals(TENANT, None, run_id, "", 10)
    assert [one.approval.status for one in approvals] == [ApprovalStatus.EXPIRED]
