"""An audit of a mesh that runs: in a tenant of its own, which is gone afterwards with all that was in it."""

import asyncio
import json
from pathlib import Path

import asyncpg
import pytest
from plimsoll_client import connect
from plimsoll_client.mesh import Mesh as Client
from plimsoll_client.models import RunStatus
from plimsoll_devstack.audit.tenant import own_tenant
from plimsoll_devstack.files import private_directory, write_private
from plimsoll_devstack.mesh import Mesh
from plimsoll_runtime.errors import NotFound

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.e2e, pytest.mark.xdist_group("mesh")]
CANARY = Path(__file__).parent / "agents" / "canary"
STAYS = {"gateway.audit_log", "gateway.audit_heads", "model_router.audit_log", "model_router.audit_heads"}


async def rows_of(mesh: Mesh, tenant: str) -> set[str]:
    """The tables that hold rows of a tenant, of all services."""
    connection = await asyncpg.connect(mesh.servers.postgres.dsn("postgres"))
    try:
        named = "select table_schema || '.' || table_name from information_schema.columns where column_name = 'tenant'"
        tables = [row[0] for row in await connection.fetch(named)]
        return {table for table in tables if await connection.fetchval(f"select exists (select from {table} where tenant = $1)", tenant)}
    finally:
        await connection.close()


async def test_an_audit_has_a_tenant_of_its_own_and_leaves_nothing_nor_does_one_that_was_killed(mesh: Mesh, client: Client) -> None:
    marks = mesh.files.data / "audits"
    await left_by_a_killed_audit(mesh, marks)
    async with own_tenant(mesh, [CANARY]) as key, connect(address=mesh.grpc_address, api_key=key) as own:
        [tenant] = [mark.name for mark in marks.iterdir()]
        assert await rows_of(mesh, "audit-dead") == set()
        run = await own.runs.submit("canary", {"canary": "canary-audit0"})
        assert (await own.runs.wait(run.id)).status is RunStatus.SUCCEEDED
        with pytest.raises(NotFound):
            await client.runs.get(run.id)
        assert {"orchestrator.runs", "orchestrator.journal", "model_router.versions", "gateway.api_keys"} <= await rows_of(mesh, tenant)
    assert await rows_of(mesh, tenant) <= STAYS
    assert list(marks.iterdir()) == []


async def left_by_a_killed_audit(mesh: Mesh, marks: Path) -> None:
    """A mark of a process that is gone, and a row of its tenant."""
    await asyncio.to_thread(private_directory, marks)
    write_private(marks / "audit-dead", json.dumps({"pid": 2**22 + 1, "started_at": 1.0}))
    connection = await asyncpg.connect(mesh.servers.postgres.dsn("orchestrator"))
    try:
        left = "insert into steered (tenant, idempotency_key, run_id, fingerprint) values ('audit-dead', 'k', 'run_gone', '')"
        await connection.execute(left)
    finally:
        await connection.close()
    assert await rows_of(mesh, "audit-dead") == {"orchestrator.steered"}
