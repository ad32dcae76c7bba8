"""The wire form of requests, answers and events."""

from datetime import UTC, datetime

import pytest
from memory_samples import NOON
from plimsoll.common.v1 import json_pb2, work_pb2
from plimsoll.memory.v1 import memory_events_pb2
from plimsoll.memory.v1 import memory_service_pb2 as pb
from plimsoll_memory.domain.document import Document, Stored
from plimsoll_memory.domain.ranking import Candidate, Passage
from plimsoll_memory.domain.search import Answer, Receipt, SearchCompleted
from plimsoll_memory.transport import codec
from plimsoll_runtime.errors import Invalid
from plimsoll_runtime.wire import duration_from_proto, timestamp_from_proto
from plimsoll_runtime.work import WorkContext

RECEIPT = Receipt(
    search_id="search_1", requested=5, returned=1, text_candidates=3, vector_candidates=2, exact=True, embedder="e-1",
    skipped=("text: why",), best_score=0.25,
)  # fmt: skip


def test_a_document_to_ingest_is_read_whole() -> None:
    request = pb.IngestDocumentRequest(
        collection="help", source="a.md", media_type="text/markdown", content=b"# A", metadata=json_pb2.JsonValue(text='{"team": "b"}')
    )
    one = codec.incoming_from_proto(request, limit_bytes=10)
    assert (one.collection, one.source, one.content, one.metadata) == ("help", "a.md", b"# A", {"team": "b"})


@pytest.mark.parametrize("text", ["[]", "{", "1"])
def test_metadata_and_filter_must_be_objects(text: str) -> None:
    value = json_pb2.JsonValue(text=text)
    with pytest.raises(Invalid, match="metadata"):
        codec.incoming_from_proto(pb.IngestDocumentRequest(metadata=value), limit_bytes=10)
    with pytest.raises(Invalid, match="filter"):
        codec.search_from_proto(pb.SearchRequest(filter=value))


def test_a_search_is_read_with_the_work_it_is_for() -> None:
    request = pb.SearchRequest(collection="help", query="q", limit=3, work=work_pb2.WorkContext(run_id="run_1", step=2))
    wanted = codec.search_from_proto(request)
    assert (wanted.collection, wanted.query, wanted.limit, wanted.filter) == ("help", "q", 3, {})
    assert wanted.work == WorkContext(run_id="run_1", step=2)
    assert codec.search_from_proto(pb.SearchRequest()).work is None


def test_a_stored_document_is_told_whole() -> None:
    document = Document(
        document_id="doc_1", collection="help", source="a.md", title="A", digest="d", fingerprint="f", version=2, chunks=3, size_bytes=4,
        metadata={"team": "b"}, updated_at=NOON,
    )  # fmt: skip
    answer = codec.stored_to_proto(Stored(document=document, changed=True))
    assert answer.changed
    told = answer.document
    assert (told.document_id, told.collection, told.source, told.title, told.digest) == ("doc_1", "help", "a.md", "A", "d")
    assert (told.version, told.chunks, told.size_bytes, told.metadata.text) == (2, 3, 4, '{"team":"b"}')
    assert timestamp_from_proto(told.update_time) == NOON


def test_an_answer_is_told_whole() -> None:
    candidate = Candidate(
        chunk_id="doc_1.1.0", document_id="doc_1", source="a.md", title="A", headings=("B", "C"), text="text", start=3, end=7,
        metadata={"page": 1}, text_rank=1, vector_rank=0,
    )  # fmt: skip
    answer = codec.answer_to_proto(Answer(passages=[Passage(candidate=candidate, score=0.25)], receipt=RECEIPT))
    (told,) = answer.passages
    assert (told.chunk_id, told.document_id, told.source, told.title, list(told.headings)) == (
        "doc_1.1.0",
        "doc_1",
        "a.md",
        "A",
        ["B", "C"],
    )
    assert (told.text, told.span_start, told.span_end, told.score) == ("text", 3, 7, 0.25)
    assert (told.text_rank, told.vector_rank, told.metadata.text) == (1, 0, '{"page":1}')
    assert (answer.receipt.search_id, answer.receipt.best_score, list(answer.receipt.skipped)) == ("search_1", 0.25, ["text: why"])
    assert not answer.HasField("failure")


def test_a_search_is_announced_on_its_subject() -> None:
    completed = SearchCompleted(
        event_id="evt_1", tenant="acme", work=None, collection="help", receipt=RECEIPT,
        started_at=datetime(2026, 3, 1, 12, tzinfo=UTC), duration_s=0.125,
    )  # fmt: skip
    event = codec.search_completed(completed)
    assert (event.event_id, event.subject, event.tenant) == ("evt_1", "plimsoll.v1.memory.search.completed", "acme")
    message = memory_events_pb2.SearchCompleted.FromString(event.payload)
    assert (message.event_id, message.tenant, message.collection, message.receipt.returned) == ("evt_1", "acme", "help", 1)
    assert duration_from_proto(message.duration) == 0.125
    assert not message.HasField("work")
    assert not message.HasField("failure")
