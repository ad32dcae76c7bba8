"""Durable steps: how many a second with a hundred runs at once, and how long one takes with one run at a time.

The work is a six-step no-op graph. Ours goes the whole way of the engine: accepted in Postgres, hinted over NATS, claimed, six
steps committed one by one. LangGraph runs the same graph with its Postgres checkpointer, durability
"sync", against the same server. pgbench commits the row changes of one step (one row updated, one inserted) one by one.
"""

import asyncio
import re
import statistics
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
from peers import langgraph_figures
from plimsoll_devstack.servers import Servers
from plimsoll_orchestrator.adapters.postgres_agents import PostgresAgentStore
from plimsoll_orchestrator.adapters.postgres_runs import DatabaseClock, PostgresRunStore
from plimsoll_orchestrator.adapters.signals import HINT_CONSUMER, HINTS, BusSignals, JournalWatch
from plimsoll_orchestrator.committer import Committer
from plimsoll_orchestrator.engine import Engine
from plimsoll_orchestrator.main import MIGRATIONS
from plimsoll_orchestrator.service import Orchestrator
from plimsoll_orchestrator.steps.perform import Performer
from plimsoll_orchestrator.worker import Worker
from plimsoll_runtime import logs
from plimsoll_runtime.bus import open_bus
from plimsoll_runtime.clock import SystemClock
from plimsoll_runtime.ids import RandomIds
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.postgres import migrate, open_pool
from plimsoll_runtime.settings import NatsSettings, PostgresSettings, Secret
from results import Row

STEPS = 6
RUNS, AT_ONCE = 2000, 100
ALONE = 200
TENANT = "bench"
NODES = "abcdef"
GRAPH = """
agent: noop
input: {type: object}
state: {type: object, properties: {n: {type: integer}}}
start: a
output: {n: state.n}
nodes:
""" + "".join(f"  {name}: {{set: {{n: {place}}}, next: {(NODES + ' ')[place + 1].strip() or 'end'}}}\n" for place, name in enumerate(NODES))


class NothingOutside:
    """The services that a no-op graph never calls."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"a no-op graph called {name}")


@asynccontextmanager
async def engine(servers: Servers) -> AsyncIterator[tuple[Orchestrator, asyncpg.Pool]]:
    """The orchestrator in this process, API and worker, on real servers."""
    async with AsyncExitStack() as stack:
        metrics, log, clock = Metrics(), logs.get("bench"), DatabaseClock(SystemClock())
        pool = await stack.enter_async_context(
            open_pool(PostgresSettings(dsn=Secret(servers.postgres.dsn("orchestrator"))), "orchestrator")
        )
        await migrate(pool, "orchestrator", [MIGRATIONS])
        bus = await stack.enter_async_context(open_bus(NatsSettings(url=Secret(servers.nats.url("orchestrator"))), "bench", metrics))
        await bus.ensure_stream(HINTS)
        agents, runs, signals, watch = PostgresAgentStore(pool), PostgresRunStore(pool, clock), BusSignals(bus), JournalWatch(bus)
        outside = NothingOutside()
        performer = Performer(models=outside, tools=outside, memory=outside)  # type: ignore[arg-type]
        made = Engine(
            performer=performer,
            committer=Committer(runs, signals),
            find_graph=agents.graph,
            clock=clock,
            ids=RandomIds(),
            log=log,
            draining=asyncio.Event(),
        )
        await stack.enter_async_context(runs.accepting())
        worker = Worker("bench", runs, made, log, slots=500, drain_s=5.0)
        service = Orchestrator(agents=agents, runs=runs, signals=signals, watch=watch, clock=clock, ids=RandomIds())
        await service.register_agent(TENANT, GRAPH, "noop.yaml")
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(worker.run(stop))
            group.create_task(watch.run(stop))
            group.create_task(bus.consume(HINT_CONSUMER, worker.hear_hints, stop))
            yield service, pool
            stop.set()


async def drive(service: Orchestrator, pool: asyncpg.Pool, runs: int, at_once: int) -> float:
    """Start `runs` runs, `at_once` at a time, and return the durable steps a second until the last has ended."""
    slots, open_runs = asyncio.Semaphore(at_once), dict[str, asyncio.Event]()
    finished = "select run_id from runs where run_id = any($1::text[]) and finished_at is not null"

    async def one() -> None:
        async with slots:
            view, _ = await service.start_run(TENANT, "noop", {}, "")
            ended = open_runs[view.summary.run_id] = asyncio.Event()
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


async def run_alone(service: Orchestrator, runs: int) -> float:
    """Milliseconds, median, from submitting a run to its end being noticed, one run at a time."""
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        view, _ = await service.start_run(TENANT, "noop", {}, "")
        async for _ in service.follow_run(TENANT, view.summary.run_id, view.summary.seq):
            pass
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e3


async def measure_throughput(servers: Servers) -> list[Row]:
    async with engine(servers) as (service, pool):
        await drive(service, pool, 100, AT_ONCE)
        ours = await drive(service, pool, RUNS, AT_ONCE)
    single = pgbench(servers)
    share = ours / single
    rows = [_rate(ours, "pgbench, one by one", single, share, ">= 0.25", share >= 0.25)]
    peer = await langgraph_figures(servers.postgres.dsn("examples", database="examples"), 400, AT_ONCE)
    if peer is not None:
        ratio = ours / peer["steps_per_s"]
        rows.append(_rate(ours, "LangGraph + AsyncPostgresSaver", peer["steps_per_s"], ratio, ">= 15", ratio >= 15))
    return rows


async def measure_latency(servers: Servers) -> list[Row]:
    async with engine(servers) as (service, _):
        await run_alone(service, 20)
        ours = await run_alone(service, ALONE) / STEPS
    peer = await langgraph_figures(servers.postgres.dsn("examples", database="examples"), ALONE, 1)
    if peer is None:
        return [Row(name="step-latency", value=ours, unit="ms", target="<= 0.5")]
    theirs = peer["run_ms"] / STEPS
    ratio = ours / theirs
    return [
        Row(
            name="step-latency",
            value=ours,
            unit="ms",
            peer="LangGraph + AsyncPostgresSaver",
            peer_value=theirs,
            ratio=ratio,
            target="<= 0.5",
            passed=ratio <= 0.5,
        )
    ]


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


def _rate(value: float, peer: str, peer_value: float, ratio: float, target: str, passed: bool) -> Row:
    return Row(
        name="durable-steps", value=value, unit="steps/s", peer=peer, peer_value=peer_value, ratio=ratio, target=target, passed=passed
    )
