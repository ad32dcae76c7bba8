"""Agents, runs, threads and approvals over gRPC: what starts and what reads."""

from collections.abc import AsyncIterator
from typing import Any

from plimsoll.orchestrator.v1 import orchestrator_service_pb2 as pb
from plimsoll.orchestrator.v1 import orchestrator_service_pb2_grpc as rpc
from plimsoll_runtime.errors import FieldProblem, Invalid
from plimsoll_runtime.wire import object_from_proto

from plimsoll_orchestrator.domain.options import RunOrigin
from plimsoll_orchestrator.ports import RunFilter
from plimsoll_orchestrator.service import Following, Orchestrator
from plimsoll_orchestrator.transport import codec, event_codec
from plimsoll_orchestrator.transport.requests import key, page, principal, required, tenant


class RunRpcs(rpc.OrchestratorServiceServicer):
    _service: Orchestrator
    _following: Following

    async def RegisterAgent(self, request: pb.RegisterAgentRequest, context: Any) -> pb.RegisterAgentResponse:
        required("source", request.source)
        version, created = await self._service.register_agent(tenant(), request.source, request.source_name)
        return pb.RegisterAgentResponse(agent=codec.agent_to_proto(version, with_graph=True), created=created)

    async def GetAgent(self, request: pb.GetAgentRequest, context: Any) -> pb.GetAgentResponse:
        version = await self._service.get_agent(tenant(), request.name)
        return pb.GetAgentResponse(agent=codec.agent_to_proto(version, with_graph=True))

    async def ListAgents(self, request: pb.ListAgentsRequest, context: Any) -> pb.ListAgentsResponse:
        limit = page(request.page_size)
        versions = await self._service.list_agents(tenant(), request.page_token, limit)
        token = versions[-1].graph.agent if len(versions) == limit else ""
        return pb.ListAgentsResponse(
            agents=[codec.agent_to_proto(version, with_graph=False) for version in versions], next_page_token=token
        )

    async def StartRun(self, request: pb.StartRunRequest, context: Any) -> pb.StartRunResponse:
        required("agent", request.agent)
        value = object_from_proto(request.input, "input")
        options = codec.options_from_proto(request.options)
        origin = RunOrigin(requested_by=principal(""))
        started = await self._service.start_run(tenant(), request.agent, value, key(request.idempotency_key), options, origin)
        return pb.StartRunResponse(run=codec.run_to_proto(started.view), created=started.created, steered=started.steered)

    async def GetRun(self, request: pb.GetRunRequest, context: Any) -> pb.GetRunResponse:
        return pb.GetRunResponse(run=codec.run_to_proto(await self._service.get_run(tenant(), request.run_id)))

    async def ListRuns(self, request: pb.ListRunsRequest, context: Any) -> pb.ListRunsResponse:
        limit = page(request.page_size)
        filter_ = RunFilter(
            agent=request.agent,
            status=codec.run_status_from_proto(request.status),
            thread_id=request.thread_id,
            parent_run_id=request.parent_run_id,
        )
        runs = await self._service.list_runs(tenant(), filter_, request.page_token, limit)
        token = runs[-1].run_id if len(runs) == limit else ""
        return pb.ListRunsResponse(runs=[codec.summary_to_proto(run) for run in runs], next_page_token=token)

    async def FollowRun(self, request: pb.FollowRunRequest, context: Any) -> AsyncIterator[pb.FollowRunResponse]:
        if request.after_seq < 0:
            raise Invalid(problems=(FieldProblem("after_seq", "is negative", "send 0 for the beginning"),))
        whose = tenant()
        async for summary, followed in self._following.follow_run(whose, request.run_id, request.after_seq, tokens=request.tokens):
            yield pb.FollowRunResponse(event=event_codec.followed_to_proto(whose, summary, followed))

    async def GetThread(self, request: pb.GetThreadRequest, context: Any) -> pb.GetThreadResponse:
        return pb.GetThreadResponse(thread=codec.thread_to_proto(await self._service.get_thread(tenant(), request.thread_id)))

    async def ListThreads(self, request: pb.ListThreadsRequest, context: Any) -> pb.ListThreadsResponse:
        limit = page(request.page_size)
        threads = await self._service.list_threads(tenant(), request.page_token, limit)
        token = threads[-1].thread_id if len(threads) == limit else ""
        return pb.ListThreadsResponse(threads=[codec.thread_to_proto(thread) for thread in threads], next_page_token=token)

    async def ListApprovals(self, request: pb.ListApprovalsRequest, context: Any) -> pb.ListApprovalsResponse:
        limit = page(request.page_size)
        status = codec.approval_status_from_proto(request.status)
        views = await self._service.list_approvals(tenant(), status, request.run_id, request.page_token, limit)
        token = views[-1].approval.approval_id if len(views) == limit else ""
        return pb.ListApprovalsResponse(approvals=[codec.approval_to_proto(view) for view in views], next_page_token=token)
