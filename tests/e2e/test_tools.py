"""Tools and policy that change while the mesh runs: no graph is touched, no service is started again."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from doors import Door, cli, ended, get, reasons, send, submit
from plimsoll_client import connect
from plimsoll_client.mesh import Mesh as Client
from plimsoll_client.models import ApprovalStatus, RunStatus
from plimsoll_devstack.mesh import Mesh
from plimsoll_runtime.errors import Denied
from plimsoll_runtime.json_types import JsonObject
from plimsoll_testkit.hostile_http import HostileHttp
from plimsoll_testkit.waiting import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.e2e, pytest.mark.xdist_group("mesh")]
_LIVE_S = 30.0

HOURS = """
category: clerk
tools:
  - name: clerk_opening_hours
    version: "1"
    description: Finds the opening hours of the shop in a city
    arguments: {type: object, required: [city], properties: {city: {type: string, enum: [Kiel, Bremen]}}}
    result: {type: object, required: [hours], properties: {hours: {type: string}}}
    effect: read_only
    risk: low
    timeout: 5s
"""
HOURS_CODE = """
async def clerk_opening_hours(arguments, context):
    return {"hours": "from 9 to 18 in " + arguments["city"]}
"""
TILL = """
category: till
tools:
  - name: refund_till
    version: "1"
    description: Pays money back
    arguments: {type: object, required: [amount_cents], properties: {amount_cents: {type: integer}}}
    result: {type: object, required: [paid_cents], properties: {paid_cents: {type: integer}}}
    effect: keyed
    risk: low
    timeout: 5s
"""
TILL_CODE = """
async def refund_till(arguments, context):
    return {"paid_cents": arguments["amount_cents"]}
"""
NOT_BREMEN = """
policy: closed
rules:
  - name: not-in-bremen
    tools: [clerk_opening_hours]
    when: arguments.city == "Bremen"
    then: deny
    message: nobody asks about Bremen
"""


DEPOT = """
source: depot
kind: openapi
document: depot.json
server: {url}
operations: {{findLostParcels: {{risk: low}}}}
networks: [127.0.0.1/32]
"""
DEPOT_DOCUMENT = """
{"openapi": "3.1.0", "paths": {"/echo": {"get": {"operationId": "findLostParcels", "parameters": [
  {"name": "depot", "in": "query", "required": true, "schema": {"type": "string"}}]}}}}
"""
LOST_PARCELS: JsonObject = {
    "name": "clerk_lost_parcels",
    "version": "1",
    "description": "Finds the lost parcels in a depot",
    "arguments": {"type": "object", "required": ["depot"], "properties": {"depot": {"type": "string", "enum": ["Kiel", "Bremen"]}}},
    "result": {"type": "object", "required": ["status", "body"]},
    "effect": "read_only",
    "risk": "low",
    "timeout": "5s",
    "source": {"kind": "http", "source": "depot", "tool": "findLostParcels"},
}


HURRIED = """
policy: hurried
rules:
  - name: decide-at-once
    tools: [refund_till]
    when: arguments.amount_cents == 5001
    then: approve
    message: decide at once
    approval: {quorum: 1, expires: 5s}
"""


@pytest.fixture
def beside(mesh: Mesh) -> Path:
    """The folder with the agents, the tools and the policies."""
    assert mesh.wanted.agents is not None
    return mesh.wanted.agents.parent


@pytest_asyncio.fixture(loop_scope="session")
async def ann(mesh: Mesh) -> AsyncIterator[Client]:
    async with connect(address=mesh.grpc_address, api_key=await key(mesh, "ann")) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="session")
async def bob(mesh: Mesh) -> AsyncIterator[Client]:
    async with connect(address=mesh.grpc_address, api_key=await key(mesh, "bob")) as opened:
        yield opened


async def key(mesh: Mesh, name: str) -> str:
    """A key of somebody else in the same tenant."""
    env = {**os.environ, "PLIMSOLL_GATEWAY_POSTGRES_DSN": mesh.servers.postgres.dsn("gateway")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "plimsoll_gateway", "keys", "create", "--tenant", "default", "--name", name, "--scopes", "operator"),
        env=env,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode().strip()


def put(beside: Path, name: str, declaration: str, code: str) -> None:
    """Add a tool file, the code first: a declaration without it is a mistake that is told."""
    (beside / "tools" / f"{name}.py").write_text(code)
    (beside / "tools" / f"{name}.yaml").write_text(declaration)


async def live(client: Client, tool: str) -> None:
    async def is_offered() -> bool:
        return any(found.name == tool for found in await client.tools.list())

    await eventually(is_offered, within_s=_LIVE_S)


async def calls(http: aiohttp.ClientSession, question: str) -> list[JsonObject]:
    """What the clerk called to answer."""
    run = await ended(http, await submit(http, "clerk", {"question": question}))
    assert run["status"] == "RUN_STATUS_SUCCEEDED", run
    output = run["output"]
    assert isinstance(output, dict)
    found = output["calls"]
    assert isinstance(found, list)
    return [call for call in found if isinstance(call, dict)]


async def test_an_agent_uses_a_tool_that_came_while_the_mesh_runs(
    mesh: Mesh, http: aiohttp.ClientSession, client: Client, beside: Path
) -> None:
    question, before = "What are the opening hours of the shop in Kiel?", mesh.pids
    assert await calls(http, question) == []
    put(beside, "clerk", HOURS, HOURS_CODE)
    await live(client, "clerk_opening_hours")
    first, *_ = await calls(http, question)
    assert (first["tool"], first["arguments"], first["ok"]) == ("clerk_opening_hours", {"city": "Kiel"}, True)
    assert first["content"] == {"hours": "from 9 to 18 in Kiel"}
    assert mesh.pids == before
    assert (await client.agents.get("clerk")).version == 1


async def test_an_agent_uses_a_tool_that_was_registered_over_rest_until_it_is_taken_away(
    mesh: Mesh, http: aiohttp.ClientSession, client: Client, beside: Path
) -> None:
    question, before, tool = "Find the lost parcels in the depot of Bremen", mesh.pids, str(LOST_PARCELS["name"])

    async def used() -> list[JsonObject]:
        return [call for call in await calls(http, question) if call["tool"] == tool]

    async def unused() -> bool:
        return not await used()

    async with HostileHttp().serving() as depot:
        sources = beside / "tools" / "sources"
        sources.mkdir(exist_ok=True)
        (sources / "depot.json").write_text(DEPOT_DOCUMENT)
        (sources / "depot.yaml").write_text(DEPOT.format(url=depot.url))
        await live(client, "depot_find_lost_parcels")
        assert await unused()
        registered = await send(http, "POST", "/v1/tools", {"tools": [LOST_PARCELS]})
        assert registered["warnings"] == []
        first, *_ = await eventually(used, within_s=_LIVE_S)
        assert (first["arguments"], first["ok"]) == ({"depot": "Bremen"}, True)
        assert {one.target for one in depot.received} == {"/echo?depot=Bremen"}
        await send(http, "DELETE", f"/v1/tools/{tool}")
        await eventually(unused, within_s=_LIVE_S)
        (sources / "depot.yaml").unlink()
    assert mesh.pids == before


async def test_a_policy_file_takes_effect_while_the_mesh_runs(
    mesh: Mesh, http: aiohttp.ClientSession, client: Client, beside: Path
) -> None:
    put(beside, "clerk", HOURS, HOURS_CODE)
    await live(client, "clerk_opening_hours")
    question, before = "What are the opening hours of the shop in Bremen?", mesh.pids

    async def is_denied() -> bool:
        first, *_ = await calls(http, question)
        content = first["content"]
        assert isinstance(content, dict)
        assert first["ok"] or (content["error"], content["message"]) == ("policy_denied", "nobody asks about Bremen")
        return not first["ok"]

    assert not await is_denied()
    policy = beside / "policies" / "closed.yaml"
    policy.write_text(NOT_BREMEN)
    try:
        await eventually(is_denied, within_s=_LIVE_S)
        [first, *_] = await calls(http, "What are the opening hours of the shop in Kiel?")
        assert first["ok"]
    finally:
        policy.unlink()

    async def is_allowed() -> bool:
        return not await is_denied()

    await eventually(is_allowed, within_s=_LIVE_S)
    assert mesh.pids == before


async def test_a_large_refund_takes_two_people_who_did_not_ask_for_it(
    http: aiohttp.ClientSession, client: Client, door: Door, beside: Path, ann: Client, bob: Client
) -> None:
    put(beside, "till", TILL, TILL_CODE)
    await live(client, "refund_till")
    run_id = await submit(http, "till", {"amount_cents": 150_000})

    async def asked() -> bool:
        return await reasons(http, run_id) == ["APPROVAL"]

    await eventually(asked, within_s=_LIVE_S)
    [question] = await client.approvals.list(status=ApprovalStatus.PENDING, run_id=run_id)
    assert (question.quorum, question.approved_by) == (2, ())
    assert question.proposal is not None
    assert "a refund of more than 1,000.00 takes two people who did not ask for it" in question.proposal.message
    with pytest.raises(Denied, match="asked for the run"):
        await client.approvals.approve(question.id)
    first = await ann.approvals.approve(question.id, comment="checked")
    assert (first.status, len(first.approved_by)) == (ApprovalStatus.PENDING, 1)
    assert (await ann.approvals.approve(question.id)).approved_by == first.approved_by
    said = await cli(door.data, "approvals", "show", question.id)
    assert "by 1 of 2" in said.out, said
    second = await bob.approvals.approve(question.id)
    assert (second.status, len(second.approved_by)) == (ApprovalStatus.APPROVED, 2)
    run = await ended(http, run_id)
    assert run["output"] == {"paid": 150_000, "problem": ""}


@pytest.mark.parametrize(("cents", "output"), [(5_000, {"paid": 5_000, "problem": ""}), (500_001, {"paid": 0, "problem": "policy_denied"})])
async def test_a_small_refund_needs_nobody_and_one_beyond_the_limit_is_refused(
    http: aiohttp.ClientSession, client: Client, beside: Path, cents: int, output: JsonObject
) -> None:
    put(beside, "till", TILL, TILL_CODE)
    await live(client, "refund_till")
    run = await ended(http, await submit(http, "till", {"amount_cents": cents}))
    assert run["output"] == output


async def test_an_approval_that_is_taken_back_before_the_call_stops_it(
    http: aiohttp.ClientSession, client: Client, beside: Path, ann: Client, bob: Client
) -> None:
    put(beside, "till", TILL, TILL_CODE)
    await live(client, "refund_till")
    run_id = await submit(http, "till", {"amount_cents": 150_000})

    async def asked() -> bool:
        return await reasons(http, run_id) == ["APPROVAL"]

    await eventually(asked, within_s=_LIVE_S)
    [question] = await client.approvals.list(status=ApprovalStatus.PENDING, run_id=run_id)
    await client.runs.pause(run_id)
    for person in (ann, bob):
        await person.approvals.approve(question.id)
    taken = await ann.approvals.reject(question.id, comment="I was wrong")
    assert taken.status is ApprovalStatus.REJECTED
    await client.runs.resume(run_id)
    run = await ended(http, run_id)
    assert run["output"] == {"paid": 0, "problem": "approval_rejected"}
    assert (await get(http, f"/v1/approvals?runId={run_id}"))["approvals"]


async def test_an_approval_whose_time_is_over_when_the_call_is_made_allows_nothing(
    http: aiohttp.ClientSession, client: Client, beside: Path
) -> None:
    put(beside, "till", TILL, TILL_CODE)
    await live(client, "refund_till")
    policy = beside / "policies" / "hurried.yaml"
    policy.write_text(HURRIED)
    try:

        async def asked() -> str:
            """A run that asks, once the policy is in force."""
            run_id = await submit(http, "till", {"amount_cents": 5_001})
            return run_id if await eventually(partial(settled, client, run_id), within_s=_LIVE_S) is RunStatus.WAITING else ""

        run_id = await eventually(asked, within_s=_LIVE_S)
        await client.runs.pause(run_id)
        [question] = await client.approvals.list(status=ApprovalStatus.PENDING, run_id=run_id)
        approved = await client.approvals.approve(question.id)
        assert approved.status is ApprovalStatus.APPROVED
        await eventually(lambda: datetime.now(UTC) > question.expires_at, within_s=10)
        await client.runs.resume(run_id)
        run = await ended(http, run_id)
        assert run["output"] == {"paid": 0, "problem": "policy_denied"}
    finally:
        policy.unlink()


async def settled(client: Client, run_id: str) -> RunStatus | None:
    """What a run came to: it waits, or has ended."""
    status = (await client.runs.get(run_id)).status
    return status if status is RunStatus.WAITING or status.is_final else None


async def test_a_call_that_a_person_puts_otherwise_is_asked_about_anew_and_made_so(
    http: aiohttp.ClientSession, client: Client, door: Door, beside: Path, ann: Client, bob: Client
) -> None:
    put(beside, "till", TILL, TILL_CODE)
    await live(client, "refund_till")
    run_id = await submit(http, "till", {"amount_cents": 150_000})

    async def asked() -> bool:
        return await reasons(http, run_id) == ["APPROVAL"]

    await eventually(asked, within_s=_LIVE_S)
    [question] = await client.approvals.list(status=ApprovalStatus.PENDING, run_id=run_id)
    said = await cli(door.data, "approvals", "edit", question.id, "--arguments", '{"amount_cents": 120000}')
    assert said.code == 0, said.err
    await eventually(asked, within_s=_LIVE_S)
    [edited] = await client.approvals.list(status=ApprovalStatus.PENDING, run_id=run_id)
    assert question.proposal is not None
    assert edited.proposal is not None
    assert edited.proposal.arguments == {"amount_cents": 120_000}
    assert edited.proposal.call_digest != question.proposal.call_digest
    for person in (ann, bob):
        await person.approvals.approve(edited.id)
    run = await ended(http, run_id)
    assert run["output"] == {"paid": 120_000, "problem": ""}
