"""A whole service in one file, for tests of its life as a process: `python tiny_service.py [--check] [--print-config] [--migrate]`."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Literal

from plimsoll_runtime import logs
from plimsoll_runtime.lifecycle import App, run_service
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.outbox import OUTBOX_MIGRATIONS
from plimsoll_runtime.postgres import migrate, open_pool, ping, upgrade
from plimsoll_runtime.rpc_server import PeerCertificates, RpcServer
from plimsoll_runtime.settings import PostgresSettings, ServerSettings, nested, setting
from probe import probe_service

TABLES = (OUTBOX_MIGRATIONS,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    server: ServerSettings = nested(ServerSettings, "")
    postgres: PostgresSettings = nested(PostgresSettings, "POSTGRES_")
    loop: Literal["steady", "fails", "ends"] = setting("steady", doc="how its loop behaves")


async def build(settings: Settings, stack: AsyncExitStack) -> App:
    log, metrics = logs.get("tiny"), Metrics()
    pool = await stack.enter_async_context(open_pool(settings.postgres, "tiny"))
    await migrate(pool, "tiny", TABLES)
    stack.callback(log.info, "tiny.let_go")

    async def loop(stop: asyncio.Event) -> None:
        match settings.loop:
            case "steady":
                await stop.wait()
                log.info("tiny.loop_done")
            case "fails":
                raise ValueError("the bilge is full")
            case "ends":
                return

    return App(
        name="tiny",
        metrics=metrics,
        pings={"postgres": partial(ping, pool)},
        servers=[RpcServer(settings.server, [probe_service()], PeerCertificates(frozenset(), insecure=True), metrics, log)],
        loops={"bilge pump": loop},
    )


if __name__ == "__main__":
    run_service("tiny", Settings, build, upgrade=lambda settings: upgrade(settings.postgres, "tiny", TABLES))
