"""Feedback over gRPC."""

import grpc
from plimsoll.feedback.v1 import feedback_service_pb2 as pb
from plimsoll.feedback.v1 import feedback_service_pb2_grpc as rpc

from plimsoll_gateway.adapters.peer import READ_S, WRITE_S, Peer


class GrpcFeedback:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = rpc.FeedbackServiceStub(channel)
        self._peer = Peer("feedback")

    async def list_operations(self, request: pb.ListOperationsRequest) -> pb.ListOperationsResponse:
        return await self._peer.call(self._stub.ListOperations, request, READ_S)

    async def count_failures(self, request: pb.CountFailuresRequest) -> pb.CountFailuresResponse:
        return await self._peer.call(self._stub.CountFailures, request, READ_S)

    async def record_signal(self, request: pb.RecordSignalRequest) -> pb.RecordSignalResponse:
        return await self._peer.call(self._stub.RecordSignal, request, WRITE_S)

    async def list_signals(self, request: pb.ListSignalsRequest) -> pb.ListSignalsResponse:
        return await self._peer.call(self._stub.ListSignals, request, READ_S)
