"""The service as it is built: a schedule starts a run, a worker advances it, a webhook is told of its end."""

import asyncio
import json
from contextlib import AsyncExitStack

import asyncpg
from orchestrator_fakes import TENANT
from plimsoll.orchestrator.v1 import orchestrator_service_pb2 as pb
from plimsoll.orchestrator.v1 import orchestrator_service_pb2_grpc as rpc
from plimsoll.orchestrator.v1 import schedule_pb2, webhook_pb2
from plimsoll_orchestrator.config import RetentionSettings, Settings, WebhookSettings
from plimsoll_orchestrator.main import build
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.health import AdminServer
from plimsoll_runtime.lifecycle import serve
from plimsoll_runtime.rpc_client import call, open_channel
from plimsoll_runtime.rpc_server import RpcServer
from plimsoll_runtime.settings import NatsSettings, PostgresSettings, Secret, ServerSettings, TlsSettings
from plimsoll_runtime.wire import json_to_proto
from plimsoll_testkit.hostile_http import HostileHttp
from plimsoll_testkit.waiting import eventually

GREETS = """
agent: greets
input: {type: object, properties: {who: {type: string}}, required: [who], additionalProperties: false}
state: {type: object, properties: {who: {type: string}}}
start: a
output: {said: state.who}
nodes:
  a: {set: {who: "'dear ' + state.who"}, next: end}
"""


async def test_a_schedule_starts_a_run_and_a_webhook_is_told_of_its_end(postgres_dsn: str, nats_url: str) -> None:
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(HostileHttp(pages={"/hook": b"{}"}).serving())
        tls = TlsSettings()
        settings = Settings(
            model_router_address="127.0.0.1:1",
            tool_dispatcher_address="127.0.0.1:1",
            memory_address="127.0.0.1:1",
            server=ServerSettings(insecure=True, tls=tls, drain_s=2.0),
            postgres=PostgresSettings(dsn=Secret(postgres_dsn)),
            nats=NatsSettings(url=Secret(nats_url)),
            webhooks=WebhookSettings(origins=(receiver.url,), networks=("127.0.0.0/8",)),
            retention=RetentionSettings(),
        )
        app = await build(settings, stack)
        [server] = app.servers
        assert isinstance(server, RpcServer)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(serve(app, AdminServer("127.0.0.1:0"), stop, drain_s=2.0))
            try:
                port = await eventually(lambda: server.port)
                channel = await stack.enter_async_context(open_channel(f"127.0.0.1:{port}", tls, "orchestrator"))
                stub = rpc.OrchestratorServiceStub(channel)
                with acting_for(TENANT):
                    await call(stub.RegisterAgent, pb.RegisterAgentRequest(source=GREETS, source_name="a.yaml"), cap_s=60)
                    hook = webhook_pb2.Webhook(name="hook", url=f"{receiver.url}/hook")
                    await call(stub.PutWebhook, pb.PutWebhookRequest(webhook=hook), cap_s=60)
                    plan = schedule_pb2.Schedule(name="soon", agent="greets", input=json_to_proto({"who": "all"}), cron="0 8 * * *")
                    await call(stub.PutSchedule, pb.PutScheduleRequest(schedule=plan), cap_s=60)
                    await _let_it_come(postgres_dsn)
                    [told] = await eventually(lambda: receiver.received)
                    checked = await call(stub.CheckAgent, pb.CheckAgentRequest(source=GREETS, source_name="a.yaml"), cap_s=60)
            finally:
                stop.set()
    body = json.loads(told.body)
    assert (body["type"], body["data"]["output"]) == ("run.succeeded", {"said": "dear all"})
    assert checked.checked_runs == 0


async def _let_it_come(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("update orchestrator.schedules set next_at = date_trunc('minute', now()), look_at = now()")
    await connection.close()
