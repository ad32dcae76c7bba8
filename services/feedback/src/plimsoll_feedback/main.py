"""The composition root of feedback."""

from contextlib import AsyncExitStack
from functools import partial

from plimsoll_runtime import logs
from plimsoll_runtime.bus import open_bus, service_stream
from plimsoll_runtime.clock import SystemClock
from plimsoll_runtime.ids import RandomIds
from plimsoll_runtime.lifecycle import App, run_service
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.outbox import OUTBOX_MIGRATIONS, OutboxRelay
from plimsoll_runtime.postgres import migrate, open_pool, ping
from plimsoll_runtime.rpc_server import PeerCertificates, RpcServer

from plimsoll_feedback.adapters.postgres_operations import PostgresOperationStore
from plimsoll_feedback.adapters.postgres_partitions import OperationPartitions
from plimsoll_feedback.adapters.postgres_session import MIGRATIONS
from plimsoll_feedback.adapters.postgres_signals import PostgresSignalStore
from plimsoll_feedback.config import Settings
from plimsoll_feedback.service import FeedbackService
from plimsoll_feedback.transport.codec import signal_recorded
from plimsoll_feedback.transport.consumers import EventConsumers
from plimsoll_feedback.transport.grpc import feedback_rpcs

NAME = "feedback"
CALLERS = frozenset({"gateway"})


async def build(settings: Settings, stack: AsyncExitStack) -> App:
    """Resources in order, then what stands on them. Raises Unavailable while one of them is away."""
    log = logs.get(NAME)
    clock = SystemClock()
    metrics = Metrics()

    pool = await stack.enter_async_context(open_pool(settings.postgres, NAME, application=NAME))
    bus = await stack.enter_async_context(open_bus(settings.nats, NAME, metrics))
    await migrate(pool, NAME, [OUTBOX_MIGRATIONS, MIGRATIONS])
    partitions = OperationPartitions(pool, clock, settings.partition_days, log)
    await partitions.ensure()

    signals = PostgresSignalStore(pool, signal_recorded)
    service = FeedbackService(PostgresOperationStore(pool), signals, clock, RandomIds())
    consumers = EventConsumers(service, bus, clock, metrics, log, batch=settings.ingest_batch)
    relay = OutboxRelay(pool, bus, service_stream(NAME), log)
    authenticate = PeerCertificates(CALLERS, insecure=settings.server.insecure)
    return App(
        name=NAME,
        metrics=metrics,
        pings={"postgres": partial(ping, pool), "nats": bus.ping},
        servers=[RpcServer(settings.server, [feedback_rpcs(service)], authenticate, metrics, log)],
        loops={**consumers.loops(), "relay the outbox": relay.run, "keep partitions ahead": partitions.run},
    )


def main() -> None:
    """Run until told to stop."""
    run_service(NAME, Settings, build)
