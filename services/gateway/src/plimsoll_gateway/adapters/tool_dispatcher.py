"""The tool dispatcher over gRPC."""

import grpc
from plimsoll.tool_dispatcher.v1 import tool_dispatcher_service_pb2 as pb
from plimsoll.tool_dispatcher.v1 import tool_dispatcher_service_pb2_grpc as rpc

from plimsoll_gateway.adapters.peer import READ_S, WRITE_S, Peer


class GrpcToolDispatcher:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = rpc.ToolDispatcherServiceStub(channel)
        self._peer = Peer("tool-dispatcher")

    async def get_tool(self, request: pb.GetToolRequest) -> pb.GetToolResponse:
        return await self._peer.call(self._stub.GetTool, request, READ_S)

    async def list_tools(self, request: pb.ListToolsRequest) -> pb.ListToolsResponse:
        return await self._peer.call(self._stub.ListTools, request, READ_S)

    async def register_tools(self, request: pb.RegisterToolsRequest) -> pb.RegisterToolsResponse:
        return await self._peer.call(self._stub.RegisterTools, request, WRITE_S)

    async def unregister_tool(self, request: pb.UnregisterToolRequest) -> pb.UnregisterToolResponse:
        return await self._peer.call(self._stub.UnregisterTool, request, WRITE_S)

    async def list_tool_versions(self, request: pb.ListToolVersionsRequest) -> pb.ListToolVersionsResponse:
        return await self._peer.call(self._stub.ListToolVersions, request, READ_S)

    async def set_tool_standing(self, request: pb.SetToolStandingRequest) -> pb.SetToolStandingResponse:
        return await self._peer.call(self._stub.SetToolStanding, request, WRITE_S)
