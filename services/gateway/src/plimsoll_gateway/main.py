"""The composition root of the gateway."""

import os
import secrets
import sys
from contextlib import AsyncExitStack
from functools import partial
from importlib.metadata import version
from pathlib import Path

import grpc
from plimsoll_runtime import logs, postgres
from plimsoll_runtime.clock import SystemClock
from plimsoll_runtime.ids import RandomIds
from plimsoll_runtime.lifecycle import App, run_service
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.rpc_client import open_channel

from plimsoll_gateway.adapters.feedback import GrpcFeedback
from plimsoll_gateway.adapters.key_file import OwnerOnlyKeyFile
from plimsoll_gateway.adapters.memory import GrpcMemory
from plimsoll_gateway.adapters.model_router import GrpcModelRouter
from plimsoll_gateway.adapters.orchestrator import GrpcOrchestrator
from plimsoll_gateway.adapters.postgres_keys import MIGRATIONS, PostgresKeyStore
from plimsoll_gateway.adapters.tool_dispatcher import GrpcToolDispatcher
from plimsoll_gateway.commands import keys_command
from plimsoll_gateway.config import SCHEMA, Settings
from plimsoll_gateway.service.access import Access, Bounds
from plimsoll_gateway.service.gateway import Gateway
from plimsoll_gateway.service.keys import KeyRing
from plimsoll_gateway.transport.grpc import SERVICE, ApiKeys, public_server
from plimsoll_gateway.transport.http import HttpServer
from plimsoll_gateway.transport.openapi import openapi
from plimsoll_gateway.transport.rest import Parts
from plimsoll_gateway.transport.servicer import GatewayServicer
from plimsoll_gateway.transport.transcoder import Transcoder

NAME = "gateway"
_MIB = 1024 * 1024


async def build(settings: Settings, stack: AsyncExitStack) -> App:
    """The gateway, ready to start. Raises Unavailable when the database is away."""
    log, metrics = logs.get(NAME), Metrics()

    pool = await stack.enter_async_context(postgres.open_pool(settings.postgres, SCHEMA, application=NAME))
    await postgres.migrate(pool, SCHEMA, [MIGRATIONS])
    keys = PostgresKeyStore(pool)
    if settings.bootstrap_key_file:
        ring = KeyRing(keys, SystemClock(), RandomIds(), partial(secrets.token_urlsafe, 32), log)
        await ring.bootstrap(OwnerOnlyKeyFile(Path(settings.bootstrap_key_file)), settings.bootstrap_tenant)

    gateway = await _gateway(settings, stack)
    access = Access(keys, SystemClock())
    bounds = Bounds.of(requests=settings.bound.requests, streams=settings.bound.streams, body_bytes=settings.bound.bodies_mib * _MIB)
    servicer = GatewayServicer(gateway, request_bytes=settings.http.body_bytes)
    transcoder = Transcoder(SERVICE)
    rest = Parts(
        servicer=servicer,
        transcoder=transcoder,
        access=access,
        bounds=bounds,
        settings=settings.http,
        request_cap_s=settings.server.request_cap_s,
        openapi=openapi(transcoder, version("plimsoll-gateway")),
        metrics=metrics,
        log=log,
    )
    return App(
        name=NAME,
        metrics=metrics,
        pings={"postgres": partial(postgres.ping, pool)},
        servers=[
            public_server(settings.server, settings.public_grpc_listen, servicer, ApiKeys(access, bounds), metrics, log),
            HttpServer(settings.http.listen, rest),
        ],
    )


async def _gateway(settings: Settings, stack: AsyncExitStack) -> Gateway:
    async def peer(address: str, name: str) -> grpc.aio.Channel:
        return await stack.enter_async_context(open_channel(address, settings.server.tls, name))

    return Gateway(
        orchestrator=GrpcOrchestrator(await peer(settings.orchestrator_address, "orchestrator")),
        tools=GrpcToolDispatcher(await peer(settings.tool_dispatcher_address, "tool-dispatcher")),
        models=GrpcModelRouter(await peer(settings.model_router_address, "model-router")),
        memory=GrpcMemory(await peer(settings.memory_address, "memory")),
        feedback=GrpcFeedback(await peer(settings.feedback_address, "feedback")),
        clock=SystemClock(),
    )


def main() -> None:
    """Serve, or administer keys when the first argument is `keys`."""
    if sys.argv[1:2] == ["keys"]:
        sys.exit(keys_command(sys.argv[2:], os.environ))
    run_service(NAME, Settings, build)
