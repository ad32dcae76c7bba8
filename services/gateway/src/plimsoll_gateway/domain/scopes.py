"""What may be done, by whom: scopes, the roles made of them, and the one table of what each method needs."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class Scope(StrEnum):
    RUNS_READ = "runs:read"
    RUNS_WRITE = "runs:write"
    APPROVALS_READ = "approvals:read"
    APPROVALS_DECIDE = "approvals:decide"
    AGENTS_READ = "agents:read"
    AGENTS_WRITE = "agents:write"
    SCHEDULES_READ = "schedules:read"
    SCHEDULES_WRITE = "schedules:write"
    WEBHOOKS_READ = "webhooks:read"
    WEBHOOKS_WRITE = "webhooks:write"
    DELIVERIES_REPLAY = "deliveries:replay"
    TOOLS_READ = "tools:read"
    TOOLS_WRITE = "tools:write"
    PROMPTS_READ = "prompts:read"
    PROMPTS_WRITE = "prompts:write"
    MODELS_READ = "models:read"
    MODELS_CALL = "models:call"
    DOCUMENTS_READ = "documents:read"
    DOCUMENTS_WRITE = "documents:write"
    MEMORY_READ = "memory:read"
    MEMORY_WRITE = "memory:write"
    OPERATIONS_READ = "operations:read"
    SIGNALS_READ = "signals:read"
    SIGNALS_WRITE = "signals:write"
    ALERTS_READ = "alerts:read"
    ALERTS_WRITE = "alerts:write"
    DATASETS_READ = "datasets:read"
    DATASETS_WRITE = "datasets:write"
    ANNOTATIONS_WRITE = "annotations:write"
    EVALUATIONS_READ = "evaluations:read"
    EVALUATIONS_WRITE = "evaluations:write"
    USAGE_READ = "usage:read"
    LABELS_OVERRIDE = "labels:override"
    AUDIT_READ = "audit:read"
    KEYS_READ = "keys:read"
    KEYS_WRITE = "keys:write"


_VIEWER = frozenset(scope for scope in Scope if scope.endswith(":read")) - {Scope.AUDIT_READ, Scope.KEYS_READ}
_OPERATOR = _VIEWER | {
    Scope.RUNS_WRITE,
    Scope.MODELS_CALL,
    Scope.APPROVALS_DECIDE,
    Scope.SCHEDULES_WRITE,
    Scope.DELIVERIES_REPLAY,
    Scope.DOCUMENTS_WRITE,
    Scope.MEMORY_WRITE,
    Scope.SIGNALS_WRITE,
    Scope.ALERTS_WRITE,
    Scope.DATASETS_WRITE,
    Scope.ANNOTATIONS_WRITE,
    Scope.EVALUATIONS_WRITE,
}

ROLES: Mapping[str, frozenset[Scope]] = MappingProxyType({"viewer": _VIEWER, "operator": _OPERATOR, "admin": frozenset(Scope)})
"""viewer sees everything of its tenant; operator also works with it; admin also changes what runs, and who is told outside."""

NEEDED: Mapping[str, Scope] = MappingProxyType(
    {
        "SubmitRun": Scope.RUNS_WRITE,
        "GetRun": Scope.RUNS_READ,
        "ListRuns": Scope.RUNS_READ,
        "CancelRun": Scope.RUNS_WRITE,
        "FollowRun": Scope.RUNS_READ,
        "PollRun": Scope.RUNS_READ,
        "PauseRun": Scope.RUNS_WRITE,
        "ResumeRun": Scope.RUNS_WRITE,
        "SignalRun": Scope.RUNS_WRITE,
        "ForkRun": Scope.RUNS_WRITE,
        "RetryRun": Scope.RUNS_WRITE,
        "ExplainRun": Scope.RUNS_READ,
        "QueryRun": Scope.RUNS_READ,
        "GetThread": Scope.RUNS_READ,
        "ListThreads": Scope.RUNS_READ,
        "ListApprovals": Scope.APPROVALS_READ,
        "DecideApproval": Scope.APPROVALS_DECIDE,
        "RegisterAgent": Scope.AGENTS_WRITE,
        "GetAgent": Scope.AGENTS_READ,
        "ListAgents": Scope.AGENTS_READ,
        "CheckAgent": Scope.AGENTS_READ,
        "PutSchedule": Scope.SCHEDULES_WRITE,
        "GetSchedule": Scope.SCHEDULES_READ,
        "ListSchedules": Scope.SCHEDULES_READ,
        "DeleteSchedule": Scope.SCHEDULES_WRITE,
        "PutWebhook": Scope.WEBHOOKS_WRITE,
        "ListWebhooks": Scope.WEBHOOKS_READ,
        "DeleteWebhook": Scope.WEBHOOKS_WRITE,
        "ListWebhookDeliveries": Scope.WEBHOOKS_READ,
        "ReplayWebhookDelivery": Scope.DELIVERIES_REPLAY,
        "ListTools": Scope.TOOLS_READ,
        "GetTool": Scope.TOOLS_READ,
        "RegisterTools": Scope.TOOLS_WRITE,
        "UnregisterTool": Scope.TOOLS_WRITE,
        "ListToolVersions": Scope.TOOLS_READ,
        "SetToolStanding": Scope.TOOLS_WRITE,
        "RegisterPrompt": Scope.PROMPTS_WRITE,
        "GetPrompt": Scope.PROMPTS_READ,
        "ListPrompts": Scope.PROMPTS_READ,
        "ListEntries": Scope.PROMPTS_READ,
        "MoveLabel": Scope.PROMPTS_WRITE,
        "OverrideLabel": Scope.LABELS_OVERRIDE,
        "RollBackLabel": Scope.PROMPTS_WRITE,
        "ListLabelMoves": Scope.PROMPTS_READ,
        "ListModels": Scope.MODELS_READ,
        "IngestDocument": Scope.DOCUMENTS_WRITE,
        "SearchCollection": Scope.DOCUMENTS_READ,
        "EvaluateCollection": Scope.DOCUMENTS_READ,
        "ListCollections": Scope.DOCUMENTS_READ,
        "ListDocuments": Scope.DOCUMENTS_READ,
        "DeleteDocument": Scope.DOCUMENTS_WRITE,
        "UploadDocument": Scope.DOCUMENTS_WRITE,
        "ConfigureCollection": Scope.DOCUMENTS_WRITE,
        "DeleteCollection": Scope.DOCUMENTS_WRITE,
        "GetCollectionQuality": Scope.DOCUMENTS_READ,
        "ReportUse": Scope.SIGNALS_WRITE,
        "PutQuerySet": Scope.DOCUMENTS_WRITE,
        "ListQuerySets": Scope.DOCUMENTS_READ,
        "DeleteQuerySet": Scope.DOCUMENTS_WRITE,
        "ReadThreadMemory": Scope.MEMORY_READ,
        "ListFacts": Scope.MEMORY_READ,
        "ForgetMemory": Scope.MEMORY_WRITE,
        "ListOperations": Scope.OPERATIONS_READ,
        "CountFailures": Scope.OPERATIONS_READ,
        "RecordSignal": Scope.SIGNALS_WRITE,
        "ListSignals": Scope.SIGNALS_READ,
        "ListTraces": Scope.OPERATIONS_READ,
        "GetTrace": Scope.OPERATIONS_READ,
        "AnnotateTrace": Scope.SIGNALS_WRITE,
        "GetOperationBody": Scope.OPERATIONS_READ,
        "RecordSignals": Scope.SIGNALS_WRITE,
        "ListMonitors": Scope.ALERTS_READ,
        "ResetBaseline": Scope.ALERTS_WRITE,
        "ListAlerts": Scope.ALERTS_READ,
        "AcknowledgeAlert": Scope.ALERTS_WRITE,
        "ResolveAlert": Scope.ALERTS_WRITE,
        "PutDataset": Scope.DATASETS_WRITE,
        "GetDataset": Scope.DATASETS_READ,
        "ListDatasets": Scope.DATASETS_READ,
        "ClaimAnnotations": Scope.ANNOTATIONS_WRITE,
        "Annotate": Scope.ANNOTATIONS_WRITE,
        "SelectCandidates": Scope.DATASETS_WRITE,
        "ListDisputed": Scope.DATASETS_READ,
        "ListExamples": Scope.DATASETS_READ,
        "DeleteExample": Scope.DATASETS_WRITE,
        "ExportDataset": Scope.DATASETS_READ,
        "StartEvaluation": Scope.EVALUATIONS_WRITE,
        "GetEvaluation": Scope.EVALUATIONS_READ,
        "ListEvaluations": Scope.EVALUATIONS_READ,
        "CancelEvaluation": Scope.EVALUATIONS_WRITE,
        "RenderEvaluationReport": Scope.EVALUATIONS_READ,
        "StartImprovement": Scope.PROMPTS_WRITE,
        "GetImprovement": Scope.EVALUATIONS_READ,
        "ListImprovements": Scope.EVALUATIONS_READ,
        "GetScoreboard": Scope.EVALUATIONS_READ,
        "ProposeRoute": Scope.PROMPTS_WRITE,
        "PutImprovementPlan": Scope.PROMPTS_WRITE,
        "ListImprovementPlans": Scope.EVALUATIONS_READ,
        "CreateKey": Scope.KEYS_WRITE,
        "ListKeys": Scope.KEYS_READ,
        "RotateKey": Scope.KEYS_WRITE,
        "RevokeKey": Scope.KEYS_WRITE,
        "ListKeyEvents": Scope.KEYS_READ,
        "ListAuditEntries": Scope.AUDIT_READ,
        "VerifyAudit": Scope.AUDIT_READ,
        "GetUsage": Scope.USAGE_READ,
    }
)
"""The scope that a key needs for each method of the contract, over both protocols."""

FACADE: Mapping[str, Scope] = MappingProxyType(
    {"openai.chat": Scope.MODELS_CALL, "openai.embeddings": Scope.MODELS_CALL, "openai.models": Scope.MODELS_READ}
)
"""The same for what is spoken in OpenAI's form."""

ANYBODY = frozenset({"GetCaller"})
"""Methods that need no scope, only somebody known."""


def scopes_named(words: str) -> frozenset[Scope]:
    """The scopes that a list such as `operator,agents:write` names. Raises ValueError for an unknown word or none."""
    found: set[Scope] = set()
    for word in filter(None, (part.strip() for part in words.split(","))):
        if word in ROLES:
            found |= ROLES[word]
        elif word in set(Scope):
            found.add(Scope(word))
        else:
            raise ValueError(f"{word!r} is neither a role ({', '.join(ROLES)}) nor a scope ({', '.join(Scope)})")
    if not found:
        raise ValueError(f"no scope is named: use a role ({', '.join(ROLES)}) or scopes ({', '.join(Scope)})")
    return frozenset(found)
