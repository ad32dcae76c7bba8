"""A team's own tool host, over gRPC with mutual TLS."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import grpc
from plimsoll.tool_dispatcher.v1 import tool_host_service_pb2 as pb
from plimsoll.tool_dispatcher.v1 import tool_host_service_pb2_grpc as rpc
from plimsoll.tool_dispatcher.v1 import tool_pb2
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.errors import ErrorKind, FieldProblem, Invalid, PlimsollError, Unavailable
from plimsoll_runtime.failures import Category
from plimsoll_runtime.rpc_client import call, open_channel
from plimsoll_runtime.settings import TlsSettings
from plimsoll_runtime.wire import duration_from_proto, json_from_proto, json_to_proto

from plimsoll_tool_dispatcher.adapters.sources.outcomes import changed, gone, stopped
from plimsoll_tool_dispatcher.adapters.sources.runtime import Listing
from plimsoll_tool_dispatcher.domain.effects import EffectClass, Mishap
from plimsoll_tool_dispatcher.domain.execution import Answered, Attempt, Invocation
from plimsoll_tool_dispatcher.domain.remote_tools import RemoteTool
from plimsoll_tool_dispatcher.domain.source_declaration import DeclaredHost
from plimsoll_tool_dispatcher.domain.sources import HostSource
from plimsoll_tool_dispatcher.domain.tool import Risk, Tool

_CONNECT_S = 5.0
_DESCRIBE_S = 20.0
_MAX_LISTED = 1000
_NOBODY = "plimsoll"  # descriptions are nobody's in particular

_EFFECTS: Mapping[int, EffectClass] = {
    tool_pb2.EFFECT_CLASS_READ_ONLY: EffectClass.READ_ONLY,
    tool_pb2.EFFECT_CLASS_IDEMPOTENT: EffectClass.IDEMPOTENT,
    tool_pb2.EFFECT_CLASS_KEYED: EffectClass.KEYED,
}
_RISKS: Mapping[int, Risk] = {tool_pb2.RISK_LOW: Risk.LOW, tool_pb2.RISK_HIGH: Risk.HIGH}


class ToolHostClient:
    """One host. A connection stands before a call is sent, so that it is known whether it was."""

    def __init__(self, declared: DeclaredHost, tls: TlsSettings) -> None:
        self._declared = declared
        self._tls = tls
        self._stack = AsyncExitStack()
        self._channel: grpc.aio.Channel | None = None
        self._digests: Mapping[str, str] = {}

    async def __aenter__(self) -> Self:
        most_mib = self._declared.settings.answer_bytes // (1024 * 1024) + 1
        opening = open_channel(self._declared.address, self._tls, self._declared.server_name, max_message_mib=most_mib)
        self._channel = await self._stack.enter_async_context(opening)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._stack.aclose()

    async def listing(self) -> Listing:
        """Raises PlimsollError when the host cannot be asked."""
        await self._connected(_CONNECT_S)
        with acting_for(_NOBODY):
            described = await call(self._stub().DescribeTools, pb.DescribeToolsRequest(), cap_s=_DESCRIBE_S)
        tools: list[RemoteTool] = []
        problems: list[FieldProblem] = []
        for one in described.tools[:_MAX_LISTED]:
            try:
                tools.append(self._read(one))
            except Invalid as error:
                problems += [
                    FieldProblem(f"{self._declared.settings.name}.{one.name[:80]}.{wrong.field}", wrong.problem) for wrong in error.problems
                ]
        self._digests = {one.name: one.digest for one in described.tools}
        return tuple(tools), tuple(problems)

    async def execute(self, tool: Tool, invocation: Invocation) -> Attempt:
        assert isinstance(tool.source, HostSource)
        loop = asyncio.get_running_loop()
        until = loop.time() + invocation.timeout_s
        try:
            await self._connected(min(_CONNECT_S, invocation.timeout_s))
        except Unavailable as error:
            return stopped(tool, Category.UPSTREAM_UNAVAILABLE, error.reason, error.message, Mishap.REFUSED)
        request = pb.InvokeToolRequest(
            tool=tool.source.tool,
            digest=tool.source.shape,
            arguments=json_to_proto(invocation.arguments),
            call_key=invocation.call_key,
            run_id=invocation.run_id,
        )
        try:
            with acting_for(invocation.tenant):
                response = await call(self._stub().InvokeTool, request, cap_s=max(0.001, until - loop.time()))
        except PlimsollError as error:
            return _after_error(tool, tool.source, error)
        return _answer(tool, response)

    def _stub(self) -> "rpc.ToolHostServiceAsyncStub":
        assert self._channel is not None, "enter it first"
        return rpc.ToolHostServiceStub(self._channel)

    async def _connected(self, within_s: float) -> None:
        """Raises Unavailable: nothing was sent."""
        assert self._channel is not None, "enter it first"
        try:
            async with asyncio.timeout(within_s):
                await self._channel.channel_ready()
        except TimeoutError as error:
            raise Unavailable("no connection to the tool host", reason="NOT_CONNECTED") from error

    def _read(self, one: pb.HostedTool) -> RemoteTool:
        """Raises Invalid."""
        return RemoteTool(
            name=one.name,
            description=one.description,
            arguments=json_from_proto(one.arguments_schema, "arguments"),
            result=json_from_proto(one.result_schema, "result"),
            effect=_EFFECTS.get(one.effect, EffectClass.NON_IDEMPOTENT),
            risk=_RISKS.get(one.risk),
            version=one.version,
            timeout_s=duration_from_proto(one.timeout) if one.HasField("timeout") else None,
            source=HostSource(source=self._declared.settings.name, tool=one.name, shape=one.digest),
        )


def _answer(tool: Tool, response: pb.InvokeToolResponse) -> Attempt:
    match response.WhichOneof("outcome"):
        case "result":
            try:
                return Answered(result=json_from_proto(response.result, "result"), size=len(response.result.text))
            except Invalid as error:
                return stopped(tool, Category.MALFORMED_RESULT, "RESULT_NOT_JSON", error.message)
        case "rejected":
            return stopped(tool, Category.UPSTREAM_REJECTED, response.rejected.reason or "UNSPECIFIED", response.rejected.message)
        case "unavailable":
            said = response.unavailable
            after_s = duration_from_proto(said.retry_after) if said.HasField("retry_after") else None
            return stopped(
                tool, Category.UPSTREAM_UNAVAILABLE, said.reason or "UNSPECIFIED", said.message, Mishap.NOT_ACTED, retry_after=after_s
            )
        case "fault":
            return _fault(tool, response.fault)
    return stopped(tool, Category.MALFORMED_RESULT, "NO_OUTCOME", "the host answered without an outcome")


def _fault(tool: Tool, fault: pb.HostFault) -> Attempt:
    if fault.malformed_result:
        return stopped(tool, Category.MALFORMED_RESULT, "RESULT_UNFIT", fault.error)
    if fault.broken_connection:
        message = f"the connection to its upstream broke: {fault.error}"
        return stopped(tool, Category.UPSTREAM_UNAVAILABLE, "CONNECTION_BROKEN", message, Mishap.LOST)
    mishap = Mishap.LOST if tool.effect is EffectClass.NON_IDEMPOTENT else None
    return stopped(tool, Category.TOOL_ERROR, "HANDLER_RAISED", f"the tool raised {fault.error}", mishap)


def _after_error(tool: Tool, source: HostSource, error: PlimsollError) -> Attempt:
    """An error status: mostly the tool did not run."""
    match error.kind, error.reason:
        case ErrorKind.NOT_FOUND, _:
            return gone(tool, f"the tool {source.tool}")
        case _, "TOOL_CHANGED":
            return changed(tool)
        case ErrorKind.INVALID, _:
            return stopped(tool, Category.INVALID_ARGUMENTS, error.reason, error.message)
        case ((ErrorKind.UNAUTHENTICATED | ErrorKind.DENIED), _):
            return stopped(tool, Category.UPSTREAM_REJECTED, error.reason, error.message)
        case ErrorKind.EXHAUSTED, "HOST_BUSY":
            return stopped(tool, Category.RATE_LIMITED, error.reason, error.message, Mishap.NOT_ACTED, error.retry_after_s)
        case ErrorKind.EXHAUSTED, _:  # a message over the limit: the tool has run
            return stopped(tool, Category.MALFORMED_RESULT, "RESULT_TOO_LARGE", "the answer is too large")
        case ErrorKind.TIMEOUT, _:
            return stopped(tool, Category.TIMEOUT, "TOOL_TIMEOUT", "the tool did not answer in time", Mishap.LOST)
        case ErrorKind.UNAVAILABLE, _:
            return stopped(tool, Category.UPSTREAM_UNAVAILABLE, "CONNECTION_BROKEN", "the connection to the tool host broke", Mishap.LOST)
    return stopped(tool, Category.TOOL_ERROR, error.reason, "the tool host failed", Mishap.LOST)
