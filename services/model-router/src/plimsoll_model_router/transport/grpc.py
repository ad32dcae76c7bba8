"""The gRPC servicer: requests to verbs, results to responses."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from plimsoll.model_router.v1 import model_router_service_pb2 as pb
from plimsoll.model_router.v1 import model_router_service_pb2_grpc as rpc
from plimsoll_runtime.context import current_caller
from plimsoll_runtime.errors import FieldProblem, Invalid

from plimsoll_model_router.service import ModelRouter
from plimsoll_model_router.transport import codec

_PAGE_DEFAULT, _PAGE_MOST = 50, 500


class ModelRouterServicer(rpc.ModelRouterServiceServicer):
    """Every method works for the tenant of the authenticated caller."""

    def __init__(self, service: ModelRouter) -> None:
        self._service = service

    async def Generate(self, request: pb.GenerateRequest, context: Any) -> pb.GenerateResponse:
        outcome = await self._service.generate(current_caller().tenant, codec.generation_from_proto(request.generation))
        return codec.outcome_to_proto(outcome)

    async def GenerateStream(self, request: pb.GenerateStreamRequest, context: Any) -> AsyncIterator[pb.GenerateStreamResponse]:
        generation = codec.generation_from_proto(request.generation)
        async with aclosing(self._service.generate_stream(current_caller().tenant, generation)) as steps:
            async for step in steps:
                yield codec.step_to_proto(step)

    async def RegisterPrompt(self, request: pb.RegisterPromptRequest, context: Any) -> pb.RegisterPromptResponse:
        template = codec.template_from_proto(request.prompt)
        prompt, created = await self._service.register_prompt(current_caller().tenant, template, request.labels)
        return pb.RegisterPromptResponse(prompt=codec.prompt_to_proto(prompt), created=created)

    async def GetPrompt(self, request: pb.GetPromptRequest, context: Any) -> pb.GetPromptResponse:
        reference = codec.reference_from_proto(request.reference, "reference")
        return pb.GetPromptResponse(prompt=codec.prompt_to_proto(await self._service.get_prompt(current_caller().tenant, reference)))

    async def ListPrompts(self, request: pb.ListPromptsRequest, context: Any) -> pb.ListPromptsResponse:
        limit = _page(request.page_size)
        found = await self._service.list_prompts(current_caller().tenant, request.page_token, limit)
        token = found[-1].template.name if len(found) == limit else ""
        return pb.ListPromptsResponse(prompts=map(codec.prompt_to_proto, found), next_page_token=token)

    async def ListModels(self, request: pb.ListModelsRequest, context: Any) -> pb.ListModelsResponse:
        return pb.ListModelsResponse(models=map(codec.model_to_proto, self._service.list_models()))


def _page(size: int) -> int:
    if size < 0:
        raise Invalid(problems=(FieldProblem("page_size", "is negative", f"send 1 to {_PAGE_MOST}, or 0 for {_PAGE_DEFAULT}"),))
    return min(size or _PAGE_DEFAULT, _PAGE_MOST)
