"""The methods of the contract, where REST and gRPC both end."""

# ruff: noqa: N802 - the contract names the methods

from collections.abc import AsyncGenerator
from contextlib import aclosing

from plimsoll.gateway.v1 import (
    agents_pb2,
    approvals_pb2,
    control_pb2,
    feedback_pb2,
    memory_pb2,
    models_pb2,
    runs_pb2,
    schedules_pb2,
    threads_pb2,
    tools_pb2,
    webhooks_pb2,
)
from plimsoll_runtime.context import current_caller

from plimsoll_gateway.service.gateway import Gateway
from plimsoll_gateway.service.identity import Identity
from plimsoll_gateway.transport.audit_rpcs import AuditRpcs
from plimsoll_gateway.transport.key_rpcs import Context, KeyRpcs
from plimsoll_gateway.transport.learning_rpcs import LearningRpcs
from plimsoll_gateway.transport.registry_rpcs import RegistryRpcs
from plimsoll_gateway.transport.tool_rpcs import ToolRpcs


class GatewayServicer(AuditRpcs, KeyRpcs, LearningRpcs, RegistryRpcs, ToolRpcs):
    """Each method hands its request on, with who asks where the door has to vouch for it; both were settled by the transport."""

    def __init__(self, gateway: Gateway, identity: Identity, *, request_bytes: int) -> None:
        """`request_bytes` bounds a request over gRPC as the body limit does over REST."""
        self._gateway = gateway
        self._identity = identity
        self._request_bytes = request_bytes

    async def SubmitRun(self, request: runs_pb2.SubmitRunRequest, _: Context) -> runs_pb2.SubmitRunResponse:
        self._must_fit(request)
        return await self._gateway.runs.submit(request)

    async def GetRun(self, request: runs_pb2.GetRunRequest, _: Context) -> runs_pb2.GetRunResponse:
        return await self._gateway.runs.get(request)

    async def ListRuns(self, request: runs_pb2.ListRunsRequest, _: Context) -> runs_pb2.ListRunsResponse:
        return await self._gateway.runs.list(request)

    async def CancelRun(self, request: runs_pb2.CancelRunRequest, _: Context) -> runs_pb2.CancelRunResponse:
        return await self._gateway.runs.cancel(request, current_caller().principal)

    async def FollowRun(self, request: runs_pb2.FollowRunRequest, _: Context) -> AsyncGenerator[runs_pb2.FollowRunResponse, None]:
        async with aclosing(self._gateway.runs.follow(request)) as answers:
            async for answer in answers:
                yield answer
                del answer  # an idle stream keeps nothing of what it told

    async def PollRun(self, request: runs_pb2.PollRunRequest, _: Context) -> runs_pb2.PollRunResponse:
        return await self._gateway.runs.poll(request)

    async def PauseRun(self, request: control_pb2.PauseRunRequest, _: Context) -> control_pb2.PauseRunResponse:
        return await self._gateway.runs.pause(request, current_caller().principal)

    async def ResumeRun(self, request: control_pb2.ResumeRunRequest, _: Context) -> control_pb2.ResumeRunResponse:
        return await self._gateway.runs.resume(request, current_caller().principal)

    async def SignalRun(self, request: control_pb2.SignalRunRequest, _: Context) -> control_pb2.SignalRunResponse:
        self._must_fit(request)
        return await self._gateway.runs.signal(request, current_caller().principal)

    async def ForkRun(self, request: control_pb2.ForkRunRequest, _: Context) -> control_pb2.ForkRunResponse:
        self._must_fit(request)
        return await self._gateway.runs.fork(request)

    async def RetryRun(self, request: control_pb2.RetryRunRequest, _: Context) -> control_pb2.RetryRunResponse:
        return await self._gateway.runs.retry(request)

    async def ExplainRun(self, request: control_pb2.ExplainRunRequest, _: Context) -> control_pb2.ExplainRunResponse:
        return await self._gateway.runs.explain(request)

    async def QueryRun(self, request: control_pb2.QueryRunRequest, _: Context) -> control_pb2.QueryRunResponse:
        self._must_fit(request)
        return await self._gateway.runs.query(request)

    async def GetThread(self, request: threads_pb2.GetThreadRequest, _: Context) -> threads_pb2.GetThreadResponse:
        return await self._gateway.runs.get_thread(request)

    async def ListThreads(self, request: threads_pb2.ListThreadsRequest, _: Context) -> threads_pb2.ListThreadsResponse:
        return await self._gateway.runs.list_threads(request)

    async def ListApprovals(self, request: approvals_pb2.ListApprovalsRequest, _: Context) -> approvals_pb2.ListApprovalsResponse:
        return await self._gateway.runs.list_approvals(request)

    async def DecideApproval(self, request: approvals_pb2.DecideApprovalRequest, _: Context) -> approvals_pb2.DecideApprovalResponse:
        return await self._gateway.runs.decide_approval(request, current_caller().principal)

    async def RegisterAgent(self, request: agents_pb2.RegisterAgentRequest, _: Context) -> agents_pb2.RegisterAgentResponse:
        self._must_fit(request)
        return await self._gateway.plans.register_agent(request)

    async def GetAgent(self, request: agents_pb2.GetAgentRequest, _: Context) -> agents_pb2.GetAgentResponse:
        return await self._gateway.plans.get_agent(request)

    async def ListAgents(self, request: agents_pb2.ListAgentsRequest, _: Context) -> agents_pb2.ListAgentsResponse:
        return await self._gateway.plans.list_agents(request)

    async def CheckAgent(self, request: agents_pb2.CheckAgentRequest, _: Context) -> agents_pb2.CheckAgentResponse:
        self._must_fit(request)
        return await self._gateway.plans.check_agent(request)

    async def PutSchedule(self, request: schedules_pb2.PutScheduleRequest, _: Context) -> schedules_pb2.PutScheduleResponse:
        self._must_fit(request)
        return await self._gateway.plans.put_schedule(request)

    async def GetSchedule(self, request: schedules_pb2.GetScheduleRequest, _: Context) -> schedules_pb2.GetScheduleResponse:
        return await self._gateway.plans.get_schedule(request)

    async def ListSchedules(self, request: schedules_pb2.ListSchedulesRequest, _: Context) -> schedules_pb2.ListSchedulesResponse:
        return await self._gateway.plans.list_schedules(request)

    async def DeleteSchedule(self, request: schedules_pb2.DeleteScheduleRequest, _: Context) -> schedules_pb2.DeleteScheduleResponse:
        return await self._gateway.plans.delete_schedule(request)

    async def PutWebhook(self, request: webhooks_pb2.PutWebhookRequest, _: Context) -> webhooks_pb2.PutWebhookResponse:
        self._must_fit(request)
        return await self._gateway.plans.put_webhook(request)

    async def ListWebhooks(self, request: webhooks_pb2.ListWebhooksRequest, _: Context) -> webhooks_pb2.ListWebhooksResponse:
        return await self._gateway.plans.list_webhooks(request)

    async def DeleteWebhook(self, request: webhooks_pb2.DeleteWebhookRequest, _: Context) -> webhooks_pb2.DeleteWebhookResponse:
        return await self._gateway.plans.delete_webhook(request)

    async def ListWebhookDeliveries(
        self, request: webhooks_pb2.ListWebhookDeliveriesRequest, _: Context
    ) -> webhooks_pb2.ListWebhookDeliveriesResponse:
        return await self._gateway.plans.list_webhook_deliveries(request)

    async def ReplayWebhookDelivery(
        self, request: webhooks_pb2.ReplayWebhookDeliveryRequest, _: Context
    ) -> webhooks_pb2.ReplayWebhookDeliveryResponse:
        return await self._gateway.plans.replay_webhook_delivery(request)

    async def ListTools(self, request: tools_pb2.ListToolsRequest, _: Context) -> tools_pb2.ListToolsResponse:
        return await self._gateway.list_tools(request)

    async def GetTool(self, request: tools_pb2.GetToolRequest, _: Context) -> tools_pb2.GetToolResponse:
        return await self._gateway.get_tool(request)

    async def RegisterPrompt(self, request: models_pb2.RegisterPromptRequest, _: Context) -> models_pb2.RegisterPromptResponse:
        self._must_fit(request)
        return await self._gateway.register_prompt(request)

    async def GetPrompt(self, request: models_pb2.GetPromptRequest, _: Context) -> models_pb2.GetPromptResponse:
        return await self._gateway.get_prompt(request)

    async def ListPrompts(self, request: models_pb2.ListPromptsRequest, _: Context) -> models_pb2.ListPromptsResponse:
        return await self._gateway.list_prompts(request)

    async def ListModels(self, request: models_pb2.ListModelsRequest, _: Context) -> models_pb2.ListModelsResponse:
        return await self._gateway.list_models(request)

    async def IngestDocument(self, request: memory_pb2.IngestDocumentRequest, _: Context) -> memory_pb2.IngestDocumentResponse:
        self._must_fit(request)
        return await self._gateway.knowledge.ingest_document(request)

    async def SearchCollection(self, request: memory_pb2.SearchCollectionRequest, _: Context) -> memory_pb2.SearchCollectionResponse:
        self._must_fit(request)
        return await self._gateway.knowledge.search_collection(request)

    async def EvaluateCollection(self, request: memory_pb2.EvaluateCollectionRequest, _: Context) -> memory_pb2.EvaluateCollectionResponse:
        self._must_fit(request)
        return await self._gateway.knowledge.evaluate_collection(request)

    async def ListCollections(self, request: memory_pb2.ListCollectionsRequest, _: Context) -> memory_pb2.ListCollectionsResponse:
        return await self._gateway.knowledge.list_collections(request)

    async def ListDocuments(self, request: memory_pb2.ListDocumentsRequest, _: Context) -> memory_pb2.ListDocumentsResponse:
        return await self._gateway.knowledge.list_documents(request)

    async def DeleteDocument(self, request: memory_pb2.DeleteDocumentRequest, _: Context) -> memory_pb2.DeleteDocumentResponse:
        return await self._gateway.knowledge.delete_document(request)

    async def UploadDocument(self, request: memory_pb2.UploadDocumentRequest, _: Context) -> memory_pb2.UploadDocumentResponse:
        self._must_fit(request)
        return await self._gateway.knowledge.upload_document(request)

    async def ConfigureCollection(
        self, request: memory_pb2.ConfigureCollectionRequest, _: Context
    ) -> memory_pb2.ConfigureCollectionResponse:
        return await self._gateway.knowledge.configure_collection(request)

    async def DeleteCollection(self, request: memory_pb2.DeleteCollectionRequest, _: Context) -> memory_pb2.DeleteCollectionResponse:
        return await self._gateway.knowledge.delete_collection(request)

    async def GetCollectionQuality(
        self, request: memory_pb2.GetCollectionQualityRequest, _: Context
    ) -> memory_pb2.GetCollectionQualityResponse:
        return await self._gateway.knowledge.get_collection_quality(request)

    async def ReportUse(self, request: memory_pb2.ReportUseRequest, _: Context) -> memory_pb2.ReportUseResponse:
        self._must_fit(request)
        return await self._gateway.knowledge.report_use(request)

    async def PutQuerySet(self, request: memory_pb2.PutQuerySetRequest, _: Context) -> memory_pb2.PutQuerySetResponse:
        self._must_fit(request)
        return await self._gateway.knowledge.put_query_set(request)

    async def ListQuerySets(self, request: memory_pb2.ListQuerySetsRequest, _: Context) -> memory_pb2.ListQuerySetsResponse:
        return await self._gateway.knowledge.list_query_sets(request)

    async def DeleteQuerySet(self, request: memory_pb2.DeleteQuerySetRequest, _: Context) -> memory_pb2.DeleteQuerySetResponse:
        return await self._gateway.knowledge.delete_query_set(request)

    async def ReadThreadMemory(self, request: memory_pb2.ReadThreadMemoryRequest, _: Context) -> memory_pb2.ReadThreadMemoryResponse:
        return await self._gateway.knowledge.read_thread(request)

    async def ListFacts(self, request: memory_pb2.ListFactsRequest, _: Context) -> memory_pb2.ListFactsResponse:
        return await self._gateway.knowledge.list_facts(request)

    async def ForgetMemory(self, request: memory_pb2.ForgetMemoryRequest, _: Context) -> memory_pb2.ForgetMemoryResponse:
        return await self._gateway.knowledge.forget(request)

    async def ListOperations(self, request: feedback_pb2.ListOperationsRequest, _: Context) -> feedback_pb2.ListOperationsResponse:
        return await self._gateway.list_operations(request)

    async def CountFailures(self, request: feedback_pb2.CountFailuresRequest, _: Context) -> feedback_pb2.CountFailuresResponse:
        return await self._gateway.count_failures(request)

    async def RecordSignal(self, request: feedback_pb2.RecordSignalRequest, _: Context) -> feedback_pb2.RecordSignalResponse:
        self._must_fit(request)
        return await self._gateway.record_signal(request, current_caller().principal)

    async def ListSignals(self, request: feedback_pb2.ListSignalsRequest, _: Context) -> feedback_pb2.ListSignalsResponse:
        return await self._gateway.list_signals(request)
