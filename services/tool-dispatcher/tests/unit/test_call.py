"""The digests by which calls are told apart."""

from dataclasses import replace

import pytest
from plimsoll_runtime.json_types import JsonObject
from plimsoll_runtime.work import WorkContext
from plimsoll_tool_dispatcher.domain.call import propose
from plimsoll_tool_dispatcher.domain.effects import EffectClass
from plimsoll_tool_dispatcher.domain.tool import FixedAnswer, OtherTool, Risk
from tool_dispatcher_samples import call, grant_for, reservation, tool

ARGUMENTS: JsonObject = {"id": 7, "note": "über", "nested": {"b": 1, "a": [1, 2]}}


def test_the_call_digest_is_the_same_on_every_machine() -> None:
    digest = propose(call(), "d1", {"id": 7}).call_digest
    assert digest == "991c6ddf4dc29468683544f10c696eb0db75b0c0bb08a498169bbfc2a288cb5c"


def test_the_order_of_keys_does_not_change_the_digest() -> None:
    turned: JsonObject = {"nested": {"a": [1, 2], "b": 1}, "note": "über", "id": 7}
    assert propose(call(), "d1", ARGUMENTS).call_digest == propose(call(), "d1", turned).call_digest


@pytest.mark.parametrize(
    ("other", "tool_digest", "arguments"),
    [
        (call(tenant="umbrella"), "d1", {"id": 7}),
        (call(run_id="run_2"), "d1", {"id": 7}),
        (call("key_2"), "d1", {"id": 7}),
        (call(), "d2", {"id": 7}),
        (call(), "d1", {"id": 8}),
        (call(), "d1", {"id": "7"}),
        (call(), "d1", {"id": 7, "more": None}),
    ],
)
def test_everything_that_a_grant_binds_changes_the_digest(other: object, tool_digest: str, arguments: JsonObject) -> None:
    assert propose(other, tool_digest, arguments).call_digest != propose(call(), "d1", {"id": 7}).call_digest  # type: ignore[arg-type]


@pytest.mark.parametrize(("policy", "credentials"), [("p2", "c1"), ("p1", "c2")])
def test_rules_and_credentials_are_bound_as_well(policy: str, credentials: str) -> None:
    def bound(policy: str, credentials: str) -> str:
        return propose(call(), "d1", {"id": 7}, policy=policy, credentials=credentials).call_digest

    assert bound(policy, credentials) != bound("p1", "c1")


def test_a_number_is_what_it_is_worth_and_text_is_what_it_is() -> None:
    def digest(value: float | str) -> str:
        return propose(call(), "d1", {"amount": value}).call_digest

    assert digest(1) == digest(1.0)
    assert digest(40) != digest("40")
    assert digest(2**53) != digest(2**53 + 1)
    assert digest("\u00e9") != digest("e\u0301")  # composed and decomposed: two texts


def test_the_request_digest_tells_requests_apart_and_ignores_who_repeats_them() -> None:
    asked = call()
    later = replace(asked, work=WorkContext(run_id="run_1", step=9, epoch=7), grants=())
    assert asked.request_digest == later.request_digest
    assert asked.request_digest != call(arguments={"id": 8}).request_digest
    assert asked.request_digest != call(name="another").request_digest


def test_only_a_read_that_nobody_has_to_allow_and_nothing_that_acts_stands_in_for_needs_no_reservation() -> None:
    assert reservation(one=tool(EffectClass.READ_ONLY)).needs_none
    assert reservation(one=tool(EffectClass.READ_ONLY, fallback=FixedAnswer(value=1))).needs_none
    assert not reservation(one=tool(EffectClass.READ_ONLY, fallback=OtherTool(name="other"))).needs_none
    assert not reservation(one=tool(EffectClass.READ_ONLY, risk=Risk.HIGH)).needs_none
    assert not grant_for(reservation(one=tool(EffectClass.READ_ONLY, risk=Risk.HIGH))).needs_none
    assert not any(reservation(one=tool(effect)).needs_none for effect in EffectClass if effect is not EffectClass.READ_ONLY)
