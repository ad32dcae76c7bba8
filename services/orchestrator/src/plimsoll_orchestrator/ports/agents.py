"""What is kept of agents: their versions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from plimsoll_graph.graph import Graph


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentVersion:
    """A registered graph: `version` counts up from 1 per name."""

    version: int
    graph: Graph
    created_at: datetime


class AgentStore(Protocol):
    async def register(self, tenant: str, graph: Graph, source: str) -> tuple[AgentVersion, bool]:
        """Store a version, or find it by its digest; true when it is new."""
        ...

    async def newest(self, tenant: str, name: str) -> AgentVersion | None: ...

    def recent(self, tenant: str, name: str) -> AgentVersion | None:
        """The version that was the newest when it was last looked for, if that is remembered. Whoever uses it has to see to it that it still is."""
        ...

    async def by_digest(self, tenant: str, name: str, digest: str) -> AgentVersion | None: ...

    async def list_newest(self, tenant: str, after: str, limit: int) -> Sequence[AgentVersion]:
        """By name, names after `after`."""
        ...
