"""What people did on a mesh, and what was denied, as its services keep it in chains of hashes."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from plimsoll_runtime.json_types import JsonValue


class AuditedService(StrEnum):
    """Who keeps an audit log."""

    GATEWAY = "gateway"
    TOOL_DISPATCHER = "tool-dispatcher"
    MODEL_ROUTER = "model-router"
    FEEDBACK = "feedback"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One entry; `seq` is its place in the chain of its service, and `hash` covers everything but itself."""

    service: AuditedService
    seq: int
    at: datetime
    actor: str
    action: str
    subject: str
    details: JsonValue
    hash: str
    previous_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditVerdict:
    """What a look at a whole chain found. `broken_at` is the first entry that is not as it was written, 0 when all are."""

    service: AuditedService
    intact: bool
    entries: int
    head_hash: str
    broken_at: int
    problem: str
