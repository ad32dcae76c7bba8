"""Who goes first, and what becomes of runs that end their workers."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace
from orchestrator_fakes import STEPS, TENANT, Bench, open_bench
from plimsoll_orchestrator.domain.journal import RunStatus
from plimsoll_orchestrator.domain.options import Limits, RunOptions
from plimsoll_orchestrator.domain.poison import POISONED, SUSPECT
from plimsoll_orchestrator.ports import Returned
from plimsoll_testkit.waiting import eventually


@pytest.fixture
async def bench(postgres_dsn: str) -> AsyncIterator[Bench]:
    async with open_bench(postgres_dsn) as bench:
        await bench.register(STEPS)
        yield bench


async def crowd(bench: Bench, tenant: str, runs: int, priority: int = 5) -> list[str]:
    await bench.service.register_agent(tenant, STEPS, "steps.yaml")
    options = RunOptions(priority=priority)
    return [
        (await bench.service.start_run(tenant, "steps", {"canary": f"{tenant}{n}"}, "", options)).view.summary.run_id for n in range(runs)
    ]


async def test_a_tenant_with_many_runs_delays_another_by_no_more_than_a_few(bench: Bench) -> None:
    await crowd(bench, "big", 300)
    [small] = await crowd(bench, "small", 1)
    taken = [claimed.run_id for claimed in await bench.claims.claim("w", 5, {})]
    assert len(taken) == 5
    taken += [claimed.run_id for claimed in await bench.claims.claim("w", 5, {"big": 5})]
    assert small in taken


async def test_tenants_take_turns_and_those_who_hold_less_come_first(bench: Bench) -> None:
    for tenant in ("a", "b", "c"):
        await crowd(bench, tenant, 20)
    bench.claims._contended = True
    first = [claimed.tenant for claimed in await bench.claims.claim("w", 9, {})]
    assert sorted(first) == ["a"] * 3 + ["b"] * 3 + ["c"] * 3
    second = [claimed.tenant for claimed in await bench.claims.claim("w", 6, {"a": 6, "b": 3, "c": 3})]
    assert sorted(second) == ["b"] * 3 + ["c"] * 3


async def test_higher_priority_goes_first_within_a_tenant(bench: Bench) -> None:
    low = await crowd(bench, "a", 10, priority=2)
    high = await crowd(bench, "a", 3, priority=9)
    bench.claims._contended = True
    taken = [claimed.run_id for claimed in await bench.claims.claim("w", 5, {})]
    assert set(high) < set(taken)
    assert len(set(taken) & set(low)) == 2


async def test_many_claimers_take_every_run_once(bench: Bench) -> None:
    for tenant in ("a", "b"):
        await crowd(bench, tenant, 60)
    bench.claims._contended = True
    batches = await asyncio.gather(*(bench.claims.claim(f"w{n}", 20, {}) for n in range(8)))
    taken = [claimed.run_id for batch in batches for claimed in batch]
    assert len(taken) == len(set(taken))
    rest = []
    while more := await bench.claims.claim("w", 50, {}):
        rest += more
    assert len({*taken, *(claimed.run_id for claimed in rest)}) == 120


async def abandon(bench: Bench, run_id: str, times: int) -> None:
    """As if a worker took the run and died, so often."""
    for number in range(times):
        victim = f"victim-{number}"
        [claimed] = await bench.claims.claim(victim, 1, {}) or await bench.claims.claim_suspects(victim, [])
        assert claimed.run_id == run_id
        await bench.pool.execute("update runs set wake_at = now() where run_id = $1", run_id)


async def test_a_run_that_ends_its_workers_is_set_aside_with_the_evidence_until_it_is_resumed(bench: Bench) -> None:
    run_id = await bench.start("steps", {"canary": "c"})
    await abandon(bench, run_id, POISONED)
    async with bench.working():
        await eventually(lambda: has_status(bench, run_id, RunStatus.QUARANTINED))
        view = await bench.service.get_run(TENANT, run_id)
        assert [line.split(" at ")[0] for line in view.run.evidence] == ["victim-0", "victim-1", "victim-2"]
        [obstacle] = await bench.control.explain_run(TENANT, run_id)
        assert obstacle.reason == "QUARANTINED"
        await bench.control.resume_run(TENANT, run_id, "ann")
        assert (await bench.ended(run_id)).run.status is RunStatus.SUCCEEDED


async def has_status(bench: Bench, run_id: str, status: RunStatus) -> bool:
    return (await bench.service.get_run(TENANT, run_id)).run.status is status


async def test_runs_that_were_held_beside_a_poisonous_one_are_not_blamed_for_it(bench: Bench) -> None:
    ids = [await bench.start("steps", {"canary": f"c{number}"}) for number in range(40)]
    for number in range(SUSPECT):
        assert len(await bench.claims.claim(f"victim-{number}", 50, {})) == 40
        await bench.pool.execute("update runs set wake_at = now() where worker is not null")
    while await bench.claims.claim_suspects("victim", []):
        pass
    await bench.pool.execute("update runs set wake_at = now() where worker is not null")
    async with bench.working():
        for run_id in ids:
            assert (await bench.ended(run_id)).run.status is RunStatus.SUCCEEDED


async def test_a_run_that_gets_on_is_never_set_aside(bench: Bench) -> None:
    run_id = await bench.start("steps", {"canary": "c"})
    await abandon(bench, run_id, POISONED - 1)
    async with bench.working():
        assert (await bench.ended(run_id)).run.status is RunStatus.SUCCEEDED
    assert await bench.pool.fetchval("select abandoned from runs where run_id = $1", run_id) == []


async def test_a_journal_that_cannot_be_read_waits_for_people_and_stops_no_other(bench: Bench) -> None:
    broken = await bench.start("steps", {"canary": "c"})
    await bench.pool.execute('update journal set entry = \'{"kind":"nonsense"}\' where run_id = $1', broken)
    good = await bench.start("steps", {"canary": "d"})
    async with bench.working():
        assert (await bench.ended(good)).run.status is RunStatus.SUCCEEDED
    row = await bench.pool.fetchrow("select status, abandoned from runs where run_id = $1", broken)
    assert row["status"] == "quarantined"
    assert "JOURNAL_BROKEN" in row["abandoned"][0]


async def test_a_journal_that_names_a_version_that_is_gone_is_told_and_tried_later(bench: Bench) -> None:
    run_id = await bench.start("steps", {"canary": "c"})
    await bench.pool.execute("update runs set agent_digest = 'gone' where run_id = $1", run_id)
    async with bench.working():
        await eventually(lambda: faults(bench, run_id))
    assert "JOURNAL_BROKEN" in (await faults(bench, run_id))[0]


async def faults(bench: Bench, run_id: str) -> list[str]:
    found: list[str] = await bench.pool.fetchval("select abandoned from runs where run_id = $1", run_id)
    return found


async def test_the_runs_own_budget_counts_beside_the_graphs(bench: Bench) -> None:
    async with bench.working():
        view = await bench.ended(await bench.start("steps", {"canary": "c"}, options=RunOptions(budget=Limits(steps=2))))
    assert view.run.failure is not None
    assert view.run.failure.reason == "BUDGET_STEPS"


async def test_explain_tells_how_many_are_ahead_and_who_works(bench: Bench) -> None:
    await bench.start("steps", {"canary": "a"})
    run_id = await bench.start("steps", {"canary": "b"})
    [obstacle] = await bench.control.explain_run(TENANT, run_id)
    assert obstacle.reason == "NO_WORKER"
    await bench.control.workers.beat("worker-7", 5, 0, "1")
    [obstacle] = await bench.control.explain_run(TENANT, run_id)
    assert (obstacle.reason, "1 runs" in obstacle.message) == ("QUEUED", True)
    await bench.claims.claim("worker-7", 5, {})
    [obstacle] = await bench.control.explain_run(TENANT, run_id)
    assert (obstacle.reason, obstacle.subject) == ("LEASED", "worker-7")


LOOP = """
agent: loop
input: {type: object}
state: {type: object, properties: {n: {type: integer}, history: {type: array}}}
start: turn
budget: {steps: 5000}
output: {n: state.n, last: "state.history[size(state.history) - 1]"}
nodes:
  turn:
    tool: {name: say, arguments: {n: "has(state.n) ? state.n : 0"}}
    save: {n: "(has(state.n) ? state.n : 0) + 1", history: "(has(state.history) ? state.history : []) + [result.text]"}
    next: more
  more: {decide: {branches: [{when: "state.n < 120", next: turn}], default: end}}
"""


async def test_what_is_stored_grows_with_what_happens_and_a_snapshot_is_where_a_claim_begins(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plimsoll_orchestrator.domain.snapshot._LEAST_BYTES", 4096)
    await bench.register(LOOP)
    bench.tools.reply = lambda tool, arguments, grants: Returned(result={"text": f"{arguments['n']:04}" + "x" * 400})
    async with bench.working():
        view = await bench.ended(await bench.start("loop", {}))
    run_id = view.run.run_id
    assert view.run.output["n"] == 120  # type: ignore[index, call-overload]
    sizes = [entry.size for entry in await bench.runs.journal(TENANT, run_id, 0, 500) if type(entry.entry).__name__ == "StepFinished"]
    turns = [first + second for first, second in zip(sizes[::2], sizes[1::2], strict=True)]
    assert turns[100] <= turns[10] * 1.2
    snapshot = await bench.runs.snapshot(TENANT, run_id)
    assert snapshot is not None
    before = await bench.service.get_run(TENANT, run_id)
    await bench.pool.execute("delete from snapshots where run_id = $1", run_id)
    after = await bench.service.get_run(TENANT, run_id)
    assert replace(before.run, approvals={}) == replace(after.run, approvals={})
