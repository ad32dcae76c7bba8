"""The RPCs of plimsoll.tool_dispatcher.v1.ToolDispatcherService."""

import asyncio
from dataclasses import dataclass

from plimsoll.tool_dispatcher.v1 import tool_dispatcher_service_pb2 as pb
from plimsoll.tool_dispatcher.v1 import tool_dispatcher_service_pb2_grpc as rpc
from plimsoll_runtime import logs
from plimsoll_runtime.audit import Anchor, entry_to_proto, verdict_to_proto
from plimsoll_runtime.context import Caller, current_caller
from plimsoll_runtime.errors import Denied, FieldProblem
from plimsoll_runtime.failures import Category
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.rpc_server import Context, RpcService
from plimsoll_runtime.wire import json_from_proto
from prometheus_client import Counter

from plimsoll_tool_dispatcher.attempts import AT_ONCE_CHARS
from plimsoll_tool_dispatcher.catalogue import ToolCatalogue
from plimsoll_tool_dispatcher.domain.call import ApprovalRequired, Call, Failed, Report
from plimsoll_tool_dispatcher.domain.registry import SHARED
from plimsoll_tool_dispatcher.doubts import Doubts
from plimsoll_tool_dispatcher.errors import CallNotFound, InvalidLookup
from plimsoll_tool_dispatcher.ports import Records
from plimsoll_tool_dispatcher.service import ToolDispatcher
from plimsoll_tool_dispatcher.transport.codec import (
    call_from_proto,
    doubt_to_proto,
    finding_from_proto,
    kept_call_to_proto,
    position_from_token,
    report_to_proto,
    standing_from_proto,
    standing_to_proto,
    tool_to_proto,
    version_to_proto,
)

CALLS_TOTAL = "plimsoll_tool_calls_total"
FULL_NAME = "plimsoll.tool_dispatcher.v1.ToolDispatcherService"
_PAGE, _LONGEST_PAGE = 100, 500
_MOST_KEYS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Callers:
    """Which services may do what; those that may look are the server's whole allow-list."""

    dispatch: frozenset[str]
    operate: frozenset[str]
    revoke: frozenset[str]
    look_back: frozenset[str]


class ToolDispatcherHandler(rpc.ToolDispatcherServiceServicer):
    """Takes requests apart, calls the verb, puts the answer together."""

    def __init__(
        self,
        service: ToolDispatcher,
        catalogue: ToolCatalogue,
        doubts: Doubts,
        records: Records,
        *,
        callers: Callers,
        arguments_chars: int,
        metrics: Metrics,
    ) -> None:
        self._calls = Counter(CALLS_TOTAL, "Calls answered", ("tool", "outcome"), registry=metrics.registry)
        self._service = service
        self._catalogue = catalogue
        self._doubts = doubts
        self._records = records
        self._callers = callers
        self._arguments_chars = arguments_chars

    async def Dispatch(self, request: pb.DispatchRequest, context: Context) -> pb.DispatchResponse:
        """Executes a call, or returns what was recorded under its call key."""
        caller = _allowed(self._callers.dispatch, "dispatch calls")
        if len(request.arguments.text) > AT_ONCE_CHARS:  # reading and digesting much of it would hold up all other calls
            call = await asyncio.to_thread(call_from_proto, request, caller, self._arguments_chars)
        else:
            call = call_from_proto(request, caller, self._arguments_chars)
        report = await self._service.dispatch(call)
        asyncio.get_running_loop().call_soon(self._note, call, report)  # the caller does not wait for our notes; the log line does
        return report_to_proto(report, self._service.labels(call, report))

    async def GetTool(self, request: pb.GetToolRequest, context: Context) -> pb.GetToolResponse:
        """One tool by its name."""
        return pb.GetToolResponse(tool=tool_to_proto(self._service.get_tool(current_caller().tenant, request.name)))

    async def ListTools(self, request: pb.ListToolsRequest, context: Context) -> pb.ListToolsResponse:
        """All tools, or those of the given names that there are."""
        tools = self._service.list_tools(current_caller().tenant, request.names)
        return pb.ListToolsResponse(tools=[tool_to_proto(tool) for tool in tools])

    async def RegisterTools(self, request: pb.RegisterToolsRequest, context: Context) -> pb.RegisterToolsResponse:
        """Registers tools of the caller's tenant, all of them or none."""
        caller = _allowed(self._callers.operate, "register tools")
        entries = [json_from_proto(entry, f"tools[{index}]") for index, entry in enumerate(request.tools)]
        tools = await self._catalogue.register(caller.tenant, entries, _who(caller))
        warnings = [
            pb.RegistrationWarning(field=one.field, problem=one.problem, remedy=one.remedy) for one in self._catalogue.warnings(tools)
        ]
        return pb.RegisterToolsResponse(tools=[tool_to_proto(tool) for tool in tools], warnings=warnings)

    async def UnregisterTool(self, request: pb.UnregisterToolRequest, context: Context) -> pb.UnregisterToolResponse:
        """Takes a registered tool away."""
        caller = _allowed(self._callers.operate, "take tools away")
        await self._catalogue.unregister(caller.tenant, request.name, _who(caller))
        return pb.UnregisterToolResponse()

    async def ListToolVersions(self, request: pb.ListToolVersionsRequest, context: Context) -> pb.ListToolVersionsResponse:
        """Every version of a tool, and what was decided about it."""
        tenant = current_caller().tenant
        versions = await self._catalogue.versions(tenant, request.name)
        standing = standing_to_proto(self._catalogue.standing(tenant, request.name))
        return pb.ListToolVersionsResponse(versions=[version_to_proto(one) for one in versions], standing=standing)

    async def SetToolStanding(self, request: pb.SetToolStandingRequest, context: Context) -> pb.SetToolStandingResponse:
        """Disables, pins or accepts a tool for the caller's tenant."""
        caller = _allowed(self._callers.operate, "decide about tools")
        await self._catalogue.decide(caller.tenant, request.name, standing_from_proto(request.standing), _who(caller))
        return pb.SetToolStandingResponse()

    async def RevokeGrant(self, request: pb.RevokeGrantRequest, context: Context) -> pb.RevokeGrantResponse:
        """Takes a grant back before it is used."""
        caller = _allowed(self._callers.revoke, "take grants back")
        return pb.RevokeGrantResponse(revoked=await self._service.revoke(caller.tenant, request.grant_id, _who(caller)))

    async def ListUnknownCalls(self, request: pb.ListUnknownCallsRequest, context: Context) -> pb.ListUnknownCallsResponse:
        """Calls with an unknown outcome that nobody has settled."""
        doubts = await self._doubts.open(current_caller().tenant, _size(request.page_size))
        return pb.ListUnknownCallsResponse(calls=[doubt_to_proto(doubt) for doubt in doubts])

    async def ResolveCall(self, request: pb.ResolveCallRequest, context: Context) -> pb.ResolveCallResponse:
        """A person says what became of a call."""
        caller = _allowed(self._callers.operate, "resolve calls")
        if not caller.principal:
            raise Denied("nobody is named who resolves the call", reason="PRINCIPAL_REQUIRED")
        await self._doubts.resolve(caller.tenant, request.call_id, finding_from_proto(request), caller.principal)
        return pb.ResolveCallResponse()

    async def GetCall(self, request: pb.GetCallRequest, context: Context) -> pb.GetCallResponse:
        """One call as the ledger knows it."""
        tenant = _allowed(self._callers.look_back, "look at calls").tenant
        call = await self._records.call(tenant, request.call_key)
        if call is None:
            raise CallNotFound
        return pb.GetCallResponse(call=kept_call_to_proto(call))

    async def ListCalls(self, request: pb.ListCallsRequest, context: Context) -> pb.ListCallsResponse:
        """The calls of a run, or those of the given keys."""
        tenant = _allowed(self._callers.look_back, "look at calls").tenant
        if bool(request.run_id) == bool(request.call_keys) or len(request.call_keys) > _MOST_KEYS:
            remedy = f"send run_id, or 1 to {_MOST_KEYS} call_keys"
            raise InvalidLookup(problems=[FieldProblem("run_id, call_keys", "do not say which calls", remedy)])
        if request.run_id:
            page = await self._records.calls_of_run(tenant, request.run_id, request.page_token, _size(request.page_size))
        else:
            page = await self._records.calls(tenant, request.call_keys, request.page_token, _size(request.page_size))
        return pb.ListCallsResponse(calls=[kept_call_to_proto(call) for call in page.calls], next_page_token=page.after)

    async def ListAuditEntries(self, request: pb.ListAuditEntriesRequest, context: Context) -> pb.ListAuditEntriesResponse:
        """What was done or refused by whose leave."""
        tenant = self._chain(request.shared)
        before, size = position_from_token(request.page_token), _size(request.page_size)
        entries = await self._records.audit_entries(tenant, before, size, request.action, request.subject)
        rest = str(entries[-1].seq) if len(entries) == size and entries[-1].seq > 1 else ""
        return pb.ListAuditEntriesResponse(entries=[entry_to_proto(entry) for entry in entries], next_page_token=rest)

    async def VerifyAudit(self, request: pb.VerifyAuditRequest, context: Context) -> pb.VerifyAuditResponse:
        """Whether the audit log is as it was written."""
        tenant = self._chain(request.shared)
        anchor = Anchor(seq=request.known_seq, hash=request.known_hash) if request.known_seq > 0 else None
        return pb.VerifyAuditResponse(verdict=verdict_to_proto(await self._records.verify_audit(tenant, anchor)))

    def _chain(self, shared: bool) -> str:
        tenant = _allowed(self._callers.operate, "look at the audit log").tenant
        return SHARED if shared else tenant

    def _note(self, call: Call, report: Report) -> None:
        match report.outcome:
            case Failed(failure=failure):
                outcome, reason = failure.category.value, failure.reason
            case ApprovalRequired():
                outcome, reason = "approval_required", ""
            case _:
                outcome, reason = "succeeded", ""
        known = outcome != Category.UNKNOWN_TOOL  # a name that a model made up is no label
        self._calls.labels(call.tool if known else "", outcome).inc()
        logs.note(
            {
                "run_id": call.work.run_id,
                "call_id": report.call_id,
                "tool": call.tool[:80],
                "outcome": outcome,
                "failed_by": reason,
                "recorded": report.recorded,
                "attempts": report.attempts,
            }
        )


def _allowed(services: frozenset[str], deed: str) -> Caller:
    caller = current_caller()
    if caller.service not in services:
        raise Denied(f"{caller.service} may not {deed}", reason="CALLER_NOT_ALLOWED")
    return caller


def _who(caller: Caller) -> str:
    """The person, or else the service, that a deed is written down under."""
    return caller.principal or caller.service


def _size(asked: int) -> int:
    return max(1, min(asked or _PAGE, _LONGEST_PAGE))


def tool_dispatcher_rpcs(handler: ToolDispatcherHandler) -> RpcService:
    """What the server serves."""
    return RpcService(FULL_NAME, lambda server: rpc.add_ToolDispatcherServiceServicer_to_server(handler, server))
