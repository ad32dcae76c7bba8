"""Versions and labels of prompts, models and routes: the router's registry keeps them, and decides whether a label may move."""

from plimsoll.gateway.v1 import models_pb2
from plimsoll.model_router.v1 import model_router_service_pb2 as pb

from plimsoll_gateway.ports import ModelRouter
from plimsoll_gateway.service.carrying import carried


class Registry:
    """Carries requests of the present tenant to the router, which records who moved what."""

    def __init__(self, router: ModelRouter) -> None:
        self._router = router

    async def list_entries(self, request: models_pb2.ListEntriesRequest) -> models_pb2.ListEntriesResponse:
        return carried(await self._router.list_entries(carried(request, pb.ListEntriesRequest)), models_pb2.ListEntriesResponse)

    async def move_label(self, request: models_pb2.MoveLabelRequest) -> models_pb2.MoveLabelResponse:
        return carried(await self._router.move_label(carried(request, pb.MoveLabelRequest)), models_pb2.MoveLabelResponse)

    async def override_label(self, request: models_pb2.OverrideLabelRequest) -> models_pb2.OverrideLabelResponse:
        return carried(await self._router.override_label(carried(request, pb.OverrideLabelRequest)), models_pb2.OverrideLabelResponse)

    async def roll_back_label(self, request: models_pb2.RollBackLabelRequest) -> models_pb2.RollBackLabelResponse:
        return carried(await self._router.roll_back_label(carried(request, pb.RollBackLabelRequest)), models_pb2.RollBackLabelResponse)

    async def list_label_moves(self, request: models_pb2.ListLabelMovesRequest) -> models_pb2.ListLabelMovesResponse:
        return carried(await self._router.list_label_moves(carried(request, pb.ListLabelMovesRequest)), models_pb2.ListLabelMovesResponse)
