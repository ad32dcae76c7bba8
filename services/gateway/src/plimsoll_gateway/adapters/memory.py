"""Memory over gRPC."""

import grpc
from plimsoll.memory.v1 import memory_service_pb2 as pb
from plimsoll.memory.v1 import memory_service_pb2_grpc as rpc

from plimsoll_gateway.adapters.peer import INGEST_S, READ_S, WRITE_S, Peer


class GrpcMemory:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = rpc.MemoryServiceStub(channel)
        self._peer = Peer("memory")

    async def ingest_document(self, request: pb.IngestDocumentRequest) -> pb.IngestDocumentResponse:
        return await self._peer.call(self._stub.IngestDocument, request, INGEST_S)

    async def search(self, request: pb.SearchRequest) -> pb.SearchResponse:
        return await self._peer.call(self._stub.Search, request, READ_S)

    async def evaluate(self, request: pb.EvaluateRequest) -> pb.EvaluateResponse:
        return await self._peer.call(self._stub.Evaluate, request, INGEST_S)

    async def list_collections(self, request: pb.ListCollectionsRequest) -> pb.ListCollectionsResponse:
        return await self._peer.call(self._stub.ListCollections, request, READ_S)

    async def list_documents(self, request: pb.ListDocumentsRequest) -> pb.ListDocumentsResponse:
        return await self._peer.call(self._stub.ListDocuments, request, READ_S)

    async def delete_document(self, request: pb.DeleteDocumentRequest) -> pb.DeleteDocumentResponse:
        return await self._peer.call(self._stub.DeleteDocument, request, WRITE_S)
