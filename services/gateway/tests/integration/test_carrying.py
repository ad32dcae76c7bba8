"""Every method over both protocols: what is asked reaches the service behind, for the tenant of the key, and its answer comes back."""

from collections.abc import Iterator

import orjson
import pytest
from gateway_cases import ACTOR, ORCHESTRATOR, RUN, Case
from gateway_door import Door, open_door
from gateway_feedback_cases import FEEDBACK
from gateway_learning_cases import LEARNING
from gateway_registry_cases import REGISTRY
from gateway_tool_cases import TOOLS
from google.protobuf import json_format, message_factory
from google.protobuf.message import Message
from plimsoll.feedback.v1 import feedback_service_pb2 as feedback_pb
from plimsoll.feedback.v1 import operation_pb2, signal_pb2
from plimsoll.gateway.v1 import gateway_service_pb2
from plimsoll.memory.v1 import memory_service_pb2 as memory_pb
from plimsoll.model_router.v1 import model_router_service_pb2 as router_pb
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
        method="EvaluateCollection",
        http="POST",
        path="/v1/collections/faq:evaluate",
        body={"queries": [{"queryId": "q1", "query": "returns", "judgements": [{"source": "a.md", "grade": 1}]}], "ks": [5]},
        service="memory",
        heard=memory_pb.EvaluateRequest(
            query_set={
                "collection": "faq",
                "queries": [{"query_id": "q1", "query": "returns", "judgements": [{"source": "a.md", "grade": 1}]}],
            },
            ks=[5],
        ),
        answer=memory_pb.EvaluateResponse(evaluation={"queries": 1, "measures": [{"name": "ndcg", "k": 5, "value": 0.5}]}),
        shows={"evaluation.measures.0.value": 0.5},
    ),
    Case(
        method="UploadDocument",
        http="POST",
        path="/v1/collections/faq/uploads",
        body={"source": "a.md", "mediaType": "text/markdown", "uploadKey": "k", "offset": "2", "content": "aGk=", "last": True},
        service="memory",
        heard=memory_pb.UploadPartRequest(
            header={"collection": "faq", "source": "a.md", "media_type": "text/markdown", "upload_key": "k"},
            offset=2,
            content=b"hi",
            last=True,
        ),
        answer=memory_pb.UploadPartResponse(offset=4, progress={"offset": 4, "documents": 1, "chunks": 3, "changed": 1}, done=True),
        shows={"offset": "4", "documents": "1", "chunks": "3", "changed": "1", "done": True},
    ),
    Case(
        method="EvaluateCollection",
        http="POST",
        path="/v1/collections/faq:evaluate",
        body={"querySet": "kept", "baseline": {"exact": True}},
        service="memory",
        heard=memory_pb.EvaluateRequest(name="kept", collection="faq", baseline={"exact": True}),
        answer=memory_pb.EvaluateResponse(evaluation={"queries": 1}),
        shows={"evaluation.queries": "1"},
    ),
    Case(
        method="ConfigureCollection",
        http="POST",
        path="/v1/collections/faq:configure",
        body={"embedder": "e", "reranker": "none"},
        service="memory",
        heard=memory_pb.ConfigureCollectionRequest(collection="faq", embedder="e", reranker="none"),
        answer=memory_pb.ConfigureCollectionResponse(collection={"name": "faq", "next_embedder": "e"}),
        shows={"collection.nextEmbedder": "e"},
    ),
    Case(
        method="DeleteCollection",
        http="DELETE",
        path="/v1/collections/faq",
        service="memory",
        heard=memory_pb.DeleteCollectionRequest(collection="faq"),
        answer=memory_pb.DeleteCollectionResponse(documents=2),
        shows={"documents": "2"},
    ),
    Case(
        method="GetCollectionQuality",
        http="GET",
        path="/v1/collections/faq/quality",
        service="memory",
        heard=memory_pb.GetQualityRequest(collection="faq"),
        answer=memory_pb.GetQualityResponse(windows=[{"searches": 3, "empty": 0.5}], drifts=[{"signal": "empty"}]),
        shows={"windows.0.empty": 0.5, "drifts.0.signal": "empty"},
    ),
    Case(
        method="ReportUse",
        http="POST",
        path="/v1/searches/search_1:reportUse",
        body={"chunkIds": ["c1"]},
        service="memory",
        heard=memory_pb.ReportUseRequest(search_id="search_1", chunk_ids=["c1"]),
        answer=memory_pb.ReportUseResponse(passages=5, used=1),
        shows={"passages": 5, "used": 1},
    ),
    Case(
        method="PutQuerySet",
        http="PUT",
        path="/v1/query-sets/kept",
        body={"collection": "faq", "queries": [{"queryId": "q1", "query": "returns"}]},
        service="memory",
        heard=memory_pb.PutQuerySetRequest(
            query_set={"name": "kept", "collection": "faq", "queries": [{"query_id": "q1", "query": "returns"}]}
        ),
        answer=memory_pb.PutQuerySetResponse(query_set={"name": "kept", "queries": 1}),
        shows={"querySet.queries": "1"},
    ),
    Case(
        method="ListQuerySets",
        http="GET",
        path="/v1/query-sets",
        service="memory",
        heard=memory_pb.ListQuerySetsRequest(),
        answer=memory_pb.ListQuerySetsResponse(query_sets=[{"name": "kept"}]),
        shows={"querySets.0.name": "kept"},
    ),
    Case(
        method="DeleteQuerySet",
        http="DELETE",
        path="/v1/query-sets/kept",
        service="memory",
        heard=memory_pb.DeleteQuerySetRequest(name="kept"),
        answer=memory_pb.DeleteQuerySetResponse(),
        shows={},
    ),
    Case(
        method="ReadThreadMemory",
        http="GET",
        path="/v1/threads/thr_1/memory?maxTokens=500&query=card",
        service="memory",
        heard=memory_pb.ReadThreadRequest(thread_id="thr_1", max_tokens=500, query="card"),
        answer=memory_pb.ReadThreadResponse(turns=[{"number": 3, "text": "hi"}], summary={"text": "before"}, turns_total=3, tokens=9),
        shows={"turns.0.text": "hi", "summary.text": "before", "turnsTotal": "3", "tokens": 9},
    ),
    Case(
        method="ListFacts",
        http="GET",
        path="/v1/facts?subject=ada&superseded=true&pageSize=2",
        service="memory",
        heard=memory_pb.ListFactsRequest(subject="ada", superseded=True, page_size=2),
        answer=memory_pb.ListFactsResponse(facts=[{"fact_id": "fact_1", "text": "likes tea"}], next_page_token="n"),
        shows={"facts.0.text": "likes tea", "nextPageToken": "n"},
    ),
    Case(
        method="ForgetMemory",
        http="POST",
        path="/v1/memory:forget",
        body={"threadId": "thr_1"},
        service="memory",
        heard=memory_pb.ForgetRequest(thread_id="thr_1"),
        answer=memory_pb.ForgetResponse(turns=4, facts=2),
        shows={"turns": "4", "facts": "2"},
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
