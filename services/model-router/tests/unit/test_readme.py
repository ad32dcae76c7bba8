"""The README says what is so."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
from plimsoll.model_router.v1 import model_router_service_pb2
from plimsoll_model_router import errors
from plimsoll_model_router.adapters.postgres_calls import COMPLETED
from plimsoll_model_router.adapters.providers.rehearsal import FAULTS
from plimsoll_model_router.config import Settings
from plimsoll_runtime.settings import variables

PREFIX = "PLIMSOLL_MODEL_ROUTER_"


@pytest.fixture(scope="module")
def readme() -> str:
    return (Path(__file__).parents[2] / "README.md").read_text()


def test_it_lists_every_setting_of_its_own_or_that_must_be_set_and_none_that_is_gone(readme: str) -> None:
    mentioned = set(re.findall(r"`(PLIMSOLL_MODEL_ROUTER_\w+)`", readme))
    existing = {one.name: one.required for one in variables(Settings, PREFIX)}
    own = {PREFIX + one.name.upper() for one in fields(Settings) if one.metadata.get("group") is None}
    timers = {name for name in existing if name.startswith(f"{PREFIX}TIMER_")}
    assert mentioned <= set(existing)
    assert own | timers | {name for name, required in existing.items() if required} <= mentioned


def test_it_lists_every_rpc(readme: str) -> None:
    methods = model_router_service_pb2.DESCRIPTOR.services_by_name["ModelRouterService"].methods
    assert set(re.findall(r"^\| `([A-Z][A-Za-z]+)` \|", readme, re.MULTILINE)) == {method.name for method in methods}


def test_it_lists_every_subject_reason_and_fault(readme: str) -> None:
    assert set(re.findall(r"`(plimsoll\.v1\.[\w.]+)`", readme)) == {COMPLETED}
    reasons = {error.reason for error in vars(errors).values() if isinstance(error, type) and hasattr(error, "reason")}
    for name in {*(reason for reason in reasons if isinstance(reason, str)), *FAULTS} - {"INVALID", "NOT_FOUND", "CONFLICT"}:
        assert f"`{name}`" in readme
