"""The RPCs of plimsoll.memory.v1.MemoryService."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from plimsoll.memory.v1 import memory_service_pb2 as pb
from plimsoll.memory.v1 import memory_service_pb2_grpc as rpc
from plimsoll_runtime import logs
from plimsoll_runtime.context import current_caller
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.failures import failure_from_error
from plimsoll_runtime.rpc_server import Context, RpcService

from plimsoll_memory.domain.paging import page_request
from plimsoll_memory.service.conversations import Conversations
from plimsoll_memory.service.evaluating import Evaluating
from plimsoll_memory.service.memory import Memory
from plimsoll_memory.service.searching import Searching
from plimsoll_memory.service.uploads import Uploads
from plimsoll_memory.service.watching import Watching
from plimsoll_memory.transport import codec, conversation_codec, quality_codec, upload_codec

FULL_NAME = "plimsoll.memory.v1.MemoryService"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verbs:
    """What the service can do."""

    memory: Memory
    searching: Searching
    uploads: Uploads
    conversations: Conversations
    evaluating: Evaluating
    watching: Watching


class MemoryHandler(rpc.MemoryServiceServicer):
    """Takes requests apart, calls the verb for the caller's tenant, puts the answer together."""

    def __init__(self, verbs: Verbs, limit_bytes: int, log: logs.Log) -> None:
        self._memory = verbs.memory
        self._searching = verbs.searching
        self._uploads = verbs.uploads
        self._conversations = verbs.conversations
        self._evaluating = verbs.evaluating
        self._watching = verbs.watching
        self._limit_bytes = limit_bytes
        self._log = log

    async def IngestDocument(self, request: pb.IngestDocumentRequest, context: Context) -> pb.IngestDocumentResponse:
        """Stores a document; the same content under the same source again changes nothing."""
        incoming = codec.incoming_from_proto(request, limit_bytes=self._limit_bytes)
        return codec.stored_to_proto(await self._memory.ingest(current_caller().tenant, incoming))

    async def IngestDocuments(
        self, requests: AsyncIterator[pb.IngestDocumentsRequest], context: Context
    ) -> AsyncGenerator[pb.IngestDocumentsResponse, None]:
        """Stores many documents, in pieces; what fails is named and the rest goes on."""
        sent = upload_codec.sent_from_proto(requests)
        async with aclosing(self._uploads.ingest(current_caller().tenant, sent)) as told:
            async for one in told:
                yield upload_codec.told_to_proto(one)

    async def UploadPart(self, request: pb.UploadPartRequest, context: Context) -> pb.UploadPartResponse:
        """Takes the next bytes of a document of any size."""
        part = upload_codec.call_from_proto(request)
        return upload_codec.taken_to_proto(await self._uploads.take(current_caller().tenant, part))

    async def Search(self, request: pb.SearchRequest, context: Context) -> pb.SearchResponse:
        """The passages that answer a query best. What may succeed later comes back as a failure, a value that a graph routes on."""
        wanted = codec.search_from_proto(request)
        try:
            return codec.answer_to_proto(await self._searching.search(current_caller().tenant, wanted))
        except PlimsollError as error:
            if not error.retryable:
                raise
            self._log.warning("search.failed", {"reason": error.reason})
            return codec.failed_search_to_proto(failure_from_error(error, wanted.collection))

    async def ListCollections(self, request: pb.ListCollectionsRequest, context: Context) -> pb.ListCollectionsResponse:
        """All collections of the tenant, by name."""
        return codec.collections_to_proto(await self._memory.list_collections(current_caller().tenant))

    async def ConfigureCollection(self, request: pb.ConfigureCollectionRequest, context: Context) -> pb.ConfigureCollectionResponse:
        """Sets how a collection is embedded and reranked."""
        collection = await self._memory.configure(
            current_caller().tenant, request.collection, embedder=request.embedder, reranker=request.reranker
        )
        return pb.ConfigureCollectionResponse(collection=codec.collection_to_proto(collection))

    async def DeleteCollection(self, request: pb.DeleteCollectionRequest, context: Context) -> pb.DeleteCollectionResponse:
        """Forgets a collection with all that it holds."""
        return pb.DeleteCollectionResponse(documents=await self._memory.delete_collection(current_caller().tenant, request.collection))

    async def ListDocuments(self, request: pb.ListDocumentsRequest, context: Context) -> pb.ListDocumentsResponse:
        """A page of a collection's documents, by source."""
        page = page_request(request.collection, request.page_size, request.page_token)
        return codec.page_to_proto(await self._memory.list_documents(current_caller().tenant, request.collection, page))

    async def DeleteDocument(self, request: pb.DeleteDocumentRequest, context: Context) -> pb.DeleteDocumentResponse:
        """Forgets a document: text, passages and vectors."""
        await self._memory.delete_document(current_caller().tenant, request.collection, request.document_id)
        return pb.DeleteDocumentResponse()

    async def Remember(self, request: pb.RememberRequest, context: Context) -> pb.RememberResponse:
        """Remembers turns and facts of a thread, or facts in a collection, once per key."""
        wanted = conversation_codec.remembering_from_proto(request)
        return conversation_codec.remembered_to_proto(await self._conversations.remember(current_caller().tenant, wanted))

    async def ReadThread(self, request: pb.ReadThreadRequest, context: Context) -> pb.ReadThreadResponse:
        """The part of a thread that fits."""
        reading = conversation_codec.reading_from_proto(request)
        return conversation_codec.window_to_proto(await self._conversations.read(current_caller().tenant, reading))

    async def ListFacts(self, request: pb.ListFactsRequest, context: Context) -> pb.ListFactsResponse:
        """Facts about a subject or learned in a thread, the latest first."""
        page = await self._conversations.facts(
            current_caller().tenant,
            request.subject,
            request.thread_id,
            superseded=request.superseded,
            size=request.page_size,
            token=request.page_token,
        )
        return conversation_codec.facts_to_proto(page)

    async def Forget(self, request: pb.ForgetRequest, context: Context) -> pb.ForgetResponse:
        """Forgets a thread, a subject or a fact."""
        forgotten = await self._conversations.forget(
            current_caller().tenant, thread_id=request.thread_id, subject=request.subject, fact_id=request.fact_id
        )
        return conversation_codec.forgotten_to_proto(forgotten)

    async def ReportUse(self, request: pb.ReportUseRequest, context: Context) -> pb.ReportUseResponse:
        """Keeps which passages of a search the answer used."""
        report = quality_codec.report_from_proto(request)
        return quality_codec.use_to_proto(await self._watching.report_use(current_caller().tenant, report))

    async def PutQuerySet(self, request: pb.PutQuerySetRequest, context: Context) -> pb.PutQuerySetResponse:
        """Stores labelled queries under a name."""
        query_set = quality_codec.query_set_from_proto(request.query_set)
        summary = await self._evaluating.put(current_caller().tenant, query_set)
        return pb.PutQuerySetResponse(query_set=quality_codec.summary_to_proto(summary))

    async def ListQuerySets(self, request: pb.ListQuerySetsRequest, context: Context) -> pb.ListQuerySetsResponse:
        """All query sets of the tenant, by name."""
        return quality_codec.query_sets_to_proto(await self._evaluating.list_sets(current_caller().tenant))

    async def DeleteQuerySet(self, request: pb.DeleteQuerySetRequest, context: Context) -> pb.DeleteQuerySetResponse:
        """Forgets a query set."""
        await self._evaluating.delete(current_caller().tenant, request.name)
        return pb.DeleteQuerySetResponse()

    async def Evaluate(self, request: pb.EvaluateRequest, context: Context) -> pb.EvaluateResponse:
        """Runs a query set and says how good the answers are."""
        order = quality_codec.order_from_proto(request)
        return quality_codec.evaluation_to_proto(await self._evaluating.evaluate(current_caller().tenant, order))

    async def GetQuality(self, request: pb.GetQualityRequest, context: Context) -> pb.GetQualityResponse:
        """How retrieval went lately, and what drifted."""
        return quality_codec.quality_to_proto(*await self._watching.quality(current_caller().tenant, request.collection))


def memory_rpcs(verbs: Verbs, limit_bytes: int, log: logs.Log) -> RpcService:
    """What the server serves."""
    handler = MemoryHandler(verbs, limit_bytes, log)
    return RpcService(FULL_NAME, lambda server: rpc.add_MemoryServiceServicer_to_server(handler, server))
