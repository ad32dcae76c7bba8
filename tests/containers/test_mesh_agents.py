"""The example agents as deployed, in the very images, from outside."""

import asyncio
import base64
import json

import aiohttp
import pytest
from doors import ask, ended, follow, get, submit
from fleets import ROOT
from plimsoll_client.mesh import Mesh as Client
from plimsoll_client.models import Approval
from plimsoll_runtime.json_types import JsonObject
from plimsoll_testkit.waiting import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.e2e, pytest.mark.xdist_group("containers")]
AGENTS = ROOT / "deploy" / "agents"


async def asked(client: Client, run_id: str) -> Approval:
    """The question that a run waits for."""
    found = await eventually(lambda: client.approvals.list(run_id=run_id))
    return found[0]


async def test_support_answers_with_sources(http: aiohttp.ClientSession) -> None:
    question: JsonObject = {"message": "How long do I have to return a tent that does not fit, and what does it cost?"}
    run = await ended(http, await submit(http, "support", question))
    assert run["status"] == "RUN_STATUS_SUCCEEDED", run
    assert run["output"]["sources"]


@pytest.mark.parametrize("approve", [True, False])
async def test_a_refund_over_the_limit_waits_for_a_person(http: aiohttp.ClientSession, client: Client, approve: bool) -> None:
    messages: list[JsonObject] = [json.loads(line) for line in (AGENTS / "support" / "samples" / "messages.jsonl").read_text().splitlines()]
    over_the_limit = [one for one in messages if one["expect"].get("refund_cents", 0) > 20_000]
    run_id = await submit(http, "support", over_the_limit[0 if approve else 1]["input"])
    question = await asked(client, run_id)
    assert (await get(http, f"/v1/runs/{run_id}"))["run"]["status"] == "RUN_STATUS_WAITING"
    await (client.approvals.approve if approve else client.approvals.reject)(question.id, comment="decided by the test")
    run = await ended(http, run_id)
    assert run["output"]["outcome"] == ("refunded" if approve else "refund_rejected")


async def test_documents_reads_every_sample(http: aiohttp.ClientSession) -> None:
    samples = sorted((AGENTS / "documents" / "samples").iterdir())
    inputs: list[JsonObject] = [
        {"name": path.name, "content_base64": base64.b64encode(path.read_bytes()).decode()}
        if path.suffix == ".pdf"
        else {"name": path.name, "text": path.read_text()}
        for path in samples
    ]
    ids = [await submit(http, "documents", value) for value in inputs]
    for path, run in zip(samples, await asyncio.gather(*(ended(http, run_id) for run_id in ids)), strict=True):
        assert run["status"] == "RUN_STATUS_SUCCEEDED", (path.name, run.get("failure"))


async def test_pipeline_applies_only_what_was_approved(client: Client, http: aiohttp.ClientSession) -> None:
    path = min((AGENTS / "pipeline" / "samples").glob("*.csv"))
    run_id = await submit(http, "pipeline", {"name": path.name, "csv": path.read_text()})
    while (question := await asked(client, run_id)).proposal is None:  # first a look at the guesses, then the exact call
        await client.approvals.approve(question.id)
    await client.approvals.reject(question.id, comment="not today")
    run = await ended(http, run_id)
    assert run["status"] == "RUN_STATUS_SUCCEEDED"
    assert run["output"]["outcome"] != "fixed"


async def test_a_stream_resumes_at_any_cursor_without_gap_or_repeat(http: aiohttp.ClientSession) -> None:
    run_id = await submit(http, "canary", {"canary": "canary-1"})
    whole = await follow(http, run_id)
    assert [int(entry["seq"]) for entry in whole] == list(range(1, len(whole) + 1))
    assert "runFinished" in whole[-1]
    for cursor in range(0, len(whole) + 1, 3):
        assert await follow(http, run_id, cursor) == whole[cursor:]


async def test_what_happened_is_kept_for_feedback(client: Client) -> None:
    run = await client.runs.submit("canary", {"canary": "canary-trace"})
    await client.runs.wait(run.id)

    async def is_told() -> bool:
        trace = await client.feedback.operations(run_id=run.id, limit=100)
        return {"tool_call", "model_call", "run"} <= {operation.kind.value for operation in trace}

    await eventually(is_told)


async def test_without_a_key_the_door_stays_shut(http: aiohttp.ClientSession) -> None:
    async with http.get("/v1/runs", headers={"Authorization": "Bearer plk_nobody"}) as response:
        assert response.status == 401
    status, answer = await ask(http, "GET", "/v1/runs/run_00000000000000000000000000")
    assert (status, answer["code"]) == (404, "NOT_FOUND")
