"""Thinking over an agent's turns: what a provider sealed goes back to it untouched through the journal, and to nobody else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import msgspec
import orjson
import pytest
from google.protobuf import json_format
from plimsoll.common.v1 import json_pb2
from plimsoll.model_router.v1 import message_pb2, prompt_pb2
from plimsoll.model_router.v1 import model_router_service_pb2 as pb
from plimsoll.model_router.v1 import model_router_service_pb2_grpc as rpc
from plimsoll_graph.graph import PromptName
from plimsoll_model_router.config import Settings
from plimsoll_model_router.main import build
from plimsoll_orchestrator.adapters.model_router import RemoteModels
from plimsoll_orchestrator.domain.journal import InputTurn, ModelTurn, ToolAnswer, ToolTurn, Turn
from plimsoll_orchestrator.ports import Answer, Question, ToolDefinition
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.health import AdminServer
from plimsoll_runtime.lifecycle import serve
from plimsoll_runtime.rpc_client import call, open_channel
from plimsoll_runtime.rpc_server import RpcServer
from plimsoll_runtime.settings import TlsSettings, load
from plimsoll_runtime.work import WorkContext
from plimsoll_testkit.upstream import SIGNATURE, TOOL, ScriptedUpstream, serving
from plimsoll_testkit.waiting import eventually

PROMPT = prompt_pb2.Prompt(name="solve", variables=["message"], user="{{message}}")
THINKS = {
    "anthropic": {"ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": "{url}", "ANTHROPIC_MODEL": "thinking-tools"},
    "responses": {
        "OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "{url}/v1", "OPENAI_MODEL": "thinking-tools", "OPENAI_API": "responses"
    },
    "gemini": {"GEMINI_API_KEY": "k", "GEMINI_BASE_URL": "{url}/v1beta", "GEMINI_MODEL": "thinking-tools"},
}  # fmt: skip
OTHER = {"COMPATIBLE_BASE_URL": "{url}/v1", "COMPATIBLE_MODEL": "fine"}


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with serving() as upstream:
        yield upstream


@asynccontextmanager
async def router(servers: tuple[str, str, str], upstream: ScriptedUpstream, told: dict[str, str]) -> AsyncIterator[grpc.aio.Channel]:
    """A model-router with the one provider that it is told of."""
    postgres, nats, redis = servers
    environ = {"INSECURE": "true", "POSTGRES_DSN": postgres, "NATS_URL": nats, "REDIS_URL": redis}
    environ |= {name: value.format(url=upstream.url) for name, value in told.items()}
    settings = load(Settings, "X_", {f"X_{name}": value for name, value in environ.items()})
    async with AsyncExitStack() as stack:
        app, stop = await build(settings, stack), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            running = group.create_task(serve(app, AdminServer("127.0.0.1:0"), stop, drain_s=5.0))
            try:
                [server] = app.servers
                assert isinstance(server, RpcServer)
                port = await eventually(lambda: server.port)
                channel = await stack.enter_async_context(open_channel(f"127.0.0.1:{port}", TlsSettings(), "model-router"))
                with acting_for("acme"):
                    yield channel
            finally:
                stop.set()
                await asyncio.wait([running])


def question(turn: int, conversation: list[Turn]) -> Question:
    return Question(
        request_key=f"turn-{turn}",
        prompt=PromptName(name=PROMPT.name, label="production"),
        prompt_digest="",
        variables={"message": "Where is my parcel?"},
        conversation=conversation,
        tools=[ToolDefinition(name=TOOL, description="Finds an account.", arguments_schema={"type": "object"})],
        output_schema=None,
        task="reasoning",
        max_tokens=0,
        work=WorkContext(run_id="run_1", step=turn, node="solve", agent="support"),
    )


def kept(answer: Answer) -> list[Turn]:
    """The turn as the journal gives it back, with the results of its calls behind it."""
    said = msgspec.json.decode(msgspec.json.encode(ModelTurn(message=answer.message, calls=tuple(answer.calls))), type=ModelTurn)
    found = ToolTurn(answers=tuple(ToolAnswer(call_id=one.call_id, tool=one.tool, content={"state": "lost"}) for one in said.calls))
    return [said, found]


@pytest.mark.parametrize("provider", THINKS)
async def test_sealed_thinking_goes_back_to_who_made_it_and_to_nobody_else(
    provider: str, upstream: ScriptedUpstream, postgres_dsn: str, nats_url: str, redis_url: str
) -> None:
    servers = (postgres_dsn, nats_url, redis_url)
    async with router(servers, upstream, THINKS[provider]) as channel:
        stub = rpc.ModelRouterServiceStub(channel)
        await call(stub.RegisterPrompt, pb.RegisterPromptRequest(prompt=PROMPT, labels=["production"]), cap_s=60)
        models = RemoteModels(channel)
        first = await models.generate(question(1, []), None)
        assert isinstance(first, Answer)
        conversation = kept(first)
        assert SIGNATURE in str(conversation)
        assert isinstance(await models.generate(question(2, [*conversation, InputTurn(input="Be quick.")]), None), Answer)
        asked = [orjson.dumps(attempt.body).decode() for attempt in upstream.attempts]
        assert [SIGNATURE in body for body in asked] == [False, True]
    async with router(servers, upstream, OTHER) as channel:
        assert isinstance(await RemoteModels(channel).generate(question(3, conversation), None), Answer)
        assert SIGNATURE not in orjson.dumps(upstream.attempts[-1].body).decode()
        [said, found] = conversation
        assert isinstance(said, ModelTurn)
        assert isinstance(found, ToolTurn)
        again = pb.Generation(messages=[json_format.ParseDict(said.message, message_pb2.Message())])  # type: ignore[arg-type]
        results = [
            message_pb2.Part(
                tool_result=message_pb2.ToolResultPart(call_id=one.call_id, tool=one.tool, content=json_pb2.JsonValue(text="{}"))
            )
            for one in found.answers
        ]
        again.messages.add(role=message_pb2.ROLE_TOOL, parts=results)
        answer = (await call(rpc.ModelRouterServiceStub(channel).Generate, pb.GenerateRequest(generation=again), cap_s=60)).answer
        told = {(one.kind, one.subject) for one in answer.attempts[0].conversions}
        assert (message_pb2.CONVERSION_KIND_DROPPED, "reasoning") in told, told
