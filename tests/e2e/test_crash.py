"""Real processes, really killed: what was accepted is finished, once."""

import asyncpg
import pytest
from plimsoll_client import connect
from plimsoll_client.models import RunStatus
from plimsoll_devstack.mesh import Mesh

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.e2e, pytest.mark.crash, pytest.mark.xdist_group("mesh")]
RUNS, STEPS = 12, 6


async def effects(mesh: Mesh, names: list[str]) -> list[tuple[str, int]]:
    connection = await asyncpg.connect(mesh.servers.postgres.dsn("examples", database="examples"))
    try:
        rows = await connection.fetch("select name, step from effects where name = any($1::text[])", names)
    finally:
        await connection.close()
    return sorted((row["name"], row["step"]) for row in rows)


@pytest.mark.parametrize("part", ["orchestrator-worker-1", "tool-dispatcher", "orchestrator-api", "gateway"])
async def test_a_killed_process_loses_nothing_and_repeats_nothing(mesh: Mesh, part: str) -> None:
    names = [f"{part}-{number}" for number in range(RUNS)]
    async with connect(address=mesh.grpc_address, api_key=mesh.api_key) as client:
        runs = [await client.runs.submit("effects", {"name": name, "pause_s": 0.15}) for name in names]
        async for entry in client.runs.follow(runs[0].id):
            if entry.event.type == "step_finished":
                break
        await mesh.kill(part)
        await mesh.ready(part)
        for submitted in runs:
            entries = [entry async for entry in client.runs.follow(submitted.id)]
            run = await client.runs.get(submitted.id)
            assert run.status is RunStatus.SUCCEEDED, run.failure
            assert run.output == {"done": [1, 2, 3, 4, 5, 6]}
            assert [entry.seq for entry in entries] == list(range(1, run.seq + 1))
            assert [entry.event.type for entry in entries].count("run_finished") == 1
    assert await effects(mesh, names) == sorted((name, step) for name in names for step in range(1, STEPS + 1))
