"""What the gateway needs from outside.

The services behind are spoken to in the messages of their contracts: the gateway carries runs, agents and documents, it has
no such nouns of its own, and a second set of classes for them would be a twin of the contract to keep alike by hand.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import datetime
from typing import Protocol

from plimsoll.feedback.v1 import feedback_service_pb2 as feedback_pb
from plimsoll.memory.v1 import memory_service_pb2 as memory_pb
from plimsoll.model_router.v1 import model_router_service_pb2 as router_pb
from plimsoll.orchestrator.v1 import orchestrator_service_pb2 as orchestrator_pb
from plimsoll.tool_dispatcher.v1 import tool_dispatcher_service_pb2 as dispatcher_pb

from plimsoll_gateway.domain.principal import KeyRecord


class KeyStore(Protocol):
    """The API keys."""

    async def find(self, key_id: str) -> KeyRecord | None:
        """The key with this id, of whichever tenant: the id is all that a request shows."""
        ...

    async def add(self, record: KeyRecord) -> None: ...

    async def add_first(self, record: KeyRecord, before_commit: Callable[[], None]) -> bool:
        """Add the key if there is none at all, for any tenant; False when there is one.

        `before_commit` runs once the row is written and before it counts: when it raises, there is no row.
        """
        ...

    async def of_tenant(self, tenant: str) -> Sequence[KeyRecord]:
        """The tenant's keys, oldest first, revoked and expired ones too."""
        ...

    async def revoke(self, tenant: str, key_id: str, at: datetime) -> KeyRecord | None:
        """Revoke the tenant's key and return it; a key that was revoked before keeps its time. None when there is no such key."""
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


class ToolDispatcher(Protocol):
    async def get_tool(self, request: dispatcher_pb.GetToolRequest) -> dispatcher_pb.GetToolResponse: ...

    async def list_tools(self, request: dispatcher_pb.ListToolsRequest) -> dispatcher_pb.ListToolsResponse: ...


class ModelRouter(Protocol):
    async def register_prompt(self, request: router_pb.RegisterPromptRequest) -> router_pb.RegisterPromptResponse: ...

    async def get_prompt(self, request: router_pb.GetPromptRequest) -> router_pb.GetPromptResponse: ...

    async def list_prompts(self, request: router_pb.ListPromptsRequest) -> router_pb.ListPromptsResponse: ...

    async def list_models(self, request: router_pb.ListModelsRequest) -> router_pb.ListModelsResponse: ...


class Memory(Protocol):
    async def ingest_document(self, request: memory_pb.IngestDocumentRequest) -> memory_pb.IngestDocumentResponse: ...

    async def search(self, request: memory_pb.SearchRequest) -> memory_pb.SearchResponse: ...

    async def list_collections(self, request: memory_pb.ListCollectionsRequest) -> memory_pb.ListCollectionsResponse: ...

    async def list_documents(self, request: memory_pb.ListDocumentsRequest) -> memory_pb.ListDocumentsResponse: ...

    async def delete_document(self, request: memory_pb.DeleteDocumentRequest) -> memory_pb.DeleteDocumentResponse: ...


class Feedback(Protocol):
    async def list_operations(self, request: feedback_pb.ListOperationsRequest) -> feedback_pb.ListOperationsResponse: ...

    async def count_failures(self, request: feedback_pb.CountFailuresRequest) -> feedback_pb.CountFailuresResponse: ...

    async def record_signal(self, request: feedback_pb.RecordSignalRequest) -> feedback_pb.RecordSignalResponse: ...

    async def list_signals(self, request: feedback_pb.ListSignalsRequest) -> feedback_pb.ListSignalsResponse: ...
