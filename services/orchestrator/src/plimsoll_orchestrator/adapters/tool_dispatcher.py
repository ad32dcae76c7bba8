"""The tool-dispatcher over gRPC."""

from collections.abc import Mapping, Sequence

import grpc
from plimsoll.tool_dispatcher.v1 import tool_dispatcher_service_pb2, tool_dispatcher_service_pb2_grpc, tool_pb2
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.failures import Category, Failure, failure_from_proto
from plimsoll_runtime.json_types import JsonObject
from plimsoll_runtime.logs import Log
from plimsoll_runtime.rpc_client import call
from plimsoll_runtime.wire import duration_from_proto, json_from_proto, json_to_proto, object_from_proto, timestamp_to_proto
from plimsoll_runtime.work import WorkContext, work_to_proto

from plimsoll_orchestrator.domain.journal import ONE_PERSON, Proposal, Terms
from plimsoll_orchestrator.ports import Grant, NeedsApproval, Refused, Returned, ToolDefinition, ToolOutcome

_LIST_CAP_S = 5.0
_DISPATCH_CAP_S = 300.0


class RemoteTools:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = tool_dispatcher_service_pb2_grpc.ToolDispatcherServiceStub(channel)

    async def definitions(self, names: Sequence[str]) -> Sequence[ToolDefinition]:
        if not names:
            return ()
        exact = [] if any(name.endswith("*") for name in names) else names  # none means all
        request = tool_dispatcher_service_pb2.ListToolsRequest(names=exact)
        response = await call(self._stub.ListTools, request, cap_s=_LIST_CAP_S, target="tool-dispatcher")
        known = {
            tool.name: ToolDefinition(
                name=tool.name,
                description=tool.description,
                arguments_schema=object_from_proto(tool.arguments_schema, "arguments_schema"),
            )
            for tool in response.tools
        }
        return tuple({chosen.name: chosen for name in names for chosen in _chosen(name, known)}.values())

    async def dispatch(
        self, call_key: str, tool: str, arguments: JsonObject, grants: Sequence[Grant], work: WorkContext, first: bool
    ) -> ToolOutcome:
        request = tool_dispatcher_service_pb2.DispatchRequest(
            call_key=call_key,
            tool=tool,
            arguments=json_to_proto(arguments),
            work=work_to_proto(work),
            grants=[_grant(grant) for grant in grants],
            first=first,
        )
        response = await call(self._stub.Dispatch, request, cap_s=_DISPATCH_CAP_S, target="tool-dispatcher")
        match response.WhichOneof("outcome"):
            case "result":
                result = json_from_proto(response.result, "result")
                return Returned(result=result, degraded=response.degraded.by, labels=tuple(response.labels))
            case "failure":
                return Refused(failure=failure_from_proto(response.failure), unsettled=response.unsettled)
            case "approval_required":
                return NeedsApproval(proposal=_proposal(response.approval_required))
            case _:
                failure = Failure(
                    category=Category.INTERNAL, reason="NO_OUTCOME", message="the tool-dispatcher sent no outcome", where=tool
                )
                return Refused(failure=failure)


def _chosen(name: str, known: Mapping[str, ToolDefinition]) -> Sequence[ToolDefinition]:
    if name.endswith("*"):
        return [known[each] for each in sorted(known) if each.startswith(name[:-1])]
    return [known[name]] if name in known else []


class RemoteGrants:
    """Takes grants back. One that cannot be taken back now is told, counts as used, and ends with its time."""

    def __init__(self, channel: grpc.aio.Channel, log: Log) -> None:
        self._stub = tool_dispatcher_service_pb2_grpc.ToolDispatcherServiceStub(channel)
        self._log = log

    async def revoke(self, grant_id: str) -> bool:
        request = tool_dispatcher_service_pb2.RevokeGrantRequest(grant_id=grant_id)
        try:
            response = await call(self._stub.RevokeGrant, request, cap_s=_LIST_CAP_S, target="tool-dispatcher")
        except PlimsollError as error:
            self._log.error("grant.not_revoked", {"grant_id": grant_id, "reason": error.reason})
            return False
        return bool(response.revoked)


def _proposal(message: tool_pb2.Proposal) -> Proposal:
    return Proposal(
        tool=message.tool,
        tool_digest=message.tool_digest,
        effective_arguments=json_from_proto(message.effective_arguments, "effective_arguments"),
        call_digest=message.call_digest,
        terms=_terms(message),
        policy_digest=message.policy_digest,
        credential_version=message.credential_version,
        message=message.message,
    )


def _terms(message: tool_pb2.Proposal) -> Terms:
    if not message.HasField("terms"):
        return ONE_PERSON
    terms = message.terms
    return Terms(quorum=max(1, terms.quorum), four_eyes=terms.four_eyes, expires_s=duration_from_proto(terms.expires_in))


def _grant(grant: Grant) -> tool_pb2.Grant:
    message = tool_pb2.Grant(
        grant_id=grant.grant_id,
        call_digest=grant.call_digest,
        granted_by=grant.granted_by,
        approved_by=grant.approved_by,
        requested_by=grant.requested_by,
    )
    if grant.expires_at is not None:
        message.expire_time.CopyFrom(timestamp_to_proto(grant.expires_at))
    return message
