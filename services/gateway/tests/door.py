"""The real gateway in the test's own loop, with stand-ins behind it and two keys made for it."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import aiohttp
import asyncpg
import grpc
from gateway_peers import ALSO, SERVICES, Peer
from plimsoll_gateway.adapters.postgres_keys import PostgresKeyStore
from plimsoll_gateway.config import BacklogSettings, BoundSettings, HttpSettings, JwtSettings, LimitSettings, Settings
from plimsoll_gateway.domain.scopes import ROLES
from plimsoll_gateway.main import build
from plimsoll_gateway.service.keys import KeyRequest, KeyRing
from plimsoll_gateway.transport.http import HttpServer
from plimsoll_runtime import logs
from plimsoll_runtime.clock import SystemClock
from plimsoll_runtime.ids import RandomIds
from plimsoll_runtime.json_types import dump_json
from plimsoll_runtime.lifecycle import App
from plimsoll_runtime.postgres import open_pool
from plimsoll_runtime.rpc_server import RpcServer
from plimsoll_runtime.settings import PostgresSettings, RedisSettings, Secret, ServerSettings, TlsSettings

_HTTP = HttpSettings()
_BOUND = BoundSettings()
_LIMIT = LimitSettings()
_BACKLOG = BacklogSettings()
_JWT = JwtSettings()
_NO_REDIS = "redis://127.0.0.1:9/0"  # nothing listens there: limits are the process's own


@dataclass(slots=True)
class Door:
    """A gateway that runs, and how to speak to it. `rest` sends the admin's key of the tenant `acme`."""

    app: App
    url: str
    grpc_address: str
    peers: Mapping[str, Peer]
    ring: KeyRing
    pool: asyncpg.Pool
    key: str
    rest: aiohttp.ClientSession
    channel: grpc.aio.Channel

    async def make_key(self, *, tenant: str = "acme", name: str = "console", role: str = "admin") -> str:
        new = await self.ring.create(KeyRequest(tenant=tenant, name=name, scopes=ROLES[role]))
        return new.text

    async def stop(self, grace_s: float = 5.0) -> None:
        for server in reversed(self.app.servers):
            await server.stop(grace_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How a test wants its gateway. `absent` gives addresses of services that shall not be served here, `loops` runs those of the app."""

    http: HttpSettings = _HTTP
    bound: BoundSettings = _BOUND
    limit: LimitSettings = _LIMIT
    backlog: BacklogSettings = _BACKLOG
    jwt: JwtSettings = _JWT
    redis_url: str = _NO_REDIS
    loops: bool = False
    request_cap_s: float = 60.0
    bootstrap_key_file: str = ""
    absent: Mapping[str, str] = field(default_factory=dict)


_PLAIN = Wish()


def door_settings(dsn: str, addresses: Mapping[str, str], wish: Wish) -> Settings:
    return Settings(
        server=ServerSettings(insecure=True, request_cap_s=wish.request_cap_s, tls=TlsSettings()),
        postgres=PostgresSettings(dsn=Secret(dsn)),
        http=wish.http,
        bound=wish.bound,
        limit=wish.limit,
        backlog=wish.backlog,
        jwt=wish.jwt,
        redis=RedisSettings(url=Secret(wish.redis_url)),
        bootstrap_key_file=wish.bootstrap_key_file,
        orchestrator_address=addresses["orchestrator"],
        tool_dispatcher_address=addresses["tool_dispatcher"],
        model_router_address=addresses["model_router"],
        memory_address=addresses["memory"],
        feedback_address=addresses["feedback"],
    )


@asynccontextmanager
async def open_door(dsn: str, wish: Wish = _PLAIN) -> AsyncIterator[Door]:
    async with AsyncExitStack() as stack:
        peers = {name: Peer(service, ALSO.get(name, ())) for name, service in SERVICES.items()}
        for name, peer in peers.items():
            peer.address = wish.absent[name] if name in wish.absent else await stack.enter_async_context(peer.served())
        settings = door_settings(dsn, {name: peer.address for name, peer in peers.items()}, wish)
        app = await build(settings, stack)
        for server in app.servers:
            await server.start()
            stack.push_async_callback(server.stop, 0.0)
        if wish.loops:
            stop, group = asyncio.Event(), await stack.enter_async_context(asyncio.TaskGroup())
            for loop in app.loops.values():
                group.create_task(loop(stop))
            stack.callback(stop.set)
        rpc, web = app.servers
        assert isinstance(rpc, RpcServer)
        assert isinstance(web, HttpServer)
        pool = await stack.enter_async_context(open_pool(replace(settings.postgres, pool_max=2), "gateway"))
        ring = KeyRing(PostgresKeyStore(pool), SystemClock(), RandomIds(), partial(secrets.token_urlsafe, 32), logs.get("test"))
        key = (await ring.create(KeyRequest(tenant="acme", name="console", scopes=ROLES["admin"]))).text
        url, address = f"http://127.0.0.1:{web.port}", f"127.0.0.1:{rpc.port}"
        session = aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {key}"}, json_serialize=dump_json)
        rest = await stack.enter_async_context(session)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))
        yield Door(app=app, url=url, grpc_address=address, peers=peers, ring=ring, pool=pool, key=key, rest=rest, channel=channel)
