"""Retries: how long to wait, when to give up, and how many a failing upstream has to bear."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_runtime.retry import RetryBudget, RetryPolicy, retry_after_s
from plimsoll_testkit.clock import FakeClock

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
POLICY = RetryPolicy(attempts=4, first_s=0.2, most_s=10.0, most_asked_s=30.0)


@given(st.integers(1, 3), st.floats(0, 1, exclude_max=True))
def test_a_pause_is_anywhere_below_its_doubling_bound(made: int, drawn: float) -> None:
    assert POLICY.pause_s(made, left_s=1e9, draw=lambda: drawn) == pytest.approx(drawn * 0.2 * 2 ** (made - 1))


@given(st.integers(1, 2**40))
def test_a_pause_has_a_longest(made: int) -> None:
    policy = RetryPolicy(attempts=2**41, most_s=10.0)
    assert 0 <= (policy.pause_s(made, left_s=1e9, draw=lambda: 0.999) or 0) < 10.0


def test_the_last_attempt_is_the_last() -> None:
    assert POLICY.pause_s(4, left_s=1e9, draw=lambda: 0.5) is None
    assert RetryPolicy(attempts=1).pause_s(1, left_s=1e9, draw=lambda: 0.5) is None


def test_a_pause_that_would_outlast_the_deadline_is_not_begun() -> None:
    assert POLICY.pause_s(1, left_s=0.1, draw=lambda: 0.5) is None
    assert POLICY.pause_s(1, left_s=0.11, draw=lambda: 0.5) is not None
    assert POLICY.pause_s(1, left_s=-3.0, draw=lambda: 0.0) is None


def test_what_the_upstream_asks_for_is_waited_for_in_full() -> None:
    assert POLICY.pause_s(1, left_s=1e9, draw=lambda: 0.5, asked_s=7.0) == pytest.approx(7.1)
    assert POLICY.pause_s(1, left_s=5.0, draw=lambda: 0.5, asked_s=7.0) is None


def test_an_upstream_that_asks_for_an_hour_is_not_retried() -> None:
    assert POLICY.pause_s(1, left_s=1e9, draw=lambda: 0.5, asked_s=3600.0) is None


def test_a_negative_wish_is_none() -> None:
    assert POLICY.pause_s(1, left_s=1e9, draw=lambda: 0.5, asked_s=-5.0) == pytest.approx(0.1)


def test_an_upstream_that_always_fails_bears_a_fifth_more_and_no_storm(clock: FakeClock) -> None:
    budget, retries = RetryBudget(clock, share=0.2, least_per_s=1.0), 0
    for _ in range(1000 * 60):  # a thousand callers, one call a second each, three attempts wanted
        clock.advance(0.001)
        budget.note_call()
        retries += sum(budget.allows_retry() for _ in range(2))
    assert retries <= 0.2 * 60_000 + 60 + 10
    assert retries >= 0.2 * 60_000


def test_a_quiet_upstream_may_be_retried_too(clock: FakeClock) -> None:
    budget = RetryBudget(clock, share=0.2, least_per_s=1.0)
    for _ in range(30):
        clock.advance(3.0)
        budget.note_call()
        assert budget.allows_retry()
        assert budget.allows_retry()


def test_what_was_earned_in_good_times_does_not_pile_up(clock: FakeClock) -> None:
    budget = RetryBudget(clock, share=0.2, least_per_s=1.0, window_s=10.0)
    for _ in range(100_000):
        clock.advance(0.001)
        budget.note_call()
    clock.advance(300.0)
    assert sum(budget.allows_retry() for _ in range(10_000)) <= 11


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0),
        (" 3600 ", 3600.0),
        ("0", 0.0),
        ("Thu, 01 Jan 2026 12:00:30 GMT", 30.0),
        ("Thursday, 01-Jan-26 12:00:30 GMT", 30.0),
        ("Thu Jan  1 12:00:30 2026", 30.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        (None, None),
        ("Thu, 99 Jan 2026 12:00:30 GMT", None),
        ("٣", None),
        ("1e9", None),
    ],
)
def test_retry_after_is_understood_in_both_its_forms_and_in_no_other(text: str | None, seconds: float | None) -> None:
    assert retry_after_s(text, NOW) == seconds


@given(st.text())
def test_no_text_breaks_the_reader_of_retry_after(text: str) -> None:
    assert (retry_after_s(text, NOW) or 0) >= 0


@given(st.integers(0, 10**7))
def test_a_date_is_read_to_the_second(ahead: int) -> None:
    at = NOW + timedelta(seconds=ahead)
    assert retry_after_s(at.strftime("%a, %d %b %Y %H:%M:%S GMT"), NOW) == ahead
