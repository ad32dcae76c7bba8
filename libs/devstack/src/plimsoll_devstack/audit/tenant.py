"""A tenant of the audit's own in a mesh that runs: made for the audit, and taken away with all that the audit left there.

What stays is what nobody may take away: the chained audit logs and the reports of evaluations. NATS forgets the events of its runs
after a week, Redis its limits within the hour.
"""

import asyncio
import json
import os
import secrets
import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from graphlib import TopologicalSorter
from pathlib import Path

import asyncpg
import psutil
from plimsoll_client.bundles import apply, read_bundles
from plimsoll_client.connecting import connected
from plimsoll_client.location import endpoint

from plimsoll_devstack.errors import StartFailed
from plimsoll_devstack.files import private_directory, write_private
from plimsoll_devstack.mesh import Mesh
from plimsoll_devstack.processes import ProcessId, find
from plimsoll_devstack.servers.postgres import SUPERUSER

_STAYS = ("audit_log", "audit_heads", "evaluation_reports")
_KEY_LASTS = "1d"  # nobody can use the key of an audit that died, once it is over
_KEY_WITHIN_S = 30.0
_LOOK_S = 2.0
_QUIET_LOOKS = 4  # services tell each other within a second what was under way; the gateway writes down every five what keys were used
_LOOKS = 60

_TABLES = """
select c.oid::regclass::text from pg_class c
join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant' and not a.attisdropped
where c.relkind in ('r', 'p') and not c.relispartition and n.nspname !~ '^pg_' and c.relname <> all($1::text[])
"""
_REFERENCES = "select conrelid::regclass::text as child, confrelid::regclass::text as parent from pg_constraint where contype = 'f'"


@asynccontextmanager
async def own_tenant(mesh: Mesh, agents: Sequence[Path]) -> AsyncIterator[str]:
    """A key to a new tenant that has the agents of these folders. What audits that died have left is taken away, too.

    Raises StartFailed when the gateway makes no key; PlimsollError when an agent cannot be applied.
    """
    marks = private_directory(mesh.files.data / "audits")
    for dead in await asyncio.to_thread(_dead, marks):
        if mesh.files.faults.exists():  # it may have died with a plan in force
            write_private(mesh.files.faults, "")
        await _forget(mesh, dead, marks)
    tenant = f"audit-{secrets.token_hex(6)}"
    write_private(marks / tenant, json.dumps({"pid": os.getpid(), "started_at": psutil.Process().create_time()}))
    try:
        key = await tenant_key(mesh, tenant)
        async with connected(endpoint(mesh.grpc_address, key)) as target:
            for folder in agents:
                for bundle in read_bundles(folder):
                    await apply(target, bundle)
        yield key
    finally:
        await _forget(mesh, tenant, marks)


def _dead(marks: Path) -> list[str]:
    """The tenants of audits whose process is gone."""
    recorded = {mark.name: ProcessId(**json.loads(mark.read_text())) for mark in marks.glob("audit-*")}
    return [tenant for tenant, process in recorded.items() if find(process) is None]


async def tenant_key(mesh: Mesh, tenant: str) -> str:
    """A key to a tenant for a day, made as whoever runs the mesh makes keys: straight on the gateway's database.

    Raises StartFailed when the gateway makes none.
    """
    words = ("keys", "create", "--tenant", tenant, "--name", "audit", "--scopes", "admin", "--expires", _KEY_LASTS)
    environ = {**os.environ, "PLIMSOLL_GATEWAY_POSTGRES_DSN": mesh.servers.postgres.dsn("gateway")}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "plimsoll_gateway", *words, env=environ, stdout=pipe, stderr=pipe)
    async with asyncio.timeout(_KEY_WITHIN_S):
        out, err = await process.communicate()
    if process.returncode:
        raise StartFailed(f"the gateway made no key for {tenant}: {err.decode().strip()}", remedy="See the log of the gateway")
    return out.decode().strip()


async def _forget(mesh: Mesh, tenant: str, marks: Path) -> None:
    """Take everything of a tenant away, again and again until nothing comes back: what was under way is told a moment later.

    Where something still comes back after two minutes, the mark stays, and the next audit goes on.
    """
    connection = await asyncpg.connect(mesh.servers.postgres.dsn(SUPERUSER))
    try:
        tables = await _tables(connection)
        quiet = 0
        for _ in range(_LOOKS):
            quiet = 0 if await _delete(connection, tables, tenant) else quiet + 1
            if quiet == _QUIET_LOOKS:
                (marks / tenant).unlink(missing_ok=True)
                break
            await asyncio.sleep(_LOOK_S)
    finally:
        await connection.close()
    await asyncio.to_thread(shutil.rmtree, mesh.files.workspaces / tenant, ignore_errors=True)


async def _tables(connection: asyncpg.Connection) -> Sequence[str]:
    """Every table of every service that has rows of tenants, those that refer to others first."""
    tables = {row[0] for row in await connection.fetch(_TABLES, _STAYS)}
    before: dict[str, set[str]] = {table: set() for table in tables}
    for row in await connection.fetch(_REFERENCES):
        if row["parent"] in tables and row["child"] != row["parent"]:
            before[row["parent"]].add(row["child"])
    return [table for table in TopologicalSorter(before).static_order() if table in tables]


async def _delete(connection: asyncpg.Connection, tables: Sequence[str], tenant: str) -> int:
    """How many rows went."""
    async with connection.transaction():
        return sum([_count(await connection.execute(f"delete from {table} where tenant = $1", tenant)) for table in tables])


def _count(status: str) -> int:
    return int(status.rpartition(" ")[2])
