"""The composition root of the tool dispatcher."""

import asyncio
import os
import random
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from plimsoll_runtime import logs
from plimsoll_runtime.bus import open_bus, service_stream
from plimsoll_runtime.clock import SystemClock
from plimsoll_runtime.ids import RandomIds
from plimsoll_runtime.lifecycle import App, run_service
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.outbox import OUTBOX_MIGRATIONS, OutboxRelay
from plimsoll_runtime.postgres import migrate, open_pool, ping
from plimsoll_runtime.rpc_server import PeerCertificates, RpcServer

from plimsoll_tool_dispatcher.adapters.postgres import MIGRATIONS, PostgresCallLedger
from plimsoll_tool_dispatcher.adapters.python_handlers.executor import PythonHandlers
from plimsoll_tool_dispatcher.adapters.python_handlers.files import ToolFiles
from plimsoll_tool_dispatcher.adapters.python_handlers.worker import Limits
from plimsoll_tool_dispatcher.config import Settings
from plimsoll_tool_dispatcher.executions import Executions
from plimsoll_tool_dispatcher.service import ToolDispatcher
from plimsoll_tool_dispatcher.transport.codec import call_completed
from plimsoll_tool_dispatcher.transport.grpc import ToolDispatcherHandler, tool_dispatcher_rpcs

NAME = "tool-dispatcher"
SCHEMA = "tool_dispatcher"
CALLERS = frozenset({"gateway", "orchestrator", "model-router"})
DISPATCHERS = frozenset({"orchestrator"})


async def build(settings: Settings, stack: AsyncExitStack) -> App:
    """Resources in order, then what stands on them. Raises Unavailable while one of them is away."""
    log, metrics = logs.get(NAME), Metrics()

    pool = await stack.enter_async_context(open_pool(settings.postgres, SCHEMA, application=NAME))
    bus = await stack.enter_async_context(open_bus(settings.nats, NAME, metrics))
    await migrate(pool, SCHEMA, [OUTBOX_MIGRATIONS, MIGRATIONS])

    files = ToolFiles(settings.tool_dirs, Path(settings.credentials_dir) if settings.credentials_dir else None, log)
    await files.scan()
    handlers = await stack.enter_async_context(PythonHandlers(files, _limits(settings), log))
    ledger = PostgresCallLedger(pool, call_completed)
    executions = await stack.enter_async_context(_executions(settings, ledger, handlers, log))
    service = _service(settings, files, ledger, executions, log)
    relay = OutboxRelay(pool, bus, service_stream(NAME), log)

    return App(
        name=NAME,
        metrics=metrics,
        pings={"postgres": partial(ping, pool), "nats": bus.ping},
        servers=[_server(settings, service, metrics, log)],
        loops={
            "relay the outbox": relay.run,
            "watch the tool files": partial(files.watch, handlers.check, settings.scan_s),
            "keep calls in flight alive": executions.keep_alive,
            "settle abandoned calls": service.settle_abandoned,
        },
    )


def main() -> None:
    """Run until told to stop."""
    run_service(NAME, Settings, build)


def _limits(settings: Settings) -> Limits:
    return Limits(
        memory_bytes=settings.worker_memory_mib * 1024 * 1024,
        result_bytes=settings.result_kib * 1024,
        load_s=settings.worker_load_s,
        environment=os.environ,
    )


def _executions(settings: Settings, ledger: PostgresCallLedger, handlers: PythonHandlers, log: logs.Log) -> Executions:
    return Executions(
        ledger=ledger,
        executor=handlers,
        clock=SystemClock(),
        ids=RandomIds(),
        pause=asyncio.sleep,
        draw=random.random,
        lease_s=settings.lease_s,
        log=log,
    )


def _service(settings: Settings, files: ToolFiles, ledger: PostgresCallLedger, executions: Executions, log: logs.Log) -> ToolDispatcher:
    return ToolDispatcher(
        registry=files,
        ledger=ledger,
        executions=executions,
        clock=SystemClock(),
        ids=RandomIds(),
        lease_s=settings.lease_s,
        arguments_chars=settings.arguments_kib * 1024,
        log=log,
    )


def _server(settings: Settings, service: ToolDispatcher, metrics: Metrics, log: logs.Log) -> RpcServer:
    insecure = settings.server.insecure
    dispatchers = DISPATCHERS | {"insecure"} if insecure else DISPATCHERS
    chars = settings.arguments_kib * 1024
    handler = ToolDispatcherHandler(service, dispatchers=dispatchers, arguments_chars=chars, metrics=metrics, log=log)
    authenticate = PeerCertificates(CALLERS, insecure=insecure)
    return RpcServer(settings.server, [tool_dispatcher_rpcs(handler)], authenticate, metrics, log)
