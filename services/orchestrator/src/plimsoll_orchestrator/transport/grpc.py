"""The gRPC servicer: requests to verbs, results to responses."""

from collections.abc import AsyncIterator
from typing import Any

from plimsoll.orchestrator.v1 import orchestrator_service_pb2 as pb
from plimsoll.orchestrator.v1 import orchestrator_service_pb2_grpc as rpc
from plimsoll_runtime.context import current_caller
from plimsoll_runtime.errors import FieldProblem, Invalid
from plimsoll_runtime.wire import object_from_proto

from plimsoll_orchestrator.service import Orchestrator
from plimsoll_orchestrator.transport import codec

_PAGE_DEFAULT, _PAGE_MOST = 50, 500


class OrchestratorServicer(rpc.OrchestratorServiceServicer):
    """Every method works for the tenant of the authenticated caller."""

    def __init__(self, service: Orchestrator) -> None:
        self._service = service

    async def RegisterAgent(self, request: pb.RegisterAgentRequest, context: Any) -> pb.RegisterAgentResponse:
        _required("source", request.source)
        version, created = await self._service.register_agent(_tenant(), request.source, request.source_name)
        return pb.RegisterAgentResponse(agent=codec.agent_to_proto(version, with_graph=True), created=created)

    async def GetAgent(self, request: pb.GetAgentRequest, context: Any) -> pb.GetAgentResponse:
        version = await self._service.get_agent(_tenant(), request.name)
        return pb.GetAgentResponse(agent=codec.agent_to_proto(version, with_graph=True))

    async def ListAgents(self, request: pb.ListAgentsRequest, context: Any) -> pb.ListAgentsResponse:
        limit = _page(request.page_size)
        versions = await self._service.list_agents(_tenant(), request.page_token, limit)
        token = versions[-1].graph.agent if len(versions) == limit else ""
        return pb.ListAgentsResponse(
            agents=[codec.agent_to_proto(version, with_graph=False) for version in versions], next_page_token=token
        )

    async def StartRun(self, request: pb.StartRunRequest, context: Any) -> pb.StartRunResponse:
        _required("agent", request.agent)
        if len(request.idempotency_key) > 255:
            raise Invalid(problems=(FieldProblem("idempotency_key", "is longer than 255 characters", "use a shorter key, such as a UUID"),))
        value = object_from_proto(request.input, "input")
        view, created = await self._service.start_run(_tenant(), request.agent, value, request.idempotency_key)
        return pb.StartRunResponse(run=codec.run_to_proto(view), created=created)

    async def GetRun(self, request: pb.GetRunRequest, context: Any) -> pb.GetRunResponse:
        return pb.GetRunResponse(run=codec.run_to_proto(await self._service.get_run(_tenant(), request.run_id)))

    async def ListRuns(self, request: pb.ListRunsRequest, context: Any) -> pb.ListRunsResponse:
        limit = _page(request.page_size)
        status = codec.run_status_from_proto(request.status)
        runs = await self._service.list_runs(_tenant(), request.agent, status, request.page_token, limit)
        token = runs[-1].run_id if len(runs) == limit else ""
        return pb.ListRunsResponse(runs=[codec.summary_to_proto(run) for run in runs], next_page_token=token)

    async def CancelRun(self, request: pb.CancelRunRequest, context: Any) -> pb.CancelRunResponse:
        by = request.cancelled_by or current_caller().principal
        return pb.CancelRunResponse(run=codec.run_to_proto(await self._service.cancel_run(_tenant(), request.run_id, request.reason, by)))

    async def FollowRun(self, request: pb.FollowRunRequest, context: Any) -> AsyncIterator[pb.FollowRunResponse]:
        if request.after_seq < 0:
            raise Invalid(problems=(FieldProblem("after_seq", "is negative", "send 0 for the beginning"),))
        tenant = _tenant()
        async for summary, entry in self._service.follow_run(tenant, request.run_id, request.after_seq):
            yield pb.FollowRunResponse(event=codec.event_to_proto(tenant, summary.agent, summary.agent_digest, entry))

    async def ListApprovals(self, request: pb.ListApprovalsRequest, context: Any) -> pb.ListApprovalsResponse:
        limit = _page(request.page_size)
        status = codec.approval_status_from_proto(request.status)
        views = await self._service.list_approvals(_tenant(), status, request.run_id, request.page_token, limit)
        token = views[-1].approval.approval_id if len(views) == limit else ""
        return pb.ListApprovalsResponse(approvals=[codec.approval_to_proto(view) for view in views], next_page_token=token)

    async def DecideApproval(self, request: pb.DecideApprovalRequest, context: Any) -> pb.DecideApprovalResponse:
        if request.decision not in {pb.DECISION_APPROVE, pb.DECISION_REJECT}:
            raise Invalid(problems=(FieldProblem("decision", "is missing", "send DECISION_APPROVE or DECISION_REJECT"),))
        by = request.decided_by or current_caller().principal
        approve = request.decision == pb.DECISION_APPROVE
        view = await self._service.decide_approval(_tenant(), request.approval_id, approve, request.comment, by)
        return pb.DecideApprovalResponse(approval=codec.approval_to_proto(view))


def _tenant() -> str:
    return current_caller().tenant


def _required(field: str, value: str) -> None:
    if not value:
        raise Invalid(problems=(FieldProblem(field, "is missing", "send it"),))


def _page(size: int) -> int:
    if size < 0 or size > _PAGE_MOST:
        raise Invalid(problems=(FieldProblem("page_size", f"is {size}", f"send 1 to {_PAGE_MOST}, or 0 for {_PAGE_DEFAULT}"),))
    return size or _PAGE_DEFAULT
