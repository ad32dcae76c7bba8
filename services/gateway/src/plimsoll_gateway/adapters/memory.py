"""Memory over gRPC."""

import grpc
from plimsoll.memory.v1 import memory_service_pb2 as pb
from plimsoll.memory.v1 import memory_service_pb2_grpc as rpc

from plimsoll_gateway.adapters.peer import INGEST_S, READ_S, WRITE_S, Peer

UPLOAD_S = 300.0  # the last call of a large PDF waits until all of it is read and stored


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

    async def upload_part(self, request: pb.UploadPartRequest) -> pb.UploadPartResponse:
        return await self._peer.call(self._stub.UploadPart, request, UPLOAD_S)

    async def configure_collection(self, request: pb.ConfigureCollectionRequest) -> pb.ConfigureCollectionResponse:
        return await self._peer.call(self._stub.ConfigureCollection, request, WRITE_S)

    async def delete_collection(self, request: pb.DeleteCollectionRequest) -> pb.DeleteCollectionResponse:
        return await self._peer.call(self._stub.DeleteCollection, request, INGEST_S)

    async def get_quality(self, request: pb.GetQualityRequest) -> pb.GetQualityResponse:
        return await self._peer.call(self._stub.GetQuality, request, READ_S)

    async def report_use(self, request: pb.ReportUseRequest) -> pb.ReportUseResponse:
        return await self._peer.call(self._stub.ReportUse, request, WRITE_S)

    async def put_query_set(self, request: pb.PutQuerySetRequest) -> pb.PutQuerySetResponse:
        return await self._peer.call(self._stub.PutQuerySet, request, WRITE_S)

    async def list_query_sets(self, request: pb.ListQuerySetsRequest) -> pb.ListQuerySetsResponse:
        return await self._peer.call(self._stub.ListQuerySets, request, READ_S)

    async def delete_query_set(self, request: pb.DeleteQuerySetRequest) -> pb.DeleteQuerySetResponse:
        return await self._peer.call(self._stub.DeleteQuerySet, request, WRITE_S)

    async def read_thread(self, request: pb.ReadThreadRequest) -> pb.ReadThreadResponse:
        return await self._peer.call(self._stub.ReadThread, request, READ_S)

    async def list_facts(self, request: pb.ListFactsRequest) -> pb.ListFactsResponse:
        return await self._peer.call(self._stub.ListFacts, request, READ_S)

    async def forget(self, request: pb.ForgetRequest) -> pb.ForgetResponse:
        return await self._peer.call(self._stub.Forget, request, WRITE_S)
