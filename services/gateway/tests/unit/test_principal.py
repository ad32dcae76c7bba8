"""What a key is, whom it stands for, and what it may do."""

from dataclasses import replace
from datetime import timedelta

import pytest
from gateway_fakes import key_record
from hypothesis import given
from hypothesis import strategies as st
from plimsoll.gateway.v1 import gateway_service_pb2
from plimsoll_gateway.domain.principal import PresentedKey, Principal, identify, key_digest, key_text, read_key
from plimsoll_gateway.domain.scopes import ANYBODY, FACADE, NEEDED, ROLES, Scope, scopes_named
from plimsoll_gateway.errors import ExpiredKey, RevokedKey, ScopeMissing, UnknownKey
from plimsoll_testkit.clock import FakeClock

KEY = key_text("key_01ARZ", "s" * 43)


def test_a_key_names_its_row_and_is_kept_as_a_digest_only():
    presented = read_key(KEY)
    assert KEY == "plk_01ARZ_" + "s" * 43
    assert presented == PresentedKey("key_01ARZ", key_digest(KEY))
    assert "s" * 43 not in str(presented)


@given(st.text() | st.from_regex(r"plk_[0-9A-Za-z]{0,50}_[0-9A-Za-z_-]{0,50}", fullmatch=True))
def test_a_text_is_a_key_or_is_not_and_never_breaks_anything(text: str):
    presented = read_key(text)
    assert presented is None or text.startswith(f"plk_{presented.key_id.removeprefix('key_')}_")


@pytest.mark.parametrize("broken", [KEY + "x", KEY[:-1], KEY.replace("plk", "plq"), KEY + "\n", " " + KEY, KEY.replace("s", "ß")])
def test_what_is_no_key_is_not_looked_up(broken: str):
    assert read_key(broken) is None


def test_the_right_key_stands_for_its_tenant_until_it_is_revoked_or_expires(clock: FakeClock):
    presented = read_key(KEY)
    assert presented is not None
    record = key_record("key_01ARZ", presented.digest, clock.now(), expires_at=clock.now() + timedelta(hours=1))
    principal = identify(presented, record, clock.now())
    assert principal == Principal(key_id="key_01ARZ", name="console", tenant="acme", scopes=ROLES["admin"])
    with pytest.raises(ExpiredKey):
        identify(presented, record, clock.now() + timedelta(hours=1))
    with pytest.raises(UnknownKey):
        identify(presented, None, clock.now())
    with pytest.raises(UnknownKey):
        identify(PresentedKey("key_01ARZ", bytes(32)), record, clock.now())


def test_the_first_key_of_all_may_also_do_what_became_possible_after_it_was_made(clock: FakeClock):
    presented = read_key(KEY)
    assert presented is not None
    old = replace(key_record("key_01ARZ", presented.digest, clock.now()), scopes=frozenset({Scope.RUNS_READ}))
    assert identify(presented, replace(old, created_by="bootstrap"), clock.now()).scopes == frozenset(Scope)
    assert identify(presented, old, clock.now()).scopes == {Scope.RUNS_READ}


def test_a_wrong_secret_never_learns_that_the_key_is_revoked(clock: FakeClock):
    presented = read_key(KEY)
    assert presented is not None

    record = replace(key_record("key_01ARZ", presented.digest, clock.now()), revoked_at=clock.now())
    with pytest.raises(UnknownKey):
        identify(PresentedKey("key_01ARZ", bytes(32)), record, clock.now())
    with pytest.raises(RevokedKey):
        identify(presented, record, clock.now())


def test_every_method_of_the_contract_needs_a_scope_that_exists():
    methods = {method.name for method in gateway_service_pb2.DESCRIPTOR.services_by_name["GatewayService"].methods}
    assert set(NEEDED) | ANYBODY == methods
    assert {"GetCaller"} == ANYBODY
    assert {*NEEDED.values(), *FACADE.values()} == set(Scope)


def test_a_method_that_the_table_lacks_is_open_to_nobody():
    principal = Principal(key_id="key_1", name="console", tenant="acme", scopes=ROLES["admin"])
    with pytest.raises(ScopeMissing):
        principal.must_have("DropEverything")


def test_roles_grow_from_viewer_to_operator_to_admin():
    assert ROLES["viewer"] < ROLES["operator"] < ROLES["admin"] == frozenset(Scope)
    assert all(scope.endswith(":read") for scope in ROLES["viewer"])


def test_whoever_operates_steers_runs_and_schedules_them_and_only_an_admin_decides_who_is_told_outside():
    for method in ("PauseRun", "ResumeRun", "SignalRun", "ForkRun", "RetryRun", "PutSchedule", "ReplayWebhookDelivery"):
        assert NEEDED[method] in ROLES["operator"] - ROLES["viewer"], method
    for method in ("PutWebhook", "DeleteWebhook", "RegisterAgent"):
        assert NEEDED[method] in ROLES["admin"] - ROLES["operator"], method
    for method in ("ExplainRun", "QueryRun", "GetThread", "CheckAgent", "ListSchedules", "ListWebhookDeliveries"):
        assert NEEDED[method] in ROLES["viewer"], method


def test_scopes_are_named_by_role_and_by_scope():
    assert scopes_named("viewer, runs:write") == ROLES["viewer"] | {Scope.RUNS_WRITE}
    for words in ("", ",", "root", "viewer,root"):
        with pytest.raises(ValueError, match="role"):
            scopes_named(words)
