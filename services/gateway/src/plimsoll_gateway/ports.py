"""What the gateway needs from outside.

The services behind are spoken to in the messages of their contracts: the gateway carries runs, agents and documents, it has
no such nouns of its own, and a second set of classes for them would be a twin of the contract to keep alike by hand.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol, TypeAlias

from plimsoll.feedback.v1 import dataset_service_pb2 as dataset_pb
from plimsoll.feedback.v1 import evaluation_service_pb2 as evaluation_pb
from plimsoll.feedback.v1 import feedback_service_pb2 as feedback_pb
from plimsoll.feedback.v1 import improvement_service_pb2 as improvement_pb
from plimsoll.feedback.v1 import monitor_service_pb2 as monitor_pb
from plimsoll.memory.v1 import memory_service_pb2 as memory_pb
from plimsoll.model_router.v1 import model_router_service_pb2 as router_pb
from plimsoll.orchestrator.v1 import orchestrator_service_pb2 as orchestrator_pb
from plimsoll.tool_dispatcher.v1 import tool_dispatcher_service_pb2 as dispatcher_pb
from plimsoll_runtime.audit import AuditEntry, AuditRecord

from plimsoll_gateway.domain.principal import KeyRecord, Principal
from plimsoll_gateway.domain.repeat import RequestKey


class KeyStore(Protocol):
    """The API keys."""

    async def find(self, key_id: str) -> KeyRecord | None:
        """The key with this id, of whichever tenant: the id is all that a request shows."""
        ...

    async def add(self, record: KeyRecord, told: AuditRecord) -> None:
        """Add the key, and tell of it in the audit log."""
        ...

    async def add_first(self, record: KeyRecord, before_commit: Callable[[], None]) -> bool:
        """Add the key if there is none at all, for any tenant; False when there is one.

        `before_commit` runs once the row is written and before it counts: when it raises, there is no row.
        """
        ...

    async def of_tenant(self, tenant: str) -> Sequence[KeyRecord]:
        """The tenant's keys, oldest first, revoked and expired ones too."""
        ...

    async def of_id(self, tenant: str, key_id: str) -> KeyRecord | None:
        """The tenant's key."""
        ...

    async def replace(self, old: KeyRecord, old_until: datetime, new: KeyRecord, told: AuditRecord) -> KeyRecord | None:
        """Add `new` and let `old` expire at `old_until`, or before when it would; the old key as it is now. None when it was revoked
        meanwhile: then there is no new one either."""
        ...

    async def revoke(self, tenant: str, key_id: str, at: datetime, told: AuditRecord) -> KeyRecord | None:
        """Revoke the tenant's key and return it; a key that was revoked before keeps its time, and nothing is told. None when there is
        no such key."""
        ...

    async def events(self, tenant: str, before: int, limit: int) -> Sequence[AuditEntry]:
        """What was done with the tenant's keys, newest first, before a position (0: from the end)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUsage:
    """What somebody asked on one day."""

    key_id: str
    name: str
    day: date
    requests: int
    refused: int


class UsageStore(Protocol):
    """How much is asked, by key and day."""

    async def add(self, at: datetime, counts: Sequence[tuple[str, KeyUsage]]) -> None:
        """Add up counts of tenants' keys that were used until `at`."""
        ...

    async def of_tenant(self, tenant: str, since: date) -> Sequence[KeyUsage]:
        """Newest day first."""
        ...


class TokenJudge(Protocol):
    """Who shows a text that is no API key."""

    async def judge(self, text: str) -> Principal:
        """Raises UnknownKey for what is no token of ours, BadToken's leaves for one that does not count, Unavailable when that cannot
        be found out."""
        ...


@dataclass(frozen=True, slots=True)
class Begun:
    """The key is ours: do what is asked, then `answer` or `let_go`."""


@dataclass(frozen=True, slots=True)
class UnderWay:
    """Another attempt has the key."""


@dataclass(frozen=True, slots=True)
class OtherRequest:
    """The key belongs to a request that asks something else."""


@dataclass(frozen=True, slots=True)
class Answered:
    """It was done before, and this was the answer."""

    answer: bytes


Beginning: TypeAlias = "Begun | UnderWay | OtherRequest | Answered"


class RequestLedger(Protocol):
    """What was asked under idempotency keys, and answered, for a day."""

    async def begin(self, key: RequestKey, attempt: str, lease_s: float) -> Beginning:
        """Take the key for `attempt`, for `lease_s`; a key whose attempt let its lease run out is taken over."""
        ...

    async def hold(self, key: RequestKey, attempt: str, lease_s: float) -> None:
        """Keep the key for so much longer."""
        ...

    async def answer(self, key: RequestKey, attempt: str, answer: bytes) -> None:
        """Keep the answer for every repeat; nothing happens when another attempt has taken the key over."""
        ...

    async def let_go(self, key: RequestKey, attempt: str) -> None:
        """Free the key: what was asked was refused, so the same may be asked again."""
        ...

    async def forget_old(self) -> int:
        """Delete some of what is older than a day; how many."""
        ...


class KeyFile(Protocol):
    """The file that the first key is handed over in."""

    @property
    def path(self) -> str: ...

    def read(self) -> str | None:
        """What the file holds; None when it is not there."""
        ...

    def write(self, text: str) -> None:
        """Replace the file, in one step, readable by its owner only. Raises InvalidSettings when that cannot be done."""
        ...


class Orchestrator(Protocol):
    async def register_agent(self, request: orchestrator_pb.RegisterAgentRequest) -> orchestrator_pb.RegisterAgentResponse: ...

    async def get_agent(self, request: orchestrator_pb.GetAgentRequest) -> orchestrator_pb.GetAgentResponse: ...

    async def list_agents(self, request: orchestrator_pb.ListAgentsRequest) -> orchestrator_pb.ListAgentsResponse: ...

    async def start_run(self, request: orchestrator_pb.StartRunRequest) -> orchestrator_pb.StartRunResponse: ...

    async def get_run(self, request: orchestrator_pb.GetRunRequest) -> orchestrator_pb.GetRunResponse: ...

    async def list_runs(self, request: orchestrator_pb.ListRunsRequest) -> orchestrator_pb.ListRunsResponse: ...

    async def cancel_run(self, request: orchestrator_pb.CancelRunRequest) -> orchestrator_pb.CancelRunResponse: ...

    def follow_run(self, request: orchestrator_pb.FollowRunRequest) -> AsyncGenerator[orchestrator_pb.FollowRunResponse, None]: ...

    async def list_approvals(self, request: orchestrator_pb.ListApprovalsRequest) -> orchestrator_pb.ListApprovalsResponse: ...

    async def decide_approval(self, request: orchestrator_pb.DecideApprovalRequest) -> orchestrator_pb.DecideApprovalResponse: ...

    async def check_agent(self, request: orchestrator_pb.CheckAgentRequest) -> orchestrator_pb.CheckAgentResponse: ...

    async def pause_run(self, request: orchestrator_pb.PauseRunRequest) -> orchestrator_pb.PauseRunResponse: ...

    async def resume_run(self, request: orchestrator_pb.ResumeRunRequest) -> orchestrator_pb.ResumeRunResponse: ...

    async def signal_run(self, request: orchestrator_pb.SignalRunRequest) -> orchestrator_pb.SignalRunResponse: ...

    async def fork_run(self, request: orchestrator_pb.ForkRunRequest) -> orchestrator_pb.ForkRunResponse: ...

    async def retry_run(self, request: orchestrator_pb.RetryRunRequest) -> orchestrator_pb.RetryRunResponse: ...

    async def explain_run(self, request: orchestrator_pb.ExplainRunRequest) -> orchestrator_pb.ExplainRunResponse: ...

    async def query_run(self, request: orchestrator_pb.QueryRunRequest) -> orchestrator_pb.QueryRunResponse: ...

    async def get_thread(self, request: orchestrator_pb.GetThreadRequest) -> orchestrator_pb.GetThreadResponse: ...

    async def list_threads(self, request: orchestrator_pb.ListThreadsRequest) -> orchestrator_pb.ListThreadsResponse: ...

    async def put_schedule(self, request: orchestrator_pb.PutScheduleRequest) -> orchestrator_pb.PutScheduleResponse: ...

    async def get_schedule(self, request: orchestrator_pb.GetScheduleRequest) -> orchestrator_pb.GetScheduleResponse: ...

    async def list_schedules(self, request: orchestrator_pb.ListSchedulesRequest) -> orchestrator_pb.ListSchedulesResponse: ...

    async def delete_schedule(self, request: orchestrator_pb.DeleteScheduleRequest) -> orchestrator_pb.DeleteScheduleResponse: ...

    async def put_webhook(self, request: orchestrator_pb.PutWebhookRequest) -> orchestrator_pb.PutWebhookResponse: ...

    async def list_webhooks(self, request: orchestrator_pb.ListWebhooksRequest) -> orchestrator_pb.ListWebhooksResponse: ...

    async def delete_webhook(self, request: orchestrator_pb.DeleteWebhookRequest) -> orchestrator_pb.DeleteWebhookResponse: ...

    async def list_webhook_deliveries(
        self, request: orchestrator_pb.ListWebhookDeliveriesRequest
    ) -> orchestrator_pb.ListWebhookDeliveriesResponse: ...

    async def replay_webhook_delivery(
        self, request: orchestrator_pb.ReplayWebhookDeliveryRequest
    ) -> orchestrator_pb.ReplayWebhookDeliveryResponse: ...

    async def get_load(self, request: orchestrator_pb.GetLoadRequest) -> orchestrator_pb.GetLoadResponse: ...


class ToolDispatcher(Protocol):
    async def get_tool(self, request: dispatcher_pb.GetToolRequest) -> dispatcher_pb.GetToolResponse: ...

    async def list_tools(self, request: dispatcher_pb.ListToolsRequest) -> dispatcher_pb.ListToolsResponse: ...


class ModelRouter(Protocol):
    async def register_prompt(self, request: router_pb.RegisterPromptRequest) -> router_pb.RegisterPromptResponse: ...

    async def get_prompt(self, request: router_pb.GetPromptRequest) -> router_pb.GetPromptResponse: ...

    async def list_prompts(self, request: router_pb.ListPromptsRequest) -> router_pb.ListPromptsResponse: ...

    async def list_models(self, request: router_pb.ListModelsRequest) -> router_pb.ListModelsResponse: ...

    async def list_budgets(self, request: router_pb.ListBudgetsRequest) -> router_pb.ListBudgetsResponse: ...

    async def generate(self, request: router_pb.GenerateRequest) -> router_pb.GenerateResponse: ...

    def generate_stream(self, request: router_pb.GenerateStreamRequest) -> AsyncGenerator[router_pb.GenerateStreamResponse, None]: ...

    async def embed(self, request: router_pb.EmbedRequest) -> router_pb.EmbedResponse: ...


class Memory(Protocol):
    async def ingest_document(self, request: memory_pb.IngestDocumentRequest) -> memory_pb.IngestDocumentResponse: ...

    async def search(self, request: memory_pb.SearchRequest) -> memory_pb.SearchResponse: ...

    async def evaluate(self, request: memory_pb.EvaluateRequest) -> memory_pb.EvaluateResponse: ...

    async def list_collections(self, request: memory_pb.ListCollectionsRequest) -> memory_pb.ListCollectionsResponse: ...

    async def list_documents(self, request: memory_pb.ListDocumentsRequest) -> memory_pb.ListDocumentsResponse: ...

    async def delete_document(self, request: memory_pb.DeleteDocumentRequest) -> memory_pb.DeleteDocumentResponse: ...

    async def upload_part(self, request: memory_pb.UploadPartRequest) -> memory_pb.UploadPartResponse: ...

    async def configure_collection(self, request: memory_pb.ConfigureCollectionRequest) -> memory_pb.ConfigureCollectionResponse: ...

    async def delete_collection(self, request: memory_pb.DeleteCollectionRequest) -> memory_pb.DeleteCollectionResponse: ...

    async def get_quality(self, request: memory_pb.GetQualityRequest) -> memory_pb.GetQualityResponse: ...

    async def report_use(self, request: memory_pb.ReportUseRequest) -> memory_pb.ReportUseResponse: ...

    async def put_query_set(self, request: memory_pb.PutQuerySetRequest) -> memory_pb.PutQuerySetResponse: ...

    async def list_query_sets(self, request: memory_pb.ListQuerySetsRequest) -> memory_pb.ListQuerySetsResponse: ...

    async def delete_query_set(self, request: memory_pb.DeleteQuerySetRequest) -> memory_pb.DeleteQuerySetResponse: ...

    async def read_thread(self, request: memory_pb.ReadThreadRequest) -> memory_pb.ReadThreadResponse: ...

    async def list_facts(self, request: memory_pb.ListFactsRequest) -> memory_pb.ListFactsResponse: ...

    async def forget(self, request: memory_pb.ForgetRequest) -> memory_pb.ForgetResponse: ...


class Feedback(Protocol):
    async def list_operations(self, request: feedback_pb.ListOperationsRequest) -> feedback_pb.ListOperationsResponse: ...

    async def count_failures(self, request: feedback_pb.CountFailuresRequest) -> feedback_pb.CountFailuresResponse: ...

    async def record_signal(self, request: feedback_pb.RecordSignalRequest) -> feedback_pb.RecordSignalResponse: ...

    async def list_signals(self, request: feedback_pb.ListSignalsRequest) -> feedback_pb.ListSignalsResponse: ...

    async def list_traces(self, request: feedback_pb.ListTracesRequest) -> feedback_pb.ListTracesResponse: ...

    async def get_trace(self, request: feedback_pb.GetTraceRequest) -> feedback_pb.GetTraceResponse: ...

    async def annotate_run(self, request: feedback_pb.AnnotateRunRequest) -> feedback_pb.AnnotateRunResponse: ...

    async def get_operation_body(self, request: feedback_pb.GetOperationBodyRequest) -> feedback_pb.GetOperationBodyResponse: ...

    async def record_signals(self, request: feedback_pb.RecordSignalsRequest) -> feedback_pb.RecordSignalsResponse: ...

    async def list_monitors(self, request: monitor_pb.ListMonitorsRequest) -> monitor_pb.ListMonitorsResponse: ...

    async def reset_baseline(self, request: monitor_pb.ResetBaselineRequest) -> monitor_pb.ResetBaselineResponse: ...

    async def list_alerts(self, request: monitor_pb.ListAlertsRequest) -> monitor_pb.ListAlertsResponse: ...

    async def acknowledge_alert(self, request: monitor_pb.AcknowledgeAlertRequest) -> monitor_pb.AcknowledgeAlertResponse: ...

    async def resolve_alert(self, request: monitor_pb.ResolveAlertRequest) -> monitor_pb.ResolveAlertResponse: ...

    async def put_dataset(self, request: dataset_pb.PutDatasetRequest) -> dataset_pb.PutDatasetResponse: ...

    async def get_dataset(self, request: dataset_pb.GetDatasetRequest) -> dataset_pb.GetDatasetResponse: ...

    async def list_datasets(self, request: dataset_pb.ListDatasetsRequest) -> dataset_pb.ListDatasetsResponse: ...

    async def claim_annotations(self, request: dataset_pb.ClaimAnnotationsRequest) -> dataset_pb.ClaimAnnotationsResponse: ...

    async def annotate(self, request: dataset_pb.AnnotateRequest) -> dataset_pb.AnnotateResponse: ...

    async def start_evaluation(self, request: evaluation_pb.StartEvaluationRequest) -> evaluation_pb.StartEvaluationResponse: ...

    async def get_evaluation(self, request: evaluation_pb.GetEvaluationRequest) -> evaluation_pb.GetEvaluationResponse: ...

    async def list_evaluations(self, request: evaluation_pb.ListEvaluationsRequest) -> evaluation_pb.ListEvaluationsResponse: ...

    async def render_evaluation_report(
        self, request: evaluation_pb.RenderEvaluationReportRequest
    ) -> evaluation_pb.RenderEvaluationReportResponse: ...

    async def start_improvement(self, request: improvement_pb.StartImprovementRequest) -> improvement_pb.StartImprovementResponse: ...

    async def get_improvement(self, request: improvement_pb.GetImprovementRequest) -> improvement_pb.GetImprovementResponse: ...

    async def list_improvements(self, request: improvement_pb.ListImprovementsRequest) -> improvement_pb.ListImprovementsResponse: ...

    async def get_scoreboard(self, request: evaluation_pb.GetScoreboardRequest) -> evaluation_pb.GetScoreboardResponse: ...
