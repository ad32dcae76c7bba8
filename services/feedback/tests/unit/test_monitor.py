"""What happens becomes numbers from 0 to 1 of which more is worse, measured against what was usual."""

import random
from dataclasses import replace

import pytest
from feedback_samples import ACME, failure, operation, search, signal
from plimsoll_feedback.domain.monitor import (
    Measure,
    Observation,
    Rules,
    Standing,
    SubjectKind,
    Watched,
    changed,
    complete,
    needed,
    observe_all,
    of_operation,
    of_signal,
)
from plimsoll_feedback.domain.observation import observe
from plimsoll_feedback.domain.operation import Operation, OperationKind
from plimsoll_feedback.domain.signal import Decided, Demonstrated, Ended, Judged, Relabelled, Remarked, Scored, SignalValue, Verdict
from plimsoll_feedback.transport.event_codec import search_completed
from plimsoll_runtime.failures import Category

PROMPT = Watched(tenant=ACME, subject_kind=SubjectKind.PROMPT, subject="intent", measure=Measure.UNFAMILIAR_INPUTS)
RULES = Rules()


def asked(confidence: float | None, **facts: str) -> Operation:
    known = {"confidence": confidence, "prompt": "intent", "prompt_digest": "p1", **facts}
    return replace(operation(1, kind=OperationKind.MODEL_CALL), facts=known)


def told(observations: "list[Observation]") -> dict[tuple[str, str, str, str], float]:
    return {
        (one.watched.subject_kind.value, one.watched.subject, one.version, one.watched.measure.value): one.value for one in observations
    }


def test_a_model_call_counts_for_its_prompt_version() -> None:
    assert told(of_operation(asked(0.75), {})) == {
        ("prompt", "intent", "p1", "doubt"): 0.25,
        ("prompt", "intent", "p1", "unfamiliar_inputs"): 0.75,
        ("prompt", "intent", "p1", "failed_runs"): 0.0,
    }
    assert told(of_operation(replace(asked(None), failure=failure()), {})) == {("prompt", "intent", "p1", "failed_runs"): 1.0}


def test_a_call_that_judges_a_version_counts_for_nothing() -> None:
    assert of_operation(asked(0.75, purpose="evaluation"), {}) == ()


def test_a_cancelled_run_did_not_fail() -> None:
    run = operation(9, kind=OperationKind.RUN)
    assert of_operation(replace(run, facts={"status": "cancelled"}), {}) == ()
    assert told(of_operation(replace(run, failure=failure()), {}))["agent", "support", "d1", "failed_runs"] == 1.0


def test_a_step_counts_for_every_category_that_its_agent_is_watched_for() -> None:
    step = operation(3, kind=OperationKind.TRANSITION, failed=failure())
    seen = of_operation(step, {(ACME, "support"): ["tool_error", "timeout"]})
    assert [(one.watched.category, one.value) for one in seen] == [("timeout", 1.0), ("tool_error", 0.0)]
    assert of_operation(operation(3, kind=OperationKind.TRANSITION), {}) == []


@pytest.mark.parametrize(("returned", "empty"), [(0, 1.0), (4, 0.0)])
def test_a_search_that_found_nothing_is_worse(returned: int, empty: float) -> None:
    one = observe(search_completed(search(returned=returned).SerializeToString())).operation
    assert one is not None
    assert told(of_operation(one, {}))["collection", "handbook", "", "empty_retrievals"] == empty


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Ended(succeeded=False), {"bad_outcomes": 1.0}),
        (Ended(succeeded=True), {"bad_outcomes": 0.0}),
        (Judged(verdict=Verdict.BAD), {"bad_outcomes": 1.0, "overrides": 1.0}),
        (Judged(verdict=Verdict.GOOD), {"bad_outcomes": 0.0, "overrides": 0.0}),
        (Scored(score=0.75), {"bad_outcomes": 0.25}),
        (Demonstrated(answer="x"), {"overrides": 1.0}),
        (Relabelled(category=Category.WRONG_TOOL), {"overrides": 1.0}),
        (Decided(approved=False, approval_id="a", node="n", decided_by=()), {"overrides": 1.0}),
        (Decided(approved=True, approval_id="a", node="n", decided_by=()), {"overrides": 0.0}),
        (Remarked(), {}),
    ],
    ids=repr,
)
def test_a_signal_counts_for_the_agent_and_for_the_prompts_that_it_judges(value: SignalValue, expected: dict[str, float]) -> None:
    seen = told(of_signal(signal(1, value=value), ("support", "d1"), [("intent", "p1")]))
    assert {key[3]: number for key, number in seen.items() if key[:3] == ("agent", "support", "d1")} == expected
    assert {key[3]: number for key, number in seen.items() if key[:3] == ("prompt", "intent", "p1")} == expected


def test_a_tenth_of_a_baseline_lies_beyond_its_cut() -> None:
    low = complete(PROMPT, [number / 100 for number in range(100)])
    assert (low.mean, low.cut, low.judged(0.05), low.judged(0.5)) == (0.1, 0.09, 1.0, 0.0)
    high = complete(replace(PROMPT, measure=Measure.COSTLY_RUNS), [float(number) for number in range(100)])
    assert (high.cut, high.judged(95.0), high.judged(50.0)) == (90.0, 1.0, 0.0)


def test_a_baseline_of_equal_values_calls_nothing_usual_unusual() -> None:
    same = complete(replace(PROMPT, measure=Measure.COSTLY_RUNS), [0.0] * 50)
    assert same.judged(0.0) == 0.0
    assert same.judged(1.0) == 1.0


@pytest.mark.parametrize("quiet", [0, 300])
def test_input_that_drifts_is_seen_within_two_hundred_calls(quiet: int) -> None:
    """Confidence as a classifier has it: mostly high, and low for what it never saw. Fifteen baselines, all of them seen in time."""
    for seed in range(15):
        rng = random.Random(seed)
        usual = [rng.betavariate(8, 2) for _ in range(RULES.baseline + quiet)]
        strange = [rng.betavariate(8, 2) if rng.random() < 0.4 else rng.betavariate(3, 4) for _ in range(400)]
        standing = Standing()
        seen = [Observation(watched=PROMPT, version="p1", value=value) for value in (*usual, *strange)]
        [alarm] = observe_all(standing, seen, RULES)
        assert quiet < alarm.monitor.watch.bet.size <= quiet + 200


def test_after_an_alarm_nothing_more_is_added_until_it_is_settled() -> None:
    standing = Standing()
    bad = [Observation(watched=replace(PROMPT, measure=Measure.DOUBT), version="p1", value=value) for value in [0.1] * 200 + [0.9] * 300]
    [alarm] = observe_all(standing, bad, RULES)
    assert observe_all(standing, bad, RULES) == []
    assert standing.monitors[alarm.monitor.watched, "p1"] == alarm.monitor


def test_a_bet_ends_when_its_baseline_or_the_rules_change() -> None:
    standing, watched = Standing(), replace(PROMPT, measure=Measure.DOUBT)
    usual = [Observation(watched=watched, version="p1", value=0.3)] * 260
    observe_all(standing, usual, RULES)
    assert standing.monitors[watched, "p1"].watch.bet.size == 60
    observe_all(standing, usual[:5], replace(RULES, alpha=0.001))
    assert standing.monitors[watched, "p1"].watch.bet.size == 5


def test_only_what_changed_is_written() -> None:
    standing = Standing()
    seen = [Observation(watched=replace(PROMPT, measure=Measure.DOUBT), version="p1", value=0.3)] * 201
    observe_all(standing, seen, RULES)
    before = Standing(usual={**standing.usual}, monitors={**standing.monitors})
    observe_all(standing, seen[:1], RULES)
    written = changed(before, standing)
    assert (list(written.usual), len(written.monitors)) == ([], 1)


def test_a_category_needs_the_count_of_runs_beside_its_own() -> None:
    category = Watched(tenant=ACME, subject_kind=SubjectKind.AGENT, subject="a", measure=Measure.CATEGORY, category="timeout")
    usual, _ = needed([Observation(watched=category, version="", value=1.0)])
    assert {one.measure for one in usual} == {Measure.CATEGORY, Measure.FAILED_RUNS}
