"""Durable steps: how many a second with a hundred runs at once, and how long one takes with one run at a time.

The latency of a step is what one more of them adds to a run: the time of a run of twelve less that of a run of six, by six. What a run takes
beside its steps is a measure of its own, `run-latency`: it has accepting, waking and claiming in it, which a peer that runs in its
caller's process has not.

The work is a six-step no-op graph. Ours goes the whole way of the engine: accepted in Postgres, hinted over NATS, claimed, six
steps committed one by one. LangGraph runs the same graph with its Postgres checkpointer, durability "sync", and DBOS the same steps,
against the same server; Restate keeps its own log. pgbench commits the row changes of one step (one row updated, one inserted) one by one.
"""

import asyncio
import re
import statistics
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
from engine_parts import TENANT, Parts, orchestrator
from peers import dbos_figures, langgraph_figures, restate_figures
from plimsoll_devstack.servers import Servers
from plimsoll_orchestrator.service import Orchestrator
from results import Row

STEPS = 6
RUNS, AT_ONCE = 2000, 100
ALONE = 200
LONG = 2 * STEPS


def graph(steps: int) -> str:
    """So many no-op nodes in a row."""
    names = [f"n{place}" for place in range(steps)]
    nodes = [
        f"  {name}: {{set: {{n: {place}}}, next: {after}}}"
        for place, (name, after) in enumerate(zip(names, [*names[1:], "end"], strict=True))
    ]
    head = "input: {type: object}\nstate: {type: object, properties: {n: {type: integer}}}\nstart: n0\noutput: {n: state.n}\nnodes:\n"
    return f"agent: noop-{steps}\n{head}" + "\n".join(nodes) + "\n"


async def drive(service: Orchestrator, pool: asyncpg.Pool, runs: int, at_once: int) -> float:
    """Start `runs` runs, `at_once` at a time, and return the durable steps a second until the last has ended."""
    slots, open_runs = asyncio.Semaphore(at_once), dict[str, asyncio.Event]()
    finished = "select run_id from runs where run_id = any($1::text[]) and finished_at is not null"

    async def one() -> None:
        async with slots:
            started = await service.start_run(TENANT, f"noop-{STEPS}", {}, "")
            ended = open_runs[started.view.summary.run_id] = asyncio.Event()
            await ended.wait()

    async def notice_ends() -> None:
        while True:
            for row in await pool.fetch(finished, list(open_runs)):
                open_runs.pop(row["run_id"]).set()
            await asyncio.sleep(0.01)

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        watcher = group.create_task(notice_ends())
        async with asyncio.TaskGroup() as clients:
            for _ in range(runs):
                clients.create_task(one())
        watcher.cancel()
    return runs * STEPS / (time.perf_counter() - started)


async def run_alone(parts: Parts, runs: int, steps: int = STEPS) -> float:
    """Milliseconds, median, from submitting a run to its end being noticed, one run at a time."""
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        view = (await parts.service.start_run(TENANT, f"noop-{steps}", {}, "")).view
        async for _ in parts.following.follow_run(TENANT, view.summary.run_id, view.summary.seq):
            pass
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e3


async def measure_throughput(servers: Servers) -> list[Row]:
    async with orchestrator(servers) as parts:
        await parts.service.register_agent(TENANT, graph(STEPS), "noop.yaml")
        await drive(parts.service, parts.pool, 100, AT_ONCE)
        ours = await drive(parts.service, parts.pool, RUNS, AT_ONCE)
    single = pgbench(servers)
    share = ours / single
    rows = [_rate(ours, "pgbench, one by one", single, share, ">= 0.25", share >= 0.25)]
    dsn = servers.postgres.dsn("examples", database="examples")
    for name, figures, times in (
        ("LangGraph + AsyncPostgresSaver", await langgraph_figures(dsn, 400, AT_ONCE, STEPS), 15),
        ("Restate", await restate_figures(400, AT_ONCE, STEPS), 5),
        ("DBOS Transact", await dbos_figures(dsn, 200, AT_ONCE, STEPS), 0),
    ):
        if figures is not None:
            ratio = ours / figures["steps_per_s"]
            rows.append(_rate(ours, name, figures["steps_per_s"], ratio, f">= {times}" if times else "", ratio >= times if times else None))
    return rows


async def measure_latency(servers: Servers) -> list[Row]:
    async with orchestrator(servers) as parts:
        for steps in (STEPS, LONG):
            await parts.service.register_agent(TENANT, graph(steps), "noop.yaml")
            await run_alone(parts, 20, steps)
        short, long = await run_alone(parts, ALONE), await run_alone(parts, ALONE, LONG)
    dsn = servers.postgres.dsn("examples", database="examples")
    known: dict[str, tuple[float, float]] = {}
    for name, figures in (
        ("LangGraph + AsyncPostgresSaver", [await langgraph_figures(dsn, ALONE, 1, steps) for steps in (STEPS, LONG)]),
        ("Restate", [await restate_figures(ALONE, 1, steps) for steps in (STEPS, LONG)]),
        ("DBOS Transact", [await dbos_figures(dsn, ALONE, 1, steps) for steps in (STEPS, LONG)]),
    ):
        times = [figure["run_ms"] for figure in figures if figure is not None]
        if len(times) == len(figures):
            known[name] = (times[0], (times[1] - times[0]) / (LONG - STEPS))
    step = (long - short) / (LONG - STEPS)
    best = min((theirs for _, theirs in known.values()), default=0.0)
    return [
        *(_time("step-latency", step, name, theirs, "<= 0.5" if theirs == best else "") for name, (_, theirs) in known.items()),
        *(_time("run-latency", short, name, theirs, "") for name, (theirs, _) in known.items()),
    ]


def _time(measure: str, value: float, peer: str, peer_value: float, target: str) -> Row:
    ratio = value / peer_value
    passed = ratio <= 0.5 if target else None
    return Row(name=measure, value=value, unit="ms", peer=peer, peer_value=peer_value, ratio=ratio, target=target, passed=passed)


def pgbench(servers: Servers) -> float:
    """Transactions a second that change what one step changes, 32 clients, each transaction by itself."""
    setup = "create table if not exists bench_run (id int primary key, seq bigint, node text, pad text); truncate bench_run;"
    setup += " insert into bench_run select g, 0, 'a', repeat('x', 150) from generate_series(1, 100) g;"
    setup += " create table if not exists bench_journal (run int, seq bigint generated always as identity, at timestamptz default now(), entry text, primary key (run, seq));"
    script = (
        "\\set id random(1, 100)\nbegin;\nupdate bench_run set seq = seq + 1, node = 'b' where id = :id;\n"
        "insert into bench_journal (run, entry) values (:id, repeat('x', 120));\ncommit;\n"
    )
    programs, dsn = servers.postgres.programs, servers.postgres.dsn("examples", database="examples")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "step.sql"
        path.write_text(script)
        subprocess.run([programs / "psql", dsn, "-q", "-c", setup], check=True, capture_output=True)
        command = [programs / "pgbench", "-n", "-c", "32", "-j", "2", "-T", "5", "-f", path, dsn]
        found = re.search(r"tps = ([0-9.]+)", subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert found is not None
    return float(found[1])


def _rate(value: float, peer: str, peer_value: float, ratio: float, target: str, passed: bool | None) -> Row:
    return Row(
        name="durable-steps", value=value, unit="steps/s", peer=peer, peer_value=peer_value, ratio=ratio, target=target, passed=passed
    )
