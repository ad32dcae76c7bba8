"""Workers that really die, at every boundary of a step, or stop and come back: nothing is lost, nothing is done twice."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence

import pytest
from orchestrator_crashing import EFFECTS, start
from orchestrator_fakes import TENANT, Bench, LostSignals, open_bench
from orchestrator_history import violations
from plimsoll_orchestrator.domain.journal import RunStatus
from plimsoll_testkit.waiting import eventually

pytestmark = [pytest.mark.crash]
TRIP = """
agent: trip
input: {type: object, properties: {name: {type: string}}}
state: {type: object, properties: {name: {type: string}, seen: {type: array}, text: {type: string}, n: {type: integer}}}
start: begin
output: {seen: state.seen, text: state.text}
nodes:
  begin: {set: {n: 1, seen: "[]"}, next: first}
  first: {tool: {name: first, arguments: {name: state.name, value: "1"}}, save: {seen: "state.seen + [result.value]"}, next: ask}
  ask: {model: {prompt: "p@production", variables: {}}, save: {text: result.text}, next: both}
  both: {parallel: {branches: {left: left, right: right}, merge: {seen: append}}, next: nap}
  left: {tool: {name: left, arguments: {name: state.name, value: "2"}}, save: {seen: "state.seen + [result.value]"}, next: join}
  right: {set: {seen: "state.seen + [3]"}, next: join}
  nap: {wait: {for: 1ms}, next: route}
  route: {decide: {branches: [{when: "state.n == 1", next: last}], default: end}}
  last: {tool: {name: last, arguments: {name: state.name, value: "4"}}, save: {seen: "state.seen + [result.value]"}, next: end}
"""
OUTPUT = {"seen": [1, 2, 3, 4], "text": "said"}


@pytest.fixture
async def bench(postgres_dsn: str) -> AsyncIterator[Bench]:
    async with open_bench(postgres_dsn, LostSignals()) as bench:
        await bench.pool.execute(EFFECTS)
        await bench.register(TRIP)
        yield bench


async def end_leases(bench: Bench) -> None:
    """As if fifteen seconds had passed on the database's clock."""
    held = "select run_id from runs where worker is not null for update skip locked"  # one that stands still may hold the row itself
    await bench.pool.execute(f"update runs set wake_at = now() - interval '1 second' where run_id in ({held})")


async def joined(process: object, within_s: float = 60.0) -> int:
    async with asyncio.timeout(within_s):
        await asyncio.to_thread(process.join, within_s)  # type: ignore[attr-defined]
    code = process.exitcode  # type: ignore[attr-defined]
    assert code is not None
    return int(code)


async def check(bench: Bench, names: list[str], canaries: Sequence[str] = ()) -> None:
    assert await violations(bench.pool, canaries) == []
    rows = await bench.pool.fetch("select name, tool, count(*) as calls from effects group by name, tool order by name, tool")
    assert [(row["name"], row["tool"], row["calls"]) for row in rows] == sorted(
        (name, tool, 1) for name in names for tool in ("first", "last", "left")
    )


async def test_a_worker_killed_at_any_boundary_loses_nothing_and_repeats_nothing(bench: Bench, postgres_dsn: str) -> None:
    whole = await bench.start("trip", {"name": "whole"})
    process, passed = start(postgres_dsn, [whole])
    points = await asyncio.to_thread(passed)
    assert await joined(process) == 0
    assert points >= 25
    names, killed = ["whole"], 0
    for kill_at in range(1, points + 1):
        name = f"killed-{kill_at}"
        names.append(name)
        run_id = await bench.start("trip", {"name": name})
        victim, _ = start(postgres_dsn, [run_id], kill_at)
        ended = await joined(victim)
        assert ended in {-signal.SIGKILL, 0}  # 0: branches that commit together pass fewer points, and it came to its end
        killed += ended == -signal.SIGKILL
        await bench.pool.execute(
            "update runs set wake_at = now() + interval '1 hour' where worker is not null"
        )  # the next shall not take it
    assert killed >= 20
    await end_leases(bench)
    ids = [row["run_id"] for row in await bench.pool.fetch("select run_id from runs where parent_run_id = ''")]
    rescuer, _ = start(postgres_dsn, ids)
    assert await joined(rescuer) == 0
    for run_id in ids:
        view = await bench.service.get_run(TENANT, run_id)
        assert view.run.status is RunStatus.SUCCEEDED, view.run.failure
        assert view.run.output == OUTPUT
    await check(bench, names)


async def test_a_worker_that_stood_still_past_its_lease_commits_nothing(bench: Bench, postgres_dsn: str) -> None:
    names = [f"still-{number}" for number in range(20)]
    ids = [await bench.start("trip", {"name": name}) for name in names]
    sleeper, _ = start(postgres_dsn, ids)
    await eventually(lambda: bench.pool.fetchval("select count(*) > 0 from journal where seq > 3"))
    assert sleeper.pid is not None
    os.kill(sleeper.pid, signal.SIGSTOP)
    await end_leases(bench)
    rescuer, _ = start(postgres_dsn, ids)
    assert await joined(rescuer) == 0
    before = await bench.pool.fetchval("select count(*) from journal")
    os.kill(sleeper.pid, signal.SIGCONT)
    await joined(sleeper)
    assert await bench.pool.fetchval("select count(*) from journal") == before
    for run_id in ids:
        assert (await bench.service.get_run(TENANT, run_id)).run.output == OUTPUT
    await check(bench, names)


CROWD = """
agent: crowd
input: {type: object, properties: {name: {type: string}, canary: {type: string}}}
state: {type: object, properties: {name: {type: string}, canary: {type: string}, seen: {type: array}}}
start: first
output: {seen: state.seen}
nodes:
  first: {tool: {name: first, arguments: {name: state.name, value: "1"}}, save: {seen: "[state.canary]"}, next: left}
  left: {tool: {name: left, arguments: {name: state.name, value: "2"}}, save: {seen: "state.seen + [state.canary]"}, next: last}
  last: {tool: {name: last, arguments: {name: state.name, value: "3"}}, save: {seen: "state.seen + [state.canary]"}, next: end}
"""


async def test_a_thousand_runs_over_three_workers_of_which_one_is_killed_and_one_leaves(bench: Bench, postgres_dsn: str) -> None:
    await bench.register(CROWD)
    names = [f"crowd-{number}" for number in range(1000)]
    ids = await asyncio.gather(*(bench.start("crowd", {"name": name, "canary": f"c-{name}"}) for name in names))
    victim, _ = start(postgres_dsn, ids, kill_at=400)
    leaver, _ = start(postgres_dsn, ids[:100])  # gives back what it holds when the first hundred are done
    stayer, _ = start(postgres_dsn, ids)
    assert await joined(victim) == -signal.SIGKILL
    await end_leases(bench)
    assert await joined(leaver, 120) == 0
    assert await joined(stayer, 120) == 0
    for run_id, name in zip(ids, names, strict=True):
        assert (await bench.service.get_run(TENANT, run_id)).run.output == {"seen": [f"c-{name}"] * 3}
    await check(bench, names, [f"c-{name}" for name in names])
