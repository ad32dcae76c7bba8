"""The verbs of the front door: each asks the service that owns the noun, and adds only what the door alone knows: who asks."""

from plimsoll.feedback.v1 import feedback_service_pb2 as feedback_pb
from plimsoll.gateway.v1 import feedback_pb2, memory_pb2, models_pb2, tools_pb2
from plimsoll.memory.v1 import memory_service_pb2 as memory_pb
from plimsoll.memory.v1 import quality_pb2
from plimsoll.model_router.v1 import model_router_service_pb2 as router_pb
from plimsoll.model_router.v1 import prompt_pb2
from plimsoll.tool_dispatcher.v1 import tool_dispatcher_service_pb2 as dispatcher_pb
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import DeadlineExpired, Exhausted, Internal, Invalid, PlimsollError, Unavailable
from plimsoll_runtime.failures import Category, Failure, failure_from_proto

from plimsoll_gateway.errors import wrong
from plimsoll_gateway.ports import Feedback, Memory, ModelRouter, Orchestrator, ToolDispatcher
from plimsoll_gateway.service.plans import Plans
from plimsoll_gateway.service.runs import Runs

_LIMIT = 5  # passages, when the request names no number


class Gateway:
    """Carries requests of the present tenant to the services behind. `actor` is who asks, by the key shown, never by the request."""

    def __init__(
        self, orchestrator: Orchestrator, tools: ToolDispatcher, models: ModelRouter, memory: Memory, feedback: Feedback, clock: Clock
    ) -> None:
        self.runs = Runs(orchestrator, clock)
        self.plans = Plans(orchestrator)
        self._tools = tools
        self._models = models
        self._memory = memory
        self._feedback = feedback

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

    # memory

    async def ingest_document(self, request: memory_pb2.IngestDocumentRequest) -> memory_pb2.IngestDocumentResponse:
        answer = await self._memory.ingest_document(
            memory_pb.IngestDocumentRequest(
                collection=request.collection,
                source=request.source,
                media_type=request.media_type,
                content=request.content,
                metadata=request.metadata if request.HasField("metadata") else None,
            )
        )
        return memory_pb2.IngestDocumentResponse(document=answer.document, changed=answer.changed)

    async def search_collection(self, request: memory_pb2.SearchCollectionRequest) -> memory_pb2.SearchCollectionResponse:
        answer = await self._memory.search(
            memory_pb.SearchRequest(
                collection=request.collection,
                query=request.query,
                limit=request.limit or _LIMIT,
                filter=request.filter if request.HasField("filter") else None,
            )
        )
        if answer.HasField("failure"):
            raise _error_of(failure_from_proto(answer.failure))
        return memory_pb2.SearchCollectionResponse(passages=answer.passages, receipt=answer.receipt)

    async def evaluate_collection(self, request: memory_pb2.EvaluateCollectionRequest) -> memory_pb2.EvaluateCollectionResponse:
        answer = await self._memory.evaluate(
            memory_pb.EvaluateRequest(
                query_set=quality_pb2.QuerySet(collection=request.collection, queries=request.queries),
                ks=request.ks,
                configuration=request.configuration if request.HasField("configuration") else None,
                baseline=request.baseline if request.HasField("baseline") else None,
            )
        )
        return memory_pb2.EvaluateCollectionResponse(evaluation=answer.evaluation)

    async def list_collections(self, _: memory_pb2.ListCollectionsRequest) -> memory_pb2.ListCollectionsResponse:
        answer = await self._memory.list_collections(memory_pb.ListCollectionsRequest())
        return memory_pb2.ListCollectionsResponse(collections=answer.collections)

    async def list_documents(self, request: memory_pb2.ListDocumentsRequest) -> memory_pb2.ListDocumentsResponse:
        answer = await self._memory.list_documents(
            memory_pb.ListDocumentsRequest(collection=request.collection, page_size=request.page_size, page_token=request.page_token)
        )
        return memory_pb2.ListDocumentsResponse(documents=answer.documents, next_page_token=answer.next_page_token)

    async def delete_document(self, request: memory_pb2.DeleteDocumentRequest) -> memory_pb2.DeleteDocumentResponse:
        await self._memory.delete_document(memory_pb.DeleteDocumentRequest(collection=request.collection, document_id=request.document_id))
        return memory_pb2.DeleteDocumentResponse()

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


def _error_of(failure: Failure) -> PlimsollError:
    """A failure that memory answers with, as the error that a client understands."""
    match failure.category:
        case Category.INVALID_ARGUMENTS | Category.CONTEXT_INVALID | Category.UPSTREAM_REJECTED:
            return Invalid(failure.message, reason=failure.reason)
        case Category.RATE_LIMITED | Category.BUDGET_EXCEEDED:
            return Exhausted(failure.message, reason=failure.reason, retry_after_s=failure.retry_after_s)
        case Category.TIMEOUT:
            return DeadlineExpired(failure.message, reason=failure.reason)
        case Category.UPSTREAM_UNAVAILABLE:
            return Unavailable(failure.message, reason=failure.reason, retry_after_s=failure.retry_after_s or 1.0)
        case _:
            return Internal(failure.message, reason=failure.reason)
