"""The whole service, as the gateway and the orchestrator use it."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import nats
import pytest
from memory_running import Stub, running
from memory_samples import ACME, HANDBOOK, UMBRELLA, pdf
from nats.js.errors import NotFoundError
from plimsoll.common.v1 import json_pb2, work_pb2
from plimsoll.memory.v1 import memory_events_pb2
from plimsoll.memory.v1 import memory_service_pb2 as pb
from plimsoll_devstack.authority import certificate_files, ensure_certificates
from plimsoll_memory.config import PassageSettings, ReaderSettings, Settings
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.errors import Denied, Invalid, NotFound
from plimsoll_runtime.rpc_client import call, stream
from plimsoll_runtime.settings import NatsSettings, PostgresSettings, Secret, ServerSettings, TlsSettings
from plimsoll_testkit.waiting import eventually


@pytest.fixture
def settings(postgres_dsn: str, nats_url: str) -> Settings:
    return Settings(
        server=ServerSettings(tls=TlsSettings(), insecure=True, drain_s=5.0),
        postgres=PostgresSettings(dsn=Secret(postgres_dsn)),
        nats=NatsSettings(url=Secret(nats_url)),
        reader=ReaderSettings(limit_mib=1),
        passage=PassageSettings(),
    )


@pytest.fixture
async def stub(settings: Settings) -> AsyncIterator[Stub]:
    async with running(settings) as stub:
        with acting_for(ACME, "ada"):
            yield stub


def document(
    content: bytes = HANDBOOK.encode(), *, source: str = "billing.md", media_type: str = "text/markdown"
) -> pb.IngestDocumentRequest:
    return pb.IngestDocumentRequest(
        collection="help", source=source, media_type=media_type, content=content, metadata=json_pb2.JsonValue(text='{"team":"billing"}')
    )


async def search(stub: Stub, query: str, *, where: str = "{}", limit: int = 5) -> pb.SearchResponse:
    request = pb.SearchRequest(collection="help", query=query, limit=limit, filter=json_pb2.JsonValue(text=where))
    answer: pb.SearchResponse = await call(stub.Search, request, cap_s=60)
    assert not answer.HasField("failure")
    return answer


async def test_a_question_finds_its_passage_with_its_source(stub: Stub) -> None:
    stored = await call(stub.IngestDocument, document(), cap_s=60)
    assert stored.changed
    assert (stored.document.title, stored.document.version, stored.document.chunks) == ("Billing handbook", 1, 3)
    answer = await search(stub, "Who has to look at a large refund?", where='{"team":"billing"}', limit=2)
    best = answer.passages[0]
    assert "second pair of eyes" in best.text
    assert (best.source, list(best.headings), best.metadata.text) == ("billing.md", ["Billing handbook", "Refunds"], '{"team":"billing"}')
    assert HANDBOOK[best.span_start : best.span_end] == best.text
    assert (answer.receipt.requested, answer.receipt.exact, answer.receipt.embedder) == (2, True, "hashing-384-v1")


async def test_misspelt_words_are_found(stub: Stub) -> None:
    await call(stub.IngestDocument, document(), cap_s=60)
    assert "refund" in (await search(stub, "refundds of paymnts", limit=1)).passages[0].text.lower()


async def test_a_pdf_and_a_text_answer_side_by_side(stub: Stub) -> None:
    await call(stub.IngestDocument, document(), cap_s=60)
    await call(
        stub.IngestDocument,
        document(pdf("Parcels leave the warehouse at noon."), source="parcels.pdf", media_type="application/pdf"),
        cap_s=60,
    )
    best = (await search(stub, "When do parcels leave?")).passages[0]
    assert (best.source, best.title, best.metadata.text) == ("parcels.pdf", "parcels", '{"page":1,"team":"billing"}')


async def test_the_same_content_again_changes_nothing_and_other_content_replaces_it(stub: Stub) -> None:
    first = await call(stub.IngestDocument, document(), cap_s=60)
    again = await call(stub.IngestDocument, document(), cap_s=60)
    assert (again.changed, again.document) == (False, first.document)
    other = await call(stub.IngestDocument, document(b"# Billing\n\nAll is new."), cap_s=60)
    assert (other.changed, other.document.version, other.document.document_id) == (True, 2, first.document.document_id)
    assert [one.text for one in (await search(stub, "refund billing")).passages] == ["# Billing\n\nAll is new."]


async def test_documents_and_collections_are_listed_and_forgotten(stub: Stub) -> None:
    for source in ("a.md", "b.md", "c.md"):
        await call(stub.IngestDocument, document(source=source), cap_s=60)
    collections = await call(stub.ListCollections, pb.ListCollectionsRequest(), cap_s=60)
    assert [(one.name, one.documents, one.chunks) for one in collections.collections] == [("help", 3, 9)]
    first = await call(stub.ListDocuments, pb.ListDocumentsRequest(collection="help", page_size=2), cap_s=60)
    rest = await call(
        stub.ListDocuments, pb.ListDocumentsRequest(collection="help", page_size=2, page_token=first.next_page_token), cap_s=60
    )
    assert [one.source for one in [*first.documents, *rest.documents]] == ["a.md", "b.md", "c.md"]
    assert rest.next_page_token == ""
    gone = pb.DeleteDocumentRequest(collection="help", document_id=first.documents[0].document_id)
    await call(stub.DeleteDocument, gone, cap_s=60)
    with pytest.raises(NotFound):
        await call(stub.DeleteDocument, gone, cap_s=60)
    assert {one.source for one in (await search(stub, "refund")).passages} == {"b.md", "c.md"}


async def test_another_tenant_sees_what_does_not_exist(stub: Stub) -> None:
    await call(stub.IngestDocument, document(), cap_s=60)
    with acting_for(UMBRELLA):
        with pytest.raises(NotFound) as refusal:
            await search(stub, "refund")
        with pytest.raises(NotFound) as unknown:
            await call(stub.Search, pb.SearchRequest(collection="nowhere", query="refund", limit=1), cap_s=60)
    assert refusal.value.reason == unknown.value.reason == "COLLECTION_NOT_FOUND"


@pytest.mark.parametrize(
    ("request_", "reason", "field"),
    [
        (document(b""), "EMPTY_DOCUMENT", "content"),
        (document(b" \n "), "NO_TEXT", "content"),
        (document(b"x" * (1024 * 1024 + 1)), "DOCUMENT_TOO_LARGE", "content"),
        (document(b"\x89PNG\r\n\x1a\n"), "BINARY_CONTENT", "content"),
        (document("Größe".encode("latin-1")), "UNDECODABLE_TEXT", "content"),
        (document(b"%PDF-1.7 broken", media_type="application/pdf"), "DAMAGED_DOCUMENT", "content"),
        (document(b'{"a": 1}\n{', media_type="application/jsonl"), "MALFORMED_RECORD", "content"),
        (document(media_type="image/png"), "UNKNOWN_MEDIA_TYPE", "media_type"),
        (document(source=""), "INVALID_REQUEST", "source"),
    ],
)
async def test_what_cannot_be_stored_is_refused_with_field_problem_and_remedy(
    stub: Stub, request_: pb.IngestDocumentRequest, reason: str, field: str
) -> None:
    with pytest.raises(Invalid) as refusal:
        await call(stub.IngestDocument, request_, cap_s=60)
    (problem,) = refusal.value.problems
    assert (refusal.value.reason, problem.field) == (reason, field)
    assert problem.problem
    assert problem.remedy
    assert not (await call(stub.ListCollections, pb.ListCollectionsRequest(), cap_s=60)).collections


async def test_a_search_is_published(stub: Stub, nats_url: str) -> None:
    await call(stub.IngestDocument, document(), cap_s=60)
    request = pb.SearchRequest(collection="help", query="refund", limit=1, work=work_pb2.WorkContext(run_id="run_1", step=3))
    answer = await call(stub.Search, request, cap_s=60)
    client = await nats.connect(nats_url)
    try:
        streams = client.jetstream()

        async def published() -> memory_events_pb2.SearchCompleted | None:
            try:
                message = await streams.get_last_msg("PLIMSOLL_MEMORY", "plimsoll.v1.memory.search.completed")
            except NotFoundError:
                return None
            return memory_events_pb2.SearchCompleted.FromString(message.data or b"")

        event = await eventually(published)
    finally:
        await client.close()
    assert event is not None
    assert (event.tenant, event.collection, event.work.run_id, event.work.step) == (ACME, "help", "run_1", 3)
    assert event.receipt == answer.receipt
    assert event.HasField("duration")


async def nothing() -> AsyncIterator[pb.IngestDocumentsRequest]:
    """A stream that says nothing."""
    for request in ():
        yield request


async def test_only_the_gateway_and_the_orchestrator_may_call(settings: Settings, tmp_path: Path) -> None:
    ensure_certificates(tmp_path, ("memory", "gateway", "orchestrator", "feedback"), datetime.now(UTC))

    def certificate(service: str) -> TlsSettings:
        files = certificate_files(tmp_path, service)
        return TlsSettings(ca=str(files.ca), certificate=str(files.certificate), key=str(files.key))

    closed = replace(settings, server=replace(settings.server, insecure=False, tls=certificate("memory")))
    with acting_for(ACME):
        async with running(closed, client=certificate("gateway")) as stub:
            assert not (await call(stub.ListCollections, pb.ListCollectionsRequest(), cap_s=60)).collections
        async with running(closed, client=certificate("orchestrator")) as stub:
            assert not (await call(stub.ReadThread, pb.ReadThreadRequest(thread_id="none"), cap_s=60)).turns
            with pytest.raises(Denied) as beyond:  # what it has no use for
                await call(stub.DeleteCollection, pb.DeleteCollectionRequest(collection="handbook"), cap_s=60)
        async with running(closed, client=certificate("feedback")) as stub:
            with pytest.raises(Denied) as refusal:
                await call(stub.ListCollections, pb.ListCollectionsRequest(), cap_s=60)
            with pytest.raises(Denied) as streamed:
                _ = [answer async for answer in stream(stub.IngestDocuments, nothing(), cap_s=60)]
    assert refusal.value.reason == streamed.value.reason == beyond.value.reason == "CALLER_NOT_ALLOWED"
