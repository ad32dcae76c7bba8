"""The memory service over gRPC."""

import grpc
from plimsoll.memory.v1 import document_pb2, memory_service_pb2, memory_service_pb2_grpc
from plimsoll_runtime.failures import Failure, failure_from_proto
from plimsoll_runtime.json_types import JsonObject
from plimsoll_runtime.rpc_client import call
from plimsoll_runtime.wire import json_from_proto, json_to_proto
from plimsoll_runtime.work import WorkContext, work_to_proto

from plimsoll_orchestrator.ports import Passages

_CAP_S = 30.0


class RemoteMemory:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = memory_service_pb2_grpc.MemoryServiceStub(channel)

    async def search(self, collection: str, query: str, limit: int, filter_: JsonObject, work: WorkContext) -> Passages | Failure:
        request = memory_service_pb2.SearchRequest(collection=collection, query=query, limit=limit, work=work_to_proto(work))
        if filter_:
            request.filter.CopyFrom(json_to_proto(filter_))
        response = await call(self._stub.Search, request, cap_s=_CAP_S, target="memory")
        if response.HasField("failure"):
            return failure_from_proto(response.failure)
        receipt = response.receipt
        return Passages(
            passages=[_passage(passage) for passage in response.passages],
            receipt={
                "search_id": receipt.search_id,
                "requested": receipt.requested,
                "returned": receipt.returned,
                "text_candidates": receipt.text_candidates,
                "vector_candidates": receipt.vector_candidates,
                "embedder": receipt.embedder,
                "skipped": list(receipt.skipped),
                "best_score": receipt.best_score,
            },
        )


def _passage(passage: document_pb2.Passage) -> JsonObject:
    return {
        "text": passage.text,
        "source": passage.source,
        "document_id": passage.document_id,
        "title": passage.title,
        "headings": list(passage.headings),
        "score": passage.score,
        "span": [passage.span_start, passage.span_end],
        "metadata": json_from_proto(passage.metadata, "metadata"),
    }
