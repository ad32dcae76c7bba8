"""proto ↔ domain."""

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll.common.v1 import failure_pb2, json_pb2, work_pb2
from plimsoll.tool_dispatcher.v1 import tool_dispatcher_service_pb2 as pb
from plimsoll.tool_dispatcher.v1 import tool_events_pb2, tool_pb2
from plimsoll_runtime.context import Caller
from plimsoll_runtime.errors import Invalid
from plimsoll_tool_dispatcher.domain.call import ApprovalRequired, Degraded, Failed, Grant, Report, Succeeded, propose
from plimsoll_tool_dispatcher.domain.effects import EffectClass
from plimsoll_tool_dispatcher.domain.policy import Terms
from plimsoll_tool_dispatcher.domain.registry import Bar, Barred
from plimsoll_tool_dispatcher.domain.tool import Risk
from plimsoll_tool_dispatcher.transport.codec import CALL_COMPLETED, call_completed, call_from_proto, report_to_proto, tool_to_proto
from tool_dispatcher_samples import ACME, NOON, call, completed, failure, tool

CALLER = Caller(service="orchestrator", tenant=ACME, principal="ada")


def request(arguments: str) -> pb.DispatchRequest:
    return pb.DispatchRequest(
        call_key="key_1",
        tool="look_up",
        arguments=json_pb2.JsonValue(text=arguments),
        work=work_pb2.WorkContext(run_id="run_1", step=3, node="look", agent="support", agent_version="v1", epoch=1),
        grants=[tool_pb2.Grant(grant_id="apr_1", call_digest="d", granted_by="ada")],
    )


def test_a_request_becomes_a_call() -> None:
    asked = call_from_proto(request('{"id":7}'), CALLER, 100)
    wanted = replace(call(grants=(Grant(id="apr_1", call_digest="d", granted_by="ada"),)), arguments_chars=8)
    assert asked == replace(wanted, service="orchestrator", principal="ada")


def test_the_callers_word_that_a_call_is_the_first_arrives() -> None:
    told = request("{}")
    told.first = True
    assert [call_from_proto(one, CALLER, 100).first for one in (told, request("{}"))] == [True, False]


def test_no_arguments_are_no_arguments() -> None:
    assert call_from_proto(request(""), CALLER, 100).arguments == {}


def test_arguments_over_the_limit_are_not_read() -> None:
    asked = call_from_proto(request("[" * 1000), CALLER, 100)
    assert (asked.arguments, asked.arguments_chars) == (None, 1000)


@pytest.mark.parametrize(
    "text", ["{", "nonsense", '{"a":NaN}', "[" * 5000 + "]" * 5000, '"\ud800"'.encode("utf-8", "replace").decode() + "x"]
)
def test_arguments_that_are_not_json_are_refused_with_their_field(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        call_from_proto(request(text), CALLER, 100_000)
    assert caught.value.problems[0].field == "arguments"


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(Invalid):
        call_from_proto(request(text), CALLER, 100_000)


def test_a_result_goes_out_as_json() -> None:
    report = Report(outcome=Succeeded(result={"found": None}), call_id="call_1", recorded=True, attempts=2, duration_s=1.5)
    response = report_to_proto(report)
    assert (response.WhichOneof("outcome"), response.result.text) == ("result", '{"found":null}')
    assert (response.call_id, response.recorded, response.attempts, response.duration.ToMilliseconds()) == ("call_1", True, 2, 1500)


def test_a_failure_goes_out_whole() -> None:
    response = report_to_proto(Report(outcome=Failed(failure=failure()), call_id="call_1"))
    assert response.failure.category == failure_pb2.FAILURE_CATEGORY_UPSTREAM_REJECTED
    assert (response.failure.reason, response.failure.retry_after.ToMilliseconds()) == ("SOLD_OUT", 2500)
    assert not response.unsettled
    assert report_to_proto(Report(outcome=Failed(failure=failure(), unsettled=True), call_id="call_1")).unsettled


def test_a_proposal_goes_out_in_canonical_form() -> None:
    proposal = propose(call(), "d1", {"b": 1.0, "a": "ü"})
    response = report_to_proto(Report(outcome=ApprovalRequired(proposal=proposal), call_id="call_1"))
    assert response.approval_required.effective_arguments.text == '{"a":"ü","b":1}'
    assert response.approval_required.call_digest == proposal.call_digest


@pytest.mark.parametrize("effect", list(EffectClass))
@pytest.mark.parametrize("risk", list(Risk))
def test_a_tool_goes_out_with_all_that_a_caller_may_know(effect: EffectClass, risk: Risk) -> None:
    shown = tool_to_proto(tool(effect, risk=risk, timeout_s=2.5))
    assert tool_pb2.EffectClass.Name(shown.effect) == f"EFFECT_CLASS_{effect.name}"
    assert tool_pb2.Risk.Name(shown.risk) == f"RISK_{risk.name}"
    assert (shown.name, shown.digest, shown.timeout.ToMilliseconds()) == ("look_up", tool(effect, risk=risk, timeout_s=2.5).digest, 2500)
    assert '"minimum":1' in shown.arguments_schema.text


def test_a_completed_call_is_announced_under_its_event_id() -> None:
    event = call_completed(completed(Failed(failure=failure()), "evt_9"))
    assert (event.event_id, event.subject, event.tenant) == ("evt_9", CALL_COMPLETED, ACME)
    message = tool_events_pb2.ToolCallCompleted.FromString(event.payload)
    assert (message.event_id, message.tenant, message.call_id, message.call_key) == ("evt_9", ACME, "call_1", "key_1")
    assert (message.work.run_id, message.work.epoch, message.tool, message.attempts) == ("run_1", 1, "look_up", 2)
    assert message.failure.reason == "SOLD_OUT"


def test_a_completed_call_that_succeeded_has_no_failure() -> None:
    event = call_completed(completed(Succeeded(result=1)))
    assert not tool_events_pb2.ToolCallCompleted.FromString(event.payload).HasField("failure")


def test_a_grant_carries_who_approved_who_asked_and_until_when() -> None:
    message = tool_pb2.Grant(grant_id="apr_1", call_digest="d", granted_by="ada", approved_by=["bob"], requested_by="eve")
    message.expire_time.FromJsonString("2026-01-01T12:00:00Z")
    asked = request("{}")
    asked.ClearField("grants")
    asked.grants.append(message)
    [grant] = call_from_proto(asked, CALLER, 100).grants
    assert (grant.approvers, grant.requested_by, grant.expires_at) == ({"ada", "bob"}, "eve", NOON)


def test_a_degraded_result_says_so() -> None:
    instead = Succeeded(result={"found": False}, degraded=Degraded(by="cached", failure=failure(), age_s=12.5))
    response = report_to_proto(Report(outcome=instead, call_id="call_1"))
    assert (response.result.text, response.degraded.by, response.degraded.age.ToMilliseconds()) == ('{"found":false}', "cached", 12500)
    assert response.degraded.failure.reason == "SOLD_OUT"
    assert not report_to_proto(Report(outcome=Succeeded(result=1), call_id="call_1")).HasField("degraded")


def test_a_proposal_says_what_an_approval_takes() -> None:
    terms = Terms(quorum=2, four_eyes=True, expires_s=60.0)
    proposal = propose(call(), "d1", {"id": 7}, policy="p", credentials="c", terms=terms, message="two people")
    shown = report_to_proto(Report(outcome=ApprovalRequired(proposal=proposal), call_id="call_1")).approval_required
    assert (shown.terms.quorum, shown.terms.four_eyes, shown.terms.expires_in.ToSeconds()) == (2, True, 60)
    assert (shown.policy_digest, shown.credential_version, shown.message) == ("p", "c", "two people")


def test_the_announcement_carries_what_was_decided() -> None:
    one = replace(
        completed(Succeeded(result=1)), effect=EffectClass.KEYED, policy="p", rules=("a", "b"), approved_by=("ada",), degraded="fixed"
    )
    message = tool_events_pb2.ToolCallCompleted.FromString(call_completed(one).payload)
    assert (message.policy_digest, list(message.policy_rules), list(message.approved_by)) == ("p", ["a", "b"], ["ada"])
    assert (message.effect, message.degraded_by) == (tool_pb2.EFFECT_CLASS_KEYED, "fixed")


def test_a_tool_that_does_not_run_says_why() -> None:
    assert tool_to_proto(Barred(tool=tool(), bar=Bar.QUARANTINED)).barred == "TOOL_QUARANTINED"
    assert tool_to_proto(tool(labels=("reads:private",))).labels == ["reads:private"]
