"""Claims, epochs and leases: whatever a stale worker does, the journal stays whole."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace

import pytest
from orchestrator_fakes import TENANT, Bench, open_bench
from plimsoll_orchestrator.adapters.database_clock import DatabaseClock
from plimsoll_orchestrator.adapters.journal_outbox import JournalOutbox
from plimsoll_orchestrator.adapters.postgres_claims import PostgresClaimStore
from plimsoll_orchestrator.domain.actions import Write
from plimsoll_orchestrator.domain.decide import decide
from plimsoll_orchestrator.domain.fold import fold
from plimsoll_orchestrator.domain.journal import RunStatus, encode_entry
from plimsoll_orchestrator.domain.letters import Delivery, SignalSent
from plimsoll_orchestrator.domain.run import Run
from plimsoll_orchestrator.ports import Append, Claimed, RunFilter
from plimsoll_runtime import logs
from plimsoll_runtime.clock import SystemClock
from plimsoll_testkit.waiting import eventually

GRAPH = """
agent: short
input: {type: object}
state: {type: object, properties: {n: {type: integer}}}
start: a
output: {n: state.n}
nodes:
  a: {set: {n: 1}, next: b}
  b: {set: {n: "state.n + 1"}, next: end}
"""


@pytest.fixture
async def bench(postgres_dsn: str) -> AsyncIterator[Bench]:
    async with open_bench(postgres_dsn) as bench:
        await bench.register(GRAPH)
        yield bench


async def first_append(bench: Bench, claimed: Claimed) -> Append:
    """What the holder of a claim would write next."""
    graph = await bench.agents.graph(TENANT, claimed.agent, claimed.agent_digest)
    assert graph is not None
    fresh = Run(run_id=claimed.run_id, tenant=TENANT, agent=claimed.agent, agent_digest=claimed.agent_digest)
    run = fold(fresh, ((entry.seq, entry.at, entry.entry) for entry in claimed.entries), graph.start)
    action = decide(run, graph, SystemClock().now())
    assert isinstance(action, Write)
    encoded = [encode_entry(entry) for entry in action.entries]
    return Append(
        run_id=claimed.run_id,
        tenant=TENANT,
        epoch=claimed.epoch,
        expected_seq=run.seq,
        entries=action.entries,
        encoded=encoded,
        run=run,
    )


async def end_lease(bench: Bench, run_id: str) -> None:
    """As if fifteen seconds had passed on the database's clock."""
    await bench.pool.execute("update runs set wake_at = now() - interval '1 second' where run_id = $1", run_id)


async def test_two_workers_never_claim_the_same_run(bench: Bench) -> None:
    ids = {await bench.start("short", {}) for _ in range(50)}
    batches = await asyncio.gather(*(bench.claims.claim(f"w{n}", 20, {}) for n in range(6)))
    taken = [claimed.run_id for batch in batches for claimed in batch]
    assert len(taken) == len(set(taken))
    assert set(taken) <= ids


async def test_a_stale_worker_cannot_write_renew_or_release(bench: Bench) -> None:
    run_id = await bench.start("short", {})
    [stale] = await bench.claims.claim("stale", 1, {})
    append = await first_append(bench, stale)
    await end_lease(bench, run_id)
    [fresh] = await bench.claims.claim("fresh", 1, {})
    assert fresh.epoch == stale.epoch + 1
    assert (await bench.claims.append([append])).appended == {}
    assert list(await bench.claims.renew({run_id: stale.epoch})) == []
    await bench.claims.release({run_id: stale.epoch})
    assert list(await bench.claims.renew({run_id: fresh.epoch})) == [run_id]
    assert (await bench.service.get_run(TENANT, run_id)).run.seq == 1


async def test_the_same_append_twice_counts_once(bench: Bench) -> None:
    run_id = await bench.start("short", {})
    [claimed] = await bench.claims.claim("w", 1, {})
    append = await first_append(bench, claimed)
    assert run_id in (await bench.claims.append([append])).appended
    assert (await bench.claims.append([append])).appended == {}
    assert (await bench.service.get_run(TENANT, run_id)).run.seq == 2


async def test_one_fenced_off_run_does_not_hold_up_the_batch(bench: Bench) -> None:
    ids = [await bench.start("short", {}) for _ in range(3)]
    claims = {claimed.run_id: claimed for claimed in await bench.claims.claim("w", 3, {})}
    appends = [await first_append(bench, claims[run_id]) for run_id in ids]
    await end_lease(bench, ids[1])
    await bench.claims.claim("other", 1, {})
    assert set((await bench.claims.append(appends)).appended) == {ids[0], ids[2]}


async def test_an_abandoned_run_is_finished_by_another_worker(bench: Bench) -> None:
    run_id = await bench.start("short", {})
    [claimed] = await bench.claims.claim("dies", 1, {})
    await bench.claims.append([await first_append(bench, claimed)])
    await end_lease(bench, run_id)
    async with bench.working():
        view = await bench.ended(run_id)
    assert view.run.output == {"n": 2}


async def test_a_finished_run_never_changes(bench: Bench) -> None:
    view = await bench.run("short", {})
    run_id = view.summary.run_id
    assert await bench.claims.claim("w", 10, {}) == []
    again = Append(run_id=run_id, tenant=TENANT, epoch=-1, expected_seq=view.run.seq, entries=(), encoded=(), run=view.run)
    assert (await bench.claims.append([again])).appended == {}


async def test_a_drained_worker_gives_its_runs_to_the_next_at_once(bench: Bench) -> None:
    for _ in range(200):
        await bench.start("short", {})
    async with bench.working(bench.worker("leaving")):
        pass
    waiting = await bench.pool.fetchval("select count(*) from runs where finished_at is null and wake_at > now() + interval '1 second'")
    assert waiting == 0
    async with bench.working(bench.worker("next")):
        await eventually(lambda: bench.pool.fetchval("select count(*) = 0 from runs where finished_at is null"))
    done = await bench.service.list_runs(TENANT, RunFilter(status=RunStatus.SUCCEEDED), "", 500)
    assert len(done) == 200


async def test_every_committed_entry_waits_to_be_published(bench: Bench) -> None:
    view = await bench.run("short", {})
    rows = await bench.pool.fetch("select run_ids, first_seqs, last_seqs from journal_outbox order by position")
    stretches = [(row["first_seqs"][0], row["last_seqs"][0]) for row in rows if row["run_ids"] == [view.summary.run_id]]
    covered = [seq for first, last in stretches for seq in range(first, last + 1)]
    assert covered == list(range(1, view.run.seq + 1))


async def test_a_run_that_was_taken_away_holds_up_no_publishing(bench: Bench) -> None:
    await bench.run("short", {})
    stays = (await bench.run("short", {})).summary.run_id
    await bench.pool.execute("delete from journal where run_id <> $1", stays)
    waiting = {row["position"] for row in await bench.pool.fetch("select position from journal_outbox")}
    outbox = JournalOutbox(lambda tenant, agent, digest, entry: entry.run_id.encode(), logs.get("test"))
    async with bench.pool.acquire() as connection:
        fetched = await outbox.fetch(connection, 1_000)
    assert {message.payload for message in fetched.messages} == {stays.encode()}
    assert set(fetched.positions) == waiting


class LateLetters(PostgresClaimStore):
    """A letter comes between the claim's count of letters and their reading."""

    async def claim(self, worker: str, limit: int, held: Mapping[str, int]) -> Sequence[Claimed]:
        return [replace(claimed, mail=0) if claimed.letters else claimed for claimed in await super().claim(worker, limit, held)]


async def test_a_letter_that_comes_while_its_run_is_claimed_is_counted_once(bench: Bench) -> None:
    run_id = await bench.start("short", {})
    letter = SignalSent(signal_id="s1", name="hello")
    assert await bench.runs.deliver(TENANT, Delivery(run_id=run_id, letter_id="s1", letter=letter))
    store = LateLetters(bench.pool, DatabaseClock(SystemClock()))
    async with bench.working(bench.worker(store=store)):
        view = await bench.ended(run_id)
    assert [signal.name for signal in view.run.signals] == ["hello"]
