"""Every method over both protocols: what is asked reaches the service behind, for the tenant of the key, and its answer comes back."""

from dataclasses import dataclass

import orjson
import pytest
from gateway_door import Door, open_door
from google.protobuf import json_format, message_factory
from google.protobuf.message import Message
from plimsoll.feedback.v1 import feedback_service_pb2 as feedback_pb
from plimsoll.feedback.v1 import operation_pb2, signal_pb2
from plimsoll.gateway.v1 import gateway_service_pb2
from plimsoll.memory.v1 import memory_service_pb2 as memory_pb
from plimsoll.model_router.v1 import model_router_service_pb2 as router_pb
from plimsoll.orchestrator.v1 import orchestrator_service_pb2 as orchestrator_pb
from plimsoll.orchestrator.v1 import run_pb2
from plimsoll.tool_dispatcher.v1 import tool_dispatcher_service_pb2 as dispatcher_pb
from plimsoll_gateway.transport.transcoder import Received, Transcoder

SERVICE = gateway_service_pb2.DESCRIPTOR.services_by_name["GatewayService"]
ACTOR = "<actor>"  # stands for the name of the key that is used


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One method: as REST asks it, what the service behind hears, and what it answers."""

    method: str
    http: str
    path: str
    body: object = None
    service: str = "orchestrator"
    heard: Message
    answer: Message
    shows: dict[str, object]


RUN = run_pb2.Run(run_id="run_1", agent="support", seq=3, state={"text": '{"n":12345678901234567890123}'})
CASES = [
    Case(
        method="SubmitRun",
        http="POST",
        path="/v1/agents/support/runs",
        body={"input": {"message": "hello"}, "idempotencyKey": "k"},
        heard=orchestrator_pb.StartRunRequest(agent="support", input={"text": '{"message":"hello"}'}, idempotency_key="k"),
        answer=orchestrator_pb.StartRunResponse(run=RUN, created=True),
        shows={"run.runId": "run_1", "run.seq": "3"},
    ),
    Case(
        method="GetRun",
        http="GET",
        path="/v1/runs/run_1",
        heard=orchestrator_pb.GetRunRequest(run_id="run_1"),
        answer=orchestrator_pb.GetRunResponse(run=RUN),
        shows={"run.agent": "support"},
    ),
    Case(
        method="ListRuns",
        http="GET",
        path="/v1/runs?agent=support&status=RUN_STATUS_FAILED&pageSize=2&pageToken=t",
        heard=orchestrator_pb.ListRunsRequest(agent="support", status=run_pb2.RUN_STATUS_FAILED, page_size=2, page_token="t"),
        answer=orchestrator_pb.ListRunsResponse(runs=[RUN], next_page_token="u"),
        shows={"runs.0.runId": "run_1", "nextPageToken": "u"},
    ),
    Case(
        method="CancelRun",
        http="POST",
        path="/v1/runs/run_1:cancel",
        body={"reason": "no need"},
        heard=orchestrator_pb.CancelRunRequest(run_id="run_1", reason="no need", cancelled_by=ACTOR),
        answer=orchestrator_pb.CancelRunResponse(run=run_pb2.Run(run_id="run_1", status=run_pb2.RUN_STATUS_CANCELLED)),
        shows={"run.status": "RUN_STATUS_CANCELLED"},
    ),
    Case(
        method="ListApprovals",
        http="GET",
        path="/v1/approvals?status=APPROVAL_STATUS_PENDING&runId=run_1&pageSize=2&pageToken=t",
        heard=orchestrator_pb.ListApprovalsRequest(status=run_pb2.APPROVAL_STATUS_PENDING, run_id="run_1", page_size=2, page_token="t"),
        answer=orchestrator_pb.ListApprovalsResponse(
            approvals=[run_pb2.Approval(approval_id="apr_1", proposal={"tool": "refund"})], next_page_token="u"
        ),
        shows={"approvals.0.proposal.tool": "refund", "nextPageToken": "u"},
    ),
    Case(
        method="DecideApproval",
        http="POST",
        path="/v1/approvals/apr_1:decide",
        body={"decision": "DECISION_APPROVE", "comment": "fine"},
        heard=orchestrator_pb.DecideApprovalRequest(
            approval_id="apr_1", decision=orchestrator_pb.DECISION_APPROVE, comment="fine", decided_by=ACTOR
        ),
        answer=orchestrator_pb.DecideApprovalResponse(approval=run_pb2.Approval(approval_id="apr_1", decided_by="console")),
        shows={"approval.decidedBy": "console"},
    ),
    Case(
        method="RegisterAgent",
        http="POST",
        path="/v1/agents",
        body={"source": "agent: a", "sourceName": "a.yaml"},
        heard=orchestrator_pb.RegisterAgentRequest(source="agent: a", source_name="a.yaml"),
        answer=orchestrator_pb.RegisterAgentResponse(agent={"name": "a", "version": 1}, created=True),
        shows={"agent.version": "1", "created": True},
    ),
    Case(
        method="GetAgent",
        http="GET",
        path="/v1/agents/a",
        heard=orchestrator_pb.GetAgentRequest(name="a"),
        answer=orchestrator_pb.GetAgentResponse(agent={"name": "a", "graph": {"text": '{"nodes":{}}'}}),
        shows={"agent.graph.nodes": {}},
    ),
    Case(
        method="ListAgents",
        http="GET",
        path="/v1/agents?pageSize=2&pageToken=t",
        heard=orchestrator_pb.ListAgentsRequest(page_size=2, page_token="t"),
        answer=orchestrator_pb.ListAgentsResponse(agents=[{"name": "a"}], next_page_token="u"),
        shows={"agents.0.name": "a", "nextPageToken": "u"},
    ),
    Case(
        method="ListTools",
        http="GET",
        path="/v1/tools",
        service="tool_dispatcher",
        heard=dispatcher_pb.ListToolsRequest(),
        answer=dispatcher_pb.ListToolsResponse(tools=[{"name": "refund"}]),
        shows={"tools.0.name": "refund"},
    ),
    Case(
        method="GetTool",
        http="GET",
        path="/v1/tools/refund",
        service="tool_dispatcher",
        heard=dispatcher_pb.GetToolRequest(name="refund"),
        answer=dispatcher_pb.GetToolResponse(tool={"name": "refund", "timeout": {"seconds": 5}}),
        shows={"tool.timeout": "5s"},
    ),
    Case(
        method="RegisterPrompt",
        http="POST",
        path="/v1/prompts",
        body={"prompt": {"name": "p", "examples": [{"user": "u", "assistant": {"a": 1}}]}, "labels": ["production"]},
        service="model_router",
        heard=router_pb.RegisterPromptRequest(
            prompt={"name": "p", "examples": [{"user": "u", "assistant": {"text": '{"a":1}'}}]}, labels=["production"]
        ),
        answer=router_pb.RegisterPromptResponse(prompt={"name": "p"}, created=True),
        shows={"created": True},
    ),
    Case(
        method="GetPrompt",
        http="GET",
        path="/v1/prompts/p",
        service="model_router",
        heard=router_pb.GetPromptRequest(reference={"name": "p", "label": "production"}),
        answer=router_pb.GetPromptResponse(prompt={"name": "p"}),
        shows={"prompt.name": "p"},
    ),
    Case(
        method="ListPrompts",
        http="GET",
        path="/v1/prompts?pageSize=2&pageToken=t",
        service="model_router",
        heard=router_pb.ListPromptsRequest(page_size=2, page_token="t"),
        answer=router_pb.ListPromptsResponse(prompts=[{"name": "p"}], next_page_token="u"),
        shows={"prompts.0.name": "p", "nextPageToken": "u"},
    ),
    Case(
        method="ListModels",
        http="GET",
        path="/v1/models",
        service="model_router",
        heard=router_pb.ListModelsRequest(),
        answer=router_pb.ListModelsResponse(models=[{"name": "rehearsal", "rehearsal": True}]),
        shows={"models.0.rehearsal": True},
    ),
    Case(
        method="IngestDocument",
        http="POST",
        path="/v1/collections/faq/documents",
        body={"source": "a.md", "mediaType": "text/markdown", "content": "aGk=", "metadata": {"lang": "en"}},
        service="memory",
        heard=memory_pb.IngestDocumentRequest(
            collection="faq", source="a.md", media_type="text/markdown", content=b"hi", metadata={"text": '{"lang":"en"}'}
        ),
        answer=memory_pb.IngestDocumentResponse(document={"document_id": "doc_1"}, changed=True),
        shows={"document.documentId": "doc_1", "changed": True},
    ),
    Case(
        method="SearchCollection",
        http="POST",
        path="/v1/collections/faq:search",
        body={"query": "returns", "filter": {"lang": "en"}},
        service="memory",
        heard=memory_pb.SearchRequest(collection="faq", query="returns", limit=5, filter={"text": '{"lang":"en"}'}),
        answer=memory_pb.SearchResponse(passages=[{"text": "30 days", "score": 0.5}], receipt={"search_id": "s"}),
        shows={"passages.0.score": 0.5, "receipt.searchId": "s"},
    ),
    Case(
        method="ListCollections",
        http="GET",
        path="/v1/collections",
        service="memory",
        heard=memory_pb.ListCollectionsRequest(),
        answer=memory_pb.ListCollectionsResponse(collections=[{"name": "faq"}]),
        shows={"collections.0.name": "faq"},
    ),
    Case(
        method="ListDocuments",
        http="GET",
        path="/v1/collections/faq/documents?pageSize=2&pageToken=t",
        service="memory",
        heard=memory_pb.ListDocumentsRequest(collection="faq", page_size=2, page_token="t"),
        answer=memory_pb.ListDocumentsResponse(documents=[{"source": "a.md"}], next_page_token="u"),
        shows={"documents.0.source": "a.md", "nextPageToken": "u"},
    ),
    Case(
        method="DeleteDocument",
        http="DELETE",
        path="/v1/collections/faq/documents/doc_1",
        service="memory",
        heard=memory_pb.DeleteDocumentRequest(collection="faq", document_id="doc_1"),
        answer=memory_pb.DeleteDocumentResponse(),
        shows={},
    ),
    Case(
        method="ListOperations",
        http="GET",
        path="/v1/operations?runId=r&agent=a&kind=OPERATION_KIND_TOOL_CALL&category=FAILURE_CATEGORY_TIMEOUT&failedOnly=true&pageSize=2&pageToken=t",
        service="feedback",
        heard=feedback_pb.ListOperationsRequest(
            run_id="r",
            agent="a",
            kind=operation_pb2.OPERATION_KIND_TOOL_CALL,
            category="FAILURE_CATEGORY_TIMEOUT",
            failed_only=True,
            page_size=2,
            page_token="t",
        ),
        answer=feedback_pb.ListOperationsResponse(operations=[{"operation_id": "op_1"}], next_page_token="u"),
        shows={"operations.0.operationId": "op_1", "nextPageToken": "u"},
    ),
    Case(
        method="CountFailures",
        http="GET",
        path="/v1/failures:count?agent=a&afterTime=1970-01-01T00:00:01Z&beforeTime=1970-01-01T00:00:02Z",
        service="feedback",
        heard=feedback_pb.CountFailuresRequest(agent="a", after_time={"seconds": 1}, before_time={"seconds": 2}),
        answer=feedback_pb.CountFailuresResponse(counts=[{"count": 7}], operations=9),
        shows={"counts.0.count": "7", "operations": "9"},
    ),
    Case(
        method="RecordSignal",
        http="POST",
        path="/v1/runs/run_1/signals?idempotencyKey=k",
        body={"verdict": "VERDICT_GOOD", "comment": "helped"},
        service="feedback",
        heard=feedback_pb.RecordSignalRequest(
            signal={"run_id": "run_1", "verdict": signal_pb2.VERDICT_GOOD, "comment": "helped", "source": ACTOR}, idempotency_key="k"
        ),
        answer=feedback_pb.RecordSignalResponse(signal={"signal_id": "sig_1"}),
        shows={"signal.signalId": "sig_1"},
    ),
    Case(
        method="ListSignals",
        http="GET",
        path="/v1/runs/run_1/signals?pageSize=2&pageToken=t",
        service="feedback",
        heard=feedback_pb.ListSignalsRequest(run_id="run_1", page_size=2, page_token="t"),
        answer=feedback_pb.ListSignalsResponse(signals=[{"signal_id": "sig_1"}], next_page_token="u"),
        shows={"signals.0.signalId": "sig_1", "nextPageToken": "u"},
    ),
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
        for field in ("cancelled_by", "decided_by", "source"):
            if message is not None and getattr(message, field, "") == ACTOR:
                setattr(message, field, actor)
    return request


def at(document: object, path: str) -> object:
    for part in path.split("."):
        document = document[int(part)] if isinstance(document, list) else document[part]
    return document


def test_every_method_has_its_case():
    assert {case.method for case in CASES} | {"FollowRun"} == {method.name for method in SERVICE.methods}


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
        message = await carry_over_grpc(door, case)
        assert {path: at(document, path) for path in case.shows} == case.shows, case.method
        for heard in peer.heard[-2:]:
            assert (heard.method, heard.request) == (behind(case), expected(case, name)), case.method
            assert (heard.caller.tenant, heard.caller.principal) == ("acme", name)
            assert heard.left_s is not None
            assert heard.left_s < 61
        if "state" not in str(case.answer) and "graph" not in str(case.answer):  # JSON values look different in protobuf's own mapping
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
