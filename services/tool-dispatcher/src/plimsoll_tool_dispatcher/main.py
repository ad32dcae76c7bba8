"""The composition root of the tool dispatcher."""

import asyncio
import os
import random
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from plimsoll_runtime import logs
from plimsoll_runtime.audit import AUDIT_MIGRATIONS
from plimsoll_runtime.bus import open_bus, service_stream
from plimsoll_runtime.clock import SystemClock
from plimsoll_runtime.guard import open_guard
from plimsoll_runtime.ids import RandomIds
from plimsoll_runtime.lifecycle import App, run_service
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.outbox import OUTBOX_MIGRATIONS, OutboxRelay
from plimsoll_runtime.postgres import migrate, open_pool, ping, upgrade
from plimsoll_runtime.redis import open_redis
from plimsoll_runtime.rpc_server import EVERY_METHOD, PeerCertificates, RpcServer

from plimsoll_tool_dispatcher.adapters.by_source import ExecutorsBySource
from plimsoll_tool_dispatcher.adapters.credential_files import CredentialFiles
from plimsoll_tool_dispatcher.adapters.policy_files import PolicyFiles
from plimsoll_tool_dispatcher.adapters.postgres import MIGRATIONS, PostgresCallLedger
from plimsoll_tool_dispatcher.adapters.postgres_doubts import PostgresDoubtLedger, PostgresResultCache
from plimsoll_tool_dispatcher.adapters.postgres_housekeeping import PostgresHousekeeping
from plimsoll_tool_dispatcher.adapters.postgres_records import PostgresRecords
from plimsoll_tool_dispatcher.adapters.postgres_tools import PostgresToolShelf
from plimsoll_tool_dispatcher.adapters.python_handlers.executor import PythonHandlers
from plimsoll_tool_dispatcher.adapters.python_handlers.files import ToolFiles
from plimsoll_tool_dispatcher.adapters.python_handlers.worker import Limits
from plimsoll_tool_dispatcher.adapters.sources.declared import DeclaredSources
from plimsoll_tool_dispatcher.adapters.sources.opening import SourceOpener
from plimsoll_tool_dispatcher.catalogue import ToolCatalogue
from plimsoll_tool_dispatcher.config import Settings
from plimsoll_tool_dispatcher.domain.sources import HostSource, HttpSource, McpSource, PythonSource
from plimsoll_tool_dispatcher.pipeline import Pipeline, assemble
from plimsoll_tool_dispatcher.ports import Outside, Records
from plimsoll_tool_dispatcher.transport.codec import call_completed, call_escalated
from plimsoll_tool_dispatcher.transport.grpc import Callers, ToolDispatcherHandler, tool_dispatcher_rpcs

NAME = "tool-dispatcher"
SCHEMA = "tool_dispatcher"
TABLES = (OUTBOX_MIGRATIONS, AUDIT_MIGRATIONS, MIGRATIONS)
CALLERS = {
    "gateway": EVERY_METHOD,
    "orchestrator": frozenset({"Dispatch", "ListTools", "RevokeGrant"}),
    "feedback": frozenset({"GetCall"}),
}
DISPATCHERS = frozenset({"orchestrator"})
OPERATORS = frozenset({"gateway"})
LOOKING_BACK = frozenset({"gateway", "orchestrator", "feedback"})


async def build(settings: Settings, stack: AsyncExitStack) -> App:
    """Resources in order, then what stands on them. Raises Unavailable while one of them is away."""
    log, metrics, clock = logs.get(NAME), Metrics(), SystemClock()

    pool = await stack.enter_async_context(open_pool(settings.postgres, SCHEMA, application=NAME))
    bus = await stack.enter_async_context(open_bus(settings.nats, NAME, metrics))
    redis = await stack.enter_async_context(open_redis(settings.redis))
    await migrate(pool, SCHEMA, TABLES)
    guard = await stack.enter_async_context(
        open_guard(redis, clock, log, space=SCHEMA, share=1 / settings.replicas, registry=metrics.registry)
    )

    credentials = Path(settings.credentials_dir) if settings.credentials_dir else None
    vault, policies = CredentialFiles(credentials), PolicyFiles(settings.policy_dirs, log)
    await policies.scan()
    files, catalogue = ToolFiles(settings.tool_dirs, credentials, log), ToolCatalogue(PostgresToolShelf(pool), log)
    await files.scan()
    await catalogue.offer(files.offering())
    handlers = await stack.enter_async_context(PythonHandlers(files, _limits(settings), log))
    opener = SourceOpener(os.environ, settings.server.tls, clock, log, memory_address=settings.memory_address)
    sources = await stack.enter_async_context(DeclaredSources(settings.tool_dirs, credentials, opener, catalogue, log))

    ledger = PostgresCallLedger(pool, call_completed)
    await stack.enter_async_context(ledger.running())
    outside = Outside(
        registry=catalogue,
        policies=policies,
        vault=vault,
        executor=ExecutorsBySource({PythonSource: handlers, HttpSource: sources, HostSource: sources, McpSource: sources}),
        gate=guard,
        ledger=ledger,
        doubts=PostgresDoubtLedger(pool, call_completed, call_escalated),
        cache=PostgresResultCache(pool),
        clock=clock,
        ids=RandomIds(),
        pause=asyncio.sleep,
        draw=random.random,
    )
    pipeline = assemble(outside, lease_s=settings.lease_s, arguments_chars=settings.arguments_kib * 1024, log=log)
    await stack.enter_async_context(pipeline.executions)
    house = PostgresHousekeeping(pool, log, calls_s=settings.keep_calls_s, results_s=settings.keep_results_s, runs_s=settings.keep_runs_s)
    relay = OutboxRelay(pool, bus, service_stream(NAME), log)

    return App(
        name=NAME,
        metrics=metrics,
        pings={"postgres": partial(ping, pool), "nats": bus.ping},  # not Redis: without it calls go on
        servers=[_server(settings, pipeline, catalogue, PostgresRecords(pool), metrics, log)],
        loops={
            "relay the outbox": relay.run,
            "watch the tool files": partial(files.watch, handlers.check, catalogue.offer, settings.scan_s),
            "watch the sources": partial(sources.watch, settings.scan_s),
            "watch the policy files": partial(policies.watch, settings.scan_s),
            "watch the credentials": partial(vault.watch, settings.scan_s),
            "follow the registry": catalogue.follow,
            "keep calls in flight alive": pipeline.executions.keep_alive,
            "settle doubts": pipeline.doubts.watch,
            "keep house": house.watch,
        },
    )


def main() -> None:
    """Run until told to stop."""
    run_service(NAME, Settings, build, upgrade=lambda settings: upgrade(settings.postgres, SCHEMA, TABLES))


def _limits(settings: Settings) -> Limits:
    return Limits(
        memory_bytes=settings.worker_memory_mib * 1024 * 1024,
        result_bytes=settings.result_kib * 1024,
        load_s=settings.worker_load_s,
        environment=os.environ,
    )


def _server(
    settings: Settings, pipeline: Pipeline, catalogue: ToolCatalogue, records: Records, metrics: Metrics, log: logs.Log
) -> RpcServer:
    insecure = settings.server.insecure
    anybody = frozenset({"insecure"}) if insecure else frozenset()
    callers = Callers(
        dispatch=DISPATCHERS | anybody,
        operate=OPERATORS | anybody,
        revoke=DISPATCHERS | OPERATORS | anybody,
        look_back=LOOKING_BACK | anybody,
    )
    handler = ToolDispatcherHandler(
        pipeline.service,
        catalogue,
        pipeline.doubts,
        records,
        callers=callers,
        arguments_chars=settings.arguments_kib * 1024,
        metrics=metrics,
    )
    authenticate = PeerCertificates(CALLERS, insecure=insecure)
    return RpcServer(settings.server, [tool_dispatcher_rpcs(handler)], authenticate, metrics, log)
