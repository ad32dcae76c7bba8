"""The load over gRPC."""

from typing import Any

from plimsoll.orchestrator.v1 import orchestrator_service_pb2 as pb
from plimsoll.orchestrator.v1 import orchestrator_service_pb2_grpc as rpc
from plimsoll_runtime.wire import duration_to_proto

from plimsoll_orchestrator.service.load import LoadWatch


class LoadRpcs(rpc.OrchestratorServiceServicer):
    _load: LoadWatch

    async def GetLoad(self, request: pb.GetLoadRequest, context: Any) -> pb.GetLoadResponse:
        load = await self._load.now()
        return pb.GetLoadResponse(
            waiting_runs=load.waiting,
            oldest_wait=duration_to_proto(load.oldest_wait_s),
            finished_per_second=load.finished_per_s,
            tenants=[pb.TenantLoad(tenant=one.tenant, waiting_runs=one.waiting) for one in load.tenants],
        )
