"""The way of a run: accepted, advanced, followed to its end, and the same from every door."""

import asyncio
import json

import aiohttp
import pytest
from doors import Door, cli, ended, follow, get, submit
from plimsoll_client.mesh import Mesh as Client
from plimsoll_client.models import RunStatus

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.e2e, pytest.mark.xdist_group("mesh")]


async def test_rest_grpc_and_the_command_line_give_the_same_answer(http: aiohttp.ClientSession, client: Client, door: Door) -> None:
    by_rest = await ended(http, await submit(http, "canary", {"canary": "canary-1"}))
    submitted = await client.runs.submit("canary", {"canary": "canary-1"})
    by_grpc = await client.runs.wait(submitted.id)
    said = await cli(door.data, "run", "canary", "--input", "-", "--json", stdin=b"canary-1")
    assert said.code == 0, said.err
    by_cli = json.loads(said.out)
    assert by_grpc.status is RunStatus.SUCCEEDED
    assert by_rest["output"] == by_grpc.output == by_cli["run"]["output"]
    assert by_grpc.rehearsal


async def test_a_stream_resumes_at_any_cursor_without_gap_or_repeat(http: aiohttp.ClientSession) -> None:
    run_id = await submit(http, "canary", {"canary": "canary-1"})
    whole = await follow(http, run_id)
    assert [int(entry["seq"]) for entry in whole] == list(range(1, len(whole) + 1))
    assert "runFinished" in whole[-1]
    for cursor in range(len(whole) + 1):
        assert await follow(http, run_id, cursor) == whole[cursor:]


async def test_the_same_idempotency_key_is_the_same_run(http: aiohttp.ClientSession) -> None:
    ids = await asyncio.gather(*(submit(http, "canary", {"canary": "canary-key"}, key="once") for _ in range(20)))
    assert len(set(ids)) == 1
    async with http.post(
        "/v1/agents/canary/runs", json={"input": {"canary": "canary-other"}}, headers={"Idempotency-Key": "once"}
    ) as response:
        assert response.status == 422
        assert (await response.json())["reason"] == "IDEMPOTENCY_KEY_REUSED"


async def test_a_hundred_runs_at_once_keep_to_themselves(http: aiohttp.ClientSession, client: Client) -> None:
    """No canary in another run's state, journal, stream or trace."""
    canaries = [f"canary-{number:03}x" for number in range(100)]
    ids = await asyncio.gather(*(submit(http, "canary", {"canary": canary}) for canary in canaries))
    streams = await asyncio.gather(*(follow(http, run_id) for run_id in ids))
    runs = await asyncio.gather(*(get(http, f"/v1/runs/{run_id}") for run_id in ids))
    for canary, run_id, stream, run in zip(canaries, ids, streams, runs, strict=True):
        assert run["run"]["output"]["seen"] == [canary, *(f"{canary}-{item}" for item in (1, 2, 3))]
        assert canary in run["run"]["output"]["said"]
        seen = json.dumps([stream, run])
        assert not [other for other in canaries if other != canary and other in seen]
        assert {entry["runId"] for entry in stream} == {run_id}
    for run_id in ids[:10]:
        trace = await client.feedback.operations(run_id=run_id)
        assert {operation.run_id for operation in trace} <= {run_id}


async def test_what_happened_in_a_run_is_kept_for_feedback(client: Client) -> None:
    run = await client.runs.submit("canary", {"canary": "canary-trace"})
    await client.runs.wait(run.id)

    async with asyncio.timeout(20):
        while True:
            trace = await client.feedback.operations(run_id=run.id, limit=100)
            kinds = [operation.kind.value for operation in trace]
            if kinds.count("tool_call") == 4 and "model_call" in kinds and "run" in kinds:
                break
            await asyncio.sleep(0)
    assert all(operation.failure is None for operation in trace)
