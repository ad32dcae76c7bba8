"""The verbs of the front door: each asks the service that owns the noun, and adds only what the door alone knows: who asks."""

from collections.abc import Mapping
from dataclasses import dataclass

from plimsoll.feedback.v1 import feedback_service_pb2 as feedback_pb
from plimsoll.gateway.v1 import feedback_pb2, models_pb2, tools_pb2
from plimsoll.model_router.v1 import model_router_service_pb2 as router_pb
from plimsoll.model_router.v1 import prompt_pb2
from plimsoll.tool_dispatcher.v1 import tool_dispatcher_service_pb2 as dispatcher_pb
from plimsoll_runtime.clock import Clock

from plimsoll_gateway.errors import wrong
from plimsoll_gateway.ports import AuditLog, Feedback, Memory, ModelRouter, Orchestrator, ToolDispatcher
from plimsoll_gateway.service.audit import AuditTrail, Service
from plimsoll_gateway.service.backlog import Backlog
from plimsoll_gateway.service.followers import Followers
from plimsoll_gateway.service.knowledge import Knowledge
from plimsoll_gateway.service.learning import Learning
from plimsoll_gateway.service.plans import Plans
from plimsoll_gateway.service.registry import Registry
from plimsoll_gateway.service.runs import Runs
from plimsoll_gateway.service.toolbox import Toolbox


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """The services behind the door."""

    orchestrator: Orchestrator
    tools: ToolDispatcher
    models: ModelRouter
    memory: Memory
    feedback: Feedback
    audit_logs: Mapping[Service, AuditLog]


class Gateway:
    """Carries requests of the present tenant to the services behind. `actor` is who asks, by the key shown, never by the request."""

    def __init__(self, behind: Behind, followers: Followers, backlog: Backlog, clock: Clock) -> None:
        self.runs = Runs(behind.orchestrator, followers, backlog, clock)
        self.plans = Plans(behind.orchestrator)
        self.knowledge = Knowledge(behind.memory)
        self.learning = Learning(behind.feedback)
        self.registry = Registry(behind.models)
        self.toolbox = Toolbox(behind.tools)
        self.audit = AuditTrail(behind.audit_logs)
        self._tools = behind.tools
        self._models = behind.models
        self._feedback = behind.feedback

    # tools

    async def list_tools(self, _: tools_pb2.ListToolsRequest) -> tools_pb2.ListToolsResponse:
        return tools_pb2.ListToolsResponse(tools=(await self._tools.list_tools(dispatcher_pb.ListToolsRequest())).tools)

    async def get_tool(self, request: tools_pb2.GetToolRequest) -> tools_pb2.GetToolResponse:
        return tools_pb2.GetToolResponse(tool=(await self._tools.get_tool(dispatcher_pb.GetToolRequest(name=request.name))).tool)

    # prompts and models

    async def register_prompt(self, request: models_pb2.RegisterPromptRequest) -> models_pb2.RegisterPromptResponse:
        asked = router_pb.RegisterPromptRequest(prompt=request.prompt if request.HasField("prompt") else None, labels=request.labels)
        answer = await self._models.register_prompt(asked)
        return models_pb2.RegisterPromptResponse(prompt=answer.prompt, created=answer.created)

    async def get_prompt(self, request: models_pb2.GetPromptRequest) -> models_pb2.GetPromptResponse:
        reference = prompt_pb2.PromptReference(name=request.name, label=request.label or "production")
        answer = await self._models.get_prompt(router_pb.GetPromptRequest(reference=reference))
        return models_pb2.GetPromptResponse(prompt=answer.prompt)

    async def list_prompts(self, request: models_pb2.ListPromptsRequest) -> models_pb2.ListPromptsResponse:
        answer = await self._models.list_prompts(router_pb.ListPromptsRequest(page_size=request.page_size, page_token=request.page_token))
        return models_pb2.ListPromptsResponse(prompts=answer.prompts, next_page_token=answer.next_page_token)

    async def list_models(self, _: models_pb2.ListModelsRequest) -> models_pb2.ListModelsResponse:
        return models_pb2.ListModelsResponse(models=(await self._models.list_models(router_pb.ListModelsRequest())).models)

    # feedback

    async def list_operations(self, request: feedback_pb2.ListOperationsRequest) -> feedback_pb2.ListOperationsResponse:
        answer = await self._feedback.list_operations(
            feedback_pb.ListOperationsRequest(
                run_id=request.run_id,
                agent=request.agent,
                kind=request.kind,
                category=request.category,
                failed_only=request.failed_only,
                page_size=request.page_size,
                page_token=request.page_token,
            )
        )
        return feedback_pb2.ListOperationsResponse(operations=answer.operations, next_page_token=answer.next_page_token)

    async def count_failures(self, request: feedback_pb2.CountFailuresRequest) -> feedback_pb2.CountFailuresResponse:
        answer = await self._feedback.count_failures(
            feedback_pb.CountFailuresRequest(
                agent=request.agent,
                after_time=request.after_time if request.HasField("after_time") else None,
                before_time=request.before_time if request.HasField("before_time") else None,
            )
        )
        return feedback_pb2.CountFailuresResponse(counts=answer.counts, operations=answer.operations)

    async def record_signal(self, request: feedback_pb2.RecordSignalRequest, actor: str) -> feedback_pb2.RecordSignalResponse:
        """Records for the run of the path; without a source, the actor is it."""
        if request.signal.run_id not in {"", request.run_id}:
            raise wrong("signal.runId", f"differs from the run {request.run_id!r}", "leave it out")
        asked = feedback_pb.RecordSignalRequest(signal=request.signal, idempotency_key=request.idempotency_key)
        asked.signal.run_id = request.run_id
        asked.signal.source = request.signal.source or actor
        return feedback_pb2.RecordSignalResponse(signal=(await self._feedback.record_signal(asked)).signal)

    async def list_signals(self, request: feedback_pb2.ListSignalsRequest) -> feedback_pb2.ListSignalsResponse:
        answer = await self._feedback.list_signals(
            feedback_pb.ListSignalsRequest(run_id=request.run_id, page_size=request.page_size, page_token=request.page_token)
        )
        return feedback_pb2.ListSignalsResponse(signals=answer.signals, next_page_token=answer.next_page_token)
