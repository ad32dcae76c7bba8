"""The tool-dispatcher over gRPC."""

from collections.abc import Sequence

import grpc
from plimsoll.tool_dispatcher.v1 import tool_dispatcher_service_pb2, tool_dispatcher_service_pb2_grpc, tool_pb2
from plimsoll_runtime.failures import Category, Failure, failure_from_proto
from plimsoll_runtime.json_types import JsonObject
from plimsoll_runtime.rpc_client import call
from plimsoll_runtime.wire import json_from_proto, json_to_proto, object_from_proto
from plimsoll_runtime.work import WorkContext, work_to_proto

from plimsoll_orchestrator.domain.journal import Proposal
from plimsoll_orchestrator.ports import Grant, NeedsApproval, Refused, Returned, ToolDefinition, ToolOutcome

_LIST_CAP_S = 5.0
_DISPATCH_CAP_S = 300.0


class RemoteTools:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = tool_dispatcher_service_pb2_grpc.ToolDispatcherServiceStub(channel)

    async def definitions(self, names: Sequence[str]) -> Sequence[ToolDefinition]:
        if not names:
            return ()
        request = tool_dispatcher_service_pb2.ListToolsRequest(names=names)
        response = await call(self._stub.ListTools, request, cap_s=_LIST_CAP_S, target="tool-dispatcher")
        known = {
            tool.name: ToolDefinition(
                name=tool.name,
                description=tool.description,
                arguments_schema=object_from_proto(tool.arguments_schema, "arguments_schema"),
            )
            for tool in response.tools
        }
        return tuple(known[name] for name in names if name in known)

    async def dispatch(self, call_key: str, tool: str, arguments: JsonObject, grants: Sequence[Grant], work: WorkContext) -> ToolOutcome:
        request = tool_dispatcher_service_pb2.DispatchRequest(
            call_key=call_key,
            tool=tool,
            arguments=json_to_proto(arguments),
            work=work_to_proto(work),
            grants=[tool_pb2.Grant(grant_id=g.grant_id, call_digest=g.call_digest, granted_by=g.granted_by) for g in grants],
        )
        response = await call(self._stub.Dispatch, request, cap_s=_DISPATCH_CAP_S, target="tool-dispatcher")
        match response.WhichOneof("outcome"):
            case "result":
                return Returned(result=json_from_proto(response.result, "result"))
            case "failure":
                return Refused(failure=failure_from_proto(response.failure))
            case "approval_required":
                return NeedsApproval(proposal=_proposal(response.approval_required))
            case _:
                failure = Failure(
                    category=Category.INTERNAL, reason="NO_OUTCOME", message="the tool-dispatcher sent no outcome", where=tool
                )
                return Refused(failure=failure)


def _proposal(message: tool_pb2.Proposal) -> Proposal:
    return Proposal(
        tool=message.tool,
        tool_digest=message.tool_digest,
        effective_arguments=json_from_proto(message.effective_arguments, "effective_arguments"),
        call_digest=message.call_digest,
    )
