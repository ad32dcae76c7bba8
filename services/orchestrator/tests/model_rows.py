"""Rows of the model store, and how they show from outside."""

from dataclasses import dataclass, field
from datetime import datetime

from plimsoll_orchestrator.domain.journal import RunStatus
from plimsoll_orchestrator.ports import RunSummary
from plimsoll_runtime.usage import Usage


@dataclass(slots=True, kw_only=True)
class Row:
    """A run, as the table of runs shows it."""

    run_id: str
    tenant: str
    agent: str
    agent_digest: str
    node: str
    created_at: datetime
    wake_at: datetime | None
    key: str = ""
    fingerprint: str = ""
    parent: str = ""
    status: RunStatus = RunStatus.QUEUED
    epoch: int = 0
    seq: int = 1
    worker: str | None = None
    steps: int = 0
    usage: Usage = field(default_factory=Usage)
    rehearsal: bool = False
    mail: int = 0
    gated: bool = False
    abandoned: tuple[str, ...] = ()
    suspects: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """An entry in stored form."""

    at: datetime
    epoch: int
    text: str


def summary(row: Row) -> RunSummary:
    return RunSummary(
        run_id=row.run_id,
        agent=row.agent,
        agent_digest=row.agent_digest,
        status=row.status,
        seq=row.seq,
        node=row.node,
        steps=row.steps,
        usage=row.usage,
        rehearsal=row.rehearsal,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )
