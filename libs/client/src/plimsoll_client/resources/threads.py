"""Threads: conversations made of runs."""

from plimsoll.gateway.v1 import gateway_service_pb2_grpc as rpc
from plimsoll.gateway.v1 import threads_pb2 as pb

from plimsoll_client.calls import Calls, every
from plimsoll_client.codec.runs import thread_from_proto
from plimsoll_client.models import Thread


class Threads:
    """A thread comes to be with its first run: `mesh.runs.submit(…, options=RunOptions(thread_id=…))`."""

    def __init__(self, stub: "rpc.GatewayServiceAsyncStub", calls: Calls) -> None:
        self._stub = stub
        self._calls = calls

    async def get(self, thread_id: str) -> Thread:
        """The thread, its run under way, and what it carries."""
        answer = await self._calls.repeatable(self._stub.GetThread, pb.GetThreadRequest(thread_id=thread_id))
        return thread_from_proto(answer.thread)

    async def list(self, *, limit: int = 50) -> list[Thread]:
        """The last used first."""

        async def page(size: int, token: str) -> pb.ListThreadsResponse:
            return await self._calls.repeatable(self._stub.ListThreads, pb.ListThreadsRequest(page_size=size, page_token=token))

        return [thread_from_proto(message) for message in await every(page, lambda answer: answer.threads, limit=limit)]
