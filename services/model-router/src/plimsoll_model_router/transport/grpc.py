"""The gRPC servicer: requests to verbs, results to responses."""

import re
from dataclasses import dataclass
from typing import Any

from plimsoll.model_router.v1 import model_router_service_pb2 as pb
from plimsoll.model_router.v1 import model_router_service_pb2_grpc as rpc
from plimsoll_runtime.context import current_caller
from plimsoll_runtime.errors import FieldProblem, Invalid
from plimsoll_runtime.rpc_server import write

from plimsoll_model_router.domain.entries import Kind
from plimsoll_model_router.domain.generation import Generation, Outcome, Progress, Purpose
from plimsoll_model_router.errors import EvaluationDenied, OverrideDenied
from plimsoll_model_router.service.asker import Asker
from plimsoll_model_router.service.budgets import Budgets
from plimsoll_model_router.service.embedding import Embedder
from plimsoll_model_router.service.registry import Registry
from plimsoll_model_router.service.router import ModelRouter
from plimsoll_model_router.transport import budget_codec, codec, registry_codec

_PAGE_DEFAULT, _PAGE_MOST = 50, 500
_KEY_ID = re.compile(r"\((\S+)\)$")
_MAY_EVALUATE = frozenset({"feedback", "insecure"})
_MAY_OVERRIDE = frozenset({"gateway", "insecure"})  # it knows scopes; insecure is a test's own


@dataclass(frozen=True, slots=True, kw_only=True)
class Verbs:
    """All that can be asked for."""

    router: ModelRouter
    embedder: Embedder
    registry: Registry
    budgets: Budgets


class ModelRouterServicer(rpc.ModelRouterServiceServicer):
    """Every method works for the tenant of the authenticated caller."""

    def __init__(self, verbs: Verbs) -> None:
        self._router = verbs.router
        self._embedder = verbs.embedder
        self._registry = verbs.registry
        self._budgets = verbs.budgets

    async def Generate(self, request: pb.GenerateRequest, context: Any) -> pb.GenerateResponse:
        return codec.outcome_to_proto(await self._router.generate(_asker(), generation_of(request.generation)))

    async def GenerateStream(self, request: pb.GenerateStreamRequest, context: Any) -> None:  # type: ignore[override] # it writes by itself
        generation, delivery = generation_of(request.generation), codec.delivery_from_proto(request.delivery)

        async def tell(step: Progress | Outcome) -> None:
            await write(context, codec.step_to_proto(step))

        await tell(await self._router.generate_stream(_asker(), generation, tell, delivery))

    async def Embed(self, request: pb.EmbedRequest, context: Any) -> pb.EmbedResponse:
        return codec.embedded_to_proto(await self._embedder.embed(_asker(), codec.embedding_from_proto(request)))

    async def RegisterPrompt(self, request: pb.RegisterPromptRequest, context: Any) -> pb.RegisterPromptResponse:
        template = registry_codec.template_from_proto(request.prompt)
        entry, created = await self._registry.register(_tenant(), template, request.labels, current_caller().principal)
        return pb.RegisterPromptResponse(prompt=registry_codec.prompt_to_proto(entry), created=created)

    async def GetPrompt(self, request: pb.GetPromptRequest, context: Any) -> pb.GetPromptResponse:
        reference = codec.reference_from_proto(request.reference, "reference")
        entry = await self._registry.get_prompt(_tenant(), reference)
        return pb.GetPromptResponse(prompt=registry_codec.prompt_to_proto(entry))

    async def ListPrompts(self, request: pb.ListPromptsRequest, context: Any) -> pb.ListPromptsResponse:
        limit = _page(request.page_size)
        found = await self._registry.newest(_tenant(), Kind.PROMPT, request.page_token, limit)
        token = found[-1].name if len(found) == limit else ""
        return pb.ListPromptsResponse(prompts=map(registry_codec.prompt_to_proto, found), next_page_token=token)

    async def ListModels(self, request: pb.ListModelsRequest, context: Any) -> pb.ListModelsResponse:
        models = [
            registry_codec.model_to_proto(model, standing.latency_s, available=model.supplied and not standing.is_open)
            for model, standing in await self._router.list_models(_tenant())
        ]
        return pb.ListModelsResponse(models=models)

    async def RegisterModel(self, request: pb.RegisterModelRequest, context: Any) -> pb.RegisterModelResponse:
        told = registry_codec.model_entry_from_proto(request.model)
        entry, created = await self._registry.register(_tenant(), told, request.labels, current_caller().principal)
        return pb.RegisterModelResponse(entry=registry_codec.entry_to_proto(entry), created=created)

    async def RegisterRoute(self, request: pb.RegisterRouteRequest, context: Any) -> pb.RegisterRouteResponse:
        told = registry_codec.route_from_proto(request.route)
        entry, created = await self._registry.register(_tenant(), told, request.labels, current_caller().principal)
        return pb.RegisterRouteResponse(entry=registry_codec.entry_to_proto(entry), created=created)

    async def GetEntry(self, request: pb.GetEntryRequest, context: Any) -> pb.GetEntryResponse:
        reference = registry_codec.reference_from_proto(request.reference, "reference")
        return pb.GetEntryResponse(entry=registry_codec.entry_to_proto(await self._registry.get(_tenant(), reference)))

    async def ListEntries(self, request: pb.ListEntriesRequest, context: Any) -> pb.ListEntriesResponse:
        kind, limit = registry_codec.kind_from_proto(request.kind, "kind"), _page(request.page_size)
        if request.name:
            found = await self._registry.versions(_tenant(), kind, request.name, _position(request.page_token), limit)
            token = str(found[-1].version) if len(found) == limit else ""
        else:
            found = await self._registry.newest(_tenant(), kind, request.page_token, limit)
            token = found[-1].name if len(found) == limit else ""
        return pb.ListEntriesResponse(entries=map(registry_codec.entry_to_proto, found), next_page_token=token)

    async def DiffEntries(self, request: pb.DiffEntriesRequest, context: Any) -> pb.DiffEntriesResponse:
        before = registry_codec.reference_from_proto(request.before, "before")
        after = registry_codec.reference_from_proto(request.after, "after")
        found = await self._registry.differences(_tenant(), before, after)
        return pb.DiffEntriesResponse(differences=map(registry_codec.difference_to_proto, found))

    async def MoveLabel(self, request: pb.MoveLabelRequest, context: Any) -> pb.MoveLabelResponse:
        target = registry_codec.reference_from_proto(request.target, "target")
        by = current_caller().principal
        move, moved = await self._registry.move_label(_tenant(), target, request.label, request.report_digest, by)
        return pb.MoveLabelResponse(move=registry_codec.move_to_proto(move), moved=moved)

    async def RollBackLabel(self, request: pb.RollBackLabelRequest, context: Any) -> pb.RollBackLabelResponse:
        kind, by = registry_codec.kind_from_proto(request.kind, "kind"), current_caller().principal
        move = await self._registry.roll_back_label(_tenant(), kind, request.name, request.label, request.reason, by)
        return pb.RollBackLabelResponse(move=registry_codec.move_to_proto(move))

    async def OverrideLabel(self, request: pb.OverrideLabelRequest, context: Any) -> pb.OverrideLabelResponse:
        caller = current_caller()
        if caller.service not in _MAY_OVERRIDE:
            raise OverrideDenied(f"{caller.service} may not override the protection of a label", remedy="ask for it at the gateway")
        target = registry_codec.reference_from_proto(request.target, "target")
        move, moved = await self._registry.override_label(_tenant(), target, request.label, request.reason, caller.principal)
        return pb.OverrideLabelResponse(move=registry_codec.move_to_proto(move), moved=moved)

    async def ListLabelMoves(self, request: pb.ListLabelMovesRequest, context: Any) -> pb.ListLabelMovesResponse:
        kind, limit = registry_codec.kind_from_proto(request.kind, "kind"), _page(request.page_size)
        found = await self._registry.moves(_tenant(), kind, request.name, _position(request.page_token), limit)
        token = str(found[-1].position) if len(found) == limit else ""
        return pb.ListLabelMovesResponse(moves=map(registry_codec.move_to_proto, found), next_page_token=token)

    async def SetBudget(self, request: pb.SetBudgetRequest, context: Any) -> pb.SetBudgetResponse:
        status = await self._budgets.set(_tenant(), budget_codec.budget_from_proto(request.budget))
        return pb.SetBudgetResponse(status=budget_codec.status_to_proto(status))

    async def DeleteBudget(self, request: pb.DeleteBudgetRequest, context: Any) -> pb.DeleteBudgetResponse:
        scope = budget_codec.scope_from_proto(request.scope, "scope")
        period = budget_codec.period_from_proto(request.period, "period")
        return pb.DeleteBudgetResponse(deleted=await self._budgets.delete(_tenant(), scope, request.subject, period))

    async def ListBudgets(self, request: pb.ListBudgetsRequest, context: Any) -> pb.ListBudgetsResponse:
        return pb.ListBudgetsResponse(budgets=map(budget_codec.status_to_proto, await self._budgets.list(_tenant())))

    async def GetCall(self, request: pb.GetCallRequest, context: Any) -> pb.GetCallResponse:
        return codec.kept_to_proto(await self._router.get_call(_tenant(), request.call_id))


def generation_of(message: pb.Generation) -> Generation:
    """Raises EvaluationDenied for a purpose that would take a call out of its caller's budgets."""
    generation = codec.generation_from_proto(message)
    if generation.purpose is Purpose.EVALUATION and (service := current_caller().service) not in _MAY_EVALUATE:
        raise EvaluationDenied(f"{service} may not ask questions as an evaluation", remedy="ask for an evaluation at feedback")
    return generation


def _tenant() -> str:
    return current_caller().tenant


def _asker() -> Asker:
    """The gateway names its callers `name (key id)`; budgets go by the id."""
    caller = current_caller()
    named = _KEY_ID.search(caller.principal)
    return Asker(tenant=caller.tenant, key=named[1] if named else caller.principal)


def _page(size: int) -> int:
    if size < 0:
        raise Invalid(problems=(FieldProblem("page_size", "is negative", f"send 1 to {_PAGE_MOST}, or 0 for {_PAGE_DEFAULT}"),))
    return min(size or _PAGE_DEFAULT, _PAGE_MOST)


def _position(token: str) -> int:
    if token and not (token.isascii() and token.isdigit() and len(token) < 19):
        raise Invalid(problems=(FieldProblem("page_token", "is not one of ours", "send the next_page_token of the page before"),))
    return int(token or 0)
