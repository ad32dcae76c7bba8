"""Collections, documents and passages."""

from plimsoll.memory.v1 import document_pb2
from plimsoll_runtime.wire import object_from_proto

from plimsoll_client.codec.words import moment
from plimsoll_client.knowledge import Collection, Document, Passage, Receipt


def collection_from_proto(message: document_pb2.Collection) -> Collection:
    return Collection(
        name=message.name,
        documents=message.documents,
        chunks=message.chunks,
        embedder=message.embedder,
        created_at=moment(message, "create_time", message.create_time),
        next_embedder=message.next_embedder,
        reembedded=message.reembedded,
        exact=message.exact,
        reranker=message.reranker,
    )


def document_from_proto(message: document_pb2.Document) -> Document:
    return Document(
        id=message.document_id,
        collection=message.collection,
        source=message.source,
        title=message.title,
        digest=message.digest,
        version=message.version,
        chunks=message.chunks,
        size_bytes=message.size_bytes,
        metadata=object_from_proto(message.metadata, "document.metadata"),
        updated_at=moment(message, "update_time", message.update_time),
        labels=tuple(message.labels),
    )


def passage_from_proto(message: document_pb2.Passage) -> Passage:
    return Passage(
        id=message.chunk_id,
        document_id=message.document_id,
        source=message.source,
        title=message.title,
        headings=tuple(message.headings),
        text=message.text,
        score=message.score,
        text_rank=message.text_rank,
        vector_rank=message.vector_rank,
        span=(message.span_start, message.span_end),
        metadata=object_from_proto(message.metadata, "passage.metadata"),
        labels=tuple(message.labels),
    )


def receipt_from_proto(message: document_pb2.Receipt) -> Receipt:
    return Receipt(
        search_id=message.search_id,
        requested=message.requested,
        returned=message.returned,
        text_candidates=message.text_candidates,
        vector_candidates=message.vector_candidates,
        exact=message.exact,
        embedder=message.embedder,
        skipped=tuple(message.skipped),
        best_score=message.best_score,
        reranker=message.reranker,
    )
