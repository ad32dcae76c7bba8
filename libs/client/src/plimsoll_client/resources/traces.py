"""Traces: runs as they were."""

from collections.abc import Sequence

from plimsoll.gateway.v1 import gateway_service_pb2_grpc as rpc
from plimsoll.gateway.v1 import traces_pb2 as pb

from plimsoll_client.calls import Calls, every
from plimsoll_client.codec.traces import body_from_proto, entry_from_proto, query_to_proto, trace_from_proto
from plimsoll_client.traces import OperationBody, Timeline, Trace, TraceQuery

_ALL = TraceQuery()


class Traces:
    """Lists, timelines, tags, and what went in and out of operations."""

    def __init__(self, stub: "rpc.GatewayServiceAsyncStub", calls: Calls) -> None:
        self._stub = stub
        self._calls = calls

    async def list(self, query: TraceQuery = _ALL, *, limit: int = 100) -> "list[Trace]":
        """Newest first."""

        async def page(size: int, token: str) -> pb.ListTracesResponse:
            return await self._calls.repeatable(self._stub.ListTraces, query_to_proto(query, size, token))

        return [trace_from_proto(message) for message in await every(page, lambda answer: answer.traces, limit=limit)]

    async def get(self, run_id: str, *, limit: int = 10_000) -> Timeline:
        """The run with its first `limit` entries."""
        last = pb.GetTraceResponse()

        async def page(size: int, token: str) -> pb.GetTraceResponse:
            request = pb.GetTraceRequest(run_id=run_id, page_size=size, page_token=token)
            answer: pb.GetTraceResponse = await self._calls.repeatable(self._stub.GetTrace, request)
            last.trace.CopyFrom(answer.trace)
            if not token:
                last.children.extend(answer.children)
            return answer

        entries = await every(page, lambda answer: answer.entries, limit=limit, page_size=500)
        return Timeline(
            trace=trace_from_proto(last.trace),
            entries=tuple(map(entry_from_proto, entries)),
            children=tuple(map(trace_from_proto, last.children)),
        )

    async def annotate(self, run_id: str, *, add: Sequence[str] = (), remove: Sequence[str] = (), comment: str = "") -> Trace:
        """Change the tags of a run; a comment becomes a signal. Never repeated by itself: the comment would be there twice."""
        request = pb.AnnotateTraceRequest(run_id=run_id, add_tags=add, remove_tags=remove, comment=comment)
        return trace_from_proto((await self._calls.once(self._stub.AnnotateTrace, request)).trace)

    async def body(self, run_id: str, operation_id: str) -> OperationBody:
        """What went into an operation and what came out."""
        request = pb.GetOperationBodyRequest(run_id=run_id, operation_id=operation_id)
        return body_from_proto((await self._calls.repeatable(self._stub.GetOperationBody, request)).body)
