"""The composition root of feedback."""

from contextlib import AsyncExitStack
from functools import partial

from plimsoll_runtime import logs
from plimsoll_runtime.audit import AUDIT_MIGRATIONS
from plimsoll_runtime.audit_rpc import audit_rpcs
from plimsoll_runtime.bus import open_bus, service_stream
from plimsoll_runtime.clock import SystemClock
from plimsoll_runtime.ids import RandomIds
from plimsoll_runtime.lifecycle import App, run_service
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.outbox import OUTBOX_MIGRATIONS, OutboxRelay
from plimsoll_runtime.postgres import migrate, open_pool, ping, upgrade
from plimsoll_runtime.rpc_server import RpcServer

from plimsoll_feedback.adapters.call_bodies import CallBodies
from plimsoll_feedback.adapters.postgres_operations import PostgresOperationStore
from plimsoll_feedback.adapters.postgres_partitions import OperationPartitions
from plimsoll_feedback.adapters.postgres_parts import LEARNING_MIGRATIONS
from plimsoll_feedback.adapters.postgres_retention import Retention
from plimsoll_feedback.adapters.postgres_session import MIGRATIONS
from plimsoll_feedback.adapters.postgres_signals import PostgresSignalStore
from plimsoll_feedback.adapters.postgres_traces import PostgresTraceStore
from plimsoll_feedback.config import Settings
from plimsoll_feedback.learning import Around, learning
from plimsoll_feedback.service import FeedbackService
from plimsoll_feedback.service.bodies import OperationBodies
from plimsoll_feedback.service.traces import Traces
from plimsoll_feedback.transport.callers import FeedbackCallers
from plimsoll_feedback.transport.codec import signal_recorded
from plimsoll_feedback.transport.consumers import EventConsumers
from plimsoll_feedback.transport.grpc import feedback_rpcs
from plimsoll_feedback.watching import Beneath, watching

NAME = "feedback"
TABLES = (OUTBOX_MIGRATIONS, AUDIT_MIGRATIONS, MIGRATIONS, LEARNING_MIGRATIONS)


async def build(settings: Settings, stack: AsyncExitStack) -> App:
    """Resources in order, then what stands on them. Raises Unavailable while one of them is away."""
    log = logs.get(NAME)
    clock = SystemClock()
    metrics = Metrics()

    pool = await stack.enter_async_context(open_pool(settings.postgres, NAME, application=NAME))
    bus = await stack.enter_async_context(open_bus(settings.nats, NAME, metrics))
    await migrate(pool, NAME, TABLES)
    partitions = OperationPartitions(pool, clock, settings.partition_days, log)
    await partitions.ensure()

    signals = PostgresSignalStore(pool, signal_recorded)
    traces = PostgresTraceStore(pool)
    operations = PostgresOperationStore(pool, signal_recorded)
    service = FeedbackService(operations, signals, traces, clock, RandomIds())
    owners = await stack.enter_async_context(
        CallBodies.opened(
            settings.model_router_address, settings.tool_dispatcher_address, settings.orchestrator_address, settings.server.tls
        )
    )
    rpcs = feedback_rpcs(service, Traces(traces, service), OperationBodies(operations, owners))
    consumers = EventConsumers(service, bus, clock, metrics, log, batch=settings.ingest_batch)
    relay = OutboxRelay(pool, bus, service_stream(NAME), log)
    around = Around(
        pool=pool,
        clock=clock,
        ids=RandomIds(),
        log=log,
        tls=settings.server.tls,
        model_router_address=settings.model_router_address,
        select_every_s=settings.select_every_s,
        signals=service,
    )
    learns = await learning(around, stack)
    beneath = Beneath(pool=pool, bodies=owners, clock=clock, ids=RandomIds(), log=log, metrics=metrics)
    watches = await watching(settings, beneath, stack)
    authenticate = FeedbackCallers(insecure=settings.server.insecure)
    return App(
        name=NAME,
        metrics=metrics,
        pings={"postgres": partial(ping, pool), "nats": bus.ping},
        servers=[RpcServer(settings.server, [rpcs, *watches.rpcs, *learns.rpcs, audit_rpcs(pool)], authenticate, metrics, log)],
        loops={
            **consumers.loops(),
            "relay the outbox": relay.run,
            "keep partitions ahead": partitions.run,
            "forget what is old": Retention(pool, clock, settings.retention_days, log).run,
            **watches.loops,
            **learns.loops,
        },
    )


def main() -> None:
    """Run until told to stop."""
    run_service(NAME, Settings, build, upgrade=lambda settings: upgrade(settings.postgres, NAME, TABLES))
