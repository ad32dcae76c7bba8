"""Looking back: calls with what they were asked and answered, and the audit log, over RPC."""

import asyncpg
import orjson
import pytest
from plimsoll.common.v1 import audit_pb2, failure_pb2, json_pb2
from plimsoll.tool_dispatcher.v1 import tool_dispatcher_service_pb2 as pb
from plimsoll.tool_dispatcher.v1 import tool_pb2
from plimsoll_runtime.errors import Invalid, NotFound
from tool_dispatcher_running import Client

ENTRY = {
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


async def kept(client: Client, key: str = "key_1", tenant: str = "acme") -> pb.ToolCall:
    answer: pb.GetCallResponse = await client.ask("GetCall", pb.GetCallRequest(call_key=key), tenant=tenant)
    return answer.call


async def listed(client: Client, tenant: str = "acme", **asked: object) -> pb.ListCallsResponse:
    answer: pb.ListCallsResponse = await client.ask("ListCalls", pb.ListCallsRequest(**asked), tenant=tenant)  # type: ignore[arg-type]
    return answer


async def entries(client: Client, **asked: object) -> list[audit_pb2.AuditEntry]:
    answer = await client.ask("ListAuditEntries", pb.ListAuditEntriesRequest(**asked))  # type: ignore[arg-type]
    return list(answer.entries)


def told(entry: audit_pb2.AuditEntry) -> tuple[str, str, str]:
    return entry.actor, entry.action, entry.subject


@pytest.mark.parametrize("tool", ["act_read_only", "act_idempotent", "act_keyed", "act_non_idempotent"])
async def test_a_call_is_kept_with_what_it_was_asked_after_defaults_and_what_it_answered(
    client: Client, tmp_path: object, tool: str
) -> None:
    answered = await client.dispatch(tool, {"note": f"{tmp_path}/note"})
    call = await kept(client)
    assert (call.call_id, call.call_key, call.tool, call.attempts) == (answered.call_id, "key_1", tool, 1)
    assert orjson.loads(call.effective_arguments.text) == {"note": f"{tmp_path}/note", "times": 1}
    assert orjson.loads(call.result.text) == {"acted": "key_1"}
    assert call.state == pb.CALL_STATE_SUCCEEDED
    assert call.effect == tool_pb2.EffectClass.Value("EFFECT_CLASS_" + tool.removeprefix("act_").upper())
    assert (call.work.run_id, call.work.step, call.work.agent, call.work.epoch) == ("run_1", 3, "support", 1)
    assert call.policy_digest
    assert call.call_digest
    assert call.start_time.ToDatetime() <= call.finish_time.ToDatetime()


async def test_a_call_that_failed_is_kept_with_its_failure(client: Client, tmp_path: object) -> None:
    await client.dispatch("act_keyed", {"note": f"{tmp_path}/there/is/no/folder"})
    call = await kept(client)
    assert call.state == pb.CALL_STATE_FAILED
    assert call.failure.category == failure_pb2.FAILURE_CATEGORY_TOOL_ERROR
    assert not call.HasField("result")


async def test_a_call_of_another_tenant_or_one_refused_before_it_began_is_not_there(client: Client, tmp_path: object) -> None:
    await client.dispatch("act_keyed", {"note": f"{tmp_path}/note"})
    await client.dispatch("act_keyed", {"wrong": 1}, key="key_2")
    for key, tenant in (("key_1", "umbrella"), ("key_2", "acme"), ("", "acme")):
        with pytest.raises(NotFound) as caught:
            await kept(client, key, tenant)
        assert caught.value.reason == "CALL_NOT_FOUND"
    assert not (await listed(client, "umbrella", run_id="run_1")).calls
    assert not (await listed(client, "umbrella", call_keys=["key_1"])).calls


async def test_the_calls_of_a_run_come_oldest_first_page_by_page(client: Client, tmp_path: object) -> None:
    for number in range(5):
        await client.dispatch(("act_read_only", "act_keyed")[number % 2], {"note": f"{tmp_path}/note"}, key=f"key_{number}")
    await client.dispatch("act_keyed", {"note": f"{tmp_path}/note"}, key="other", run_id="run_2")
    seen, token = [], ""
    while True:
        page = await listed(client, run_id="run_1", page_size=2, page_token=token)
        seen += [call.call_key for call in page.calls]
        token = page.next_page_token
        if not token:
            break
    assert seen == [f"key_{number}" for number in range(5)]
    picked = await listed(client, call_keys=["other", "key_3", "nothing"])
    assert {call.call_key for call in picked.calls} == {"key_3", "other"}


@pytest.mark.parametrize("asked", [{}, {"run_id": "run_1", "call_keys": ["a"]}, {"call_keys": ["a"] * 201}])
async def test_a_look_up_that_does_not_say_which_calls_is_refused_with_a_remedy(client: Client, asked: dict[str, object]) -> None:
    with pytest.raises(Invalid) as caught:
        await listed(client, **asked)
    assert caught.value.reason == "INVALID_LOOKUP"
    assert "send run_id, or 1 to 200 call_keys" in str(caught.value.problems[0])


async def test_large_calls_come_in_shorter_pages_and_none_is_left_out(client: Client, postgres_dsn: str, tmp_path: object) -> None:
    for number in range(3):
        await client.dispatch("act_keyed", {"note": f"{tmp_path}/note"}, key=f"key_{number}")
    connection = await asyncpg.connect(postgres_dsn)
    await connection.execute("update tool_dispatcher.calls set result = to_json(repeat('x', 6000000))")
    await connection.close()
    seen, token, pages = [], "", 0
    while True:
        page = await listed(client, run_id="run_1", page_token=token)
        seen += [call.call_key for call in page.calls]
        token, pages = page.next_page_token, pages + 1
        if not token:
            break
    assert (seen, pages) == (["key_0", "key_1", "key_2"], 3)


async def test_deeds_of_people_are_in_the_audit_log(client: Client) -> None:
    await client.ask("RegisterTools", pb.RegisterToolsRequest(tools=[json_pb2.JsonValue(text=orjson.dumps(ENTRY).decode())]))
    await client.ask(
        "SetToolStanding", pb.SetToolStandingRequest(name="registered", standing=tool_pb2.ToolStanding(disabled=True)), principal="bob"
    )
    await client.ask("UnregisterTool", pb.UnregisterToolRequest(name="registered"))
    await client.ask("RevokeGrant", pb.RevokeGrantRequest(grant_id="apr_9"), principal="eve")
    found = await entries(client)
    assert [told(entry) for entry in reversed(found)] == [
        ("ada", "tool.registered", "tool:registered"),
        ("bob", "tool.decided", "tool:registered"),
        ("ada", "tool.unregistered", "tool:registered"),
        ("eve", "grant.revoked", "grant:apr_9"),
    ]
    assert orjson.loads(found[2].details.text)["disabled"] is True
    assert [told(entry)[0] for entry in await entries(client, subject="tool:registered", action="tool.decided")] == ["bob"]
    first = await client.ask("ListAuditEntries", pb.ListAuditEntriesRequest(page_size=3))
    rest = await client.ask("ListAuditEntries", pb.ListAuditEntriesRequest(page_size=3, page_token=first.next_page_token))
    assert [entry.seq for page in (first, rest) for entry in page.entries] == [4, 3, 2, 1]
    assert not rest.next_page_token


async def test_a_spent_grant_and_a_denial_are_in_the_audit_log_without_their_arguments(client: Client, tmp_path: object) -> None:
    asked = await client.dispatch("act_risky", {"note": f"{tmp_path}/secret"})
    grant = tool_pb2.Grant(grant_id="apr_1", call_digest=asked.approval_required.call_digest, granted_by="bob")
    await client.dispatch("act_risky", {"note": f"{tmp_path}/secret"}, grants=(grant,))
    await client.dispatch("act_risky", {"note": f"{tmp_path}/secret"}, grants=(grant,))  # a repeat spends nothing
    again = await client.dispatch("act_risky", {"note": f"{tmp_path}/secret"}, key="key_2")
    expired = tool_pb2.Grant(
        grant_id="apr_2", call_digest=again.approval_required.call_digest, granted_by="bob", expire_time={"seconds": 1}
    )
    denied = await client.dispatch("act_risky", {"note": f"{tmp_path}/secret"}, key="key_2", grants=(expired,))
    assert denied.failure.reason == "GRANT_EXPIRED"
    found = await entries(client)
    assert [told(entry) for entry in found] == [
        ("agent:support", "call.denied", "tool:act_risky"),
        ("agent:support", "grant.spent", "grant:apr_1"),
    ]
    assert orjson.loads(found[0].details.text)["reason"] == "GRANT_EXPIRED"
    assert orjson.loads(found[1].details.text)["approved_by"] == ["bob"]
    assert "secret" not in str(found)


async def test_the_audit_log_is_verified_and_tampering_is_found(client: Client, postgres_dsn: str) -> None:
    for grant in ("apr_1", "apr_2", "apr_3"):
        await client.ask("RevokeGrant", pb.RevokeGrantRequest(grant_id=grant))
    verdict = (await client.ask("VerifyAudit", pb.VerifyAuditRequest())).verdict
    assert (verdict.intact, verdict.entries) == (True, 3)
    again = pb.VerifyAuditRequest(known_seq=verdict.entries, known_hash=verdict.head_hash)
    assert (await client.ask("VerifyAudit", again)).verdict.intact
    connection = await asyncpg.connect(postgres_dsn, server_settings={"search_path": "tool_dispatcher"})
    await connection.execute(
        "alter table audit_log disable trigger user; alter table audit_log no force row level security;"
        "update audit_log set actor = 'nobody' where seq = 2; alter table audit_log force row level security"
    )
    await connection.close()
    verdict = (await client.ask("VerifyAudit", pb.VerifyAuditRequest())).verdict
    assert (verdict.intact, verdict.broken_at, verdict.problem) == (False, 2, "was changed")
    assert (await client.ask("VerifyAudit", pb.VerifyAuditRequest(), tenant="umbrella")).verdict.intact
    with pytest.raises(Invalid):
        await client.ask("ListAuditEntries", pb.ListAuditEntriesRequest(page_token="nonsense"))
