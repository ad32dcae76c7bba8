"""Memory: documents in, passages out."""

from collections.abc import Sequence

from plimsoll.gateway.v1 import gateway_service_pb2_grpc as rpc
from plimsoll.gateway.v1 import memory_pb2 as pb
from plimsoll_runtime.json_types import JsonObject
from plimsoll_runtime.wire import json_to_proto

from plimsoll_client.calls import Calls, every
from plimsoll_client.codec.knowledge import collection_from_proto, document_from_proto, passage_from_proto, receipt_from_proto
from plimsoll_client.codec.retrieval import configuration_to_proto, evaluation_from_proto, query_to_proto
from plimsoll_client.knowledge import Collection, Document, Found, Ingested
from plimsoll_client.retrieval import Evaluation, LabelledQuery, SearchConfiguration

INGEST_S = 120.0
"""A large document is chunked and embedded before the answer."""


class Memory:
    """Collections of documents."""

    def __init__(self, stub: "rpc.GatewayServiceAsyncStub", calls: Calls) -> None:
        self._stub = stub
        self._calls = calls

    async def ingest(
        self, collection: str, source: str, content: bytes, *, media_type: str, metadata: "JsonObject | None" = None
    ) -> Ingested:
        """Store a document under `source`; the same content again changes nothing. The collection is made when it does not exist."""
        request = pb.IngestDocumentRequest(
            collection=collection, source=source, media_type=media_type, content=content, metadata=json_to_proto(metadata or {})
        )
        answer = await self._calls.repeatable(self._stub.IngestDocument, request, cap_s=INGEST_S)
        return Ingested(document=document_from_proto(answer.document), changed=answer.changed)

    async def search(self, collection: str, query: str, *, limit: int = 5, filter: "JsonObject | None" = None) -> Found:  # noqa: A002 - the contract's own word
        """Passages that answer `query`, best first. A passage matches `filter` when its metadata holds all of it."""
        request = pb.SearchCollectionRequest(collection=collection, query=query, limit=limit, filter=json_to_proto(filter or {}))
        answer = await self._calls.repeatable(self._stub.SearchCollection, request)
        return Found(passages=tuple(passage_from_proto(message) for message in answer.passages), receipt=receipt_from_proto(answer.receipt))

    async def evaluate(
        self,
        collection: str,
        queries: Sequence[LabelledQuery],
        *,
        ks: Sequence[int] = (),
        configuration: SearchConfiguration | None = None,
        baseline: SearchConfiguration | None = None,
    ) -> Evaluation:
        """How good the answers to labelled queries are; with a baseline, whether the two ways to search differ."""
        request = pb.EvaluateCollectionRequest(
            collection=collection,
            queries=map(query_to_proto, queries),
            ks=ks,
            configuration=configuration_to_proto(configuration) if configuration else None,
            baseline=configuration_to_proto(baseline) if baseline else None,
        )
        answer = await self._calls.repeatable(self._stub.EvaluateCollection, request, cap_s=INGEST_S)
        return evaluation_from_proto(answer.evaluation)

    async def collections(self) -> list[Collection]:
        """All of them."""
        answer = await self._calls.repeatable(self._stub.ListCollections, pb.ListCollectionsRequest())
        return [collection_from_proto(message) for message in answer.collections]

    async def documents(self, collection: str, *, limit: int = 1000) -> list[Document]:
        """What a collection holds."""

        async def page(size: int, token: str) -> pb.ListDocumentsResponse:
            request = pb.ListDocumentsRequest(collection=collection, page_size=size, page_token=token)
            return await self._calls.repeatable(self._stub.ListDocuments, request)

        return [document_from_proto(message) for message in await every(page, lambda answer: answer.documents, limit=limit)]

    async def delete(self, collection: str, document_id: str) -> None:
        """Forget a document: text, passages and vectors."""
        request = pb.DeleteDocumentRequest(collection=collection, document_id=document_id)
        await self._calls.repeatable(self._stub.DeleteDocument, request)
