"""The methods of the contract that change tools, and look at their versions."""

from plimsoll.gateway.v1 import gateway_service_pb2_grpc, tools_pb2

from plimsoll_gateway.service.gateway import Gateway
from plimsoll_gateway.transport.bounded import Bounded
from plimsoll_gateway.transport.key_rpcs import Context


class ToolRpcs(Bounded, gateway_service_pb2_grpc.GatewayServiceServicer):
    """The dispatcher audits who does it, by the principal that the door vouches for."""

    _gateway: Gateway

    async def RegisterTools(self, request: tools_pb2.RegisterToolsRequest, _: Context) -> tools_pb2.RegisterToolsResponse:
        self._must_fit(request)
        return await self._gateway.toolbox.register(request)

    async def UnregisterTool(self, request: tools_pb2.UnregisterToolRequest, _: Context) -> tools_pb2.UnregisterToolResponse:
        return await self._gateway.toolbox.unregister(request)

    async def ListToolVersions(self, request: tools_pb2.ListToolVersionsRequest, _: Context) -> tools_pb2.ListToolVersionsResponse:
        return await self._gateway.toolbox.versions(request)

    async def SetToolStanding(self, request: tools_pb2.SetToolStandingRequest, _: Context) -> tools_pb2.SetToolStandingResponse:
        return await self._gateway.toolbox.set_standing(request)
