"""Control of runs over gRPC."""

from typing import Any

from plimsoll.orchestrator.v1 import orchestrator_service_pb2 as pb
from plimsoll.orchestrator.v1 import orchestrator_service_pb2_grpc as rpc
from plimsoll_runtime.errors import FieldProblem, Invalid
from plimsoll_runtime.wire import json_from_proto, json_to_proto, object_from_proto

from plimsoll_orchestrator.service import Control, Fork
from plimsoll_orchestrator.transport import codec
from plimsoll_orchestrator.transport.requests import key, principal, required, tenant, text


class ControlRpcs(rpc.OrchestratorServiceServicer):
    _control: Control

    async def CancelRun(self, request: pb.CancelRunRequest, context: Any) -> pb.CancelRunResponse:
        by = principal(request.cancelled_by, "cancelled_by")
        view = await self._control.cancel_run(tenant(), request.run_id, text(request.reason, "reason"), by)
        return pb.CancelRunResponse(run=codec.run_to_proto(view))

    async def PauseRun(self, request: pb.PauseRunRequest, context: Any) -> pb.PauseRunResponse:
        by = principal(request.paused_by, "paused_by")
        view = await self._control.pause_run(tenant(), request.run_id, text(request.reason, "reason"), by)
        return pb.PauseRunResponse(run=codec.run_to_proto(view))

    async def ResumeRun(self, request: pb.ResumeRunRequest, context: Any) -> pb.ResumeRunResponse:
        view = await self._control.resume_run(tenant(), request.run_id, principal(request.resumed_by, "resumed_by"))
        return pb.ResumeRunResponse(run=codec.run_to_proto(view))

    async def SignalRun(self, request: pb.SignalRunRequest, context: Any) -> pb.SignalRunResponse:
        required("name", request.name)
        payload = json_from_proto(request.payload, "payload") if request.HasField("payload") else None
        by = principal(request.sent_by, "sent_by")
        signal_id = await self._control.signal_run(
            tenant(), request.run_id, key(request.name, "name"), payload, key(request.idempotency_key), by
        )
        return pb.SignalRunResponse(signal_id=signal_id)

    async def ForkRun(self, request: pb.ForkRunRequest, context: Any) -> pb.ForkRunResponse:
        changes = object_from_proto(request.state, "state") if request.HasField("state") else {}
        fork = Fork(seq=request.seq, changes=changes, node=request.node, latest=request.latest, asked_by=principal(""))
        options = codec.options_from_proto(request.options)
        started = await self._control.fork_run(tenant(), request.run_id, fork, options, key(request.idempotency_key))
        return pb.ForkRunResponse(run=codec.run_to_proto(started.view), created=started.created)

    async def RetryRun(self, request: pb.RetryRunRequest, context: Any) -> pb.RetryRunResponse:
        started = await self._control.retry_run(tenant(), request.run_id, request.latest, key(request.idempotency_key))
        return pb.RetryRunResponse(run=codec.run_to_proto(started.view), created=started.created)

    async def ExplainRun(self, request: pb.ExplainRunRequest, context: Any) -> pb.ExplainRunResponse:
        obstacles = await self._control.explain_run(tenant(), request.run_id)
        return pb.ExplainRunResponse(obstacles=[codec.obstacle_to_proto(obstacle) for obstacle in obstacles])

    async def QueryRun(self, request: pb.QueryRunRequest, context: Any) -> pb.QueryRunResponse:
        required("expression", request.expression)
        value, seq = await self._control.query_run(tenant(), request.run_id, request.expression)
        return pb.QueryRunResponse(value=json_to_proto(value), seq=seq)

    async def DecideApproval(self, request: pb.DecideApprovalRequest, context: Any) -> pb.DecideApprovalResponse:
        if request.decision not in {pb.DECISION_APPROVE, pb.DECISION_REJECT}:
            raise Invalid(problems=(FieldProblem("decision", "is missing", "send DECISION_APPROVE or DECISION_REJECT"),))
        approve = request.decision == pb.DECISION_APPROVE
        by, comment = principal(request.decided_by, "decided_by"), text(request.comment, "comment")
        if request.HasField("arguments"):
            if approve:
                problem = FieldProblem("arguments", "are approved as they were shown", "send DECISION_REJECT to propose others")
                raise Invalid(problems=(problem,))
            instead = object_from_proto(request.arguments, "arguments")
            view = await self._control.propose_instead(tenant(), request.approval_id, instead, comment, by)
        else:
            view = await self._control.decide_approval(tenant(), request.approval_id, approve, comment, by)
        return pb.DecideApprovalResponse(approval=codec.approval_to_proto(view))
