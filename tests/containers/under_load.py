"""Runs that are in the middle of their work while something happens to the mesh, and what they have to be afterwards."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from container_mesh import ContainerMesh
from plimsoll_client import connect
from plimsoll_client.mesh import Mesh as Client
from plimsoll_client.models import RunStatus

RUNS, STEPS = 8, 6


@asynccontextmanager
async def under_way(mesh: ContainerMesh, client: Client, mark: str) -> AsyncIterator[None]:
    """Runs in the middle of their steps on entry; on exit all of them end well, and each step has happened once."""
    names = [f"{mark}-{number}" for number in range(RUNS)]
    ids = [(await client.runs.submit("effects", {"name": name, "pause_s": 0.15})).id for name in names]
    async for entry in client.runs.follow(ids[0]):
        if entry.event.type == "step_finished":
            break
    yield
    async with connect(address=mesh.door.address, api_key=mesh.door.key) as again:
        await settled(again, ids)
    assert await mesh.effects(names) == sorted((name, step) for name in names for step in range(1, STEPS + 1))


async def settled(client: Client, ids: Sequence[str]) -> None:
    """Every run succeeds, with a journal that has no gap and one end."""
    for run_id in ids:
        async with asyncio.timeout(120):
            entries = [entry async for entry in client.runs.follow(run_id)]
        run = await client.runs.get(run_id)
        assert run.status is RunStatus.SUCCEEDED, run.failure
        assert run.output == {"done": [1, 2, 3, 4, 5, 6]}
        assert [entry.seq for entry in entries] == list(range(1, run.seq + 1))
        assert [entry.event.type for entry in entries].count("run_finished") == 1
