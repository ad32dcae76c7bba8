"""Every method over both protocols: what is asked reaches the service behind, for the tenant of the key, and its answer comes back."""

from collections.abc import Iterator

import orjson
import pytest
from gateway_cases import ACTOR, ORCHESTRATOR, RUN, Case
from gateway_door import Door, open_door
from gateway_feedback_cases import FEEDBACK
from gateway_learning_cases import LEARNING
from gateway_memory_cases import MEMORY
from gateway_registry_cases import REGISTRY
from gateway_tool_cases import TOOLS
from google.protobuf import json_format, message_factory
from google.protobuf.message import Message
from plimsoll.gateway.v1 import gateway_service_pb2
from plimsoll.orchestrator.v1 import orchestrator_service_pb2 as orchestrator_pb
from plimsoll_gateway.transport.transcoder import Received, Transcoder

OWN = {
    "PollRun",
    "GetCaller",
    "CreateKey",
    "ListKeys",
    "RotateKey",
    "RevokeKey",
    "ListKeyEvents",
    "GetUsage",
    "ListAuditEntries",
    "VerifyAudit",
}  # the gateway's own: see test_key_api and test_audit
SERVICE = gateway_service_pb2.DESCRIPTOR.services_by_name["GatewayService"]
CASES = [
    *ORCHESTRATOR,
    *FEEDBACK,
    *LEARNING,
    *REGISTRY,
    *TOOLS,
    *MEMORY,
]


@pytest.fixture
async def door(postgres_dsn: str):
    async with open_door(postgres_dsn) as opened:
        yield opened


def behind(case: Case) -> str:
    return type(case.heard).__name__.removesuffix("Request")


def expected(case: Case, actor: str) -> Message:
    """What the service behind shall hear, with the actor's real name."""
    request = type(case.heard)()
    request.CopyFrom(case.heard)
    for message in (request, getattr(request, "signal", None)):
        for field in ("cancelled_by", "paused_by", "resumed_by", "sent_by", "decided_by", "source"):
            if message is not None and getattr(message, field, "") == ACTOR:
                setattr(message, field, actor)
    return request


def fields_of(message: Message) -> Iterator[str]:
    """The names of all fields that are set, at any depth."""
    for field, value in message.ListFields():
        yield field.name
        for inner in value if field.is_repeated else [value]:
            if isinstance(inner, Message):
                yield from fields_of(inner)


def at(document: object, path: str) -> object:
    for part in path.split("."):
        document = document[int(part)] if isinstance(document, list) else document[part]
    return document


def test_every_method_has_its_case():
    assert {case.method for case in CASES} | {"FollowRun", "ExportDataset"} | OWN == {method.name for method in SERVICE.methods}


async def carry_over_rest(door: Door, case: Case) -> dict[str, object]:
    async with door.rest.request(case.http, case.path, json=case.body) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "application/json"
        return orjson.loads(await response.read())


async def carry_over_grpc(door: Door, case: Case) -> Message:
    transcoder = Transcoder(SERVICE)
    path, _, query = case.path.partition("?")
    body = orjson.dumps(case.body) if case.body is not None else b""
    request = transcoder.request(transcoder.table.match(case.http, path), Received(query=query, body=body))
    method = SERVICE.methods_by_name[case.method]
    call = door.channel.unary_unary(
        f"/{SERVICE.full_name}/{case.method}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
    )
    return await call(request, timeout=10, metadata=(("authorization", f"Bearer {door.key}"),))


async def test_every_method_is_carried_over_rest_and_over_grpc_alike(door: Door):
    actor = (await door.ring.of_tenant("acme"))[0]
    name = f"console ({actor.key_id})"
    for case in CASES:
        peer = door.peers[case.service]
        peer.answers[behind(case)] = case.answer
        document = await carry_over_rest(door, case)
        await door.pool.execute("delete from requests")  # or the second would get the answer of the first, under the same key
        message = await carry_over_grpc(door, case)
        assert {path: at(document, path) for path in case.shows} == case.shows, case.method
        for heard in peer.heard[-2:]:
            assert (heard.method, heard.request) == (behind(case), expected(case, name)), case.method
            assert (heard.caller.tenant, heard.caller.principal) == ("acme", name)
            assert heard.left_s is not None
            assert heard.left_s < 61
        if not {"state", "graph", "value", "input", "output", "expected"} & set(
            fields_of(case.answer)
        ):  # JSON values look different in protobuf's own mapping
            assert json_format.MessageToDict(message, always_print_fields_with_no_presence=True) == document, case.method


async def test_who_decides_is_the_key_whatever_the_body_claims(door: Door):
    body = {"decision": "DECISION_APPROVE", "decidedBy": "the boss"}
    async with door.rest.post("/v1/approvals/apr_1:decide", json=body) as response:
        problem = await response.json(content_type=None)
    assert response.status == 400
    assert problem["violations"][0]["field"] == "decidedBy"
    assert door.peers["orchestrator"].heard == []


async def test_a_signal_keeps_the_source_that_its_sender_names(door: Door):
    async with door.rest.post("/v1/runs/run_1/signals", json={"outcome": False, "source": "shop"}) as response:
        assert response.status == 200
    heard = door.peers["feedback"].heard[0].request
    assert (heard.signal.source, heard.signal.run_id, heard.signal.WhichOneof("value")) == ("shop", "run_1", "outcome")


async def test_a_signal_for_another_run_than_the_paths_is_refused(door: Door):
    async with door.rest.post("/v1/runs/run_1/signals", json={"outcome": True, "runId": "run_2"}) as response:
        problem = await response.json(content_type=None)
    assert (response.status, problem["violations"][0]["field"]) == (400, "signal.runId")


async def test_an_input_that_is_absent_stays_absent(door: Door):
    async with door.rest.post("/v1/agents/support/runs") as response:
        assert response.status == 200
    assert not door.peers["orchestrator"].heard[0].request.HasField("input")


async def test_options_that_are_absent_stay_absent(door: Door):
    async with door.rest.post("/v1/agents/support/runs", json={"input": {}}) as response:
        assert response.status == 200
    assert not door.peers["orchestrator"].heard[0].request.HasField("options")


@pytest.mark.parametrize(
    ("path", "field"), [("/v1/schedules/a", "schedule.name"), ("/v1/webhooks/a", "webhook.name"), ("/v1/datasets/a", "dataset.name")]
)
async def test_what_is_put_has_the_name_of_its_path(door: Door, path: str, field: str):
    async with door.rest.put(path, json={"name": "b"}) as response:
        problem = await response.json(content_type=None)
    assert (response.status, problem["violations"][0]["field"]) == (400, field)
    assert door.peers["orchestrator"].heard == []


async def test_the_idempotency_key_may_come_in_the_header(door: Door):
    async with door.rest.post("/v1/agents/support/runs", json={"input": {}}, headers={"Idempotency-Key": "k-7"}) as response:
        assert response.status == 200
    assert door.peers["orchestrator"].heard[0].request.idempotency_key == "k-7"


async def test_the_digits_of_a_state_reach_the_client(door: Door):
    door.peers["orchestrator"].answers["GetRun"] = orchestrator_pb.GetRunResponse(run=RUN)
    async with door.rest.get("/v1/runs/run_1") as response:
        assert b'"state":{"n":12345678901234567890123}' in await response.read()


async def test_the_interface_is_described_to_everybody(door: Door):
    async with door.rest.get("/openapi.json", headers={"Authorization": ""}) as response:
        document = await response.json()
    assert response.status == 200
    assert document["openapi"] == "3.1.0"
    assert "/v1/runs/{runId}:cancel" in document["paths"]
