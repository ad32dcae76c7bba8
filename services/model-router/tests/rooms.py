"""The whole service, running on real servers, as several tests need it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TypeAlias

from plimsoll.common.v1 import json_pb2, work_pb2
from plimsoll.model_router.v1 import message_pb2, prompt_pb2
from plimsoll.model_router.v1 import model_router_service_pb2 as pb
from plimsoll.model_router.v1 import model_router_service_pb2_grpc as rpc
from plimsoll_model_router.config import BreakerSettings, ProviderSettings, Settings, TimerSettings
from plimsoll_model_router.main import build
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.health import AdminServer
from plimsoll_runtime.json_types import dump_json
from plimsoll_runtime.lifecycle import serve
from plimsoll_runtime.rpc_client import open_channel
from plimsoll_runtime.rpc_server import RpcServer
from plimsoll_runtime.settings import NatsSettings, PostgresSettings, RedisSettings, Secret, ServerSettings, TlsSettings
from plimsoll_testkit.upstream import ScriptedUpstream
from plimsoll_testkit.waiting import eventually

Stub: TypeAlias = "rpc.ModelRouterServiceAsyncStub"
INTENTS = {
    "type": "object",
    "required": ["intent"],
    "properties": {
        "intent": {
            "oneOf": [
                {"const": "delivery", "description": "where a parcel is, late"},
                {"const": "refund", "description": "wants money back"},
            ]
        }
    },
}
PROMPT = prompt_pb2.Prompt(
    name="support-classify",
    variables=["message"],
    system="You sort the messages of a shop.",
    examples=[prompt_pb2.PromptExample(user="Where is my parcel?", assistant=json_pb2.JsonValue(text='{"intent":"delivery"}'))],
    user="{{message}}",
)


def settings_for(postgres_dsn: str, nats_url: str, redis_url: str) -> Settings:
    """Without a provider: the rehearsal model answers."""
    return Settings(
        server=ServerSettings(tls=TlsSettings(), insecure=True, drain_s=5.0),
        postgres=PostgresSettings(dsn=Secret(postgres_dsn)),
        nats=NatsSettings(url=Secret(nats_url)),
        redis=RedisSettings(url=Secret(redis_url)),
        anthropic=ProviderSettings(),
        openai=ProviderSettings(),
        gemini=ProviderSettings(),
        compatible=ProviderSettings(),
        timers=TimerSettings(),
        breaker=BreakerSettings(),
    )


def with_providers(settings: Settings, upstream: ScriptedUpstream, anthropic: str, openai: str) -> Settings:
    """Two providers, both the scripted upstream, with the model that each is asked for; the first is asked first."""
    return replace(
        settings,
        anthropic=ProviderSettings(api_key=Secret("k"), base_url=upstream.url, model=anthropic),
        openai=ProviderSettings(
            api_key=Secret("k"), base_url=f"{upstream.url}/v1", model=openai, input_price_micros=1_000_000, output_price_micros=2_000_000
        ),
    )


@asynccontextmanager
async def running(settings: Settings, *, tenant: str = "acme", principal: str = "") -> AsyncIterator[Stub]:
    """One replica, and a stub that works for `tenant`."""
    async with AsyncExitStack() as stack:
        app = await build(settings, stack)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            serving_app = group.create_task(serve(app, AdminServer("127.0.0.1:0"), stop, drain_s=settings.server.drain_s))
            try:
                [server] = app.servers
                assert isinstance(server, RpcServer)
                port = await eventually(lambda: server.port)
                channel = await stack.enter_async_context(open_channel(f"127.0.0.1:{port}", TlsSettings(), "model-router"))
                with acting_for(tenant, principal):
                    yield rpc.ModelRouterServiceStub(channel)
            finally:
                stop.set()
                await asyncio.wait([serving_app])  # before the group would cancel it: a failing test ends like a passing one


def classify(text: str, key: str = "", model: str = "") -> pb.GenerateRequest:
    return pb.GenerateRequest(
        generation=pb.Generation(
            request_key=key,
            prompt=prompt_pb2.PromptReference(name="support-classify", label="production"),
            variables=json_pb2.JsonValue(text=dump_json({"message": text})),
            output_schema=json_pb2.JsonValue(text=dump_json(INTENTS)),
            task="classification",
            model=model,
            work=work_pb2.WorkContext(run_id="run_1", step=4, node="classify"),
        )
    )


def plain(text: str, model: str = "") -> pb.Generation:
    spoken = message_pb2.Message(role=message_pb2.ROLE_USER, parts=[message_pb2.Part(text=message_pb2.TextPart(text=text))])
    return pb.Generation(messages=[spoken], model=model)
