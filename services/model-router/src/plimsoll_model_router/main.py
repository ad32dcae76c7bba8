"""The composition root: settings → resources in order → adapters → service → server."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import asyncpg
from plimsoll.model_router.v1 import model_router_service_pb2, model_router_service_pb2_grpc
from plimsoll_runtime import logs
from plimsoll_runtime.audit_rpc import audit_rpcs
from plimsoll_runtime.breaker import BreakerPolicy
from plimsoll_runtime.bus import open_bus, service_stream
from plimsoll_runtime.clock import SystemClock
from plimsoll_runtime.errors import DeadlineExpired, Unavailable
from plimsoll_runtime.guard import open_guard
from plimsoll_runtime.ids import RandomIds
from plimsoll_runtime.lifecycle import App, Loop, run_service
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.outbox import OutboxRelay
from plimsoll_runtime.postgres import migrate, open_pool, ping, upgrade
from plimsoll_runtime.redis import open_redis
from plimsoll_runtime.retry import Backoff
from plimsoll_runtime.rpc_client import open_channel
from plimsoll_runtime.rpc_server import EVERY_METHOD, PeerCertificates, RpcServer, RpcService

from plimsoll_model_router import suppliers
from plimsoll_model_router.adapters.feedback_reports import FeedbackReports
from plimsoll_model_router.adapters.gathered import Gathered
from plimsoll_model_router.adapters.ledger_rounds import Encoding
from plimsoll_model_router.adapters.postgres_budgets import PostgresBudgetStore
from plimsoll_model_router.adapters.postgres_ledger import PostgresCallLedger
from plimsoll_model_router.adapters.postgres_registry import PostgresRegistryStore
from plimsoll_model_router.adapters.price_alert import PriceAlert
from plimsoll_model_router.adapters.providers.connections import open_connections
from plimsoll_model_router.adapters.providers.dialects import upstreams
from plimsoll_model_router.adapters.providers.http import HttpTransport
from plimsoll_model_router.adapters.providers.rehearsal import FAULTS
from plimsoll_model_router.adapters.registry_watch import RegistryWatch
from plimsoll_model_router.adapters.snapshot_file import SnapshotFile
from plimsoll_model_router.adapters.tenancy import MIGRATIONS
from plimsoll_model_router.adapters.tickets import Tickets
from plimsoll_model_router.config import Settings
from plimsoll_model_router.domain.pace import Pace
from plimsoll_model_router.domain.registry_cache import RegistryCache
from plimsoll_model_router.domain.rehearsal.fits import Fits
from plimsoll_model_router.failover.attempts import Attempts
from plimsoll_model_router.failover.credentials import Credentials
from plimsoll_model_router.failover.embedding import EmbeddingFailover
from plimsoll_model_router.failover.failover import Failover
from plimsoll_model_router.service.budgets import Budgets
from plimsoll_model_router.service.catalogue import Catalogue
from plimsoll_model_router.service.embedding import Embedder
from plimsoll_model_router.service.forgiving import ForgivingLedger
from plimsoll_model_router.service.planning import Planner
from plimsoll_model_router.service.registry import Registry
from plimsoll_model_router.service.router import ModelRouter
from plimsoll_model_router.transport.codec import answer_to_bytes, body_of, completed_to_bytes
from plimsoll_model_router.transport.grpc import ModelRouterServicer, Verbs

NAME = "model-router"
SCHEMA = "model_router"
_OF_FEEDBACK = {
    "Generate",
    "GetCall",
    "GetEntry",
    "GetPrompt",
    "ListModels",
    "MoveLabel",
    "RegisterPrompt",
    "RegisterRoute",
    "RollBackLabel",
}
CALLERS = {
    "gateway": EVERY_METHOD,
    "orchestrator": frozenset({"Generate", "GenerateStream"}),
    "feedback": frozenset(_OF_FEEDBACK),
    "memory": frozenset({"Embed"}),
}


async def build(settings: Settings, stack: AsyncExitStack) -> App:
    """Enter every resource and wire the service; nothing runs yet."""
    metrics, log, clock, ids, pace = Metrics(), logs.get(NAME), SystemClock(), RandomIds(), Pace()
    cache = RegistryCache()
    snapshot = SnapshotFile(Path(settings.snapshot_file) if settings.snapshot_file else None, cache, log)
    database = replace(settings.postgres, pool_min=0) if settings.snapshot_file else settings.postgres  # 0: opened when first used
    pool = await stack.enter_async_context(open_pool(database, SCHEMA, application=NAME))
    late_loops = await _migrated(pool, snapshot, log)
    bus = await stack.enter_async_context(open_bus(settings.nats, NAME, metrics))
    redis = await stack.enter_async_context(open_redis(settings.redis))
    guard = await stack.enter_async_context(
        open_guard(redis, clock, log, space=SCHEMA, share=1 / settings.replicas, registry=metrics.registry, rounds=1)
    )
    tickets = Tickets(guard, clock)
    connections = await stack.enter_async_context(open_connections())
    feedback = await stack.enter_async_context(open_channel(settings.feedback_address or "127.0.0.1:9", settings.server.tls, "feedback"))

    relay = OutboxRelay(pool, bus, service_stream(NAME), log)
    store = PostgresRegistryStore(pool, clock)
    watch = RegistryWatch(bus, store, cache, snapshot, log)
    encoding = Encoding(event=completed_to_bytes, body=body_of, answer=answer_to_bytes)
    ledger = PostgresCallLedger(pool, encoding, clock, log, remember_s=settings.remember_s, committed=Gathered(relay.wake))
    await stack.enter_async_context(ledger.running())

    asked, keys = upstreams(HttpTransport(connections, clock), Fits()), Credentials(suppliers.credentials(settings), clock)
    breaker = BreakerPolicy(failures=settings.breaker.failures, window_s=settings.breaker.window_s, cooldown_s=settings.breaker.cooldown_s)
    timers, limits = suppliers.timers(settings), suppliers.limits(settings)
    attempts = Attempts(asked, tickets, clock, pace, timers=timers, breaker=breaker, limits=limits)
    catalogue = Catalogue(store, cache, suppliers.configured(settings, tuple(FAULTS)), clock, log)
    counted = ledger if settings.ledger_away == "refuse" else ForgivingLedger(ledger, log)
    router = ModelRouter(
        ledger=counted,
        failover=Failover(attempts, keys, clock, cap_s=settings.timers.total_s),
        planner=Planner(catalogue, counted, pace, attempts.is_open),
        clock=clock,
        ids=ids,
        unpriced=PriceAlert(metrics.registry, log),
    )
    vectors = EmbeddingFailover(asked, guard, keys, clock, timers=timers, limits=limits, breaker=breaker)
    verbs = Verbs(
        router=router,
        embedder=Embedder(catalogue, counted, vectors, clock, ids),
        registry=Registry(store, catalogue, FeedbackReports(feedback), watch.announce, protected=settings.protected),
        budgets=Budgets(PostgresBudgetStore(pool)),
    )
    authenticate = PeerCertificates(CALLERS, insecure=settings.server.insecure)
    return App(
        name=NAME,
        metrics=metrics,
        pings={"nats": bus.ping} if late_loops else {"postgres": lambda: ping(pool), "nats": bus.ping},
        servers=[RpcServer(settings.server, [_rpcs(verbs), audit_rpcs(pool)], authenticate, metrics, log)],
        loops={
            **late_loops,
            "relay": relay.run,
            "watch the registry": watch.run,
            "keep the ledger's house": ledger.keep_house,
        },
    )


async def _migrated(pool: asyncpg.Pool, snapshot: SnapshotFile, log: logs.Log) -> Mapping[str, Loop]:
    """Bring the schema up to date. While Postgres is away, a replica with a snapshot starts all the same, and migrates when it is back."""
    known = snapshot.load()
    try:
        await migrate(pool, SCHEMA, MIGRATIONS)
    except (Unavailable, DeadlineExpired) as error:
        if not known:
            raise
        log.warning("started.offline", {"reason": error.reason, "means": "prompts, models and routes are the last known good"})
    else:
        return {}

    async def migrate_later(stop: asyncio.Event) -> None:
        backoff = Backoff(0.2, 2.0)
        while not stop.is_set():
            try:
                await migrate(pool, SCHEMA, MIGRATIONS)
            except (Unavailable, DeadlineExpired):
                await backoff.pause(stop)
                continue
            log.info("started.online")
            await stop.wait()

    return {"migrate": migrate_later}


def _rpcs(verbs: Verbs) -> RpcService:
    return RpcService(
        model_router_service_pb2.DESCRIPTOR.services_by_name["ModelRouterService"].full_name,
        lambda server: model_router_service_pb2_grpc.add_ModelRouterServiceServicer_to_server(ModelRouterServicer(verbs), server),
    )


def main() -> None:
    run_service(NAME, Settings, build, upgrade=lambda settings: upgrade(settings.postgres, SCHEMA, MIGRATIONS))
