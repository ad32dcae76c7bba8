"""The memory service over gRPC."""

from collections import OrderedDict
from contextlib import suppress

import grpc
from plimsoll.memory.v1 import conversation_pb2, document_pb2, memory_service_pb2, memory_service_pb2_grpc
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.failures import Failure, failure_from_proto
from plimsoll_runtime.json_types import JsonObject
from plimsoll_runtime.rpc_client import call
from plimsoll_runtime.wire import json_from_proto, json_to_proto
from plimsoll_runtime.work import WorkContext, work_to_proto

from plimsoll_orchestrator.ports import Note, Passages, Remembered

_CAP_S = 30.0
_REPORT_CAP_S = 2.0
_MOST_RUNS = 10_000
_MOST_ANSWER = 200_000  # characters


class RemoteMemory:
    """Remembers which runs searched lately, so that only their answers are reported."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = memory_service_pb2_grpc.MemoryServiceStub(channel)
        self._searched: OrderedDict[str, None] = OrderedDict()

    async def search(self, collection: str, query: str, limit: int, filter_: JsonObject, work: WorkContext) -> Passages | Failure:
        request = memory_service_pb2.SearchRequest(collection=collection, query=query, limit=limit, work=work_to_proto(work))
        if filter_:
            request.filter.CopyFrom(json_to_proto(filter_))
        response = await call(self._stub.Search, request, cap_s=_CAP_S, target="memory")
        if response.HasField("failure"):
            return failure_from_proto(response.failure)
        self._searched[work.run_id] = None
        if len(self._searched) > _MOST_RUNS:
            self._searched.popitem(last=False)
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

    async def remember(self, note: Note, work: WorkContext) -> Remembered:
        request = memory_service_pb2.RememberRequest(
            key=note.key,
            turns=[conversation_pb2.Turn(origin=_origin(turn.origin), text=turn.text) for turn in note.turns],
            facts=[
                conversation_pb2.Fact(subject=fact.subject, attribute=fact.attribute, text=fact.text, origin=_origin(fact.origin))
                for fact in note.facts
            ],
            learn=note.learn,
            work=work_to_proto(work),
        )
        if note.collection:
            request.collection = note.collection
        else:
            request.thread_id = note.thread_id
        response = await call(self._stub.Remember, request, cap_s=_CAP_S, target="memory")
        return Remembered(turns=len(response.turns), facts=len(response.facts), left_out=list(response.left_out))

    async def recall(self, thread_id: str, max_tokens: int, query: str) -> JsonObject:
        request = memory_service_pb2.ReadThreadRequest(thread_id=thread_id, max_tokens=max_tokens, query=query)
        response = await call(self._stub.ReadThread, request, cap_s=_CAP_S, target="memory")
        return {
            "turns": [_turn(turn) for turn in response.turns],
            "summary": response.summary.text,
            "facts": [{"subject": fact.subject, "attribute": fact.attribute, "text": fact.text} for fact in response.facts],
            "recalled": [_turn(turn) for turn in response.recalled],
        }

    async def report_use(self, answer: str, work: WorkContext) -> None:
        if work.run_id not in self._searched or not answer.strip():
            return
        request = memory_service_pb2.ReportUseRequest(run_id=work.run_id, answer=answer[:_MOST_ANSWER])
        with suppress(PlimsollError):  # no run waits for it or fails of it
            await call(self._stub.ReportUse, request, cap_s=_REPORT_CAP_S, target="memory")


def _origin(word: str) -> conversation_pb2.Origin.ValueType:
    return conversation_pb2.Origin.Value(f"ORIGIN_{word.upper()}")


def _turn(turn: conversation_pb2.Turn) -> JsonObject:
    return {"origin": conversation_pb2.Origin.Name(turn.origin).removeprefix("ORIGIN_").lower(), "text": turn.text}


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
