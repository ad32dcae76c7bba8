"""The orchestrator over gRPC."""

from collections.abc import AsyncGenerator

import grpc
from plimsoll.orchestrator.v1 import orchestrator_service_pb2 as pb
from plimsoll.orchestrator.v1 import orchestrator_service_pb2_grpc as rpc

from plimsoll_gateway.adapters.peer import FOLLOW_S, LOOK_S, READ_S, WRITE_S, Peer


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

    async def check_agent(self, request: pb.CheckAgentRequest) -> pb.CheckAgentResponse:
        return await self._peer.call(self._stub.CheckAgent, request, READ_S)

    async def pause_run(self, request: pb.PauseRunRequest) -> pb.PauseRunResponse:
        return await self._peer.call(self._stub.PauseRun, request, WRITE_S)

    async def resume_run(self, request: pb.ResumeRunRequest) -> pb.ResumeRunResponse:
        return await self._peer.call(self._stub.ResumeRun, request, WRITE_S)

    async def signal_run(self, request: pb.SignalRunRequest) -> pb.SignalRunResponse:
        return await self._peer.call(self._stub.SignalRun, request, WRITE_S)

    async def fork_run(self, request: pb.ForkRunRequest) -> pb.ForkRunResponse:
        return await self._peer.call(self._stub.ForkRun, request, WRITE_S)

    async def retry_run(self, request: pb.RetryRunRequest) -> pb.RetryRunResponse:
        return await self._peer.call(self._stub.RetryRun, request, WRITE_S)

    async def explain_run(self, request: pb.ExplainRunRequest) -> pb.ExplainRunResponse:
        return await self._peer.call(self._stub.ExplainRun, request, READ_S)

    async def query_run(self, request: pb.QueryRunRequest) -> pb.QueryRunResponse:
        return await self._peer.call(self._stub.QueryRun, request, READ_S)

    async def get_thread(self, request: pb.GetThreadRequest) -> pb.GetThreadResponse:
        return await self._peer.call(self._stub.GetThread, request, READ_S)

    async def list_threads(self, request: pb.ListThreadsRequest) -> pb.ListThreadsResponse:
        return await self._peer.call(self._stub.ListThreads, request, READ_S)

    async def put_schedule(self, request: pb.PutScheduleRequest) -> pb.PutScheduleResponse:
        return await self._peer.call(self._stub.PutSchedule, request, WRITE_S)

    async def get_schedule(self, request: pb.GetScheduleRequest) -> pb.GetScheduleResponse:
        return await self._peer.call(self._stub.GetSchedule, request, READ_S)

    async def list_schedules(self, request: pb.ListSchedulesRequest) -> pb.ListSchedulesResponse:
        return await self._peer.call(self._stub.ListSchedules, request, READ_S)

    async def delete_schedule(self, request: pb.DeleteScheduleRequest) -> pb.DeleteScheduleResponse:
        return await self._peer.call(self._stub.DeleteSchedule, request, WRITE_S)

    async def put_webhook(self, request: pb.PutWebhookRequest) -> pb.PutWebhookResponse:
        return await self._peer.call(self._stub.PutWebhook, request, WRITE_S)

    async def list_webhooks(self, request: pb.ListWebhooksRequest) -> pb.ListWebhooksResponse:
        return await self._peer.call(self._stub.ListWebhooks, request, READ_S)

    async def delete_webhook(self, request: pb.DeleteWebhookRequest) -> pb.DeleteWebhookResponse:
        return await self._peer.call(self._stub.DeleteWebhook, request, WRITE_S)

    async def list_webhook_deliveries(self, request: pb.ListWebhookDeliveriesRequest) -> pb.ListWebhookDeliveriesResponse:
        return await self._peer.call(self._stub.ListWebhookDeliveries, request, READ_S)

    async def replay_webhook_delivery(self, request: pb.ReplayWebhookDeliveryRequest) -> pb.ReplayWebhookDeliveryResponse:
        return await self._peer.call(self._stub.ReplayWebhookDelivery, request, WRITE_S)

    async def get_load(self, request: pb.GetLoadRequest) -> pb.GetLoadResponse:
        return await self._peer.call(self._stub.GetLoad, request, LOOK_S)
