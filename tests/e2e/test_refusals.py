"""Bad input: each with its reason, the same over REST, gRPC and the command line, and nothing half done."""

import os
from pathlib import Path

import aiohttp
import pytest
from doors import Door, cli, get
from plimsoll_client import connect
from plimsoll_client.mesh import Mesh as Client
from plimsoll_runtime.errors import Invalid, NotFound, Unauthenticated

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.e2e, pytest.mark.xdist_group("mesh")]
BAD_GRAPH = """agent: bad
input: {type: object}
state: {type: object, properties: {}}
start: one
nodes:
  one: {set: {x: "state.y +"}, next: nowhere}
"""


async def test_an_unknown_agent(http: aiohttp.ClientSession, client: Client, door: Door) -> None:
    async with http.post("/v1/agents/nobody/runs", json={"input": {}}) as response:
        assert (response.status, (await response.json())["reason"]) == (404, "AGENT_NOT_FOUND")
    with pytest.raises(NotFound) as refused:
        await client.runs.submit("nobody", {})
    assert refused.value.reason == "AGENT_NOT_FOUND"
    said = await cli(door.data, "run", "nobody", "--input", "-", stdin=b"hello")
    assert said.code == 3
    assert "nobody" in said.err


async def test_an_input_that_breaks_the_schema(http: aiohttp.ClientSession, client: Client, door: Door) -> None:
    before = await get(http, "/v1/runs?agent=canary&pageSize=1")
    async with http.post("/v1/agents/canary/runs", json={"input": {"canary": 5, "more": 1}}) as response:
        body = await response.json()
        assert (response.status, body["reason"]) == (400, "INVALID_INPUT")
        assert {violation["field"] for violation in body["violations"]} == {"input", "input.canary"}
    with pytest.raises(Invalid) as refused:
        await client.runs.submit("canary", {"canary": 5})
    assert [problem.field for problem in refused.value.problems] == ["input.canary"]
    said = await cli(door.data, "run", "canary", "--input", "-", stdin=b"not a canary")
    assert said.code == 2
    assert "input.canary" in said.err
    assert await get(http, "/v1/runs?agent=canary&pageSize=1") == before


async def test_a_graph_with_mistakes_is_refused_with_their_lines_and_changes_nothing(
    http: aiohttp.ClientSession, door: Door, tmp_path: Path
) -> None:
    async with http.post("/v1/agents", json={"source": BAD_GRAPH, "sourceName": "bad.yaml"}) as response:
        body = await response.json()
        assert (response.status, body["reason"]) == (400, "INVALID_GRAPH")
        assert {violation["field"] for violation in body["violations"]} == {
            "bad.yaml:6:15: nodes.one.set.x",
            "bad.yaml:6:28: nodes.one.set.x",
            "bad.yaml:6:32: nodes.one.next",
        }
    async with http.get("/v1/agents/bad") as response:
        assert response.status == 404
    (tmp_path / "agent.yaml").write_text("agent: [broken")
    said = await cli(door.data, "agents", "apply", str(tmp_path))
    assert said.code == 2
    assert "agent.yaml" in said.err


@pytest.mark.parametrize("key", ["", "plk_wrong", "plk_AAAAAAAAAAAA_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB"])
async def test_no_key_and_a_wrong_key(door: Door, key: str) -> None:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with aiohttp.ClientSession(door.url) as session, session.get("/v1/runs", headers=headers) as response:
        assert response.status == 401
        assert (await response.json())["code"] == "UNAUTHENTICATED"
    if key:
        async with connect(address=door.address, api_key=key) as client:
            with pytest.raises(Unauthenticated):
                await client.runs.list()


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "empty"), (os.urandom(4096), "binary"), (b"x" * (50 * 1024 * 1024), "MiB")],
    ids=["empty", "binary", "50 MB"],
)
async def test_a_file_that_cannot_be_an_input(door: Door, tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "input.txt"
    path.write_bytes(content)
    said = await cli(door.data, "run", "support", "--input", str(path))
    assert said.code == 2
    assert says in said.err
    assert str(path.name) in said.err


async def test_no_mesh_running(tmp_path: Path) -> None:
    said = await cli(tmp_path, "run", "support", "--input", "-", stdin=b"hello")
    assert said.code == 5
    assert "plimsoll up" in said.err


async def test_another_tenants_run_is_not_there(http: aiohttp.ClientSession) -> None:
    absent = "run_01ARZ3NDEKTSV4RRFFQ69G5FAV"
    for path in (f"/v1/runs/{absent}", f"/v1/runs/{absent}/events"):
        async with http.get(path) as response:
            assert (response.status, (await response.json())["reason"]) == (404, "RUN_NOT_FOUND")
