"""What happened and what is learned from it, through every door, and for nobody else's tenant."""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest
import pytest_asyncio
from doors import Door, ask, cli, ended, get, send, submit
from plimsoll_devstack.mesh import Mesh
from plimsoll_testkit.waiting import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.e2e, pytest.mark.xdist_group("mesh")]

_SEEN_S = 60.0
PROMPT = "canary-say"
_CALLS = {"OPERATION_KIND_TOOL_CALL": 4, "OPERATION_KIND_MODEL_CALL": 1}  # of a run of canary


@pytest_asyncio.fixture(loop_scope="session")
async def stranger(mesh: Mesh) -> AsyncIterator[aiohttp.ClientSession]:
    """An administrator of another tenant."""
    argv = [sys.executable, "-m", "plimsoll_gateway", "keys", "create", "--tenant", "elsewhere", "--name", "eve", "--scopes", "admin"]
    env = {**os.environ, "PLIMSOLL_GATEWAY_POSTGRES_DSN": mesh.servers.postgres.dsn("gateway")}
    process = await asyncio.create_subprocess_exec(*argv, env=env, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    async with aiohttp.ClientSession(mesh.http_url, headers={"Authorization": f"Bearer {out.decode().strip()}"}) as session:
        yield session


async def traced(http: aiohttp.ClientSession) -> str:
    """A run that ended and of which feedback knows the end and every call: three services tell of it, each in its own time."""
    run_id = await submit(http, "canary", {"canary": f"canary-{uuid4().hex}"})  # of runs with one input a dataset takes the first
    await ended(http, run_id)

    async def is_known() -> bool:
        status, told = await ask(http, "GET", f"/v1/traces/{run_id}?pageSize=500")
        if status != 200 or told["trace"]["status"] != "TRACE_STATUS_SUCCEEDED":
            return False
        calls = Counter(entry["operation"]["kind"] for entry in told["entries"])
        return all(calls[kind] == number for kind, number in _CALLS.items())

    await eventually(is_known, within_s=_SEEN_S)
    return run_id


async def test_a_trace_is_the_same_over_rest_and_the_command_line_and_not_there_for_others(
    http: aiohttp.ClientSession, stranger: aiohttp.ClientSession, door: Door
) -> None:
    run_id = await traced(http)
    by_rest = await get(http, f"/v1/traces/{run_id}?pageSize=500")
    said = await cli(door.data, "trace", "show", run_id, "--json")
    assert said.code == 0, said.err
    by_cli = json.loads(said.out)
    assert [entry["operation"]["operationId"] for entry in by_rest["entries"]] == [entry["operation"]["id"] for entry in by_cli["entries"]]
    assert {"model_call", "tool_call"} <= {entry["operation"]["kind"] for entry in by_cli["entries"]}
    listed = await cli(door.data, "trace", "list", "--agent", "canary", "--status", "succeeded")
    assert run_id in listed.out
    marked = [{"signal": {"runId": run_id, "outcome": True}}]
    for method, path, body in [
        ("GET", f"/v1/traces/{run_id}", None),
        ("POST", f"/v1/traces/{run_id}:annotate", {"addTags": ["mine"]}),
    ]:
        status, problem = await ask(stranger, method, path, body)
        assert (status, problem["reason"]) == (404, "RUN_NOT_FOUND"), path
    refused = await send(stranger, "POST", "/v1/signals:record", {"entries": marked})
    assert refused["results"][0]["refusal"]["reason"] == "RUN_NOT_FOUND"
    recorded = await send(http, "POST", "/v1/signals:record", {"entries": marked})
    assert recorded["results"][0]["signal"]["signalId"]
    assert (await get(stranger, "/v1/traces"))["traces"] == []


async def test_a_dataset_belongs_to_its_tenant(http: aiohttp.ClientSession, stranger: aiohttp.ClientSession, door: Door) -> None:
    made = await cli(door.data, "dataset", "put", "hard", "--prompt", PROMPT, "--rule", "correction", "--json")
    assert made.code == 0, made.err
    assert (await get(http, "/v1/datasets/hard"))["dataset"]["prompt"] == PROMPT
    assert (await ask(stranger, "GET", "/v1/datasets/hard"))[0] == 404
    assert (await get(stranger, "/v1/datasets"))["datasets"] == []
    for path in ("/v1/evaluations/evl_none", "/v1/improvements/imp_none"):
        assert (await ask(stranger, "GET", path))[0] == 404
    for argv in (("alerts", "list"), ("monitors", "list"), ("eval", "list"), ("improve", "list"), ("scoreboard",)):
        said = await cli(door.data, *argv, "--json")
        assert (said.code, isinstance(json.loads(said.out), list)) == (0, True), said.err
    absent = await cli(door.data, "alerts", "acknowledge", "alr_none")
    assert absent.code == 3, absent.err


async def test_what_a_dataset_holds_and_how_a_prompt_improves_through_both_doors(
    http: aiohttp.ClientSession, stranger: aiohttp.ClientSession, door: Door, tmp_path: Path
) -> None:
    run_id = await traced(http)
    put = await cli(door.data, "dataset", "put", "all-of-it", "--prompt", PROMPT, "--rule", "sample=1", "--agreement", "2", "--json")
    assert put.code == 0, put.err
    await cli(door.data, "dataset", "select", "all-of-it")  # the mesh does so by itself as well: whoever comes first takes it

    async def claimed() -> list[dict[str, str]]:
        told = await send(http, "POST", "/v1/datasets/all-of-it:claim", {"annotator": "somebody else", "limit": 100})
        return [item for item in told.get("items", []) if item["runId"] == run_id]

    [item] = await eventually(claimed, within_s=_SEEN_S)
    for _ in range(2):  # one key discards nothing alone where two must agree
        discarded = await cli(door.data, "dataset", "annotate", item["itemId"], "--discard", "--json")
        assert json.loads(discarded.out)["state"] == "pending", discarded.err
    for name in ("ann", "bob", "cy"):  # one key, three names
        said = await send(http, "POST", f"/v1/annotations/{item['itemId']}:annotate", {"annotator": name, "expected": "right"})
        assert said["state"] == "ANNOTATION_STATE_PENDING"
    out = tmp_path / "tune.jsonl"
    exported = await cli(door.data, "dataset", "export", "all-of-it", "--out", str(out))
    assert exported.code == 0, exported.err
    assert (out.read_text(), json.loads((tmp_path / "tune.jsonl.lineage.json").read_text())["dataset"]) == ("", "all-of-it")
    async with http.get("/v1/datasets/all-of-it:export?format=EXPORT_FORMAT_CHAT") as response:
        assert (response.status, response.content_type) == (200, "application/jsonl")
        assert json.loads(await response.read())["lineage"]["dataset"] == "all-of-it"
    for argv in (("dataset", "examples", "all-of-it"), ("dataset", "disputed", "all-of-it")):
        listed = await cli(door.data, *argv, "--json")
        assert (listed.code, json.loads(listed.out)) == (0, []), listed.err
    planned = await cli(door.data, "improve", "plan", PROMPT, "--dataset", "all-of-it", "--json")
    assert planned.code == 0, planned.err
    assert [plan["prompt"] for plan in (await get(http, "/v1/improvement-plans"))["plans"]] == [PROMPT]
    assert (await get(stranger, "/v1/improvement-plans"))["plans"] == []
    for method, path, body in [
        ("POST", "/v1/datasets/all-of-it:select", {}),
        ("GET", "/v1/datasets/all-of-it:export?format=EXPORT_FORMAT_CHAT", None),
        ("GET", "/v1/datasets/all-of-it/examples", None),
        ("DELETE", "/v1/datasets/all-of-it/examples/ex_1", None),
        ("POST", "/v1/evaluations/evl_none:cancel", {}),
        ("POST", "/v1/routes:propose", {"task": "answering", "dataset": "all-of-it"}),
    ]:
        assert (await ask(stranger, method, path, body))[0] == 404, path


async def test_a_label_moves_by_digest_and_goes_back_and_is_told_of(http: aiohttp.ClientSession, door: Door) -> None:
    """On a machine of one's own no label is protected; that a protected one needs a report is proven where the gate is."""
    name, digests = "trial-say", []
    for system in ("Say it.", "Say it in other words."):
        made = await send(http, "POST", "/v1/prompts", {"prompt": {"name": name, "variables": ["x"], "user": "{{x}}", "system": system}})
        digests.append(made["prompt"]["digest"])
    versions = json.loads((await cli(door.data, "prompts", "versions", name, "--json")).out)
    assert [one["digest"] for one in versions] == digests[::-1]
    for digest in digests:
        moved = await cli(door.data, "prompts", "move", name, "--to", digest, "--label", "trial")
        assert moved.code == 0, moved.err
    back = await cli(door.data, "prompts", "rollback", name, "--label", "trial", "--reason", "worse", "--json")
    assert json.loads(back.out)["grounds"] == "rollback"
    assert (await get(http, f"/v1/prompts/{name}?label=trial"))["prompt"]["digest"] == digests[0]
    silent = await cli(door.data, "prompts", "override", name, "--to", digests[1], "--label", "trial", "--reason", " ")
    assert silent.code == 2, silent.err
    forced = await cli(door.data, "prompts", "override", name, "--to", digests[1], "--label", "trial", "--reason", "insults", "--json")
    assert json.loads(forced.out)["move"]["grounds"] == "override", forced.err
    last, before, *_ = (await get(http, f"/v1/labels:moves?kind=ENTRY_KIND_PROMPT&name={name}"))["moves"]
    assert [(one["label"], one["reason"]) for one in (last, before)] == [("trial", "insults"), ("trial", "worse")]
    assert last["movedBy"].endswith(")"), "the key that was shown"
    told = json.loads(
        (await cli(door.data, "audit-log", "--action", "label.overridden", "--subject", f"prompt:{name}@trial", "--json")).out
    )
    assert [(one["service"], one["actor"], one["details"]["reason"]) for one in told] == [("model-router", last["movedBy"], "insults")]


async def test_the_audit_logs_of_all_services_are_one_list_of_the_tenant_and_intact(
    http: aiohttp.ClientSession, stranger: aiohttp.ClientSession, door: Door, tmp_path: Path
) -> None:
    put = await cli(door.data, "dataset", "put", "told-of", "--prompt", PROMPT, "--rule", "correction", "--json")
    assert put.code == 0, put.err
    exported = await cli(door.data, "dataset", "export", "told-of", "--out", str(tmp_path / "tune.jsonl"))
    assert exported.code == 0, exported.err
    listed = await cli(door.data, "audit-log", "--subject", "dataset:told-of", "--json")
    told = json.loads(listed.out)
    assert [(one["service"], one["action"]) for one in told] == [("feedback", "dataset.exported"), ("feedback", "dataset.put")]
    assert told[0]["details"]["lines"] == 0
    by_rest = (await get(http, "/v1/audit-log?pageSize=1000"))["entries"]
    assert "AUDITED_SERVICE_FEEDBACK" in {one["service"] for one in by_rest}
    strange = (await get(stranger, "/v1/audit-log?subject=dataset:told-of"))["entries"]
    assert strange == []
    verified = await cli(door.data, "audit-log", "--verify", "--json")
    assert (verified.code, {one["service"]: one["intact"] for one in json.loads(verified.out)}) == (
        0,
        {"gateway": True, "tool-dispatcher": True, "model-router": True, "feedback": True},
    )
    known = f"{told[0]['seq']}:{told[0]['hash']}"
    for noted, code in ((known, 0), (f"{told[0]['seq']}:{'0' * 64}", 1)):
        said = await cli(door.data, "audit-log", "--verify", "--service", "feedback", "--known", noted)
        assert said.code == code, said.out + said.err
