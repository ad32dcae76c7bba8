# ruff: noqa: N802 - gRPC names the methods
"""`plimsoll doctor` against a gateway: what is well, what is worth a look, what is broken, and what to do."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from client_fakes import KEY
from client_shell import Shell
from grpc_status import rpc_status
from plimsoll.feedback.v1 import monitor_pb2
from plimsoll.gateway.v1 import (
    agents_pb2,
    gateway_service_pb2_grpc,
    keys_pb2,
    memory_pb2,
    models_pb2,
    monitors_pb2,
    runs_pb2,
    tools_pb2,
    traces_pb2,
    webhooks_pb2,
)
from plimsoll.model_router.v1 import model_router_service_pb2
from plimsoll.orchestrator.v1 import run_pb2
from plimsoll_runtime.errors import Denied, Internal, PlimsollError, Unauthenticated
from plimsoll_runtime.status import status_of
from plimsoll_runtime.wire import timestamp_to_proto

SUBJECTS = ["gateway", "key", "orchestrator", "tool-dispatcher", "model-router", "memory", "feedback", "webhooks"]


class FakeMesh(gateway_service_pb2_grpc.GatewayServiceServicer):
    """A mesh that is well, but for what a test changes. `refusals` has the error of each method that does not answer."""

    def __init__(self) -> None:
        self.refusals: dict[str, PlimsollError] = {}
        self.key = keys_pb2.ApiKey(key_id="key_1", name="ann")
        self.runs = runs_pb2.ListRunsResponse()
        self.models = [model_router_service_pb2.Model(provider="anthropic", name="good", priced=True)]
        self.alerts: list[monitor_pb2.Alert] = []

    async def _enter(self, method: str, context: Any) -> None:
        if method in self.refusals:
            await context.abort_with_status(rpc_status.to_status(status_of(self.refusals[method])))

    async def GetCaller(self, _: keys_pb2.GetCallerRequest, context: Any) -> keys_pb2.GetCallerResponse:
        await self._enter("GetCaller", context)
        return keys_pb2.GetCallerResponse(key_id="key_1", name="ann", tenant="acme")

    async def ListKeys(self, _: keys_pb2.ListKeysRequest, context: Any) -> keys_pb2.ListKeysResponse:
        await self._enter("ListKeys", context)
        return keys_pb2.ListKeysResponse(keys=[self.key])

    async def ListAgents(self, _: agents_pb2.ListAgentsRequest, context: Any) -> agents_pb2.ListAgentsResponse:
        return agents_pb2.ListAgentsResponse()

    async def ListRuns(self, request: runs_pb2.ListRunsRequest, context: Any) -> runs_pb2.ListRunsResponse:
        assert request.status == run_pb2.RUN_STATUS_QUARANTINED
        return self.runs

    async def ListTools(self, _: tools_pb2.ListToolsRequest, context: Any) -> tools_pb2.ListToolsResponse:
        await self._enter("ListTools", context)
        return tools_pb2.ListToolsResponse()

    async def ListModels(self, _: models_pb2.ListModelsRequest, context: Any) -> models_pb2.ListModelsResponse:
        return models_pb2.ListModelsResponse(models=self.models)

    async def ListCollections(self, _: memory_pb2.ListCollectionsRequest, context: Any) -> memory_pb2.ListCollectionsResponse:
        await self._enter("ListCollections", context)
        return memory_pb2.ListCollectionsResponse()

    async def ListTraces(self, _: traces_pb2.ListTracesRequest, context: Any) -> traces_pb2.ListTracesResponse:
        return traces_pb2.ListTracesResponse()

    async def ListAlerts(self, request: monitors_pb2.ListAlertsRequest, context: Any) -> monitors_pb2.ListAlertsResponse:
        assert request.status == monitor_pb2.ALERT_STATUS_OPEN
        return monitors_pb2.ListAlertsResponse(alerts=self.alerts)

    async def ListWebhookDeliveries(
        self, _: webhooks_pb2.ListWebhookDeliveriesRequest, context: Any
    ) -> webhooks_pb2.ListWebhookDeliveriesResponse:
        return webhooks_pb2.ListWebhookDeliveriesResponse()


@pytest.fixture
async def mesh(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeMesh]:
    server, fake = grpc.aio.server(), FakeMesh()
    gateway_service_pb2_grpc.add_GatewayServiceServicer_to_server(fake, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    monkeypatch.setenv("PLIMSOLL_ADDRESS", f"127.0.0.1:{port}")
    monkeypatch.setenv("PLIMSOLL_API_KEY", KEY)
    yield fake
    await server.stop(None)


def verdicts(plimsoll: Shell) -> dict[str, str]:
    found = plimsoll.json()
    assert isinstance(found, list)
    return {one["subject"]: one["verdict"] for one in found}


async def test_a_mesh_that_is_well_is_told_so_part_by_part(mesh: FakeMesh, plimsoll: Shell) -> None:
    assert await plimsoll("doctor", "--json") == 0
    assert verdicts(plimsoll) == dict.fromkeys(SUBJECTS, "good")
    assert await plimsoll("doctor") == 0
    assert [line.split()[:2] for line in plimsoll.out.splitlines()] == [["✓", subject] for subject in SUBJECTS]


async def test_what_is_worth_a_look_comes_with_what_to_do(mesh: FakeMesh, plimsoll: Shell) -> None:
    mesh.key.expire_time.CopyFrom(timestamp_to_proto(datetime.now(UTC) + timedelta(days=2)))
    mesh.runs.runs.add(run_id="run_9", status=run_pb2.RUN_STATUS_QUARANTINED)
    mesh.models = [model_router_service_pb2.Model(provider="rehearsal", name="rehearsal", rehearsal=True)]
    mesh.alerts = [monitor_pb2.Alert(summary="support fails more often")]
    assert await plimsoll("doctor") == 0
    for told in ("keys rotate key_1", "runs explain run_9", "OPENAI_API_KEY", "support fails more often"):
        assert told in plimsoll.out
    assert await plimsoll("doctor", "--json") == 0
    assert {subject for subject, verdict in verdicts(plimsoll).items() if verdict == "worth a look"} == {
        "key",
        "orchestrator",
        "model-router",
        "feedback",
    }


async def test_a_part_that_is_broken_is_named_while_the_others_are_looked_at(mesh: FakeMesh, plimsoll: Shell) -> None:
    mesh.refusals = {
        "ListTools": Internal("its database is not what it was", reason="INTERNAL"),
        "ListCollections": Denied("your key may not", reason="SCOPE_MISSING", remedy="ask for memory:read"),
    }
    assert await plimsoll("doctor", "--json") == 1
    told = verdicts(plimsoll)
    assert (told["tool-dispatcher"], told["memory"], told["feedback"]) == ("broken", "worth a look", "good")


async def test_without_a_key_that_works_nothing_else_is_asked(mesh: FakeMesh, plimsoll: Shell) -> None:
    mesh.refusals = {"GetCaller": Unauthenticated("no such key", reason="UNKNOWN_KEY", remedy="use another")}
    assert await plimsoll("doctor", "--json") == 1
    assert verdicts(plimsoll) == {"gateway": "broken"}
    assert await plimsoll("doctor") == 1
    assert "[UNKNOWN_KEY]" in plimsoll.out
