"""The RPCs of plimsoll.tool_dispatcher.v1.ToolDispatcherService."""

import asyncio

from plimsoll.tool_dispatcher.v1 import tool_dispatcher_service_pb2 as pb
from plimsoll.tool_dispatcher.v1 import tool_dispatcher_service_pb2_grpc as rpc
from plimsoll_runtime.context import current_caller
from plimsoll_runtime.errors import Denied
from plimsoll_runtime.failures import Category
from plimsoll_runtime.logs import Log
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.rpc_server import Context, RpcService
from prometheus_client import Counter

from plimsoll_tool_dispatcher.domain.call import ApprovalRequired, Call, Failed, Report
from plimsoll_tool_dispatcher.executions import AT_ONCE_CHARS
from plimsoll_tool_dispatcher.service import ToolDispatcher
from plimsoll_tool_dispatcher.transport.codec import call_from_proto, report_to_proto, tool_to_proto

CALLS_TOTAL = "plimsoll_tool_calls_total"
FULL_NAME = "plimsoll.tool_dispatcher.v1.ToolDispatcherService"


class ToolDispatcherHandler(rpc.ToolDispatcherServiceServicer):
    """Takes requests apart, calls the verb, puts the answer together."""

    def __init__(self, service: ToolDispatcher, *, dispatchers: frozenset[str], arguments_chars: int, metrics: Metrics, log: Log) -> None:
        self._calls = Counter(CALLS_TOTAL, "Calls answered", ("tool", "outcome"), registry=metrics.registry)
        self._service = service
        self._dispatchers = dispatchers
        self._arguments_chars = arguments_chars
        self._log = log

    async def Dispatch(self, request: pb.DispatchRequest, context: Context) -> pb.DispatchResponse:
        """Executes a call, or returns what was recorded under its call key."""
        caller = current_caller()
        if caller.service not in self._dispatchers:
            raise Denied(f"{caller.service} may not dispatch calls", reason="CALLER_NOT_ALLOWED")
        if len(request.arguments.text) > AT_ONCE_CHARS:  # reading and digesting much of it would hold up all other calls
            call = await asyncio.to_thread(call_from_proto, request, caller.tenant, self._arguments_chars)
        else:
            call = call_from_proto(request, caller.tenant, self._arguments_chars)
        report = await self._service.dispatch(call)
        self._note(call, report)
        return report_to_proto(report)

    async def GetTool(self, request: pb.GetToolRequest, context: Context) -> pb.GetToolResponse:
        """One tool by its name."""
        return pb.GetToolResponse(tool=tool_to_proto(self._service.get_tool(current_caller().tenant, request.name)))

    async def ListTools(self, request: pb.ListToolsRequest, context: Context) -> pb.ListToolsResponse:
        """All tools, or those of the given names that there are."""
        tools = self._service.list_tools(current_caller().tenant, request.names)
        return pb.ListToolsResponse(tools=[tool_to_proto(tool) for tool in tools])

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
        self._log.info(
            "call.answered",
            {
                "tenant": call.tenant,
                "run_id": call.work.run_id,
                "call_id": report.call_id,
                "tool": call.tool[:80],
                "outcome": outcome,
                "reason": reason,
                "recorded": report.recorded,
                "attempts": report.attempts,
                "ms": round(report.duration_s * 1e3, 2),
            },
        )


def tool_dispatcher_rpcs(handler: ToolDispatcherHandler) -> RpcService:
    """What the server serves."""
    return RpcService(FULL_NAME, lambda server: rpc.add_ToolDispatcherServiceServicer_to_server(handler, server))
