"""The composition root of the gateway."""

import os
import secrets
import sys
from contextlib import AsyncExitStack
from functools import partial
from importlib.metadata import version
from pathlib import Path

import asyncpg
import grpc
from plimsoll.gateway.v1 import audit_pb2
from plimsoll_runtime import logs, postgres
from plimsoll_runtime.clock import SystemClock
from plimsoll_runtime.guard import open_guard
from plimsoll_runtime.ids import RandomIds
from plimsoll_runtime.lifecycle import App, run_service
from plimsoll_runtime.limiter import Rate
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.redis import open_redis
from plimsoll_runtime.rpc_client import open_channel

from plimsoll_gateway.adapters.audit_logs import DispatcherAuditLog, GrpcAuditLog, OwnAuditLog
from plimsoll_gateway.adapters.feedback import GrpcFeedback
from plimsoll_gateway.adapters.key_file import OwnerOnlyKeyFile
from plimsoll_gateway.adapters.memory import GrpcMemory
from plimsoll_gateway.adapters.model_router import GrpcModelRouter
from plimsoll_gateway.adapters.oidc import NoTokens, OidcTokens
from plimsoll_gateway.adapters.orchestrator import GrpcOrchestrator
from plimsoll_gateway.adapters.postgres_keys import TABLES, PostgresKeyStore
from plimsoll_gateway.adapters.postgres_requests import PostgresRequestLedger
from plimsoll_gateway.adapters.postgres_usage import PostgresUsageStore
from plimsoll_gateway.adapters.tool_dispatcher import GrpcToolDispatcher
from plimsoll_gateway.commands import keys_command
from plimsoll_gateway.config import SCHEMA, Settings
from plimsoll_gateway.ports import KeyStore, TokenJudge
from plimsoll_gateway.service.access import Access, Bounds, Room
from plimsoll_gateway.service.backlog import Backlog, Marks
from plimsoll_gateway.service.doorway import Doorway
from plimsoll_gateway.service.followers import Followers
from plimsoll_gateway.service.gateway import Behind, Gateway
from plimsoll_gateway.service.identity import Identity
from plimsoll_gateway.service.keys import KeyRing
from plimsoll_gateway.service.limits import RateLimits, Rates
from plimsoll_gateway.service.models import Models
from plimsoll_gateway.service.once import Once
from plimsoll_gateway.service.usage import UsageCounts
from plimsoll_gateway.transport.desk import Desk
from plimsoll_gateway.transport.grpc import SERVICE, Rpcs, public_server
from plimsoll_gateway.transport.http import HttpServer
from plimsoll_gateway.transport.pages import pages
from plimsoll_gateway.transport.rest import Parts
from plimsoll_gateway.transport.servicer import GatewayServicer
from plimsoll_gateway.transport.transcoder import Transcoder

NAME = "gateway"
_MIB = 1024 * 1024
_LIMIT_CAP_S = 0.03  # what Redis has to decide a limit; then it is decided here: a refusal comes within 50 ms whatever is away


async def build(settings: Settings, stack: AsyncExitStack) -> App:
    """The gateway, ready to start. Raises Unavailable when the database is away."""
    log, metrics = logs.get(NAME), Metrics()

    pool = await stack.enter_async_context(postgres.open_pool(settings.postgres, SCHEMA, application=NAME))
    await postgres.migrate(pool, SCHEMA, TABLES)
    clock, keys, usage = SystemClock(), PostgresKeyStore(pool), PostgresUsageStore(pool)
    ring = KeyRing(keys, clock, RandomIds(), partial(secrets.token_urlsafe, 32), log)
    if settings.bootstrap_key_file:
        await ring.bootstrap(OwnerOnlyKeyFile(Path(settings.bootstrap_key_file)), settings.bootstrap_tenant)

    behind = await _behind(settings, stack, pool)
    backlog = Backlog(behind.orchestrator, _marks(settings), clock, log)
    followers = Followers(behind.orchestrator, log)
    once = Once(PostgresRequestLedger(pool), RandomIds(), log)
    counts = UsageCounts(usage, clock, log)
    doorway = await _doorway(settings, stack, keys, counts, metrics)
    identity = Identity(ring, usage, behind.models, clock)
    servicer = GatewayServicer(Gateway(behind, followers, backlog, clock), identity, request_bytes=settings.http.body_bytes)
    desk = Desk(servicer, SERVICE, once)
    transcoder = Transcoder(SERVICE)
    rest = Parts(
        servicer=servicer,
        desk=desk,
        doorway=doorway,
        transcoder=transcoder,
        settings=settings.http,
        request_cap_s=settings.server.request_cap_s,
        models=Models(behind.models),
        pages=pages(transcoder, version("plimsoll-gateway")),
        metrics=metrics,
        log=log,
    )
    rpcs = Rpcs(desk, servicer, request_bytes=settings.http.body_bytes)
    return App(
        name=NAME,
        metrics=metrics,
        pings={"postgres": partial(postgres.ping, pool)},
        servers=[
            public_server(settings.server, settings.public_grpc_listen, rpcs, doorway, metrics, log, write_cap_s=settings.http.write_cap_s),
            HttpServer(settings.http.listen, rest),
        ],
        loops={
            "watch the backlog": backlog.watch,
            "share streams": followers.carry,
            "forget old requests": once.keep_house,
            "write usage": counts.run,
        },
    )


async def _doorway(settings: Settings, stack: AsyncExitStack, keys: KeyStore, counts: UsageCounts, metrics: Metrics) -> Doorway:
    log, clock, limit, bound = logs.get(NAME), SystemClock(), settings.limit, settings.bound
    tokens: TokenJudge = NoTokens()
    if settings.jwt.issuer:
        tokens = await stack.enter_async_context(OidcTokens.opened(settings.jwt, clock, log))
    redis = await stack.enter_async_context(open_redis(settings.redis))
    guard = await stack.enter_async_context(
        open_guard(redis, clock, log, space=SCHEMA, share=1 / limit.replicas, cap_s=_LIMIT_CAP_S, registry=metrics.registry, rounds=1)
    )
    rates = Rates(
        key=Rate(count=limit.key_requests, per_s=limit.window_s),
        tenant=Rate(count=limit.tenant_requests, per_s=limit.window_s),
        of_tenant={tenant: Rate(count=count, per_s=limit.window_s) for tenant, count in limit.of_tenant.items()},
    )
    room = Room(
        requests=bound.requests,
        streams=bound.streams,
        tenant_requests=bound.tenant_requests,
        tenant_streams=bound.tenant_streams,
        body_bytes=bound.bodies_mib * _MIB,
    )
    return Doorway(Access(keys, tokens, clock), Bounds(room), RateLimits(guard, rates), counts)


def _marks(settings: Settings) -> Marks:
    return Marks(runs=settings.backlog.runs, tenant_runs=settings.backlog.tenant_runs, oldest_s=settings.backlog.age_s)


async def _behind(settings: Settings, stack: AsyncExitStack, pool: asyncpg.Pool) -> Behind:
    async def peer(address: str, name: str) -> grpc.aio.Channel:
        return await stack.enter_async_context(open_channel(address, settings.server.tls, name))

    tools, models = (
        await peer(settings.tool_dispatcher_address, "tool-dispatcher"),
        await peer(settings.model_router_address, "model-router"),
    )
    feedback = await peer(settings.feedback_address, "feedback")
    return Behind(
        orchestrator=GrpcOrchestrator(await peer(settings.orchestrator_address, "orchestrator")),
        tools=GrpcToolDispatcher(tools),
        models=GrpcModelRouter(models),
        memory=GrpcMemory(await peer(settings.memory_address, "memory")),
        feedback=GrpcFeedback(feedback),
        audit_logs={
            audit_pb2.AUDITED_SERVICE_GATEWAY: OwnAuditLog(pool),
            audit_pb2.AUDITED_SERVICE_TOOL_DISPATCHER: DispatcherAuditLog(tools),
            audit_pb2.AUDITED_SERVICE_MODEL_ROUTER: GrpcAuditLog(models, "model-router"),
            audit_pb2.AUDITED_SERVICE_FEEDBACK: GrpcAuditLog(feedback, "feedback"),
        },
    )


def main() -> None:
    """Serve, or administer keys when the first argument is `keys`."""
    if sys.argv[1:2] == ["keys"]:
        sys.exit(keys_command(sys.argv[2:], os.environ))
    run_service(NAME, Settings, build, upgrade=lambda settings: postgres.upgrade(settings.postgres, SCHEMA, TABLES))
