"""The tests of monitors keep their promise however often one looks, and see a change soon."""

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_feedback.domain.sequential import Baseline, Bet, Watch, divergence, drifted, remaining, weight

ALPHA = 0.05


def coins(rng: random.Random, size: int, mean: float) -> list[float]:
    return [float(rng.random() < mean) for _ in range(size)]


@pytest.mark.parametrize("bound", [0.05, 0.3, 0.8])
def test_nobody_can_expect_to_win_when_nothing_moved(bound: float) -> None:
    """The expectation over every sequence of ten coins, exactly: a bet that may be looked at at any time."""
    for size in (1, 4, 10):
        expected = 0.0
        for path in itertools.product((0.0, 1.0), repeat=size):
            bet, chance = Bet(), 1.0
            for value in path:
                bet, chance = bet.seen(value, bound), chance * (bound if value else 1 - bound)
            expected += chance * bet.evidence
        assert expected == pytest.approx(1.0)


@given(mean=st.floats(0, 1), bound=st.floats(0.01, 0.99))
def test_values_that_are_no_coins_win_no_more_than_coins_of_their_mean(mean: float, bound: float) -> None:
    """One bet is straight in the value: a value is worth as much as the coin that shows 1 that often."""
    base = Bet().seen(0.0, bound)
    assert base.seen(mean, bound).evidence == pytest.approx(
        mean * base.seen(1.0, bound).evidence + (1 - mean) * base.seen(0.0, bound).evidence, rel=1e-6
    )


def test_looking_two_thousand_times_raises_no_more_false_alarms_than_promised() -> None:
    """Baseline and live from the same coin; a look after each of 2,000 observations."""
    rng = random.Random(7)
    alarms = 0
    for trial in range(120):
        mean = (0.02, 0.1, 0.3, 0.6)[trial % 4]
        alarms += drifted(coins(rng, 200, mean), coins(rng, 2000, mean), alpha=ALPHA, minimum=20) is not None
    assert alarms <= ALPHA * 120


def test_the_bound_of_a_baseline_is_broken_no_more_often_than_promised() -> None:
    rng = random.Random(11)
    broken = sum(Baseline(size=200, mean=sum(coins(rng, 200, 0.1)) / 200).bound(ALPHA) < 0.1 for _ in range(2000))
    assert broken <= ALPHA * 2000


@pytest.mark.parametrize("quiet", [0, 100, 2000])
@pytest.mark.parametrize(("before", "after", "within"), [(0.05, 0.5, 60), (0.1, 0.5, 80), (0.05, 0.4, 80)])
def test_a_change_is_seen_within_two_hundred_observations_whenever_it_comes(before: float, after: float, within: int, quiet: int) -> None:
    """At a false alarm in a hundred monitors for ever, baselines of 200."""
    rng = random.Random(13)
    delays = []
    for _ in range(20):
        live = coins(rng, quiet, before) + coins(rng, 400, after)
        seen = drifted(coins(rng, 200, before), live, alpha=0.01, minimum=20)
        delays.append(400 if seen is None else max(0, seen - quiet))
    assert sorted(delays)[10] <= within
    assert sorted(delays)[17] <= 200


def test_too_few_observations_say_nothing() -> None:
    assert drifted([0.0] * 200, [1.0] * 19, minimum=20) is None
    assert drifted([0.0] * 200, [1.0] * 20, minimum=20) == 20


def test_what_is_better_than_before_is_no_alarm() -> None:
    assert drifted([1.0, 0.0] * 100, [0.0] * 2000) is None


def test_a_baseline_of_the_worst_cannot_be_exceeded() -> None:
    assert drifted([1.0] * 200, [1.0] * 500) is None


@given(st.lists(st.floats(-3, 3), max_size=40))
def test_values_out_of_range_count_as_the_end_of_it(values: list[float]) -> None:
    watch = Watch.against(Baseline(size=50, mean=0.3), alpha=ALPHA, minimum=5)
    assert watch.seen(values) == watch.seen([min(1.0, max(0.0, value)) for value in values])
    assert math.isfinite(watch.seen(values).bet.evidence)


def test_the_parts_of_the_capital_add_up_to_one() -> None:
    assert remaining(0) == 1.0
    assert sum(weight(start) for start in range(1, 1001)) + remaining(1000) == pytest.approx(1.0)
    assert all(weight(start) > weight(start + 1) > 0 for start in range(1, 100))


@given(one=st.floats(0, 1), other=st.floats(0.001, 0.999))
def test_nothing_is_nearer_than_itself(one: float, other: float) -> None:
    assert divergence(one, other) >= -1e-12
    assert divergence(other, other) == pytest.approx(0, abs=1e-12)
