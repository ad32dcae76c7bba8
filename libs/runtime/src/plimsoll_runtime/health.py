"""Liveness and readiness: the admin HTTP server with /livez, /readyz and /metrics."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import orjson
from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from plimsoll_runtime.errors import PlimsollError, unwrap
from plimsoll_runtime.metrics import Metrics

Ping: TypeAlias = Callable[[], Awaitable[None]]
_PING_CAP_S = 3.0
_STOP_CAP_S = 1.0


class AdminServer:
    """Answers probes from the first moment of the process: alive at once, ready when started and every dependency answers."""

    def __init__(self, listen: str) -> None:
        host, _, port = listen.rpartition(":")
        self._host, self._port = host.strip("[]") or "127.0.0.1", int(port)
        self._pings: Mapping[str, Ping] = {}
        self._metrics: Metrics | None = None
        self._state = "starting"
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self) -> None:
        """Raises OSError when the address is taken."""
        app = web.Application()
        app.add_routes([web.get("/livez", self._live), web.get("/readyz", self._ready), web.get("/metrics", self._render)])
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=_STOP_CAP_S)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as error:
            raise OSError(f"cannot listen on {self._host}:{self._port}: is the port taken?") from error
        self.port = int(self._runner.addresses[0][1])

    def wait_for(self, reason: str) -> None:
        """Not ready, and why."""
        self._state = f"waiting: {reason}"

    def serve(self, pings: Mapping[str, Ping], metrics: Metrics) -> None:
        """From now on readiness is the pings."""
        self._pings, self._metrics, self._state = pings, metrics, "serving"

    def drain(self) -> None:
        """From now on not ready."""
        self._state = "draining"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _live(self, _: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def _ready(self, _: web.Request) -> web.Response:
        outcomes: dict[str, str] = {}
        if self._state == "serving":
            async with asyncio.TaskGroup() as group:
                asked = {name: group.create_task(_outcome(ping)) for name, ping in self._pings.items()}
            outcomes = {name: task.result() for name, task in asked.items()}
        ready = self._state == "serving" and all(outcome == "ok" for outcome in outcomes.values())
        body = orjson.dumps({"ready": ready, "state": self._state, "dependencies": outcomes})
        return web.Response(status=200 if ready else 503, body=body, content_type="application/json")

    async def _render(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics.render() if self._metrics else b"", headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _outcome(ping: Ping) -> str:
    """`ok`, or the reason in a word; a ping that raises what it should not is a dependency that does not answer."""
    try:
        async with asyncio.timeout(_PING_CAP_S):
            await ping()
    except TimeoutError:
        return "TIMEOUT"
    except Exception as error:  # noqa: BLE001 - a probe has an answer, whatever the client library of a dependency raises
        leaf = unwrap(error)
        return leaf.reason if isinstance(leaf, PlimsollError) else type(leaf).__name__
    return "ok"
