"""Retention: what finished long ago goes; what is under way, and whatever it needs, stays."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from orchestrator_fakes import STEPS, TENANT, Bench, open_bench
from plimsoll_orchestrator.adapters.postgres_retention import PostgresRetention
from plimsoll_orchestrator.adapters.postgres_webhooks import PostgresWebhookStore
from plimsoll_orchestrator.domain.journal import RunFinished, RunStatus
from plimsoll_orchestrator.domain.options import USUAL
from plimsoll_orchestrator.domain.webhook import Webhook, secret_of
from plimsoll_orchestrator.errors import RunNotFound, StepPruned
from plimsoll_orchestrator.retention import Caretaker
from plimsoll_orchestrator.service import Fork
from plimsoll_runtime import logs


@dataclass
class Archive:
    """Finished runs, and someone who tidies up."""

    bench: Bench

    async def tidy(self, *, journals_days: float = 30, runs_days: float = 90) -> None:
        caretaker = Caretaker(PostgresRetention(self.bench.pool), logs.get("test"), journals_days=journals_days, runs_days=runs_days)
        await caretaker.tidy(asyncio.Event())

    async def finished(self, days_ago: float) -> str:
        view = await self.bench.run("steps", {"canary": "c"})
        await self.age(view.summary.run_id, days_ago)
        return view.summary.run_id

    async def age(self, run_id: str, days: float) -> None:
        """As if it had finished so long ago, and everything had been published since."""
        await self.bench.pool.execute(
            "update runs set finished_at = now() - make_interval(secs => $2 * 86400) where run_id = $1", run_id, days
        )
        await self.bench.pool.execute("delete from journal_outbox")

    async def seqs(self, run_id: str) -> list[int]:
        rows = await self.bench.pool.fetch("select seq from journal where run_id = $1 order by seq", run_id)
        return [row["seq"] for row in rows]

    async def rows(self, run_id: str) -> dict[str, int]:
        """How many rows of each table still know the run."""
        tables = ("runs", "journal", "snapshots", "approvals", "mail", "webhook_deliveries", "retired_journals")
        counts = {table: await self.bench.pool.fetchval(f"select count(*) from {table} where run_id = $1", run_id) for table in tables}
        return {table: count for table, count in counts.items() if count}


@pytest.fixture
async def archive(postgres_dsn: str) -> AsyncIterator[Archive]:
    async with open_bench(postgres_dsn) as bench:
        await bench.register(STEPS)
        yield Archive(bench)


async def test_an_old_run_keeps_its_end_and_its_output_and_no_more(archive: Archive) -> None:
    old, young = await archive.finished(31), await archive.finished(29)
    before = await archive.bench.service.get_run(TENANT, young)
    await archive.tidy()
    view = await archive.bench.service.get_run(TENANT, old)
    assert (view.run.status, view.run.output) == (RunStatus.SUCCEEDED, before.run.output)
    assert await archive.seqs(old) == [view.summary.seq]
    assert view.summary.pruned_seq == view.summary.seq - 1
    [last] = await archive.bench.runs.journal(TENANT, old, view.summary.pruned_seq, 10)
    assert isinstance(last.entry, RunFinished)
    assert await archive.bench.service.get_run(TENANT, young) == before


async def test_a_run_that_is_old_enough_is_gone_without_a_trace(archive: Archive) -> None:
    store = PostgresWebhookStore(archive.bench.pool)
    await store.put(TENANT, Webhook(name="w", url="https://x", agent="", statuses=(), disabled=False), secret_of(b"k" * 32), rotate=False)
    old = await archive.finished(91)
    await archive.bench.pool.execute("insert into snapshots select $1, $2, 1, '{}'", old, TENANT)
    await archive.tidy()
    assert "webhook_deliveries" in await archive.rows(old)  # it has still to be told
    await archive.bench.pool.execute("update webhook_deliveries set next_at = null, status = 'delivered'")
    await archive.tidy()
    assert await archive.rows(old) == {}
    with pytest.raises(RunNotFound):
        await archive.bench.service.get_run(TENANT, old)


async def test_an_unfinished_run_is_never_touched_however_old_it_is(archive: Archive) -> None:
    run_id = await archive.bench.start("steps", {"canary": "c"})
    await archive.bench.pool.execute("update runs set created_at = now() - interval '10 years', started_at = now() - interval '10 years'")
    await archive.bench.pool.execute("delete from journal_outbox")
    before = await archive.rows(run_id)
    await archive.tidy(journals_days=0.001, runs_days=0.001)
    assert await archive.rows(run_id) == before
    async with archive.bench.working():
        assert (await archive.bench.ended(run_id)).run.status is RunStatus.SUCCEEDED


async def test_a_child_of_an_unfinished_run_stays_until_that_is_finished(archive: Archive) -> None:
    child = await archive.finished(1000)
    parent = await archive.bench.start("steps", {"canary": "c"})
    await archive.bench.pool.execute("update runs set parent_run_id = $2 where run_id = $1", child, parent)
    await archive.bench.pool.execute("delete from journal_outbox")
    before = await archive.rows(child)
    await archive.tidy()
    assert await archive.rows(child) == before
    await archive.bench.control.cancel_run(TENANT, parent, "", "")
    await archive.bench.pool.execute("delete from journal_outbox")
    await archive.tidy()
    assert await archive.rows(child) == {}


async def test_what_was_not_published_yet_stays(archive: Archive) -> None:
    view = await archive.bench.run("steps", {"canary": "c"})
    run_id = view.summary.run_id
    await archive.bench.pool.execute("update runs set finished_at = now() - interval '10 years'")
    before = await archive.rows(run_id)
    await archive.tidy()
    assert await archive.rows(run_id) == before
    await archive.bench.pool.execute("delete from journal_outbox")
    await archive.tidy()
    assert await archive.rows(run_id) == {}


async def test_a_fork_goes_on_when_its_original_is_pruned_and_when_it_is_gone(archive: Archive) -> None:
    original = await archive.finished(40)
    forks = []
    for _ in range(2):
        fork = Fork(seq=4, changes={"canary": "forked"}, node="b")
        forks.append((await archive.bench.control.fork_run(TENANT, original, fork, USUAL, "")).view.summary.run_id)
        await archive.bench.pool.execute("delete from journal_outbox")
    await archive.tidy()
    async with archive.bench.working():
        assert (await archive.bench.ended(forks[0])).run.output is not None
    await archive.age(original, 100)
    await archive.tidy()
    assert await archive.rows(original) == {}
    async with archive.bench.working():
        view = await archive.bench.ended(forks[1])
    assert view.run.status is RunStatus.SUCCEEDED
    assert view.run.state["canary"] == "forked"


async def test_a_fork_of_a_pruned_step_is_refused(archive: Archive) -> None:
    original = await archive.finished(40)
    await archive.tidy()
    with pytest.raises(StepPruned):
        await archive.bench.control.fork_run(TENANT, original, Fork(seq=2, changes={}), USUAL, "")


async def test_a_long_journal_goes_bit_by_bit_and_a_crash_in_between_leaves_nothing_behind(archive: Archive) -> None:
    run_id = await archive.finished(31)
    store = PostgresRetention(archive.bench.pool)
    seq = (await archive.bench.service.get_run(TENANT, run_id)).summary.seq
    assert await store.retire_journals(30 * 86400, 10) == 1
    assert await store.erase_journals(10, 2) == 1
    assert await archive.seqs(run_id) == list(range(3, seq + 1))
    await archive.tidy()  # another process goes on
    assert await archive.seqs(run_id) == [seq]
    assert await archive.rows(run_id) == {"runs": 1, "journal": 1}


async def test_a_run_that_is_forgotten_while_its_journal_goes_takes_the_rest_with_it(archive: Archive) -> None:
    run_id = await archive.finished(31)
    store = PostgresRetention(archive.bench.pool)
    await store.retire_journals(30 * 86400, 10)
    await store.erase_journals(10, 2)
    await archive.age(run_id, 100)
    await archive.tidy()
    assert await archive.rows(run_id) == {}


async def test_several_caretakers_side_by_side_do_no_harm(archive: Archive) -> None:
    old = [await archive.finished(100 if number % 2 else 40) for number in range(6)]
    await asyncio.gather(*(archive.tidy() for _ in range(4)))
    await archive.tidy()
    kept = [run_id for run_id in old if await archive.rows(run_id)]
    assert kept == old[::2]
    assert [len(await archive.seqs(run_id)) for run_id in kept] == [1, 1, 1]


async def test_each_piece_of_work_is_bounded(archive: Archive) -> None:
    for _ in range(3):
        await archive.finished(100)
    store = PostgresRetention(archive.bench.pool)
    assert [await store.retire_journals(86400, 2) for _ in range(3)] == [2, 1, 0]
    assert [await store.forget_runs(86400, 2) for _ in range(3)] == [2, 1, 0]


async def test_zero_days_mean_for_ever(archive: Archive) -> None:
    run_id = await archive.finished(10_000)
    before = await archive.rows(run_id)
    await archive.tidy(journals_days=0, runs_days=0)
    assert await archive.rows(run_id) == before


async def test_messages_that_were_settled_long_ago_go_though_their_runs_stay(archive: Archive) -> None:
    await archive.bench.pool.execute(
        "insert into webhook_deliveries (delivery_id, tenant, webhook, run_id, next_at, created_at)"
        " select 'd' || n, $1, 'w', 'run_x', case when n > 3 then now() end, now() - n * interval '20 days' from generate_series(1, 5) n",
        TENANT,
    )
    await archive.tidy(runs_days=0)
    rows = await archive.bench.pool.fetch("select delivery_id from webhook_deliveries order by 1")
    assert [row["delivery_id"] for row in rows] == ["d1", "d4", "d5"]
