"""The engine in this process, API and worker, on real servers: what the benchmarks of the orchestrator drive."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import asyncpg
from plimsoll_devstack.servers import Servers
from plimsoll_orchestrator.adapters.database_clock import DatabaseClock
from plimsoll_orchestrator.adapters.postgres_agents import PostgresAgentStore
from plimsoll_orchestrator.adapters.postgres_claims import PostgresClaimStore
from plimsoll_orchestrator.adapters.postgres_runs import PostgresRunStore
from plimsoll_orchestrator.adapters.signals import HINT_CONSUMER, HINTS, BusSignals, JournalWatch, SpeechWatch
from plimsoll_orchestrator.committer import Committer
from plimsoll_orchestrator.engine import Engine
from plimsoll_orchestrator.main import MIGRATIONS
from plimsoll_orchestrator.service import Following, Orchestrator
from plimsoll_orchestrator.speaker import Speaker
from plimsoll_orchestrator.steps.perform import Performer
from plimsoll_orchestrator.worker import Worker
from plimsoll_runtime import logs
from plimsoll_runtime.bus import open_bus
from plimsoll_runtime.clock import SystemClock
from plimsoll_runtime.ids import RandomIds
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.postgres import migrate, open_pool
from plimsoll_runtime.settings import NatsSettings, PostgresSettings, Secret

TENANT = "bench"


class NothingOutside:
    """The services that a no-op graph never calls."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"a no-op graph called {name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    service: Orchestrator
    following: Following
    claims: PostgresClaimStore
    worker: Worker
    pool: asyncpg.Pool


@asynccontextmanager
async def orchestrator(servers: Servers, *, works: bool = True, tools: object | None = None) -> AsyncIterator[Parts]:
    """Without `works`, runs are accepted and nobody advances them."""
    async with AsyncExitStack() as stack:
        metrics, log, clock = Metrics(), logs.get("bench"), DatabaseClock(SystemClock())
        pool = await stack.enter_async_context(
            open_pool(PostgresSettings(dsn=Secret(servers.postgres.dsn("orchestrator"))), "orchestrator")
        )
        await migrate(pool, "orchestrator", [MIGRATIONS])
        bus = await stack.enter_async_context(open_bus(NatsSettings(url=Secret(servers.nats.url("orchestrator"))), "bench", metrics))
        await bus.ensure_stream(HINTS)
        agents, runs, claims = PostgresAgentStore(pool), PostgresRunStore(pool, clock), PostgresClaimStore(pool, clock)
        signals, watch, outside = BusSignals(bus), JournalWatch(bus), NothingOutside()
        engine = Engine(
            performer=Performer(models=outside, tools=tools or outside, memory=outside),  # type: ignore[arg-type]
            grants=outside,  # type: ignore[arg-type]
            committer=Committer(claims, signals),
            store=claims,
            speaker=Speaker(signals),
            find_graph=agents.graph,
            find_newest=agents.newest_graph,
            clock=clock,
            ids=RandomIds(),
            log=log,
            draining=asyncio.Event(),
        )
        await stack.enter_async_context(runs.accepting())
        await stack.enter_async_context(claims.keeping())
        worker = Worker("bench", claims, engine, log, slots=500, drain_s=5.0)
        service = Orchestrator(agents=agents, runs=runs, signals=signals, clock=clock, ids=RandomIds())
        following = Following(runs=runs, watch=watch, listening=SpeechWatch(bus))
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(watch.run(stop))
            if works:
                group.create_task(worker.run(stop))
                group.create_task(bus.consume(HINT_CONSUMER, worker.hear_hints, stop))
            yield Parts(service=service, following=following, claims=claims, worker=worker, pool=pool)
            stop.set()
