"""The model router over gRPC."""

from collections.abc import AsyncGenerator

import grpc
from plimsoll.model_router.v1 import model_router_service_pb2 as pb
from plimsoll.model_router.v1 import model_router_service_pb2_grpc as rpc

from plimsoll_gateway.adapters.peer import GENERATE_S, READ_S, WRITE_S, Peer


class GrpcModelRouter:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = rpc.ModelRouterServiceStub(channel)
        self._peer = Peer("model-router")

    async def register_prompt(self, request: pb.RegisterPromptRequest) -> pb.RegisterPromptResponse:
        return await self._peer.call(self._stub.RegisterPrompt, request, WRITE_S)

    async def get_prompt(self, request: pb.GetPromptRequest) -> pb.GetPromptResponse:
        return await self._peer.call(self._stub.GetPrompt, request, READ_S)

    async def list_prompts(self, request: pb.ListPromptsRequest) -> pb.ListPromptsResponse:
        return await self._peer.call(self._stub.ListPrompts, request, READ_S)

    async def list_entries(self, request: pb.ListEntriesRequest) -> pb.ListEntriesResponse:
        return await self._peer.call(self._stub.ListEntries, request, READ_S)

    async def move_label(self, request: pb.MoveLabelRequest) -> pb.MoveLabelResponse:
        return await self._peer.call(self._stub.MoveLabel, request, WRITE_S)

    async def override_label(self, request: pb.OverrideLabelRequest) -> pb.OverrideLabelResponse:
        return await self._peer.call(self._stub.OverrideLabel, request, WRITE_S)

    async def roll_back_label(self, request: pb.RollBackLabelRequest) -> pb.RollBackLabelResponse:
        return await self._peer.call(self._stub.RollBackLabel, request, WRITE_S)

    async def list_label_moves(self, request: pb.ListLabelMovesRequest) -> pb.ListLabelMovesResponse:
        return await self._peer.call(self._stub.ListLabelMoves, request, READ_S)

    async def list_models(self, request: pb.ListModelsRequest) -> pb.ListModelsResponse:
        return await self._peer.call(self._stub.ListModels, request, READ_S)

    async def list_budgets(self, request: pb.ListBudgetsRequest) -> pb.ListBudgetsResponse:
        return await self._peer.call(self._stub.ListBudgets, request, READ_S)

    async def generate(self, request: pb.GenerateRequest) -> pb.GenerateResponse:
        return await self._peer.call(self._stub.Generate, request, GENERATE_S)

    def generate_stream(self, request: pb.GenerateStreamRequest) -> AsyncGenerator[pb.GenerateStreamResponse, None]:
        return self._peer.stream(self._stub.GenerateStream, request, GENERATE_S)

    async def embed(self, request: pb.EmbedRequest) -> pb.EmbedResponse:
        return await self._peer.call(self._stub.Embed, request, GENERATE_S)
