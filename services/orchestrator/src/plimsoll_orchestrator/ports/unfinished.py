"""Unfinished runs, to look at them all."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from plimsoll_orchestrator.domain.journal import RunStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """A run as it is stored: a snapshot, which may be empty, and (position, time, entry) of the journal after it."""

    run_id: str
    agent_digest: str
    status: RunStatus
    node: str
    snapshot: str
    entries: Sequence[tuple[int, datetime, str]]


class UnfinishedRuns(Protocol):
    async def page(self, tenant: str, agent: str, after: str, limit: int) -> Sequence[Unfinished]:
        """By id, ids after `after`; those started by other runs among them."""
        ...
