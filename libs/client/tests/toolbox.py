# ruff: noqa: N802 - gRPC names the methods
"""The part of the fake gateway that keeps tools: those registered, their versions, and what was decided."""

import hashlib
from typing import Any

from plimsoll.gateway.v1 import tools_pb2
from plimsoll.tool_dispatcher.v1 import tool_dispatcher_service_pb2, tool_pb2
from plimsoll_runtime.errors import Invalid, NotFound
from plimsoll_runtime.wire import json_to_proto, object_from_proto

Context = Any


class FakeToolbox:
    """`tools` are those that are registered now; a digest is of the declaration."""

    async def _enter(self, method: str, context: Context) -> None: ...
    async def _refuse(self, context: Context, error: Exception) -> None: ...

    def __init__(self) -> None:
        super().__init__()
        self.tools: dict[str, tool_pb2.Tool] = {}
        self.tool_versions: dict[str, list[tool_pb2.ToolVersion]] = {}
        self.standings: dict[str, tool_pb2.ToolStanding] = {}

    async def RegisterTools(self, request: tools_pb2.RegisterToolsRequest, context: Context) -> tools_pb2.RegisterToolsResponse:
        await self._enter("RegisterTools", context)
        answer = tools_pb2.RegisterToolsResponse()
        for sent in request.tools:
            entry = object_from_proto(sent, "tool")
            if "source" not in entry:
                await self._refuse(context, Invalid("tools[0].source is missing", reason="INVALID_TOOLS"))
            name, digest = str(entry["name"]), hashlib.sha256(sent.text.encode()).hexdigest()
            schema = json_to_proto({"type": "object"})
            self.tools[name] = tool_pb2.Tool(
                name=name, digest=digest, category=str(entry["category"]), arguments_schema=schema, result_schema=schema, effect=1, risk=1
            )
            self.tool_versions.setdefault(name, []).insert(0, tool_pb2.ToolVersion(name=name, version="1", digest=digest, origin="api"))
            answer.tools.append(self.tools[name])
        answer.warnings.append(tool_dispatcher_service_pb2.RegistrationWarning(field="tools[0].source.tool", problem="is not offered now"))
        return answer

    async def UnregisterTool(self, request: tools_pb2.UnregisterToolRequest, context: Context) -> tools_pb2.UnregisterToolResponse:
        await self._enter("UnregisterTool", context)
        if self.tools.pop(request.name, None) is None:
            await self._refuse(context, NotFound("no tool of this name was registered", reason="TOOL_NOT_FOUND"))
        return tools_pb2.UnregisterToolResponse()

    async def ListToolVersions(self, request: tools_pb2.ListToolVersionsRequest, context: Context) -> tools_pb2.ListToolVersionsResponse:
        await self._enter("ListToolVersions", context)
        return tools_pb2.ListToolVersionsResponse(
            versions=self.tool_versions.get(request.name, []), standing=self.standings.get(request.name)
        )

    async def SetToolStanding(self, request: tools_pb2.SetToolStandingRequest, context: Context) -> tools_pb2.SetToolStandingResponse:
        await self._enter("SetToolStanding", context)
        self.standings[request.name] = request.standing
        return tools_pb2.SetToolStandingResponse()
