"""The life of a service process: settings, start, serve, ordered drain."""

import argparse
import asyncio
import os
import random
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, TypeVar

import uvloop

from plimsoll_runtime import logs, telemetry
from plimsoll_runtime.errors import PlimsollError, Unavailable, unwrap
from plimsoll_runtime.health import AdminServer, Ping
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.settings import InvalidSettings, ServerSettings, differences, load

Loop: TypeAlias = Callable[[asyncio.Event], Coroutine[None, None, None]]


class Server(Protocol):
    async def start(self) -> None: ...

    async def set_serving(self, serving: bool) -> None: ...

    async def stop(self, grace_s: float) -> None: ...


class ServiceSettings(Protocol):
    """What the settings of every service have."""

    @property
    def server(self) -> ServerSettings: ...


S = TypeVar("S", bound=ServiceSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """A service, built and not started.

    pings    one per dependency; readiness is all of them
    servers  started in order, stopped in reverse
    loops    work that runs beside the servers and ends when the event is set
    """

    name: str
    metrics: Metrics
    pings: Mapping[str, Ping] = field(default_factory=dict)
    servers: Sequence[Server] = ()
    loops: Mapping[str, Loop] = field(default_factory=dict)


Build: TypeAlias = Callable[[S, AsyncExitStack], Awaitable[App]]


def run_service(name: str, settings_type: type[S], build: "Build[S]", argv: Sequence[str] | None = None) -> None:
    """The main function of a service; exits with 0 after a drain, 1 after a fault, 2 for wrong settings."""
    prefix = f"PLIMSOLL_{name.replace('-', '_').upper()}_"
    parser = argparse.ArgumentParser(prog=f"plimsoll-{name}", description=f"The {name} service; settings come from {prefix}… variables.")
    parser.add_argument("--check", action="store_true", help="check the settings and exit")
    parser.add_argument("--print-config", action="store_true", help="print the settings that differ from their defaults and exit")
    arguments = parser.parse_args(argv)
    try:
        settings = load(settings_type, prefix, os.environ)
    except InvalidSettings as error:
        lines = [f"  {problem}" for problem in error.problems] or [f"  {error}"]
        sys.stderr.write("\n".join([f"{name}: the settings are wrong:", *lines, ""]))
        sys.exit(2)
    if arguments.print_config:
        sys.stdout.writelines(f"{variable}={value}\n" for variable, value in differences(settings, prefix))
    if arguments.check or arguments.print_config:
        sys.exit(0)
    logs.configure(name, settings.server.log_level)
    telemetry.configure(name, settings.server.otlp_endpoint)
    try:
        uvloop.run(_live(name, settings, build))
    except* (PlimsollError, OSError) as group:
        logs.get(name).error("service.failed", {"reason": str(unwrap(group))}, error=group)
        sys.exit(1)


async def _live(name: str, settings: S, build: "Build[S]") -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    admin = AdminServer(settings.server.admin_listen)
    await admin.start()
    try:
        await _serve(name, settings, build, admin, stop)
    finally:
        await admin.stop()


async def _serve(name: str, settings: S, build: "Build[S]", admin: AdminServer, stop: asyncio.Event) -> None:
    log = logs.get(name)
    for attempt in range(1, 1_000_000):
        try:
            async with AsyncExitStack() as stack:
                app = await build(settings, stack)
                await serve(app, admin, stop, drain_s=settings.server.drain_s)
            return
        except Unavailable as error:
            log.warning("service.waiting", {"reason": error.reason, "message": error.message, "attempt": attempt})
            with suppress(TimeoutError):
                async with asyncio.timeout(random.uniform(0.5, 1) * min(5.0, 0.2 * 2 ** min(attempt, 6))):  # noqa: S311
                    await stop.wait()
            if stop.is_set():
                return


async def serve(app: App, admin: AdminServer, stop: asyncio.Event, *, drain_s: float) -> None:
    """Start everything, wait for `stop`, and end in order: not ready, no new work, work in flight, then the rest."""
    log = logs.get(app.name)
    draining = asyncio.Event()
    for server in app.servers:
        await server.start()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(loop(draining), name=name) for name, loop in app.loops.items()]
        for server in app.servers:
            await server.set_serving(True)
        admin.serve(app.pings, app.metrics)
        log.info("service.started")
        await stop.wait()  # a loop that fails meanwhile cancels this wait through the group: the process ends and is started anew
        log.info("service.draining")
        admin.drain()
        for server in app.servers:
            await server.set_serving(False)
        draining.set()
        for server in reversed(app.servers):
            await server.stop(drain_s)
        _, late = await asyncio.wait(tasks, timeout=drain_s) if tasks else (set(), set())
        for task in late:
            task.cancel()
    log.info("service.stopped", {"cut_off": len(late)})
