"""Puts together what works on stored operations and signals afterwards: monitors and their alerts, and the export of spans."""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import asyncpg
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.ids import Ids
from plimsoll_runtime.lifecycle import Loop
from plimsoll_runtime.logs import Log
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.rpc_server import RpcService
from prometheus_client import Counter

from plimsoll_feedback.adapters.alert_webhook import AlertWebhook
from plimsoll_feedback.adapters.otlp import OtlpCollector
from plimsoll_feedback.adapters.postgres_feed import PostgresOperationFeed, PostgresSignalFeed
from plimsoll_feedback.adapters.postgres_labels import PostgresLabelStore
from plimsoll_feedback.adapters.postgres_monitors import PostgresMonitorStore
from plimsoll_feedback.adapters.postgres_surroundings import PostgresSurroundings
from plimsoll_feedback.config import ExportSettings, Settings
from plimsoll_feedback.domain.spans import Profile
from plimsoll_feedback.ports.bodies import Bodies
from plimsoll_feedback.service.alerting import Alerting
from plimsoll_feedback.service.exporting import Exporting
from plimsoll_feedback.service.finding import FindingMistakes
from plimsoll_feedback.service.following import Follower
from plimsoll_feedback.service.monitors import Monitors
from plimsoll_feedback.transport.grpc_monitors import monitor_rpcs
from plimsoll_feedback.transport.monitor_codec import alert_raised

EXPORTED_SPANS = "plimsoll_feedback_exported_spans"


@dataclass(frozen=True, slots=True, kw_only=True)
class Beneath:
    """What it stands on."""

    pool: asyncpg.Pool
    bodies: Bodies
    clock: Clock
    ids: Ids
    log: Log
    metrics: Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """What it adds to the service."""

    rpcs: Sequence[RpcService]
    loops: Mapping[str, Loop] = field(default_factory=dict)


async def watching(settings: Settings, beneath: Beneath, stack: AsyncExitStack) -> Watching:
    """Resources go on the stack; nothing runs before the service does."""
    pool, clock, ids, log = beneath.pool, beneath.clock, beneath.ids, beneath.log
    operations, signals = PostgresOperationFeed(pool), PostgresSignalFeed(pool)
    store = PostgresMonitorStore(pool, alert_raised)
    deliver = bool(settings.alerts.webhook_url)
    monitors = Monitors(store, operations, signals, clock, ids, log, rules=settings.monitors.rules, deliver=deliver)
    mistakes = FindingMistakes(PostgresLabelStore(pool), operations, signals, beneath.bodies, clock, ids, log)
    loops = {
        "watch operations": Follower("monitors", monitors.follow_operations, log).run,
        "watch signals": Follower("monitors of signals", monitors.follow_signals, log).run,
        "find mistakes": Follower("mistakes", mistakes.follow_operations, log).run,
        "find mistakes that people show": Follower("mistakes of signals", mistakes.follow_signals, log).run,
    }
    if deliver:
        webhook = await stack.enter_async_context(AlertWebhook.opened(settings.alerts.rules))
        alerting = Alerting(store, webhook, clock, log, url=settings.alerts.webhook_url, secret=settings.alerts.webhook_secret)
        loops["tell of alerts"] = Follower("alerts", alerting.deliver, log).run
    if settings.export.url:
        loops["export spans"] = Follower("export", (await exporting(settings.export, beneath, stack)).export, log).run
    return Watching(rpcs=[monitor_rpcs(monitors)], loops=loops)


async def exporting(wanted: ExportSettings, beneath: Beneath, stack: AsyncExitStack) -> Exporting:
    """The export to the collector of the settings."""
    counter = Counter(EXPORTED_SPANS, "Spans by what became of them", ("outcome",), registry=beneath.metrics.registry)

    def told(taken: int, refused: int) -> None:
        counter.labels("taken").inc(taken)
        counter.labels("refused").inc(refused)

    collector = await stack.enter_async_context(OtlpCollector.opened(wanted.rules, wanted.url, wanted.header_map))
    feed, surroundings = PostgresOperationFeed(beneath.pool), PostgresSurroundings(beneath.pool)
    return Exporting(
        feed, surroundings, collector, beneath.ids, beneath.log, profile=Profile(wanted.profile), settle_s=wanted.settle_s, told=told
    )
