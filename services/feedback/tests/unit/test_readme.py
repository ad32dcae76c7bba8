"""The README says what is so."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
from plimsoll.feedback.v1 import feedback_service_pb2
from plimsoll_feedback import errors
from plimsoll_feedback.config import Settings
from plimsoll_feedback.transport.codec import SIGNAL_RECORDED
from plimsoll_feedback.transport.consumers import CONSUMER_LAG, CONSUMER_OLDEST, QUERYABLE_SECONDS, SOURCES
from plimsoll_runtime.settings import variables

PREFIX = "PLIMSOLL_FEEDBACK_"


@pytest.fixture(scope="module")
def readme() -> str:
    return (Path(__file__).parents[2] / "README.md").read_text()


def test_it_lists_every_setting_of_its_own_or_that_must_be_set_and_none_that_is_gone(readme: str) -> None:
    mentioned = set(re.findall(r"`(PLIMSOLL_FEEDBACK_\w+)`", readme))
    existing = {one.name: one.required for one in variables(Settings, PREFIX)}
    own = {PREFIX + one.name.upper() for one in fields(Settings) if one.metadata.get("group") is None}
    assert mentioned <= set(existing)
    assert own | {name for name, required in existing.items() if required} <= mentioned


def test_it_lists_every_rpc(readme: str) -> None:
    methods = feedback_service_pb2.DESCRIPTOR.services_by_name["FeedbackService"].methods
    assert set(re.findall(r"^\| `([A-Z][A-Za-z]+)` \|", readme, re.MULTILINE)) == {method.name for method in methods}


def test_it_lists_every_subject(readme: str) -> None:
    assert set(re.findall(r"`(plimsoll\.v1\.[\w.]+)`", readme)) == {SIGNAL_RECORDED, *(source.subject for source in SOURCES)}


def test_it_lists_every_reason_and_metric(readme: str) -> None:
    reasons = {error.reason for error in vars(errors).values() if isinstance(error, type) and error.__module__ == errors.__name__}
    for name in {*reasons, CONSUMER_LAG, CONSUMER_OLDEST, QUERYABLE_SECONDS}:
        assert f"`{name}`" in readme
