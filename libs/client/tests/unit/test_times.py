"""Times and durations as people type them."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_client.cli.submitting import budget_in, concurrency_in
from plimsoll_client.errors import BadInput
from plimsoll_client.options import Budget
from plimsoll_client.times import moment_in, seconds_in

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("30s", 30), ("5m", 300), ("1h30m", 5400), ("2d", 172_800), ("1.5h", 5400), (" 10s ", 10)]
)
def test_a_duration_is_its_pieces_added_up(text: str, seconds: float):
    assert seconds_in(text, "--in") == seconds
    assert moment_in(text, "--at", NOW) == NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "5", "m", "5 m", "-5m", "1h-30m", "5w", "٥m", "1e3s", "tomorrow"])
def test_what_is_no_duration_is_refused_with_an_example(text: str):
    with pytest.raises(BadInput, match=r"--in.*1h30m"):
        seconds_in(text, "--in")


def test_a_time_without_a_zone_is_meant_in_the_readers_own():
    assert moment_in("2026-12-01T09:00:00Z", "--at", NOW) == datetime(2026, 12, 1, 9, tzinfo=UTC)
    assert moment_in("2026-12-01T09:00+02:00", "--at", NOW) == datetime(2026, 12, 1, 7, tzinfo=UTC)
    local = moment_in("2026-12-01 09:00", "--at", NOW)
    assert local.tzinfo is not None
    assert (local.hour, local.day) == (9, 1)


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_is_refused_by_the_option_that_it_was_given_to(text: str):
    try:
        assert moment_in(text, "--deadline", NOW).tzinfo is not None
    except BadInput as error:
        assert [problem.field for problem in error.problems] == ["--deadline"]  # noqa: PT017 - either outcome is right


def test_a_concurrency_key_may_have_a_limit():
    assert concurrency_in("") == ("", 0)
    assert concurrency_in("account-7") == ("account-7", 0)
    assert concurrency_in("account-7=2") == ("account-7", 2)
    assert concurrency_in("a=b=2") == ("a=b", 2)
    for text in ("=2", "a=", "a=x", "a=0", "a=-1", "a=٢"):
        with pytest.raises(BadInput, match="--concurrency"):
            concurrency_in(text)


def test_a_budget_has_each_limit_once():
    assert budget_in([]) == Budget()
    assert budget_in(["steps=20", "tokens=5000", "cost=0.05", "time=10m"]) == Budget(steps=20, tokens=5000, cost_micros=50_000, seconds=600)
    assert budget_in(["cost=$12"]).cost_micros == 12_000_000
    assert budget_in(["cost=.5"]).cost_micros == 500_000
    for piece in ("steps", "steps=x", "steps=-1", "money=1", "cost=1.2.3", "cost=0.0000001", "time=soon", "steps=٣"):
        with pytest.raises(BadInput, match="--budget"):
            budget_in([piece])
    with pytest.raises(BadInput, match="once at the most"):
        budget_in(["steps=1", "steps=2"])
