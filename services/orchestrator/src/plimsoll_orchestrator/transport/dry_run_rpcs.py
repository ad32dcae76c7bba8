"""The dry run of a new version over gRPC."""

from typing import Any

from plimsoll.orchestrator.v1 import orchestrator_service_pb2 as pb
from plimsoll.orchestrator.v1 import orchestrator_service_pb2_grpc as rpc
from plimsoll.orchestrator.v1 import run_pb2

from plimsoll_orchestrator.service.dry_run import DryRun
from plimsoll_orchestrator.transport.requests import required, tenant


class DryRunRpcs(rpc.OrchestratorServiceServicer):
    _dry_run: DryRun

    async def CheckAgent(self, request: pb.CheckAgentRequest, context: Any) -> pb.CheckAgentResponse:
        required("source", request.source)
        prospect = await self._dry_run.check_agent(tenant(), request.source, request.source_name)
        return pb.CheckAgentResponse(
            mistakes=[pb.Mistake(place=one.field, problem=one.problem, remedy=one.remedy) for one in prospect.mistakes],
            digest=prospect.digest,
            broken_runs=[
                pb.BrokenRun(
                    run_id=broken.run_id,
                    status=run_pb2.RunStatus.Value(f"RUN_STATUS_{broken.status.name}"),
                    node=broken.node,
                    problem=broken.problem,
                )
                for broken in prospect.broken
            ],
            checked_runs=prospect.checked,
        )
