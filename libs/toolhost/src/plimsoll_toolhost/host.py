"""The RPCs of plimsoll.tool_dispatcher.v1.ToolHostService: every call is validated here too, whoever sent it."""

import asyncio
import math
import socket
import traceback
from collections.abc import Mapping, Sequence

import jsonschema_rs
from google.protobuf.duration_pb2 import Duration
from plimsoll.tool_dispatcher.v1 import tool_host_service_pb2 as pb
from plimsoll.tool_dispatcher.v1 import tool_host_service_pb2_grpc as rpc
from plimsoll.tool_dispatcher.v1 import tool_pb2
from plimsoll_runtime.context import current_caller
from plimsoll_runtime.deadline import remaining_s
from plimsoll_runtime.errors import Conflict, DeadlineExpired, Exhausted, FieldProblem, Invalid, NotFound
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_runtime.logs import Log
from plimsoll_runtime.rpc_server import Context, RpcService
from plimsoll_runtime.wire import duration_to_proto, json_to_proto, object_from_proto

from plimsoll_toolhost.tool import Effect, HostedTool, InvalidTool, Risk, ToolCall, ToolRejected, ToolUnavailable

FULL_NAME = "plimsoll.tool_dispatcher.v1.ToolHostService"

_BROKEN = (ConnectionError, TimeoutError, EOFError, socket.gaierror)
_MAX_PROBLEMS = 20
_MESSAGE_CHARS = 500
_EFFECTS = {
    Effect.READ_ONLY: tool_pb2.EFFECT_CLASS_READ_ONLY,
    Effect.IDEMPOTENT: tool_pb2.EFFECT_CLASS_IDEMPOTENT,
    Effect.KEYED: tool_pb2.EFFECT_CLASS_KEYED,
    Effect.NON_IDEMPOTENT: tool_pb2.EFFECT_CLASS_NON_IDEMPOTENT,
}
_RISKS = {Risk.LOW: tool_pb2.RISK_LOW, Risk.HIGH: tool_pb2.RISK_HIGH}


class ToolHost(rpc.ToolHostServiceServicer):
    """Runs the tools of a team. Raises InvalidTool for schemas that cannot be used and for a name that is there twice."""

    def __init__(self, tools: Sequence[HostedTool], log: Log, *, calls_at_once: int = 64, result_bytes: int = 8 * 1024 * 1024) -> None:
        self._tools: Mapping[str, _Checked] = {tool.name: _Checked(tool) for tool in tools}
        if len(self._tools) != len(tools):
            raise InvalidTool("two tools have one name", remedy="rename one of them")
        self._log = log
        self._calls_at_once = calls_at_once
        self._result_bytes = result_bytes
        self._running = 0

    async def DescribeTools(  # noqa: N802 - the contract's name
        self, request: pb.DescribeToolsRequest, context: Context
    ) -> pb.DescribeToolsResponse:
        """All tools of this host."""
        return pb.DescribeToolsResponse(tools=[_described(one.tool) for one in self._tools.values()])

    async def InvokeTool(  # noqa: N802 - the contract's name
        self, request: pb.InvokeToolRequest, context: Context
    ) -> pb.InvokeToolResponse:
        """Runs one attempt of one call."""
        checked = self._tools.get(request.tool)
        if checked is None:
            raise NotFound(f"no tool is named {request.tool[:80]!r}", reason="TOOL_NOT_FOUND")
        if request.digest and request.digest != checked.digest:
            raise Conflict("the tool has another definition here", reason="TOOL_CHANGED")
        arguments = object_from_proto(request.arguments, "arguments")
        problems = checked.problems(arguments)
        if problems:
            raise Invalid(problems=problems, reason="INVALID_ARGUMENTS")
        if self._running >= self._calls_at_once:
            raise Exhausted(f"{self._calls_at_once} calls are running", reason="HOST_BUSY", retry_after_s=1.0)
        self._running += 1
        try:
            return await self._run(checked, arguments, request)
        finally:
            self._running -= 1

    async def _run(self, checked: "_Checked", arguments: JsonObject, request: pb.InvokeToolRequest) -> pb.InvokeToolResponse:
        tool, left_s = checked.tool, remaining_s()
        deadline_s = min(tool.timeout_s, math.inf if left_s is None else left_s)
        call = ToolCall(
            arguments=arguments,
            tenant=current_caller().tenant,
            call_key=request.call_key,
            run_id=request.run_id,
            deadline_s=deadline_s,
        )
        try:
            async with asyncio.timeout(deadline_s) as limit:
                return self._answer(checked, await tool.run(call))
        except ToolRejected as error:
            return pb.InvokeToolResponse(rejected=_rejection(error.reason, error.message, None))
        except ToolUnavailable as error:
            return pb.InvokeToolResponse(unavailable=_rejection(error.reason, error.message, error.retry_after_s))
        except Exception as error:
            if limit.expired():
                raise DeadlineExpired("the tool did not end in time", reason="TOOL_TIMEOUT") from error
            told = f"{type(error).__name__} at {_place(error)}"
            self._log.warning("tool.raised", {"tool": tool.name, "call_key": request.call_key, "error": told})
            return pb.InvokeToolResponse(fault=pb.HostFault(error=told, broken_connection=isinstance(error, _BROKEN)))

    def _answer(self, checked: "_Checked", value: JsonValue) -> pb.InvokeToolResponse:
        try:
            result = json_to_proto(value)
        except (TypeError, ValueError):
            return _malformed("the result is not JSON")
        if len(result.text) > self._result_bytes:
            return _malformed(f"the result is longer than {self._result_bytes} characters")
        if not checked.fits(value):
            return _malformed("the result breaks the tool's schema")
        return pb.InvokeToolResponse(result=result)


def tool_host_rpcs(host: ToolHost) -> RpcService:
    """What a gRPC server serves; `run_tool_host` brings a server of its own."""
    return RpcService(FULL_NAME, lambda server: rpc.add_ToolHostServiceServicer_to_server(host, server))


class _Checked:
    """A tool with its compiled schemas."""

    def __init__(self, tool: HostedTool) -> None:
        self.tool = tool
        self.digest = tool.digest
        self._arguments = _validator(tool, "arguments", tool.arguments)
        self._result = _validator(tool, "result", tool.result)

    def problems(self, arguments: JsonObject) -> list[FieldProblem]:
        """What is wrong with arguments, without any value of them."""
        if self._arguments.is_valid(arguments):
            return []
        errors = list(self._arguments.iter_errors(arguments))[:_MAX_PROBLEMS]
        return [
            FieldProblem(".".join(["arguments", *map(str, error.instance_path)]), error.message, "send what the schema asks for")
            for error in errors
        ]

    def fits(self, result: JsonValue) -> bool:
        return bool(self._result.is_valid(result))


def _validator(tool: HostedTool, field: str, schema: JsonObject) -> jsonschema_rs.Draft202012Validator:
    """Offline and with patterns that run in linear time."""
    try:
        return jsonschema_rs.Draft202012Validator(
            schema, validate_formats=True, offline=True, mask="the value", pattern_options=jsonschema_rs.RegexOptions()
        )
    except (ValueError, jsonschema_rs.ValidationError) as error:
        problem = FieldProblem(f"{tool.name}.{field}", "is no JSON Schema 2020-12 that refers only to itself", "see the schema's words")
        raise InvalidTool(problems=[problem]) from error


def _described(tool: HostedTool) -> pb.HostedTool:
    return pb.HostedTool(
        name=tool.name,
        version=tool.version,
        description=tool.description,
        arguments_schema=json_to_proto(tool.arguments),
        result_schema=json_to_proto(tool.result),
        effect=_EFFECTS[tool.effect],
        risk=_RISKS[tool.risk],
        timeout=duration_to_proto(tool.timeout_s),
        digest=tool.digest,
    )


def _rejection(reason: str, message: str, retry_after_s: float | None) -> pb.HostRejection:
    after: Duration | None = duration_to_proto(retry_after_s) if retry_after_s is not None and math.isfinite(retry_after_s) else None
    return pb.HostRejection(reason=str(reason)[:64], message=str(message)[:_MESSAGE_CHARS], retry_after=after)


def _malformed(problem: str) -> pb.InvokeToolResponse:
    return pb.InvokeToolResponse(fault=pb.HostFault(error=problem, malformed_result=True))


def _place(error: BaseException) -> str:
    """The innermost line that the error passed through; its text may hold arguments and stays here."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].name}, line {frames[-1].lineno}" if frames else "an unknown line"
