"""The gateway killed under load: whatever was accepted is one run, and whatever is asked again under its key is no second one."""

import asyncio

import aiohttp
import asyncpg
import pytest
from plimsoll_client import connect
from plimsoll_devstack.mesh import Mesh

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.e2e, pytest.mark.crash, pytest.mark.xdist_group("mesh")]
RUNS, AT_ONCE, KILLED_AFTER = 240, 24, 60
_CAP_S = 90.0
_GRAPH = """
agent: counted
input: {type: object, properties: {n: {type: integer}}}
state: {type: object, properties: {n: {type: integer}, seen: {type: integer}}}
start: note
output: {n: state.seen}
nodes:
  note: {set: {seen: state.n}, next: end}
"""


async def kept(mesh: Mesh) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(mesh.servers.postgres.dsn("orchestrator"))
    try:
        return await connection.fetch("select run_id, idempotency_key from runs where agent = 'counted'")
    finally:
        await connection.close()


async def accepted(session: aiohttp.ClientSession, url: str, number: int) -> tuple[str, int]:
    """The run, asked for under its key until it is answered; and how often the connection broke on the way."""
    body, headers, cuts = {"input": {"n": number}}, {"Idempotency-Key": f"counted-{number}"}, 0
    while True:
        try:
            async with session.post(f"{url}/v1/agents/counted/runs", json=body, headers=headers) as response:
                answer = await response.json(content_type=None)
        except (aiohttp.ClientError, OSError):
            cuts += 1
            await asyncio.sleep(0.05)  # what a client does that was cut off
            continue
        if response.status == 200:
            return answer["run"]["runId"], cuts
        assert response.status in {429, 503}, answer
        await asyncio.sleep(float(response.headers["Retry-After"]))


async def test_the_gateway_killed_under_load_loses_no_accepted_run_and_repeats_none(mesh: Mesh) -> None:
    async with connect(address=mesh.grpc_address, api_key=mesh.api_key) as client:
        await client.agents.register(_GRAPH)
    left, runs, cuts, enough = iter(range(RUNS)), {}, [0], asyncio.Event()

    async def submit_some(session: aiohttp.ClientSession) -> None:
        for number in left:
            runs[f"counted-{number}"], broken = await accepted(session, mesh.http_url, number)
            cuts[0] += broken
            if len(runs) >= KILLED_AFTER:
                enough.set()

    headers = {"Authorization": f"Bearer {mesh.api_key}"}
    async with asyncio.timeout(_CAP_S), aiohttp.ClientSession(headers=headers) as session, asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(submit_some(session))
        await enough.wait()
        await mesh.kill("gateway")
    assert cuts[0] > 0, "it was killed with requests under way"

    rows = await kept(mesh)
    assert len(rows) == RUNS, "none was lost, none made twice"
    assert {row["idempotency_key"]: row["run_id"] for row in rows} == runs
