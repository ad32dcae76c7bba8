"""What the store cannot hold fails where it is made, and stops nobody else."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from orchestrator_fakes import STEPS, TENANT, Bench, open_bench
from plimsoll_orchestrator.adapters.database_clock import DatabaseClock
from plimsoll_orchestrator.adapters.postgres_claims import PostgresClaimStore
from plimsoll_orchestrator.domain.journal import ApprovalAsked, RunStatus
from plimsoll_orchestrator.ports import Append, Committed
from plimsoll_runtime.clock import SystemClock
from plimsoll_runtime.errors import Internal, Invalid
from plimsoll_runtime.failures import Category


@pytest.fixture
async def bench(postgres_dsn: str) -> AsyncIterator[Bench]:
    async with open_bench(postgres_dsn) as bench:
        yield bench


ASKER = """
agent: asker
input: {type: object, properties: {m: {type: string}}}
state: {type: object, properties: {m: {type: string}}}
start: ask
output: {m: state.m}
nodes:
  ask: {approve: {summary: "state.m", details: {}, expires: 1h, on_rejected: end, on_expired: end}, next: end}
"""


class ForgetfulStore(PostgresClaimStore):
    """A database that cannot hold one text."""

    async def append(self, batch: Sequence[Append]) -> Committed:
        if any(isinstance(entry, ApprovalAsked) and entry.summary == "unstorable" for one in batch for entry in one.entries):
            raise Internal("the database refused a statement", reason="DATABASE_ERROR")
        return await super().append(batch)


async def test_a_step_that_cannot_be_stored_fails_its_run_and_no_other(bench: Bench) -> None:
    await bench.register(STEPS)
    await bench.register(ASKER)
    bad = await bench.start("asker", {"m": "unstorable"})
    good = [await bench.start("steps", {"canary": f"c{number}"}) for number in range(20)]
    async with bench.working(bench.worker(store=ForgetfulStore(bench.pool, DatabaseClock(SystemClock())))):
        failed = (await bench.ended(bad)).run
        assert failed.status is RunStatus.FAILED
        assert failed.failure is not None
        assert (failed.failure.category, failed.failure.reason, failed.failure.where) == (Category.INTERNAL, "DATABASE_ERROR", "ask")
        for run_id in good:
            assert (await bench.ended(run_id)).run.status is RunStatus.SUCCEEDED


async def test_a_text_that_the_database_cannot_hold_is_the_callers_fault(bench: Bench) -> None:
    await bench.register(STEPS)
    refused, accepted = await asyncio.gather(
        bench.service.start_run(TENANT, "steps", {"canary": "c1"}, "key\0"),
        bench.service.start_run(TENANT, "steps", {"canary": "c2"}, "key"),
        return_exceptions=True,
    )
    assert isinstance(refused, Invalid)
    assert not isinstance(accepted, BaseException)
    with pytest.raises(Invalid):
        await bench.service.get_run(TENANT, "run\0")
