"""Registered agents in PostgreSQL, with the compiled graphs of late in memory."""

from collections import OrderedDict
from collections.abc import Sequence

import asyncpg
from plimsoll_graph.graph import Graph
from plimsoll_graph.parse import load_graph
from plimsoll_graph.yaml_source import read_yaml
from plimsoll_runtime.postgres import translating

from plimsoll_orchestrator.ports import AgentVersion

_KEPT = 256  # compiled graphs
_COLUMNS = "name, version, digest, source, created_at"

_REGISTER = f"""
with locked as (
    select pg_advisory_xact_lock(hashtext('agents'), hashtext($1 || '/' || $2))
), found as (
    select version from agents, locked where tenant = $1 and name = $2 and digest = $3
), made as (
    insert into agents (tenant, name, version, digest, description, source)
    select $1, $2, coalesce((select max(version) from agents where tenant = $1 and name = $2), 0) + 1, $3, $4, $5
    from locked where not exists (select 1 from found)
    returning {_COLUMNS}
)
select * from made
"""


class PostgresAgentStore:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._graphs: OrderedDict[tuple[str, str], Graph] = OrderedDict()
        self._recent: OrderedDict[tuple[str, str], AgentVersion] = OrderedDict()

    async def register(self, tenant: str, graph: Graph, source: str) -> tuple[AgentVersion, bool]:
        with translating():
            row = await self._pool.fetchrow(_REGISTER, tenant, graph.agent, graph.digest, graph.description, source)
            if row is not None:
                return self._version(row), True
            row = await self._by_digest(tenant, graph.agent, graph.digest)
        return self._version(row), False

    async def newest(self, tenant: str, name: str) -> AgentVersion | None:
        with translating():
            row = await self._pool.fetchrow(
                f"select {_COLUMNS} from agents where tenant = $1 and name = $2 order by version desc limit 1",
                tenant,
                name,
            )
        if row is None:
            return None
        newest = self._recent[(tenant, name)] = self._version(row)
        while len(self._recent) > _KEPT:
            self._recent.popitem(last=False)
        return newest

    def recent(self, tenant: str, name: str) -> AgentVersion | None:
        return self._recent.get((tenant, name))

    async def by_digest(self, tenant: str, name: str, digest: str) -> AgentVersion | None:
        with translating():
            row = await self._by_digest(tenant, name, digest)
        return self._version(row) if row else None

    async def list_newest(self, tenant: str, after: str, limit: int) -> Sequence[AgentVersion]:
        with translating():
            rows = await self._pool.fetch(
                f"select distinct on (name) {_COLUMNS} from agents where tenant = $1 and name > $2 order by name, version desc limit $3",
                tenant,
                after,
                limit,
            )
        return [self._version(row) for row in rows]

    async def graph(self, tenant: str, name: str, digest: str) -> Graph | None:
        """The compiled graph of a version, from memory when it was used of late."""
        known = self._graphs.get((name, digest))
        if known is not None:
            self._graphs.move_to_end((name, digest))
            return known
        version = await self.by_digest(tenant, name, digest)
        return version.graph if version else None

    async def newest_graph(self, tenant: str, name: str) -> Graph | None:
        """The compiled graph of the newest version."""
        version = await self.newest(tenant, name)
        return version.graph if version else None

    async def _by_digest(self, tenant: str, name: str, digest: str) -> asyncpg.Record | None:
        return await self._pool.fetchrow(
            f"select {_COLUMNS} from agents where tenant = $1 and name = $2 and digest = $3",
            tenant,
            name,
            digest,
        )

    def _version(self, row: asyncpg.Record) -> AgentVersion:
        key = (row["name"], row["digest"])
        graph = self._graphs.get(key)
        if graph is None:
            graph = self._graphs[key] = _load(row["source"])
            while len(self._graphs) > _KEPT:
                self._graphs.popitem(last=False)
        return AgentVersion(version=row["version"], graph=graph, created_at=row["created_at"])


def _load(source: str) -> Graph:
    value = read_yaml(source, "agent.yaml").value
    assert isinstance(value, dict)  # it was when it was registered
    return load_graph(value)
