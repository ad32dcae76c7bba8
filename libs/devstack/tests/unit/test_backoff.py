"""A part that keeps crashing is started less and less often, but for ever."""

from hypothesis import given
from hypothesis import strategies as st
from plimsoll_devstack.backoff import Backoff


@given(crashes=st.integers(min_value=1, max_value=10_000))
def test_waits_grow_to_a_limit(crashes: int) -> None:
    now, later = Backoff(crashes), Backoff(crashes).after_crash(ran_s=0.0)
    assert 0 < now.wait_s <= later.wait_s <= 15.0


def test_the_first_restart_is_quick() -> None:
    assert Backoff().after_crash(ran_s=0.0).wait_s <= 0.5


@given(crashes=st.integers(min_value=0, max_value=1000), ran_s=st.floats(min_value=30.0, max_value=1e9))
def test_a_part_that_ran_for_a_while_begins_anew(crashes: int, ran_s: float) -> None:
    assert Backoff(crashes).after_crash(ran_s=ran_s) == Backoff(1)
