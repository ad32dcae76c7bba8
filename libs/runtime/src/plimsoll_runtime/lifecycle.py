"""The life of a service process: settings, start, serve, ordered drain."""

import argparse
import asyncio
import gc
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, TypeVar

import uvloop

from plimsoll_runtime import logs, poller, telemetry, tls
from plimsoll_runtime.errors import Cancelled, ErrorKind, Internal, PlimsollError, unwrap
from plimsoll_runtime.faults import Faults, open_faults
from plimsoll_runtime.health import AdminServer, Ping
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.retry import Backoff
from plimsoll_runtime.settings import InvalidSettings, ServerSettings, differences, load

_RETRY_FIRST_S, _RETRY_MOST_S = 0.2, 5.0
_COLLECT = (20_000, 20, 50)  # a request makes some thousand objects and few cycles: looking for them less often saves a tenth of the time
T = TypeVar("T")

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
    servers  started in order, stopped together
    loops    work that runs beside the servers and ends when the event is set
    """

    name: str
    metrics: Metrics
    pings: Mapping[str, Ping] = field(default_factory=dict)
    servers: Sequence[Server] = ()
    loops: Mapping[str, Loop] = field(default_factory=dict)


Build: TypeAlias = Callable[[S, AsyncExitStack], Awaitable[App]]
Upgrade: TypeAlias = Callable[[S], Awaitable[None]]
"""Brings what a service keeps up to date; safe to repeat, and beside replicas that run."""


def run_service(
    name: str, settings_type: type[S], build: "Build[S]", argv: Sequence[str] | None = None, *, upgrade: "Upgrade[S] | None" = None
) -> None:
    """The main function of a service; exits with 0 after a drain, 1 after a fault, 2 for wrong settings."""
    prefix = f"PLIMSOLL_{name.replace('-', '_').upper()}_"
    parser = argparse.ArgumentParser(prog=f"plimsoll-{name}", description=f"The {name} service; settings come from {prefix}… variables.")
    parser.add_argument("--check", action="store_true", help="check the settings and exit")
    parser.add_argument("--print-config", action="store_true", help="print the settings that differ from their defaults and exit")
    if upgrade is not None:
        parser.add_argument(
            "--migrate", action="store_true", help="bring the tables up to date and exit; a service that starts does it, too"
        )
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
    os.environ.setdefault(*poller.OLDER)
    gc.set_threshold(*_COLLECT)
    gc.freeze()  # what was imported stays: a full collection that looked at it would hold up everybody for tens of milliseconds
    logs.configure(name, settings.server.log_level)
    telemetry.configure(name, settings.server.otlp_endpoint)
    try:
        if upgrade is not None and arguments.migrate:
            uvloop.run(_upgrade(name, settings, upgrade))
        else:
            if settings.server.tls.enabled:
                tls.prove(settings.server.tls)  # said at once, whatever else is away
            uvloop.run(_live(name, settings, build))
    except Exception as error:  # noqa: BLE001 - the end of the process: whatever it was is told once, as every line is
        sys.exit(_failed(logs.get(name), unwrap(error)))


def _failed(log: logs.Log, error: BaseException) -> int:
    """Tell why the process ends; the exit code. The trace of what is no fault of ours would only hide the reason."""
    match error:
        case PlimsollError():
            fields = {"reason": error.reason, "message": error.message, "remedy": error.remedy}
            log.error("service.failed", fields, error=error if error.kind is ErrorKind.INTERNAL else None)
        case OSError():
            log.error("service.failed", {"reason": type(error).__name__, "message": str(error)})
        case _:
            log.error("service.failed", {"reason": type(error).__name__}, error=error)
    return 2 if isinstance(error, InvalidSettings) else 1


async def _upgrade(name: str, settings: S, upgrade: "Upgrade[S]") -> None:
    """Upgrade, and end; while the database is away, keep trying. Raises Cancelled when it is stopped before that."""
    log, stop, backoff = logs.get(name), _told_to_stop(), Backoff(_RETRY_FIRST_S, _RETRY_MOST_S)
    while not stop.is_set():
        try:
            await _unless(stop, upgrade(settings))
        except Exception as error:  # noqa: BLE001 - raised again by what looks at it
            _waiting(log, error)
        else:
            if not stop.is_set():
                log.info("service.migrated")
                return
        await backoff.pause(stop)
    raise Cancelled("told to stop before the tables were up to date", reason="NOT_MIGRATED")


def _told_to_stop() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def _waiting(log: logs.Log, error: Exception) -> PlimsollError:
    """What the service waits for, told in a line. Raises `error` again when waiting does not mend it."""
    away = unwrap(error)
    if not isinstance(away, PlimsollError) or not away.retryable:
        raise error
    log.warning("service.waiting", {"reason": away.reason, "message": away.message})
    return away


async def _live(name: str, settings: S, build: "Build[S]") -> None:
    stop = _told_to_stop()
    admin = AdminServer(settings.server.admin_listen)
    await admin.start()
    try:
        async with open_faults(name, settings.server.faults_file, logs.get(name)) as faults:
            await _serve(name, settings, build, admin, stop, faults)
    finally:
        await admin.stop()


async def _serve(name: str, settings: S, build: "Build[S]", admin: AdminServer, stop: asyncio.Event, faults: Faults | None) -> None:
    """Build and serve; while a dependency is away, keep trying."""
    log, backoff = logs.get(name), Backoff(_RETRY_FIRST_S, _RETRY_MOST_S)
    while not stop.is_set():
        async with AsyncExitStack() as stack:
            try:
                app = await _unless(stop, build(settings, stack))
            except Exception as error:  # noqa: BLE001 - raised again by what looks at it
                admin.wait_for(_waiting(log, error).reason)
                app = None
            if app is not None:
                if faults is not None:
                    faults.count_in(app.metrics)
                await serve(app, admin, stop, drain_s=settings.server.drain_s)
                return
        await backoff.pause(stop)


async def _unless(stop: asyncio.Event, work: Awaitable[T]) -> T | None:
    """Await `work`, None when `stop` was set before it was done. It runs in this very task, so that what it enters can be left here."""
    scope = asyncio.timeout(None)

    async def interrupt() -> None:
        await stop.wait()
        scope.reschedule(0)

    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(interrupt())
        try:
            async with scope:
                return await work
        except TimeoutError:
            if not scope.expired():
                raise
            return None
        finally:
            waiting.cancel()


async def serve(app: App, admin: AdminServer, stop: asyncio.Event, *, drain_s: float) -> None:
    """Start everything, wait for `stop`, and end in order: not ready, no new work, work in flight within `drain_s`, then the rest.

    A loop that fails, or ends by itself, sets `stop`: the service ends in the same order, and its error is raised afterwards.
    """
    log = logs.get(app.name)
    draining, started, loops = asyncio.Event(), list[Server](), list[asyncio.Task[Exception | None]]()
    async with asyncio.TaskGroup() as group:
        try:
            for server in app.servers:
                await server.start()
                started.append(server)
            loops += [group.create_task(_watched(name, loop, draining, stop, log), name=name) for name, loop in app.loops.items()]
            for server in started:
                await server.set_serving(True)
            admin.serve(app.pings, app.metrics)
            log.info("service.started")
            await stop.wait()
            log.info("service.draining")
        finally:
            admin.drain()
            cut_off = await _drain(started, loops, draining, drain_s)
    log.info("service.stopped", {"cut_off": cut_off})
    for loop in loops:
        if not loop.cancelled() and (error := loop.result()) is not None:
            raise error


async def _watched(name: str, loop: Loop, draining: asyncio.Event, stop: asyncio.Event, log: logs.Log) -> Exception | None:
    """What ended the loop before its time, if anything did."""
    try:
        await loop(draining)
        if draining.is_set():
            return None
        failure: Exception = Internal(f"the loop {name!r} ended by itself", reason="LOOP_ENDED")
    except Exception as error:  # noqa: BLE001 - raised again when everything has ended in order
        failure = error
    log.error("service.loop_failed", {"loop": name}, error=failure)
    stop.set()
    return failure


async def _drain(
    servers: Sequence[Server], loops: Sequence[asyncio.Task[Exception | None]], draining: asyncio.Event, drain_s: float
) -> int:
    """End servers and loops within `drain_s` all together; returns how many loops had to be cut off."""
    until = time.monotonic() + drain_s
    for server in servers:
        await server.set_serving(False)
    draining.set()
    async with asyncio.TaskGroup() as group:
        for server in servers:
            group.create_task(server.stop(drain_s))
    late = {loop for loop in loops if not loop.done()}
    if late:
        _, late = await asyncio.wait(late, timeout=max(0.0, until - time.monotonic()))
    for loop in late:
        loop.cancel()
    return len(late)
