"""Memory: documents in, passages out; what conversations left; how good retrieval is."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from os import SEEK_END
from typing import BinaryIO

from plimsoll.gateway.v1 import gateway_service_pb2_grpc as rpc
from plimsoll.gateway.v1 import memory_pb2 as pb
from plimsoll.memory.v1 import quality_pb2
from plimsoll_runtime.errors import Conflict
from plimsoll_runtime.json_types import JsonObject
from plimsoll_runtime.wire import json_to_proto

from plimsoll_client.calls import Calls, every
from plimsoll_client.codec.conversation import fact_from_proto, thread_memory_from_proto
from plimsoll_client.codec.knowledge import collection_from_proto, document_from_proto, passage_from_proto, receipt_from_proto
from plimsoll_client.codec.retrieval import (
    configuration_to_proto,
    drift_from_proto,
    evaluation_from_proto,
    query_set_from_proto,
    query_to_proto,
    window_from_proto,
)
from plimsoll_client.conversation import Fact, Forgotten, ThreadMemory
from plimsoll_client.knowledge import Collection, Document, Found, Ingested, Uploaded
from plimsoll_client.retrieval import Evaluation, LabelledQuery, Quality, QuerySet, SearchConfiguration, Use

INGEST_S = 120.0
"""A large document is chunked and embedded before the answer."""
UPLOAD_S = 300.0
PIECE_BYTES = 3 * 1024 * 1024
"""What one call of an upload brings: many a proxy of gRPC takes no more than 4 MiB."""
_STALLED = 5  # calls in a row that bring nothing forward


class Memory:
    """Collections of documents, and what conversations left."""

    def __init__(self, stub: "rpc.GatewayServiceAsyncStub", calls: Calls) -> None:
        self._stub = stub
        self._calls = calls

    async def ingest(
        self,
        collection: str,
        source: str,
        content: bytes,
        *,
        media_type: str,
        metadata: "JsonObject | None" = None,
        labels: Sequence[str] = (),
    ) -> Ingested:
        """Store a document under `source`; the same content again changes nothing. The collection is made when it does not exist.

        For documents of more than a few MiB there is `upload`.
        """
        request = pb.IngestDocumentRequest(
            collection=collection,
            source=source,
            media_type=media_type,
            content=content,
            metadata=json_to_proto(metadata or {}),
            labels=labels,
        )
        answer = await self._calls.repeatable(self._stub.IngestDocument, request, cap_s=INGEST_S)
        return Ingested(document=document_from_proto(answer.document), changed=answer.changed)

    async def upload(
        self,
        collection: str,
        source: str,
        content: BinaryIO,
        *,
        media_type: str,
        key: str,
        metadata: "JsonObject | None" = None,
        labels: Sequence[str] = (),
    ) -> AsyncGenerator[Uploaded, None]:
        """Store a document of any size in pieces, saying after each how far it is; the last one is `done`.

        `content` is read from wherever the mesh says, so it must be seekable. `key` names its bytes, for example by their digest: whoever was
        cut off, or killed, begins again with the same key and goes on where the mesh has got to.
        """
        size = await asyncio.to_thread(content.seek, 0, SEEK_END)
        request = pb.UploadDocumentRequest(
            collection=collection,
            source=source,
            media_type=media_type,
            metadata=json_to_proto(metadata or {}),
            labels=labels,
            upload_key=key,
        )
        offset, stalled, ask = 0, 0, True
        while True:
            answer = await self._calls.repeatable(self._stub.UploadDocument, request, cap_s=UPLOAD_S)
            stalled = 0 if answer.offset > offset or ask else stalled + 1
            yield Uploaded(offset=answer.offset, documents=answer.documents, chunks=answer.chunks, changed=answer.changed, done=answer.done)
            if answer.done:
                return
            if stalled > _STALLED or answer.offset > size:
                raise Conflict(f"{source} is uploaded by somebody else at the same time, or its bytes changed", reason="UPLOAD_STALLED")
            offset, ask = answer.offset, False
            request.offset = offset
            request.content = await asyncio.to_thread(_read, content, offset)
            request.last = offset + len(request.content) == size

    async def search(
        self,
        collection: str,
        query: str,
        *,
        limit: int = 5,
        filter: "JsonObject | None" = None,  # noqa: A002 - the contract's own word
        configuration: SearchConfiguration | None = None,
    ) -> Found:
        """Passages that answer `query`, best first. A passage matches `filter` when its metadata holds all of it."""
        request = pb.SearchCollectionRequest(
            collection=collection,
            query=query,
            limit=limit,
            filter=json_to_proto(filter or {}),
            configuration=configuration_to_proto(configuration) if configuration else None,
        )
        answer = await self._calls.repeatable(self._stub.SearchCollection, request)
        return Found(passages=tuple(passage_from_proto(message) for message in answer.passages), receipt=receipt_from_proto(answer.receipt))

    async def evaluate(
        self,
        collection: str,
        queries: Sequence[LabelledQuery] = (),
        *,
        query_set: str = "",
        ks: Sequence[int] = (),
        configuration: SearchConfiguration | None = None,
        baseline: SearchConfiguration | None = None,
    ) -> Evaluation:
        """How good the answers to labelled queries, or to a stored set of them, are; with a baseline, whether the two ways to search differ."""
        request = pb.EvaluateCollectionRequest(
            collection=collection,
            queries=map(query_to_proto, queries),
            query_set=query_set,
            ks=ks,
            configuration=configuration_to_proto(configuration) if configuration else None,
            baseline=configuration_to_proto(baseline) if baseline else None,
        )
        answer = await self._calls.repeatable(self._stub.EvaluateCollection, request, cap_s=INGEST_S)
        return evaluation_from_proto(answer.evaluation)

    async def report_use(self, search_id: str, *, passages: Sequence[str] = (), answer: str = "") -> Use:
        """Say which passages of a search an answer used: those named by id, or those that the text of the answer draws on."""
        request = pb.ReportUseRequest(search_id=search_id, chunk_ids=passages, answer=answer)
        told = await self._calls.repeatable(self._stub.ReportUse, request)
        return Use(passages=told.passages, used=told.used)

    async def quality(self, collection: str) -> Quality:
        """How the searches of a collection went lately, without labels, and what drifts."""
        told = await self._calls.repeatable(self._stub.GetCollectionQuality, pb.GetCollectionQualityRequest(collection=collection))
        return Quality(windows=tuple(map(window_from_proto, told.windows)), drifts=tuple(map(drift_from_proto, told.drifts)))

    async def put_query_set(self, name: str, collection: str, queries: Sequence[LabelledQuery]) -> QuerySet:
        """Keep labelled queries under a name, in the place of what it had before."""
        query_set = quality_pb2.QuerySet(collection=collection, queries=map(query_to_proto, queries))
        answer = await self._calls.repeatable(self._stub.PutQuerySet, pb.PutQuerySetRequest(name=name, query_set=query_set))
        return query_set_from_proto(answer.query_set)

    async def query_sets(self) -> list[QuerySet]:
        """All that are kept, by name."""
        answer = await self._calls.repeatable(self._stub.ListQuerySets, pb.ListQuerySetsRequest())
        return [query_set_from_proto(message) for message in answer.query_sets]

    async def delete_query_set(self, name: str) -> None:
        """Forget a query set."""
        await self._calls.repeatable(self._stub.DeleteQuerySet, pb.DeleteQuerySetRequest(name=name))

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

    async def configure(self, collection: str, *, embedder: str = "", reranker: str = "") -> Collection:
        """Set how a collection is embedded and reranked; empty leaves it. A new embedder works in the background while the old one serves."""
        request = pb.ConfigureCollectionRequest(collection=collection, embedder=embedder, reranker=reranker)
        return collection_from_proto((await self._calls.repeatable(self._stub.ConfigureCollection, request)).collection)

    async def delete_collection(self, collection: str) -> int:
        """Forget a collection with all that it holds; returns how many documents it had."""
        request = pb.DeleteCollectionRequest(collection=collection)
        return (await self._calls.repeatable(self._stub.DeleteCollection, request, cap_s=INGEST_S)).documents

    async def thread(self, thread_id: str, *, max_tokens: int = 0, query: str = "") -> ThreadMemory:
        """What of a conversation fits: its latest turns, a summary of those before, facts. An unknown thread is an empty one."""
        request = pb.ReadThreadMemoryRequest(thread_id=thread_id, max_tokens=max_tokens, query=query)
        return thread_memory_from_proto(await self._calls.repeatable(self._stub.ReadThreadMemory, request))

    async def facts(self, *, subject: str = "", thread_id: str = "", superseded: bool = False, limit: int = 100) -> list[Fact]:
        """Facts about a subject, or learned in a thread; with `superseded` also those that others took the place of."""

        async def page(size: int, token: str) -> pb.ListFactsResponse:
            request = pb.ListFactsRequest(subject=subject, thread_id=thread_id, superseded=superseded, page_size=size, page_token=token)
            return await self._calls.repeatable(self._stub.ListFacts, request)

        return [fact_from_proto(message) for message in await every(page, lambda answer: answer.facts, limit=limit)]

    async def forget(self, *, thread_id: str = "", subject: str = "", fact_id: str = "") -> Forgotten:
        """Forget a thread with what was learned in it, all facts about a subject, or a fact with those that it superseded: one of them."""
        request = pb.ForgetMemoryRequest()
        if thread_id:
            request.thread_id = thread_id
        elif subject:
            request.subject = subject
        else:
            request.fact_id = fact_id
        answer = await self._calls.repeatable(self._stub.ForgetMemory, request)
        return Forgotten(turns=answer.turns, facts=answer.facts)


def _read(content: BinaryIO, offset: int) -> bytes:
    content.seek(offset)
    return content.read(PIECE_BYTES)
