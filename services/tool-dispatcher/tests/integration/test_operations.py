"""What operators do while the service runs: tools, standings, policies, grants and unknown outcomes, over RPC and files."""

from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import orjson
import pytest
from plimsoll.common.v1 import failure_pb2, json_pb2
from plimsoll.tool_dispatcher.v1 import tool_dispatcher_service_pb2 as pb
from plimsoll.tool_dispatcher.v1 import tool_pb2
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.errors import Denied, Invalid, NotFound
from plimsoll_runtime.rpc_client import call
from plimsoll_testkit.waiting import eventually
from plimsoll_tool_dispatcher.config import Settings
from tool_dispatcher_running import Client, running

DENIED = failure_pb2.FAILURE_CATEGORY_POLICY_DENIED
UNKNOWN = failure_pb2.FAILURE_CATEGORY_OUTCOME_UNKNOWN

BREAKS = """
async def breaks(arguments, context):
    raise ConnectionError("lost")
"""


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "people.yaml").write_text('policy: people\nrules: [{name: ask, when: tool.risk == "high", then: approve}]\n')
    return folder


@pytest.fixture
async def client(settings: Settings, policies: Path, tools: Path) -> AsyncIterator[Client]:
    (tools / "breaks.yaml").write_text(
        'category: breaks\ntools:\n  - {name: breaks, version: "1", description: Breaks, arguments: {type: object}, '
        "result: {type: object}, effect: non_idempotent, risk: low, timeout: 5s}\n"
    )
    (tools / "breaks.py").write_text(BREAKS)
    async with running(replace(settings, policy_dirs=(str(policies),))) as client:
        yield client


async def ask(client: Client, method: str, request: object, *, tenant: str = "acme", principal: str = "ada") -> object:
    with acting_for(tenant, principal):
        return await call(getattr(client.stub, method), request, cap_s=60)  # type: ignore[arg-type]


async def versions(client: Client, name: str) -> pb.ListToolVersionsResponse:
    answer = await ask(client, "ListToolVersions", pb.ListToolVersionsRequest(name=name))
    assert isinstance(answer, pb.ListToolVersionsResponse)
    return answer


async def standing(client: Client, name: str, **decided: object) -> None:
    message = tool_pb2.ToolStanding(**decided)  # type: ignore[arg-type]
    await ask(client, "SetToolStanding", pb.SetToolStandingRequest(name=name, standing=message))


def entry(**changed: object) -> json_pb2.JsonValue:
    tool = {
        "name": "registered",
        "version": "1",
        "description": "Was registered by a call",
        "arguments": {"type": "object"},
        "result": {},
        "effect": "read_only",
        "risk": "low",
        "timeout": "5s",
        "source": {"kind": "http", "source": "crm", "tool": "find"},
    }
    return json_pb2.JsonValue(text=orjson.dumps(tool | changed).decode())


async def test_a_tool_is_registered_listed_called_and_taken_away_while_the_service_runs(client: Client) -> None:
    registered = await ask(client, "RegisterTools", pb.RegisterToolsRequest(tools=[entry()]))
    assert isinstance(registered, pb.RegisterToolsResponse)
    assert [(one.field, bool(one.problem and one.remedy)) for one in registered.warnings] == [("tools[0].source.source", True)]
    listed = await ask(client, "ListTools", pb.ListToolsRequest(names=["registered"]))
    assert isinstance(listed, pb.ListToolsResponse)
    [shown] = listed.tools
    assert (shown.origin, shown.shared) == ("api", False)
    response = await client.dispatch("registered", {})
    assert response.failure.reason == "SOURCE_GONE"  # nobody declared the source crm
    elsewhere = await client.dispatch("registered", {}, tenant="umbrella", run_id="run_2")
    assert elsewhere.failure.reason == "UNKNOWN_TOOL"
    await ask(client, "UnregisterTool", pb.UnregisterToolRequest(name="registered"))
    assert (await client.dispatch("registered", {}, key="key_2")).failure.category == failure_pb2.FAILURE_CATEGORY_UNKNOWN_TOOL
    assert len((await versions(client, "registered")).versions) == 1


async def test_mistakes_of_a_registration_are_told_with_their_fields(client: Client) -> None:
    with pytest.raises(Invalid) as caught:
        await ask(client, "RegisterTools", pb.RegisterToolsRequest(tools=[entry(), entry(effect="harmless", risk="none")]))
    assert caught.value.reason == "INVALID_TOOLS"
    assert {problem.field for problem in caught.value.problems} == {"tools[1].effect", "tools[1].risk"}


async def test_a_tool_is_disabled_for_the_own_tenant_and_enabled_again(client: Client, tmp_path: Path) -> None:
    note = {"note": str(tmp_path / "note")}
    await standing(client, "act_keyed", disabled=True)
    response = await client.dispatch("act_keyed", note)
    assert (response.failure.category, response.failure.reason) == (DENIED, "TOOL_DISABLED")
    assert (await client.dispatch("act_keyed", note, tenant="umbrella", run_id="run_2")).HasField("result")
    shown = await ask(client, "GetTool", pb.GetToolRequest(name="act_keyed"))
    assert isinstance(shown, pb.GetToolResponse)
    assert shown.tool.barred == "TOOL_DISABLED"
    await standing(client, "act_keyed")
    assert (await client.dispatch("act_keyed", note)).HasField("result")


async def test_a_definition_is_pinned_against_a_changed_file(client: Client, tools: Path, tmp_path: Path) -> None:
    [first] = (await versions(client, "act_keyed")).versions
    await standing(client, "act_keyed", pinned_digest=first.digest)
    declaration = tools / "acts.yaml"
    declaration.write_text(declaration.read_text().replace("required: [note], ", "required: [note, more], "))

    async def offered() -> bool:
        return len((await versions(client, "act_keyed")).versions) == 2

    await eventually(offered)
    note = {"note": str(tmp_path / "note")}
    assert (await client.dispatch("act_keyed", note)).HasField("result")
    assert (await client.dispatch("act_idempotent", note, key="key_3")).failure.category == failure_pb2.FAILURE_CATEGORY_INVALID_ARGUMENTS
    await standing(client, "act_keyed")
    response = await client.dispatch("act_keyed", note, key="key_2")
    assert response.failure.category == failure_pb2.FAILURE_CATEGORY_INVALID_ARGUMENTS


async def test_decisions_reach_the_other_replicas(client: Client, settings: Settings) -> None:
    async with running(settings) as other:
        await standing(client, "act_keyed", disabled=True)

        async def barred() -> bool:
            shown = await ask(other, "GetTool", pb.GetToolRequest(name="act_keyed"))
            assert isinstance(shown, pb.GetToolResponse)
            return shown.tool.barred == "TOOL_DISABLED"

        await eventually(barred)


async def test_a_policy_file_counts_while_the_service_runs(client: Client, policies: Path, tmp_path: Path) -> None:
    note = {"note": str(tmp_path / "note")}
    assert (await client.dispatch("act_keyed", note)).HasField("result")
    (policies / "freeze.yaml").write_text(
        'policy: freeze\nrules: [{name: no, tools: ["act_*"], when: "true", then: deny, message: frozen}]\n'
    )

    keys = (f"try_{number}" for number in count())

    async def frozen() -> bool:
        response = await client.dispatch("act_keyed", note, key=next(keys))
        return response.failure.reason == "POLICY_DENIED" and response.failure.message == "frozen"

    await eventually(frozen)
    assert (await client.dispatch("act_keyed", note)).recorded  # what happened has happened


async def test_a_proposal_says_what_it_takes_and_a_grant_can_be_taken_back(client: Client, tmp_path: Path) -> None:
    note = {"note": str(tmp_path / "note")}
    proposal = (await client.dispatch("act_risky", note)).approval_required
    assert (proposal.terms.quorum, proposal.terms.expires_in.ToSeconds()) == (1, 86400)
    assert len(proposal.policy_digest) == 64
    assert proposal.message == "rule people/ask"
    grant = tool_pb2.Grant(grant_id="apr_1", call_digest=proposal.call_digest, granted_by="ada")
    revoked = await ask(client, "RevokeGrant", pb.RevokeGrantRequest(grant_id="apr_1"))
    assert isinstance(revoked, pb.RevokeGrantResponse)
    assert revoked.revoked
    response = await client.dispatch("act_risky", note, grants=(grant,))
    assert (response.failure.category, response.failure.reason) == (DENIED, "GRANT_REVOKED")
    fresh = tool_pb2.Grant(grant_id="apr_2", call_digest=proposal.call_digest, granted_by="ada")
    assert (await client.dispatch("act_risky", note, grants=(fresh,))).HasField("result")


async def test_a_grant_out_of_time_is_refused_by_the_databases_clock(client: Client, tmp_path: Path) -> None:
    note = {"note": str(tmp_path / "note")}
    proposal = (await client.dispatch("act_risky", note)).approval_required
    grant = tool_pb2.Grant(grant_id="apr_1", call_digest=proposal.call_digest, granted_by="ada")
    grant.expire_time.FromJsonString("2026-01-01T00:00:00Z")
    response = await client.dispatch("act_risky", note, grants=(grant,))
    assert (response.failure.category, response.failure.reason) == (DENIED, "GRANT_EXPIRED")
    assert not (tmp_path / "note").exists()


async def test_an_unknown_outcome_is_left_to_a_person_who_settles_it(client: Client) -> None:
    response = await client.dispatch("breaks", {"a": 1})
    assert response.failure.category == UNKNOWN

    async def escalated() -> pb.UnknownCall | None:
        listed = await ask(client, "ListUnknownCalls", pb.ListUnknownCallsRequest())
        assert isinstance(listed, pb.ListUnknownCallsResponse)
        return next((one for one in listed.calls if one.escalated), None)

    doubt = await eventually(escalated)
    assert doubt is not None
    assert (doubt.call_id, doubt.tool, doubt.effective_arguments.text) == (response.call_id, "breaks", '{"a":1}')
    elsewhere = await ask(client, "ListUnknownCalls", pb.ListUnknownCallsRequest(), tenant="umbrella")
    assert elsewhere == pb.ListUnknownCallsResponse()
    with pytest.raises(NotFound):
        await ask(client, "ResolveCall", pb.ResolveCallRequest(call_id=doubt.call_id, not_acted=True), tenant="umbrella")
    with pytest.raises(Denied):  # nobody in particular
        await ask(client, "ResolveCall", pb.ResolveCallRequest(call_id=doubt.call_id, not_acted=True), principal="")
    with pytest.raises(Invalid):
        await ask(client, "ResolveCall", pb.ResolveCallRequest(call_id=doubt.call_id))
    result = json_pb2.JsonValue(text='{"paid":true}')
    await ask(client, "ResolveCall", pb.ResolveCallRequest(call_id=doubt.call_id, result=result))
    again = await client.dispatch("breaks", {"a": 1})
    assert (again.result.text, again.recorded) == ('{"paid":true}', True)
