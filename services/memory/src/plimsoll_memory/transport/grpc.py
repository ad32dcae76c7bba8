"""The RPCs of plimsoll.memory.v1.MemoryService."""

from plimsoll.memory.v1 import memory_service_pb2 as pb
from plimsoll.memory.v1 import memory_service_pb2_grpc as rpc
from plimsoll_runtime import logs
from plimsoll_runtime.context import current_caller
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.failures import failure_from_error
from plimsoll_runtime.rpc_server import Context, RpcService

from plimsoll_memory.domain.paging import page_request
from plimsoll_memory.service import Memory
from plimsoll_memory.transport.codec import (
    answer_to_proto,
    collections_to_proto,
    failed_search_to_proto,
    incoming_from_proto,
    page_to_proto,
    search_from_proto,
    stored_to_proto,
)

FULL_NAME = "plimsoll.memory.v1.MemoryService"


class MemoryHandler(rpc.MemoryServiceServicer):
    """Takes requests apart, calls the verb for the caller's tenant, puts the answer together."""

    def __init__(self, memory: Memory, limit_bytes: int, log: logs.Log) -> None:
        self._memory = memory
        self._limit_bytes = limit_bytes
        self._log = log

    async def IngestDocument(self, request: pb.IngestDocumentRequest, context: Context) -> pb.IngestDocumentResponse:
        """Stores a document; the same content under the same source again changes nothing."""
        incoming = incoming_from_proto(request, limit_bytes=self._limit_bytes)
        return stored_to_proto(await self._memory.ingest(current_caller().tenant, incoming))

    async def Search(self, request: pb.SearchRequest, context: Context) -> pb.SearchResponse:
        """The passages that answer a query best. What may succeed later comes back as a failure, a value that a graph routes on."""
        wanted = search_from_proto(request)
        try:
            return answer_to_proto(await self._memory.search(current_caller().tenant, wanted))
        except PlimsollError as error:
            if not error.retryable:
                raise
            self._log.warning("search.failed", {"reason": error.reason})
            return failed_search_to_proto(failure_from_error(error, wanted.collection))

    async def ListCollections(self, request: pb.ListCollectionsRequest, context: Context) -> pb.ListCollectionsResponse:
        """All collections of the tenant, by name."""
        return collections_to_proto(await self._memory.list_collections(current_caller().tenant))

    async def ListDocuments(self, request: pb.ListDocumentsRequest, context: Context) -> pb.ListDocumentsResponse:
        """A page of a collection's documents, by source."""
        page = page_request(request.collection, request.page_size, request.page_token)
        return page_to_proto(await self._memory.list_documents(current_caller().tenant, request.collection, page))

    async def DeleteDocument(self, request: pb.DeleteDocumentRequest, context: Context) -> pb.DeleteDocumentResponse:
        """Forgets a document: text, passages and vectors."""
        await self._memory.delete_document(current_caller().tenant, request.collection, request.document_id)
        return pb.DeleteDocumentResponse()


def memory_rpcs(memory: Memory, limit_bytes: int, log: logs.Log) -> RpcService:
    """What the server serves."""
    handler = MemoryHandler(memory, limit_bytes, log)
    return RpcService(FULL_NAME, lambda server: rpc.add_MemoryServiceServicer_to_server(handler, server))
