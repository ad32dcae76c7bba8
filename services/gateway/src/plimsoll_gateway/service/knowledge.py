"""Knowledge: what clients put into memory, find there, measure, and have forgotten."""

from plimsoll.gateway.v1 import memory_pb2
from plimsoll.memory.v1 import memory_service_pb2 as memory_pb
from plimsoll.memory.v1 import quality_pb2
from plimsoll_runtime.errors import DeadlineExpired, Exhausted, Internal, Invalid, PlimsollError, Unavailable
from plimsoll_runtime.failures import Category, Failure, failure_from_proto

from plimsoll_gateway.errors import wrong
from plimsoll_gateway.ports import Memory

_LIMIT = 5  # passages, when the request names no number


class Knowledge:
    """Carries requests about collections, conversations and their quality."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    # documents and passages

    async def ingest_document(self, request: memory_pb2.IngestDocumentRequest) -> memory_pb2.IngestDocumentResponse:
        answer = await self._memory.ingest_document(
            memory_pb.IngestDocumentRequest(
                collection=request.collection,
                source=request.source,
                media_type=request.media_type,
                content=request.content,
                metadata=request.metadata if request.HasField("metadata") else None,
                labels=request.labels,
            )
        )
        return memory_pb2.IngestDocumentResponse(document=answer.document, changed=answer.changed)

    async def upload_document(self, request: memory_pb2.UploadDocumentRequest) -> memory_pb2.UploadDocumentResponse:
        header = memory_pb.IngestHeader(
            collection=request.collection,
            source=request.source,
            media_type=request.media_type,
            metadata=request.metadata if request.HasField("metadata") else None,
            labels=request.labels,
            upload_key=request.upload_key,
        )
        answer = await self._memory.upload_part(
            memory_pb.UploadPartRequest(header=header, offset=request.offset, content=request.content, last=request.last)
        )
        stored = answer.progress
        return memory_pb2.UploadDocumentResponse(
            offset=answer.offset, documents=stored.documents, chunks=stored.chunks, changed=stored.changed, done=answer.done
        )

    async def search_collection(self, request: memory_pb2.SearchCollectionRequest) -> memory_pb2.SearchCollectionResponse:
        answer = await self._memory.search(
            memory_pb.SearchRequest(
                collection=request.collection,
                query=request.query,
                limit=request.limit or _LIMIT,
                filter=request.filter if request.HasField("filter") else None,
                configuration=request.configuration if request.HasField("configuration") else None,
            )
        )
        if answer.HasField("failure"):
            raise _error_of(failure_from_proto(answer.failure))
        return memory_pb2.SearchCollectionResponse(passages=answer.passages, receipt=answer.receipt)

    async def evaluate_collection(self, request: memory_pb2.EvaluateCollectionRequest) -> memory_pb2.EvaluateCollectionResponse:
        if request.query_set and request.queries:
            raise wrong("querySet", "comes with queries", "send one of them")
        asked = memory_pb.EvaluateRequest(
            ks=request.ks,
            configuration=request.configuration if request.HasField("configuration") else None,
            baseline=request.baseline if request.HasField("baseline") else None,
        )
        if request.query_set:
            asked.name, asked.collection = request.query_set, request.collection
        else:
            asked.query_set.CopyFrom(quality_pb2.QuerySet(collection=request.collection, queries=request.queries))
        answer = await self._memory.evaluate(asked)
        return memory_pb2.EvaluateCollectionResponse(evaluation=answer.evaluation)

    async def list_collections(self, _: memory_pb2.ListCollectionsRequest) -> memory_pb2.ListCollectionsResponse:
        answer = await self._memory.list_collections(memory_pb.ListCollectionsRequest())
        return memory_pb2.ListCollectionsResponse(collections=answer.collections)

    async def list_documents(self, request: memory_pb2.ListDocumentsRequest) -> memory_pb2.ListDocumentsResponse:
        answer = await self._memory.list_documents(
            memory_pb.ListDocumentsRequest(collection=request.collection, page_size=request.page_size, page_token=request.page_token)
        )
        return memory_pb2.ListDocumentsResponse(documents=answer.documents, next_page_token=answer.next_page_token)

    async def delete_document(self, request: memory_pb2.DeleteDocumentRequest) -> memory_pb2.DeleteDocumentResponse:
        await self._memory.delete_document(memory_pb.DeleteDocumentRequest(collection=request.collection, document_id=request.document_id))
        return memory_pb2.DeleteDocumentResponse()

    # collections

    async def configure_collection(self, request: memory_pb2.ConfigureCollectionRequest) -> memory_pb2.ConfigureCollectionResponse:
        answer = await self._memory.configure_collection(
            memory_pb.ConfigureCollectionRequest(collection=request.collection, embedder=request.embedder, reranker=request.reranker)
        )
        return memory_pb2.ConfigureCollectionResponse(collection=answer.collection)

    async def delete_collection(self, request: memory_pb2.DeleteCollectionRequest) -> memory_pb2.DeleteCollectionResponse:
        answer = await self._memory.delete_collection(memory_pb.DeleteCollectionRequest(collection=request.collection))
        return memory_pb2.DeleteCollectionResponse(documents=answer.documents)

    # quality

    async def get_collection_quality(self, request: memory_pb2.GetCollectionQualityRequest) -> memory_pb2.GetCollectionQualityResponse:
        answer = await self._memory.get_quality(memory_pb.GetQualityRequest(collection=request.collection))
        return memory_pb2.GetCollectionQualityResponse(windows=answer.windows, drifts=answer.drifts)

    async def report_use(self, request: memory_pb2.ReportUseRequest) -> memory_pb2.ReportUseResponse:
        answer = await self._memory.report_use(
            memory_pb.ReportUseRequest(search_id=request.search_id, chunk_ids=request.chunk_ids, answer=request.answer)
        )
        return memory_pb2.ReportUseResponse(passages=answer.passages, used=answer.used)

    async def put_query_set(self, request: memory_pb2.PutQuerySetRequest) -> memory_pb2.PutQuerySetResponse:
        """Stores the set under the name of the path."""
        if request.query_set.name not in {"", request.name}:
            raise wrong("querySet.name", f"differs from the name {request.name!r} of the path", "leave it out")
        asked = memory_pb.PutQuerySetRequest(query_set=request.query_set)
        asked.query_set.name = request.name
        return memory_pb2.PutQuerySetResponse(query_set=(await self._memory.put_query_set(asked)).query_set)

    async def list_query_sets(self, _: memory_pb2.ListQuerySetsRequest) -> memory_pb2.ListQuerySetsResponse:
        answer = await self._memory.list_query_sets(memory_pb.ListQuerySetsRequest())
        return memory_pb2.ListQuerySetsResponse(query_sets=answer.query_sets)

    async def delete_query_set(self, request: memory_pb2.DeleteQuerySetRequest) -> memory_pb2.DeleteQuerySetResponse:
        await self._memory.delete_query_set(memory_pb.DeleteQuerySetRequest(name=request.name))
        return memory_pb2.DeleteQuerySetResponse()

    # conversations

    async def read_thread(self, request: memory_pb2.ReadThreadMemoryRequest) -> memory_pb2.ReadThreadMemoryResponse:
        answer = await self._memory.read_thread(
            memory_pb.ReadThreadRequest(thread_id=request.thread_id, max_tokens=request.max_tokens, query=request.query)
        )
        return memory_pb2.ReadThreadMemoryResponse(
            turns=answer.turns,
            summary=answer.summary if answer.HasField("summary") else None,
            facts=answer.facts,
            recalled=answer.recalled,
            turns_total=answer.turns_total,
            tokens=answer.tokens,
        )

    async def list_facts(self, request: memory_pb2.ListFactsRequest) -> memory_pb2.ListFactsResponse:
        answer = await self._memory.list_facts(
            memory_pb.ListFactsRequest(
                subject=request.subject,
                thread_id=request.thread_id,
                superseded=request.superseded,
                page_size=request.page_size,
                page_token=request.page_token,
            )
        )
        return memory_pb2.ListFactsResponse(facts=answer.facts, next_page_token=answer.next_page_token)

    async def forget(self, request: memory_pb2.ForgetMemoryRequest) -> memory_pb2.ForgetMemoryResponse:
        asked = memory_pb.ForgetRequest()
        match request.WhichOneof("target"):
            case "thread_id":
                asked.thread_id = request.thread_id
            case "subject":
                asked.subject = request.subject
            case "fact_id":
                asked.fact_id = request.fact_id
        answer = await self._memory.forget(asked)
        return memory_pb2.ForgetMemoryResponse(turns=answer.turns, facts=answer.facts)


def _error_of(failure: Failure) -> PlimsollError:
    """A failure that memory answers with, as the error that a client understands."""
    match failure.category:
        case Category.INVALID_ARGUMENTS | Category.CONTEXT_INVALID | Category.UPSTREAM_REJECTED:
            return Invalid(failure.message, reason=failure.reason)
        case Category.RATE_LIMITED | Category.BUDGET_EXCEEDED:
            return Exhausted(failure.message, reason=failure.reason, retry_after_s=failure.retry_after_s)
        case Category.TIMEOUT:
            return DeadlineExpired(failure.message, reason=failure.reason)
        case Category.UPSTREAM_UNAVAILABLE:
            return Unavailable(failure.message, reason=failure.reason, retry_after_s=failure.retry_after_s or 1.0)
        case _:
            return Internal(failure.message, reason=failure.reason)
