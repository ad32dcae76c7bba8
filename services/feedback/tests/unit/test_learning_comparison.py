"""When a candidate passes: paired statistics, slices that may not get worse, and everything that leaves it open."""

import math
from dataclasses import replace

import pytest
from feedback_learning_samples import NOON
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from plimsoll.feedback.v1 import evaluation_service_pb2 as pb
from plimsoll_feedback.domain.learning import statistics
from plimsoll_feedback.domain.learning.comparison import COST, LATENCY, Comparison, Pair, Rules, Verdict, compare
from plimsoll_feedback.domain.learning.report_text import page_of, text_of
from plimsoll_feedback.domain.learning.reports import Report, SubjectKind
from plimsoll_feedback.transport.report_codec import seal, unseal
from plimsoll_runtime.json_types import digest

RULES = Rules()


def pair(number: int, ours: float | None, theirs: float | None, label: str = "a", cost: float = 10.0) -> Pair:
    return Pair(
        example_id=f"ex_{number}",
        slices=(f"label={label}", "tenant=acme"),
        candidate={"exact": ours, COST: cost, LATENCY: 0.1},
        baseline={"exact": theirs, COST: 10.0, LATENCY: 0.1},
    )


def pairs(wins: int = 0, losses: int = 0, both: int = 0, neither: int = 0, label: str = "a") -> list[Pair]:
    told = [(1.0, 0.0)] * wins + [(0.0, 1.0)] * losses + [(1.0, 1.0)] * both + [(0.0, 0.0)] * neither
    return [pair(number, ours, theirs, label) for number, (ours, theirs) in enumerate(told)]


def verdict(told: list[Pair], rules: Rules = RULES) -> Verdict:
    return compare(told, rules, 7).verdict


def test_clearly_better_passes() -> None:
    assert verdict(pairs(wins=20, both=20), replace(RULES, must_be_better=True)) is Verdict.PASSED


def test_the_same_answers_pass_as_good_and_never_as_better() -> None:
    assert verdict(pairs(both=30, neither=20)) is Verdict.PASSED
    assert verdict(pairs(both=30, neither=20), replace(RULES, must_be_better=True)) is Verdict.FAILED


def test_clearly_worse_fails_and_says_so() -> None:
    found = compare(pairs(losses=20, both=20), RULES, 7)
    assert found.verdict is Verdict.FAILED
    assert any("worse" in reason for reason in found.reasons)


def test_a_little_better_by_chance_is_left_open() -> None:
    assert verdict(pairs(wins=4, losses=3, both=40), replace(RULES, must_be_better=True)) is Verdict.INCONCLUSIVE


def test_too_few_examples_are_left_open_however_good_or_bad() -> None:
    assert verdict(pairs(wins=29)) is Verdict.INCONCLUSIVE
    assert verdict(pairs(losses=29)) is Verdict.INCONCLUSIVE
    assert verdict([]) is Verdict.INCONCLUSIVE


def test_better_on_average_and_worse_in_one_slice_is_refused() -> None:
    told = [*pairs(wins=40, both=20, label="a"), *pairs(losses=6, both=1, label="b")]
    found = compare(told, replace(RULES, must_be_better=True), 7)
    assert found.verdict is Verdict.FAILED
    assert [one.slice for one in found.measures if one.regressed] == ["label=b"]


def test_harm_in_small_slices_is_seen_together() -> None:
    told = [*pairs(wins=40, both=20), *(pair(100 + n, 0.0, 1.0, label=f"rare{n}") for n in range(8))]
    found = compare(told, RULES, 7)
    assert [one.slice for one in found.measures if one.regressed] == ["label=(rare)"]


def test_many_slices_are_no_shelter_for_one() -> None:
    healthy = [one for n in range(60) for one in pairs(wins=2, both=8, label=f"l{n}")]
    assert verdict([*healthy, *pairs(losses=6, both=2, label="sick")]) is Verdict.FAILED


def test_unscored_examples_leave_it_open_and_an_empty_slice_is_told() -> None:
    told = [*pairs(wins=30, both=20), *(pair(200 + n, None, 1.0, label="silent") for n in range(10))]
    found = compare(told, RULES, 7)
    assert found.verdict is Verdict.INCONCLUSIVE
    [silent] = [one for one in found.measures if one.slice == "label=silent"]
    assert (silent.examples, silent.unscored) == (0, 10)


def test_cost_is_told_always_and_judged_only_when_asked() -> None:
    told = [replace(one, candidate={**one.candidate, COST: 30.0}) for one in pairs(wins=30, both=20)]
    assert verdict(told) is Verdict.PASSED
    found = compare(told, replace(RULES, cost_ratio=2.0), 7)
    assert found.verdict is Verdict.FAILED
    assert any(reason.startswith("cost:") for reason in found.reasons)


def test_a_second_scorer_must_not_get_worse() -> None:
    told = [
        replace(one, candidate={**one.candidate, "schema": 0.0}, baseline={**one.baseline, "schema": 1.0})
        for one in pairs(wins=30, both=20)
    ]
    assert verdict(told, replace(RULES, scorers=("exact", "schema"))) is Verdict.FAILED


@given(st.lists(st.sampled_from([(1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.0, 0.0)]), max_size=80), st.integers(0, 9))
def test_a_verdict_is_repeatable_and_never_passes_what_is_worse(told: list[tuple[float, float]], seed: int) -> None:
    those = [pair(number, ours, theirs) for number, (ours, theirs) in enumerate(told)]
    found = compare(those, RULES, seed)
    assert found == compare(those, RULES, seed)
    if found.verdict is Verdict.PASSED:
        assert sum(ours for ours, _ in told) >= sum(theirs for _, theirs in told)


class TestStatistics:
    def test_the_exact_test_is_mcnemars(self) -> None:
        assert statistics.chance_of_harm([-1.0] * 5, seed=1) == pytest.approx(1 / 32)
        assert statistics.chance_of_harm([-1.0] * 8 + [1.0] * 2 + [0.0] * 50, seed=1) == pytest.approx(56 / 1024)
        assert statistics.chance_of_harm([1.0] * 5, seed=1) == 1.0
        assert statistics.chance_of_harm([0.0] * 5, seed=1) == 1.0
        assert statistics.chance_of_harm([-1.0] * 3000, seed=1) < 1e-300

    def test_uneven_differences_are_flipped_and_the_sample_counts_itself(self) -> None:
        few = [-0.5, -0.25, -0.125, -0.0625]
        assert statistics.chance_of_harm(few, seed=1) == pytest.approx(1 / 16)
        many = [-(n + 1) / 100 for n in range(40)]
        assert 0 < statistics.chance_of_harm(many, seed=1) <= 1 / 1000

    def test_false_alarms_are_no_more_frequent_than_they_may_be(self) -> None:
        """Of equal versions, at most one in twenty is found to harm; with a fixed stream of coins."""
        coins = [int(bit) for bit in f"{pow(3, 40_000):b}"]
        alarms, size = 0, 20
        rounds = len(coins) // size
        for at in range(rounds):
            differences = [1.0 if coin else -1.0 for coin in coins[at * size : (at + 1) * size]]
            alarms += statistics.chance_of_harm(differences, seed=at) <= 0.05
        assert alarms / rounds <= 0.05

    def test_intervals_hold_the_truth_about_as_often_as_they_say(self) -> None:
        coins = [int(bit) for bit in f"{pow(3, 20_000):b}"]
        size, held = 60, 0
        rounds = min(150, len(coins) // size)
        for at in range(rounds):
            differences = [float(coin) - 0.5 for coin in coins[at * size : (at + 1) * size]]
            found = statistics.mean_difference(differences, seed=at, confidence=0.95, resamples=400)
            held += found.low <= 0 <= found.high
        assert held / rounds >= 0.88

    def test_shares_keep_within_bounds(self) -> None:
        assert statistics.share(0, 0) == statistics.Interval(low=0.0, high=1.0)
        found = statistics.share(8, 10)
        assert 0.49 < found.low < 0.5
        assert math.isclose(found.high, 0.943, abs_tol=0.001)


def report(found: Comparison) -> Report:
    return Report(
        evaluation_id="eval_1",
        subject=SubjectKind.PROMPT,
        name="sort",
        candidate_digest="c" * 64,
        baseline_digest="b" * 64,
        verdict=found.verdict,
        examples=60,
        measures=found.measures,
        created_at=NOON,
        dataset="sorting",
        dataset_version=4,
        reasons=(*found.reasons, "<script>alert(1)</script>"),
        confidence=0.95,
        rules={"seed": 7},
    )


class TestReports:
    def test_its_digest_is_of_all_that_it_says(self) -> None:
        """As the model-router computes it before it lets a label move."""
        name, text = seal(report(compare(pairs(wins=40, both=20), RULES, 7)))
        message = json_format.Parse(text, pb.EvaluationReport())
        told = json_format.MessageToDict(message, preserving_proto_field_name=True)
        assert told.pop("digest") == name == digest(told)
        told["verdict"] = "EVALUATION_VERDICT_FAILED"
        assert digest(told) != name

    def test_what_was_sealed_is_read_again_unchanged(self) -> None:
        name, text = seal(report(compare(pairs(wins=40, both=20), RULES, 7)))
        again = unseal(text)
        assert again.digest == name
        assert seal(replace(again, digest=""))[0] == name

    def test_the_page_loads_nothing_and_runs_nothing(self) -> None:
        page = page_of(report(compare(pairs(wins=40, losses=1, both=20), RULES, 7)))
        assert "<svg" in page
        assert "<script" not in page
        assert "http" not in page.replace("http-equiv", "")
        assert "src=" not in page

    def test_the_text_says_the_verdict_the_numbers_and_the_reasons(self) -> None:
        text = text_of(report(compare(pairs(losses=30, both=20), RULES, 7)))
        assert "sort: FAILED" in text
        assert "label=a" in text
        assert "regressed" in text
