"""The README says what is so."""

import re
from pathlib import Path

import pytest
from plimsoll_feedback import errors
from plimsoll_feedback.transport.codec import SIGNAL_RECORDED
from plimsoll_feedback.transport.consumers import CONSUMER_LAG, CONSUMER_OLDEST, QUERYABLE_SECONDS, SOURCES
from plimsoll_feedback.transport.monitor_codec import ALERT_RAISED
from plimsoll_feedback.watching import EXPORTED_SPANS


@pytest.fixture(scope="module")
def readme() -> str:
    return (Path(__file__).parents[2] / "README.md").read_text()


def test_it_lists_every_subject(readme: str) -> None:
    assert set(re.findall(r"`(plimsoll\.v1\.[\w.]+)`", readme)) == {SIGNAL_RECORDED, ALERT_RAISED, *(source.subject for source in SOURCES)}


def test_it_lists_every_reason_and_metric(readme: str) -> None:
    reasons = {error.reason for error in vars(errors).values() if isinstance(error, type) and error.__module__ == errors.__name__}
    for name in {*reasons, CONSUMER_LAG, CONSUMER_OLDEST, QUERYABLE_SECONDS, f"{EXPORTED_SPANS}_total"}:
        assert f"`{name}`" in readme
