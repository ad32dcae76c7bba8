"""Settings."""

import pytest
from plimsoll_runtime.settings import InvalidSettings, load
from plimsoll_tool_dispatcher.config import Settings

PREFIX = "PLIMSOLL_TOOL_DISPATCHER_"
LEAST = {
    f"{PREFIX}POSTGRES_DSN": "postgresql://h/d",
    f"{PREFIX}NATS_URL": "nats://h",
    f"{PREFIX}REDIS_URL": "redis://h",
    f"{PREFIX}INSECURE": "true",
}


def test_the_least_that_must_be_set_is_enough() -> None:
    settings = load(Settings, PREFIX, LEAST)
    assert (settings.tool_dirs, settings.credentials_dir, settings.lease_s) == ((), "", 10.0)


def test_tool_directories_are_a_list() -> None:
    settings = load(Settings, PREFIX, LEAST | {f"{PREFIX}TOOL_DIRS": "/agents/*/tools,/more"})
    assert settings.tool_dirs == ("/agents/*/tools", "/more")


def test_every_value_out_of_bounds_is_told() -> None:
    wrong = {f"{PREFIX}SCAN_S": "0", f"{PREFIX}LEASE_S": "0", f"{PREFIX}WORKER_MEMORY_MIB": "1", f"{PREFIX}RESULT_KIB": "9999999"}
    with pytest.raises(InvalidSettings) as caught:
        load(Settings, PREFIX, LEAST | wrong)
    told = str(caught.value)
    assert all(name in told for name in ("SCAN_S", "LEASE_S", "WORKER_MEMORY_MIB", "RESULT_KIB"))
