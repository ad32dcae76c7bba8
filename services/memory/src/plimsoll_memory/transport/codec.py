"""Between the wire and the domain."""

from collections.abc import Sequence

from plimsoll.memory.v1 import document_pb2, memory_events_pb2
from plimsoll.memory.v1 import memory_service_pb2 as pb
from plimsoll_runtime.failures import Failure, failure_to_proto
from plimsoll_runtime.outbox import OutboxEvent
from plimsoll_runtime.wire import duration_to_proto, json_to_proto, object_from_proto, timestamp_to_proto
from plimsoll_runtime.work import work_from_proto, work_to_proto

from plimsoll_memory.domain.document import Collection, Document, Incoming, Stored, accept
from plimsoll_memory.domain.ranking import Passage
from plimsoll_memory.domain.search import Answer, Configuration, Receipt, SearchCompleted, SearchRequest
from plimsoll_memory.service.memory import DocumentPage

SEARCH_COMPLETED = "plimsoll.v1.memory.search.completed"


def incoming_from_proto(request: pb.IngestDocumentRequest, *, limit_bytes: int) -> Incoming:
    """Raises Invalid for fields that break their rules."""
    return accept(
        collection=request.collection,
        source=request.source,
        media_type=request.media_type,
        content=request.content,
        metadata=object_from_proto(request.metadata, "metadata"),
        limit_bytes=limit_bytes,
        labels=request.labels,
    )


def stored_to_proto(stored: Stored) -> pb.IngestDocumentResponse:
    return pb.IngestDocumentResponse(document=document_to_proto(stored.document), changed=stored.changed)


def search_from_proto(request: pb.SearchRequest) -> SearchRequest:
    """Raises Invalid when the filter is not a JSON object."""
    return SearchRequest(
        collection=request.collection,
        query=request.query,
        limit=request.limit,
        filter=object_from_proto(request.filter, "filter"),
        work=work_from_proto(request.work) if request.HasField("work") else None,
        configuration=configuration_from_proto(request.configuration),
    )


def configuration_from_proto(message: document_pb2.SearchConfiguration) -> Configuration:
    return Configuration(
        name=message.name,
        vector_weight=message.vector_weight if message.HasField("vector_weight") else None,
        text_weight=message.text_weight if message.HasField("text_weight") else None,
        rerank=message.rerank if message.HasField("rerank") else None,
        exact=message.exact,
    )


def answer_to_proto(answer: Answer) -> pb.SearchResponse:
    return pb.SearchResponse(passages=map(_passage_to_proto, answer.passages), receipt=_receipt_to_proto(answer.receipt))


def failed_search_to_proto(failure: Failure) -> pb.SearchResponse:
    return pb.SearchResponse(failure=failure_to_proto(failure))


def collections_to_proto(collections: Sequence[Collection]) -> pb.ListCollectionsResponse:
    return pb.ListCollectionsResponse(collections=map(collection_to_proto, collections))


def page_to_proto(page: DocumentPage) -> pb.ListDocumentsResponse:
    return pb.ListDocumentsResponse(documents=map(document_to_proto, page.documents), next_page_token=page.next_token)


def document_to_proto(document: Document) -> document_pb2.Document:
    return document_pb2.Document(
        document_id=document.document_id,
        collection=document.collection,
        source=document.source,
        title=document.title,
        digest=document.digest,
        version=document.version,
        chunks=document.chunks,
        size_bytes=document.size_bytes,
        metadata=json_to_proto(document.metadata),
        update_time=timestamp_to_proto(document.updated_at),
        labels=document.labels,
    )


def search_completed(completed: SearchCompleted) -> OutboxEvent:
    """The event as it is published."""
    message = memory_events_pb2.SearchCompleted(
        event_id=completed.event_id,
        tenant=completed.tenant,
        work=work_to_proto(completed.work) if completed.work else None,
        collection=completed.collection,
        receipt=_receipt_to_proto(completed.receipt),
        start_time=timestamp_to_proto(completed.started_at),
        duration=duration_to_proto(completed.duration_s),
        failure=failure_to_proto(completed.failure) if completed.failure else None,
    )
    return OutboxEvent(event_id=completed.event_id, subject=SEARCH_COMPLETED, tenant=completed.tenant, payload=message.SerializeToString())


def collection_to_proto(collection: Collection) -> document_pb2.Collection:
    return document_pb2.Collection(
        name=collection.name,
        documents=collection.documents,
        chunks=collection.chunks,
        embedder=collection.embedder,
        create_time=timestamp_to_proto(collection.created_at),
        next_embedder=collection.next_embedder,
        reembedded=collection.reembedded,
        exact=collection.exact,
        reranker=collection.reranker,
    )


def _passage_to_proto(passage: Passage) -> document_pb2.Passage:
    one = passage.candidate
    return document_pb2.Passage(
        chunk_id=one.chunk_id,
        document_id=one.document_id,
        source=one.source,
        title=one.title,
        headings=one.headings,
        text=one.text,
        score=passage.score,
        text_rank=one.text_rank,
        vector_rank=one.vector_rank,
        span_start=one.start,
        span_end=one.end,
        metadata=json_to_proto(one.metadata),
        labels=one.labels,
        text_score=one.text_score,
        vector_similarity=one.similarity,
        rerank_score=passage.rerank_score,
    )


def _receipt_to_proto(receipt: Receipt) -> document_pb2.Receipt:
    return document_pb2.Receipt(
        search_id=receipt.search_id,
        requested=receipt.requested,
        returned=receipt.returned,
        text_candidates=receipt.text_candidates,
        vector_candidates=receipt.vector_candidates,
        exact=receipt.exact,
        embedder=receipt.embedder,
        skipped=receipt.skipped,
        best_score=receipt.best_score,
        reranker=receipt.reranker,
        reranked=receipt.reranked,
        best_similarity=receipt.best_similarity,
        best_text_score=receipt.best_text_score,
        configuration=receipt.configuration,
    )
