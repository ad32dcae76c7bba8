"""The orchestrator over gRPC."""

from collections.abc import AsyncGenerator

import grpc
from plimsoll.orchestrator.v1 import orchestrator_service_pb2 as pb
from plimsoll.orchestrator.v1 import orchestrator_service_pb2_grpc as rpc

from plimsoll_gateway.adapters.peer import FOLLOW_S, READ_S, WRITE_S, Peer


class GrpcOrchestrator:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = rpc.OrchestratorServiceStub(channel)
        self._peer = Peer("orchestrator")

    async def register_agent(self, request: pb.RegisterAgentRequest) -> pb.RegisterAgentResponse:
        return await self._peer.call(self._stub.RegisterAgent, request, WRITE_S)

    async def get_agent(self, request: pb.GetAgentRequest) -> pb.GetAgentResponse:
        return await self._peer.call(self._stub.GetAgent, request, READ_S)

    async def list_agents(self, request: pb.ListAgentsRequest) -> pb.ListAgentsResponse:
        return await self._peer.call(self._stub.ListAgents, request, READ_S)

    async def start_run(self, request: pb.StartRunRequest) -> pb.StartRunResponse:
        return await self._peer.call(self._stub.StartRun, request, WRITE_S)

    async def get_run(self, request: pb.GetRunRequest) -> pb.GetRunResponse:
        return await self._peer.call(self._stub.GetRun, request, READ_S)

    async def list_runs(self, request: pb.ListRunsRequest) -> pb.ListRunsResponse:
        return await self._peer.call(self._stub.ListRuns, request, READ_S)

    async def cancel_run(self, request: pb.CancelRunRequest) -> pb.CancelRunResponse:
        return await self._peer.call(self._stub.CancelRun, request, WRITE_S)

    def follow_run(self, request: pb.FollowRunRequest) -> AsyncGenerator[pb.FollowRunResponse, None]:
        return self._peer.stream(self._stub.FollowRun, request, FOLLOW_S)

    async def list_approvals(self, request: pb.ListApprovalsRequest) -> pb.ListApprovalsResponse:
        return await self._peer.call(self._stub.ListApprovals, request, READ_S)

    async def decide_approval(self, request: pb.DecideApprovalRequest) -> pb.DecideApprovalResponse:
        return await self._peer.call(self._stub.DecideApproval, request, WRITE_S)
