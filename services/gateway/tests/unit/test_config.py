"""Settings that cannot work together are refused before anything starts."""

import pytest
from plimsoll_gateway.config import PREFIX, Settings
from plimsoll_runtime.settings import InvalidSettings, load

GOOD = {
    "INSECURE": "true",
    "POSTGRES_DSN": "postgresql://x",
    "REDIS_URL": "redis://x",
    **{f"{peer}_ADDRESS": "127.0.0.1:1" for peer in ("ORCHESTRATOR", "TOOL_DISPATCHER", "MODEL_ROUTER", "MEMORY", "FEEDBACK")},
}


def loaded(**changes: str) -> Settings:
    return load(Settings, PREFIX, {PREFIX + name: value for name, value in (GOOD | changes).items()})


def test_defaults_are_those_of_the_readme():
    settings = loaded()
    assert (settings.http.body_bytes, settings.bound.requests, settings.bootstrap_tenant) == (8 * 1024 * 1024, 512, "default")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"HTTP_BODY_MIB": "0"}, "HTTP_BODY_MIB must be at least 1"),
        ({"HTTP_HEARTBEAT_S": "0"}, "must be positive"),
        ({"BOUND_STREAMS": "0"}, "must be at least 1"),
        ({"HTTP_BODY_MIB": "200"}, "BOUND_BODIES_MIB must be at least HTTP_BODY_MIB"),
        ({"LIMIT_TENANTS": "acme"}, "'acme' is not tenant=count"),
        ({"LIMIT_TENANTS": "acme=0"}, "must be at least 1"),
        ({"LIMIT_REPLICAS": "0"}, "must be positive"),
        ({"BACKLOG_AGE_S": "0"}, "must be positive"),
        ({"JWT_ISSUER": "http://id.example"}, "must be an https address"),
        ({"JWT_ISSUER": "https://id.example"}, "JWT_AUDIENCE must be set"),
        ({"HTTP_BODY_KIB": "1"}, "PLIMSOLL_GATEWAY_HTTP_BODY_KIB: is not a setting"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, str], says: str):
    with pytest.raises(InvalidSettings, match=says):
        loaded(**changes)


def test_every_missing_setting_is_named_at_once():
    with pytest.raises(InvalidSettings) as caught:
        load(Settings, PREFIX, {})
    assert {problem.field for problem in caught.value.problems} >= {f"{PREFIX}POSTGRES_DSN", f"{PREFIX}MEMORY_ADDRESS"}
