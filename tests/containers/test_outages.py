"""Containers killed, stopped, restarted and replaced in the middle of work: what was accepted is finished, once."""

import asyncio
import json

import aiohttp
import pytest
from container_mesh import SERVICES, ContainerMesh
from doors import ended, follow, get, submit
from plimsoll_client.mesh import Mesh as Client
from under_load import under_way

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.e2e, pytest.mark.crash, pytest.mark.xdist_group("containers")]
GRACE_S = 30


async def test_a_hundred_runs_at_once_over_three_workers_keep_to_themselves(mesh: ContainerMesh, http: aiohttp.ClientSession) -> None:
    assert len(mesh.engine.containers("worker")) == 3
    canaries = [f"canary-{number:03}x" for number in range(100)]
    ids = await asyncio.gather(*(submit(http, "canary", {"canary": canary}) for canary in canaries))
    streams = await asyncio.gather(*(follow(http, run_id) for run_id in ids))
    runs = await asyncio.gather(*(get(http, f"/v1/runs/{run_id}") for run_id in ids))
    for canary, run_id, stream, run in zip(canaries, ids, streams, runs, strict=True):
        assert run["run"]["status"] == "RUN_STATUS_SUCCEEDED", run
        assert run["run"]["output"]["seen"] == [canary, *(f"{canary}-{item}" for item in (1, 2, 3))]
        seen = json.dumps([stream, run])
        assert not [other for other in canaries if other != canary and other in seen]
        assert {entry["runId"] for entry in stream} == {run_id}


async def test_killed_workers_lose_nothing_and_repeat_nothing(mesh: ContainerMesh, client: Client) -> None:
    async with under_way(mesh, client, "kill-worker"):
        for number in (0, 1):
            await mesh.engine.kill("worker", number)
    await mesh.engine.healthy("worker")


@pytest.mark.parametrize("server", ["nats", "postgres", "redis"])
async def test_a_restarted_server_loses_nothing_and_repeats_nothing(mesh: ContainerMesh, client: Client, server: str) -> None:
    async with under_way(mesh, client, f"restart-{server}"):
        await mesh.engine.restart(server)
    await mesh.engine.healthy(server, *SERVICES)


@pytest.mark.parametrize("service", SERVICES)
async def test_a_stopped_service_ends_in_order_within_its_grace(mesh: ContainerMesh, client: Client, service: str) -> None:
    async with under_way(mesh, client, f"stop-{service}"):
        stopped = await mesh.engine.stop(service, grace_s=GRACE_S)
        await mesh.engine.start(service)
        await mesh.engine.healthy(service)
        await mesh.find_door()
    assert stopped.code == 0, mesh.engine.logs(service)[-2000:]
    assert stopped.after_s < GRACE_S


async def test_new_images_roll_out_under_load_without_a_failed_run(mesh: ContainerMesh, client: Client) -> None:
    new = f"{mesh.wanted.variables['PLIMSOLL_TAG']}-next"
    for image in {mesh.image(service) for service in SERVICES if service != "worker"}:
        assert mesh.engine.client.images.get(image).tag(image.partition(":")[0], new)
    async with under_way(mesh, client, "roll"):
        await mesh.change({"PLIMSOLL_TAG": new})
    for service in SERVICES:
        assert {one.attrs["Config"]["Image"].rpartition(":")[2] for one in mesh.engine.containers(service)} == {new}


async def test_what_was_backed_up_comes_back_whole(mesh: ContainerMesh, http: aiohttp.ClientSession) -> None:
    run = await ended(http, await submit(http, "canary", {"canary": "canary-backup"}))
    script = (
        "pg_dump -U postgres -Fc plimsoll >/tmp/plimsoll.dump && createdb -U postgres restored"
        " && pg_restore -U postgres -d restored --exit-on-error /tmp/plimsoll.dump && rm /tmp/plimsoll.dump"
    )
    said = await mesh.engine.run("postgres", "sh", "-c", script)
    assert said.code == 0, said.text
    for table in ("orchestrator.runs", "orchestrator.journal"):  # a key would differ: it notes when it was last used
        rows = f"select md5(one::text) as digest from {table} as one order by 1"
        assert await mesh.query("restored", rows) == await mesh.query("plimsoll", rows), table
    assert await mesh.query("restored", f"select run_id::text from orchestrator.runs where run_id = '{run['runId']}'")
