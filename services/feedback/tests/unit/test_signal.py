"""Which signals may be recorded."""

import math

import pytest
from feedback_samples import GOOD, draft
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_feedback.domain.signal import (
    COMMENT_CAP_CHARACTERS,
    DEMONSTRATION_CAP_CHARACTERS,
    Demonstrated,
    Ended,
    Judged,
    Relabelled,
    Remarked,
    Scored,
    SignalDraft,
    SignalValue,
    Verdict,
    fingerprint,
    problems_of,
    problems_of_key,
)
from plimsoll_runtime.failures import Category


@given(score=st.floats(0, 1))
def test_a_score_from_0_to_1_is_fine(score: float) -> None:
    assert problems_of(draft(Scored(score=score))) == ()


@pytest.mark.parametrize("score", [-0.001, 1.001, math.nan, math.inf, -math.inf])
def test_a_score_out_of_range_is_refused(score: float) -> None:
    [problem] = problems_of(draft(Scored(score=score)))
    assert (problem.field, problem.remedy) == ("score", "use a number from 0 to 1")


@pytest.mark.parametrize(
    "value", [GOOD, Relabelled(category=Category.WRONG_TOOL), Demonstrated(answer={"a": [1]}), Ended(succeeded=False)], ids=repr
)
def test_a_plain_signal_is_fine(value: SignalValue) -> None:
    assert problems_of(draft(value)) == ()


def test_a_remark_needs_a_comment() -> None:
    assert [problem.field for problem in problems_of(draft(Remarked(), comment="  "))] == ["comment"]
    assert problems_of(draft(Remarked(), comment="well done")) == ()


def test_everything_wrong_is_told_at_once() -> None:
    bad = SignalDraft(run_id="", operation_id="o" * 257, value=Scored(score=2), comment="c" * (COMMENT_CAP_CHARACTERS + 1), source="s\x00")
    assert [problem.field for problem in problems_of(bad)] == ["score", "run_id", "operation_id", "comment", "source"]
    assert all(problem.remedy for problem in problems_of(bad))


def test_a_demonstration_has_a_limit() -> None:
    assert [problem.field for problem in problems_of(draft(Demonstrated(answer="x" * DEMONSTRATION_CAP_CHARACTERS)))] == ["demonstration"]


def test_an_idempotency_key_has_a_limit() -> None:
    assert problems_of_key("k" * 256) == ()
    assert [problem.field for problem in problems_of_key("k" * 257)] == ["idempotency_key"]
    assert [problem.field for problem in problems_of_key("\x00")] == ["idempotency_key"]


def test_drafts_that_differ_in_anything_have_different_fingerprints() -> None:
    drafts = [
        draft(GOOD),
        draft(Judged(verdict=Verdict.BAD)),
        draft(Scored(score=1.0)),
        draft(Ended(succeeded=True)),
        draft(Demonstrated(answer=True)),
        draft(Demonstrated(answer="good")),
        draft(Remarked()),
        draft(GOOD, run="run_2"),
        draft(GOOD, of="op_1"),
        draft(GOOD, comment="c"),
        draft(GOOD, source="bob"),
    ]
    assert len({fingerprint(one) for one in drafts}) == len(drafts)
    assert fingerprint(draft(GOOD)) == fingerprint(draft(GOOD))
