"""Tools of a tenant: shown, registered while the mesh runs, disabled, pinned and accepted. The dispatcher keeps them, and who did what."""

from plimsoll.gateway.v1 import tools_pb2
from plimsoll.tool_dispatcher.v1 import tool_dispatcher_service_pb2 as pb

from plimsoll_gateway.ports import ToolDispatcher
from plimsoll_gateway.service.carrying import carried


class Toolbox:
    """Carries requests of the present tenant to the dispatcher."""

    def __init__(self, dispatcher: ToolDispatcher) -> None:
        self._dispatcher = dispatcher

    async def register(self, request: tools_pb2.RegisterToolsRequest) -> tools_pb2.RegisterToolsResponse:
        answer = await self._dispatcher.register_tools(carried(request, pb.RegisterToolsRequest))
        return carried(answer, tools_pb2.RegisterToolsResponse)

    async def unregister(self, request: tools_pb2.UnregisterToolRequest) -> tools_pb2.UnregisterToolResponse:
        await self._dispatcher.unregister_tool(carried(request, pb.UnregisterToolRequest))
        return tools_pb2.UnregisterToolResponse()

    async def versions(self, request: tools_pb2.ListToolVersionsRequest) -> tools_pb2.ListToolVersionsResponse:
        answer = await self._dispatcher.list_tool_versions(carried(request, pb.ListToolVersionsRequest))
        return carried(answer, tools_pb2.ListToolVersionsResponse)

    async def set_standing(self, request: tools_pb2.SetToolStandingRequest) -> tools_pb2.SetToolStandingResponse:
        await self._dispatcher.set_tool_standing(carried(request, pb.SetToolStandingRequest))
        return tools_pb2.SetToolStandingResponse()
