"""The methods of the contract about versions and labels."""

from plimsoll.gateway.v1 import gateway_service_pb2_grpc, models_pb2

from plimsoll_gateway.service.gateway import Gateway
from plimsoll_gateway.transport.bounded import Bounded
from plimsoll_gateway.transport.key_rpcs import Context


class RegistryRpcs(Bounded, gateway_service_pb2_grpc.GatewayServiceServicer):
    """The router records who moves a label by the principal that the door vouches for."""

    _gateway: Gateway

    async def ListEntries(self, request: models_pb2.ListEntriesRequest, _: Context) -> models_pb2.ListEntriesResponse:
        return await self._gateway.registry.list_entries(request)

    async def MoveLabel(self, request: models_pb2.MoveLabelRequest, _: Context) -> models_pb2.MoveLabelResponse:
        self._must_fit(request)
        return await self._gateway.registry.move_label(request)

    async def OverrideLabel(self, request: models_pb2.OverrideLabelRequest, _: Context) -> models_pb2.OverrideLabelResponse:
        self._must_fit(request)
        return await self._gateway.registry.override_label(request)

    async def RollBackLabel(self, request: models_pb2.RollBackLabelRequest, _: Context) -> models_pb2.RollBackLabelResponse:
        self._must_fit(request)
        return await self._gateway.registry.roll_back_label(request)

    async def ListLabelMoves(self, request: models_pb2.ListLabelMovesRequest, _: Context) -> models_pb2.ListLabelMovesResponse:
        return await self._gateway.registry.list_label_moves(request)
