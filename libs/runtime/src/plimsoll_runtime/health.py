"""Liveness and readiness: the admin HTTP server with /livez, /readyz and /metrics."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import orjson
from aiohttp import web

from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.metrics import Metrics

Ping: TypeAlias = Callable[[], Awaitable[None]]
_PING_CAP_S = 3.0


class AdminServer:
    """Answers probes from the first moment of the process: alive at once, ready when started and every dependency answers."""

    def __init__(self, listen: str) -> None:
        host, _, port = listen.rpartition(":")
        self._host, self._port = host or "127.0.0.1", int(port)
        self._pings: Mapping[str, Ping] = {}
        self._metrics: Metrics | None = None
        self._serving = False
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Raises OSError when the address is taken."""
        app = web.Application()
        app.add_routes([web.get("/livez", self._live), web.get("/readyz", self._ready), web.get("/metrics", self._render)])
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()

    def serve(self, pings: Mapping[str, Ping], metrics: Metrics) -> None:
        """From now on readiness is the pings."""
        self._pings, self._metrics, self._serving = pings, metrics, True

    def drain(self) -> None:
        """From now on not ready."""
        self._serving = False

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _live(self, _: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def _ready(self, _: web.Request) -> web.Response:
        if not self._serving:
            return web.Response(status=503, body=orjson.dumps({"ready": False, "state": "starting or draining"}))
        outcomes = dict(zip(self._pings, await asyncio.gather(*map(_outcome, self._pings.values())), strict=True))
        ready = all(outcome == "ok" for outcome in outcomes.values())
        body = orjson.dumps({"ready": ready, "dependencies": outcomes})
        return web.Response(status=200 if ready else 503, body=body, content_type="application/json")

    async def _render(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics.render() if self._metrics else b"", content_type="text/plain")


async def _outcome(ping: Ping) -> str:
    try:
        async with asyncio.timeout(_PING_CAP_S):
            await ping()
    except TimeoutError:
        return "TIMEOUT"
    except PlimsollError as error:
        return error.reason
    return "ok"
