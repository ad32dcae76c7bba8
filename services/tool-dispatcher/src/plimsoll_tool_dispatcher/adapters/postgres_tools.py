"""The shelf of tools in Postgres: versions that were offered, registrations, and decisions."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg
from plimsoll_runtime import audit
from plimsoll_runtime.audit import AuditRecord
from plimsoll_runtime.json_types import JsonObject, dump_json, parse_object
from plimsoll_runtime.postgres import translating

from plimsoll_tool_dispatcher.domain import deeds
from plimsoll_tool_dispatcher.domain.definition import definition_of
from plimsoll_tool_dispatcher.domain.registry import KeptVersion, Standing
from plimsoll_tool_dispatcher.domain.tool import Tool
from plimsoll_tool_dispatcher.ports import Shelved

_ACQUIRE_CAP_S = 5.0

_KEEP = """
insert into tool_versions (tenant, name, digest, version, origin, definition)
select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
on conflict (tenant, name, digest) do nothing
returning tenant, name, digest"""

_ACCEPTED = """
select tenant, name, accepted from tool_standings
where (tenant, name) in (select * from unnest($1::text[], $2::text[])) and accepted <> ''"""

_ACCEPT_FIRST = """
insert into tool_standings (tenant, name, accepted, changed_by)
select tenant, name, digest, 'first offered' from unnest($1::text[], $2::text[], $3::text[]) as t (tenant, name, digest)
on conflict (tenant, name) do update set accepted = excluded.accepted where tool_standings.accepted = ''
returning name"""

_RISE = "update registry_revision set revision = revision + 1"

_PINNED = """
select distinct v.definition from tool_versions v join tool_standings s
  on v.name = s.name and v.digest = s.pinned and v.tenant in (s.tenant, '')"""

_REGISTERED = "select v.definition from registered_tools r join tool_versions v using (tenant, name, digest) order by tenant, name"

_REGISTER = """
insert into registered_tools (tenant, name, digest, registered_by) values ($1, $2, $3, $4)
on conflict (tenant, name) do update set digest = excluded.digest, registered_by = excluded.registered_by, registered_at = now()"""

_DECIDE = """
insert into tool_standings (tenant, name, disabled, pinned, accepted, changed_by) values ($1, $2, $3, $4, $5, $6)
on conflict (tenant, name) do update set disabled = excluded.disabled, pinned = excluded.pinned, accepted = excluded.accepted,
    changed_at = now(), changed_by = excluded.changed_by"""

_VERSIONS = "select * from tool_versions where tenant in ($1, '') and name = $2 order by registered_at desc, digest limit 500"


class PostgresToolShelf:
    """One shelf for all replicas."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def revision(self) -> int:
        async with self._connection() as connection:
            return int(await connection.fetchval("select revision from registry_revision"))

    async def load(self) -> Shelved:
        async with self._connection() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
            revision = await connection.fetchval("select revision from registry_revision")
            standings = await connection.fetch("select tenant, name, disabled, pinned, accepted from tool_standings")
            pinned = await connection.fetch(_PINNED)
            registered = await connection.fetch(_REGISTERED)
        return Shelved(
            revision=revision,
            standings={
                (row["tenant"], row["name"]): Standing(disabled=row["disabled"], pinned=row["pinned"], accepted=row["accepted"])
                for row in standings
            },
            pinned=[_definition(row) for row in pinned],
            registered=[_definition(row) for row in registered],
        )

    async def keep(self, tools: Sequence[Tool], *, first_accepted: bool) -> None:
        async with self._connection() as connection, connection.transaction():
            fresh = await _keep(connection, tools)
            if first_accepted and await connection.fetch(
                _ACCEPT_FIRST, [tool.tenant for tool in tools], [tool.name for tool in tools], [tool.digest for tool in tools]
            ):
                await connection.execute(_RISE)
            if first_accepted and fresh:
                await audit.append(connection, await _quarantined(connection, fresh))

    async def register(self, tools: Sequence[Tool], by: str) -> None:
        async with self._connection() as connection, connection.transaction():
            await _keep(connection, tools)
            await connection.executemany(_REGISTER, [(tool.tenant, tool.name, tool.digest, by) for tool in tools])
            await connection.execute(_RISE)
            await audit.append(connection, [deeds.registered(tool, by) for tool in tools])

    async def unregister(self, tenant: str, name: str, by: str) -> bool:
        async with self._connection() as connection, connection.transaction():
            gone = await connection.fetchval("delete from registered_tools where tenant = $1 and name = $2 returning true", tenant, name)
            if gone:
                await connection.execute(_RISE)
                await audit.append(connection, [deeds.unregistered(tenant, name, by)])
        return bool(gone)

    async def decide(self, tenant: str, name: str, standing: Standing, by: str) -> None:
        async with self._connection() as connection, connection.transaction():
            await connection.execute(_DECIDE, tenant, name, standing.disabled, standing.pinned, standing.accepted, by)
            await connection.execute(_RISE)
            await audit.append(connection, [deeds.decided(tenant, name, standing, by)])

    async def versions(self, tenant: str, name: str) -> Sequence[KeptVersion]:
        async with self._connection() as connection:
            rows = await connection.fetch(_VERSIONS, tenant, name)
        return [
            KeptVersion(
                tenant=row["tenant"],
                name=row["name"],
                digest=row["digest"],
                version=row["version"],
                origin=row["origin"],
                registered_at=row["registered_at"],
            )
            for row in rows
        ]

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        with translating():
            async with self._pool.acquire(timeout=_ACQUIRE_CAP_S) as connection:
                yield connection


async def _quarantined(connection: asyncpg.Connection, tools: Sequence[Tool]) -> list[AuditRecord]:
    """Of these new versions, those that differ from the accepted ones."""
    rows = await connection.fetch(_ACCEPTED, [tool.tenant for tool in tools], [tool.name for tool in tools])
    accepted = {(row["tenant"], row["name"]): row["accepted"] for row in rows}
    found = [(tool, accepted.get((tool.tenant, tool.name), tool.digest)) for tool in tools]
    return [deeds.quarantined(tool, digest) for tool, digest in found if digest != tool.digest]


async def _keep(connection: asyncpg.Connection, tools: Sequence[Tool]) -> list[Tool]:
    """Those of them that were never offered before."""
    rows = await connection.fetch(
        _KEEP,
        [tool.tenant for tool in tools],
        [tool.name for tool in tools],
        [tool.digest for tool in tools],
        [tool.version for tool in tools],
        [tool.origin for tool in tools],
        [dump_json(definition_of(tool)) for tool in tools],
    )
    fresh = {(row["tenant"], row["name"], row["digest"]) for row in rows}
    return [tool for tool in tools if (tool.tenant, tool.name, tool.digest) in fresh]


def _definition(row: asyncpg.Record) -> JsonObject:
    return parse_object(row["definition"])
