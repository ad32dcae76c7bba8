"""Approvals: the questions that runs ask people, and the answers."""

from plimsoll.gateway.v1 import approvals_pb2 as pb
from plimsoll.gateway.v1 import gateway_service_pb2_grpc as rpc
from plimsoll.orchestrator.v1 import orchestrator_service_pb2, run_pb2
from plimsoll_runtime.json_types import JsonObject
from plimsoll_runtime.wire import json_to_proto

from plimsoll_client.calls import Calls, every
from plimsoll_client.codec.runs import approval_from_proto
from plimsoll_client.models import Approval, ApprovalStatus


class Approvals:
    """Questions to people. An answer counts once: the same again returns it, another is a conflict."""

    def __init__(self, stub: "rpc.GatewayServiceAsyncStub", calls: Calls) -> None:
        self._stub = stub
        self._calls = calls

    async def list(self, *, status: ApprovalStatus | None = ApprovalStatus.PENDING, run_id: str = "", limit: int = 50) -> list[Approval]:
        """Oldest first; `status=None` for all."""
        wanted = run_pb2.ApprovalStatus.Value(f"APPROVAL_STATUS_{status.name if status else 'UNSPECIFIED'}")

        async def page(size: int, token: str) -> pb.ListApprovalsResponse:
            request = pb.ListApprovalsRequest(status=wanted, run_id=run_id, page_size=size, page_token=token)
            return await self._calls.repeatable(self._stub.ListApprovals, request)

        return [approval_from_proto(message) for message in await every(page, lambda answer: answer.approvals, limit=limit)]

    async def approve(self, approval_id: str, *, comment: str = "") -> Approval:
        """Let exactly the proposed call execute, once."""
        return await self._decide(approval_id, orchestrator_service_pb2.DECISION_APPROVE, comment)

    async def reject(self, approval_id: str, *, comment: str = "") -> Approval:
        """Refuse it; the run goes on by the graph's route for that."""
        return await self._decide(approval_id, orchestrator_service_pb2.DECISION_REJECT, comment)

    async def propose(self, approval_id: str, arguments: JsonObject, *, comment: str = "") -> Approval:
        """Refuse the call as it is; the run asks anew about the same call with these arguments."""
        return await self._decide(approval_id, orchestrator_service_pb2.DECISION_REJECT, comment, arguments)

    async def _decide(
        self,
        approval_id: str,
        decision: "orchestrator_service_pb2.Decision.ValueType",
        comment: str,
        arguments: JsonObject | None = None,
    ) -> Approval:
        request = pb.DecideApprovalRequest(approval_id=approval_id, decision=decision, comment=comment)
        if arguments is not None:
            request.arguments.CopyFrom(json_to_proto(arguments))
        answer = await self._calls.repeatable(self._stub.DecideApproval, request)
        return approval_from_proto(answer.approval)
