"""Queues: how long a submitted run waits for its first step, what a hundred thousand queued runs cost a claim, what ten thousand parked
runs cost a worker, and how many bytes a long conversation takes per turn."""

import asyncio
import gc
import statistics
import time

import psutil
from engine_parts import TENANT, orchestrator
from plimsoll_devstack.servers import Servers
from plimsoll_orchestrator.ports import Returned
from plimsoll_testkit.waiting import eventually
from results import Row

QUEUED, PARKED, FIRST = 100_000, 10_000, 300
TURNS = 110
ONE = """
agent: one
input: {type: object}
state: {type: object, properties: {n: {type: integer}}}
start: a
output: {n: state.n}
nodes:
  a: {set: {n: 1}, next: end}
"""
WAITING = """
agent: waiting
input: {type: object}
state: {type: object, properties: {n: {type: integer}}}
start: a
output: {}
nodes:
  a: {wait: {signal: go, expires: 24h}, next: end}
"""
TALK = """
agent: talk
input: {type: object}
state: {type: object, properties: {n: {type: integer}, history: {type: array}}}
start: turn
budget: {steps: 5000}
output: {n: state.n}
nodes:
  turn:
    tool: {name: say, arguments: {}}
    save: {n: "(has(state.n) ? state.n : 0) + 1", history: "(has(state.history) ? state.history : []) + [result.text]"}
    next: more
  more: {decide: {branches: [{when: "state.n < TURNS", next: turn}], default: end}}
""".replace("TURNS", str(TURNS))


class Saying:
    """A tool that says a thousand characters."""

    async def definitions(self, names: object) -> list[object]:
        return []

    async def dispatch(self, *_: object) -> Returned:
        return Returned(result={"text": "x" * 1000})


async def measure_first_step(servers: Servers) -> list[Row]:
    """From handing a run in to the commit of its first step, as the database's clock has it, one at a time and warm."""
    async with orchestrator(servers) as parts:
        await parts.service.register_agent(TENANT, ONE, "one.yaml")
        waits = []
        for number in range(FIRST + 20):
            asked = await parts.pool.fetchval("select clock_timestamp()")
            run_id = (await parts.service.start_run(TENANT, "one", {}, "")).view.summary.run_id
            async for _ in parts.following.follow_run(TENANT, run_id, 1):
                break
            first = await parts.pool.fetchval("select at from journal where run_id = $1 and seq = 2", run_id)
            if number >= 20:
                waits.append((first - asked).total_seconds() * 1e3)
    waits.sort()
    middle, late = statistics.median(waits), waits[int(len(waits) * 0.99)]
    return [
        Row(name="first-step", value=middle, unit="ms median", target="<= 15", passed=middle <= 15),
        Row(name="first-step p99", value=late, unit="ms p99", target="<= 50", passed=late <= 50),
    ]


async def measure_queue_depth(servers: Servers) -> list[Row]:
    """A claim of 128 runs out of a short and out of a long queue, plainly and in turns between tenants; the runs are given back."""
    rows = []
    async with orchestrator(servers, works=False) as parts:
        await parts.service.register_agent(TENANT, ONE, "one.yaml")
        await parts.pool.execute("truncate runs, journal, journal_outbox")
        short = {fair: await _claims(parts, 2_000, fair=fair) for fair in (False, True)}
        long = {fair: await _claims(parts, QUEUED, fair=fair) for fair in (False, True)}
        await parts.pool.execute("truncate runs, journal, journal_outbox")
    for fair, name in ((False, "queue-depth"), (True, "queue-depth, in turns")):
        ratio = long[fair] / short[fair]
        rows.append(
            Row(
                name=name,
                value=long[fair],
                unit="ms/claim",
                peer="the same with 2,000 queued",
                peer_value=short[fair],
                ratio=ratio,
                target="<= 1.2",
                passed=ratio <= 1.2,
            )
        )
    return rows


async def _claims(parts: object, queued: int, *, fair: bool) -> float:
    """Milliseconds of a claim, median, with so many runs queued."""
    pool, claims = parts.pool, parts.claims  # type: ignore[attr-defined]
    have = await pool.fetchval("select count(*) from runs")
    if have < queued:
        digest = await pool.fetchval("select digest from agents where name = 'one' limit 1")
        await pool.execute(_FILL, have + 1, queued, digest)
        await pool.execute("analyze runs", timeout=120)
    times = []
    for _ in range(30):
        claims._contended = fair
        started = time.perf_counter()
        taken = await claims.claim("bench", 128, {})
        times.append(time.perf_counter() - started)
        await pool.execute(
            "update runs set worker = null, status = 'queued', wake_at = created_at where run_id = any($1)", [one.run_id for one in taken]
        )
        assert len(taken) == 128
    return statistics.median(times) * 1e3


_FILL = """
with made as (
    insert into runs (run_id, tenant, agent, agent_digest, status, seq, node, wake_at)
    select 'run_' || lpad(n::text, 10, '0'), 'tenant-' || (n % 10), 'one', $3, 'queued', 1, 'a', now() from generate_series($1::int, $2::int) n
    returning run_id, tenant
)
insert into journal (run_id, seq, tenant, epoch, entry) select run_id, 1, tenant, 0, '{"kind":"run_started","input":{}}' from made
"""


async def measure_parked_runs(servers: Servers) -> list[Row]:
    """Growth of the process that holds API and worker while ten thousand runs are started and parked."""
    async with orchestrator(servers) as parts:
        await parts.service.register_agent(TENANT, WAITING, "waiting.yaml")
        await _park(parts, 1_000)
        before = _resident()
        await _park(parts, PARKED)
        grown = _resident() - before
        held = parts.worker.held
        await parts.pool.execute("update runs set wake_at = null where status = 'waiting'")
    per_run = grown / PARKED
    return [
        Row(name="parked-runs", value=per_run, unit="bytes/run", target="< 1000, held 0", passed=per_run < 1000 and held == 0),
        Row(name="parked-runs, held", value=float(held), unit="runs", target="0", passed=held == 0),
    ]


def _resident() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


async def _park(parts: object, count: int) -> None:
    service, pool = parts.service, parts.pool  # type: ignore[attr-defined]
    goal = await pool.fetchval("select count(*) from runs where status = 'waiting'") + count
    for _ in range(count // 100):
        await asyncio.gather(*(service.start_run(TENANT, "waiting", {}, "") for _ in range(100)))
    parked = "select count(*) >= $1 from runs where status = 'waiting'"
    await eventually(lambda: pool.fetchval(parked, goal), within_s=120)


async def measure_storage(servers: Servers) -> list[Row]:
    """Bytes of journal that a turn adds, a thousand characters said in each, snapshots counted by what they write."""
    async with orchestrator(servers, tools=Saying()) as parts:
        await parts.service.register_agent(TENANT, TALK, "talk.yaml")
        run_id = (await parts.service.start_run(TENANT, "talk", {}, "")).view.summary.run_id
        async for _ in parts.following.follow_run(TENANT, run_id, 1):
            pass
        sizes = await parts.pool.fetch("select seq, length(entry) as size from journal where run_id = $1 order by seq", run_id)
    entries = [row["size"] for row in sizes[1:-1]]
    each = len(entries) // TURNS
    turns = [sum(entries[place * each : (place + 1) * each]) for place in range(TURNS)]
    early, late = statistics.mean(turns[5:15]), statistics.mean(turns[95:105])
    return [
        Row(
            name="storage-slope",
            value=late,
            unit="bytes/turn",
            peer="turn 10",
            peer_value=early,
            ratio=late / early,
            target="0.8 to 1.2",
            passed=0.8 <= late / early <= 1.2,
        )
    ]
