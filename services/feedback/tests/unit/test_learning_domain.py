"""The pure parts of learning: the split, likeness, rules, consensus, scorers, proposals and exports."""

from datetime import timedelta
from pathlib import Path

import orjson
import pytest
from feedback_learning_samples import NOON, example, spec
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_feedback.domain.learning import annotation, datasets, evaluations, improvements, rules
from plimsoll_feedback.domain.learning.annotation import Agreed, Annotation, Discarded, Disputed, Pending, consensus
from plimsoll_feedback.domain.learning.comparison import Rules
from plimsoll_feedback.domain.learning.datasets import label_of
from plimsoll_feedback.domain.learning.exporting import ExportFormat, exported
from plimsoll_feedback.domain.learning.likeness import content_digest, is_near, likeness, shingles
from plimsoll_feedback.domain.learning.parts import HELD_OUT_PERCENT, Part, part_of
from plimsoll_feedback.domain.learning.proposing import PromptVersion, Shown, chosen, rendered, tokens
from plimsoll_feedback.domain.learning.rules import (
    Correcting,
    Correction,
    Disagreement,
    DownstreamFailure,
    HumanOverride,
    InCategory,
    LowConfidence,
    Rule,
    Sample,
    Subject,
    reasons,
)
from plimsoll_feedback.domain.learning.scorers import Given, judged, overlap, score
from plimsoll_runtime.failures import Category

PROMPT = PromptVersion(
    name="sort", digest="p1", version=1, description="", variables=("question",), system="Sort.", examples=(), user="{{question}}"
)


SPLIT = "hhhttthtththtththtth"


class TestSplit:
    def test_it_never_moves(self) -> None:
        """Of these, and so of all others, the part is what it was when the split was made."""
        assert "".join(part_of("acme", f"run_{n}").value[0] for n in range(20)) == SPLIT

    def test_about_as_many_are_held_out_as_are_meant_to_be(self) -> None:
        held_out = sum(part_of("acme", f"run_{n}") is Part.HELD_OUT for n in range(10_000))
        assert abs(held_out - HELD_OUT_PERCENT * 100) < 200

    def test_tenants_are_split_apart(self) -> None:
        assert any(part_of("acme", f"run_{n}") is not part_of("umbrella", f"run_{n}") for n in range(50))


class TestLikeness:
    def test_case_spaces_and_forms_make_no_difference(self) -> None:
        assert content_digest("Where  is my\ncard?") == content_digest(" where is MY card? ")
        assert content_digest("ﬁne") == content_digest("fine")
        assert content_digest("where is my card?") != content_digest("where is my money?")

    def test_nearly_the_same_is_found_and_something_else_is_not(self) -> None:
        long = "I have been waiting for my new card for two weeks now and it has still not come to my house, what can I do about it please"
        assert is_near(shingles(long + " now"), [shingles(long)])
        assert not is_near(shingles("Where is my card?"), [shingles("Where is my money?"), shingles(long)])

    @given(st.text(max_size=300))
    def test_a_text_is_like_itself(self, text: str) -> None:
        assert likeness(shingles(text), shingles(text)) == 1.0

    @given(st.text(max_size=100), st.text(max_size=100))
    def test_likeness_is_a_share_and_the_same_both_ways(self, one: str, other: str) -> None:
        there, back = likeness(shingles(one), shingles(other)), likeness(shingles(other), shingles(one))
        assert there == back
        assert 0 <= there <= 1


def subject(**told: object) -> Subject:
    plain = {
        "operation_id": "op",
        "call_id": "call",
        "run_id": "run",
        "conversation": "run",
        "agent": "desk",
        "prompt_digest": "p",
        "at": NOON,
    }
    return Subject(**(plain | told))  # type: ignore[arg-type]  # a test's shorthand


class TestRules:
    @pytest.mark.parametrize(
        ("rule", "fits", "does_not"),
        [
            (LowConfidence(below=0.5), subject(confidence=0.49), subject(confidence=0.5)),
            (LowConfidence(below=0.5), subject(confidence=0.0), subject(confidence=None)),
            (HumanOverride(), subject(overridden=True), subject()),
            (HumanOverride(), subject(opinions=(("ada", False),)), subject(opinions=(("judge-1", False), ("ada", True)))),
            (Correction(), subject(corrections=(Correcting(signal_id="s", by="ada", answer="x", at=NOON),)), subject(overridden=True)),
            (DownstreamFailure(), subject(run_failed=True), subject()),
            (DownstreamFailure(), subject(outcome_bad=True), subject(opinions=(("ada", False),))),
            (Disagreement(), subject(opinions=(("judge", True), ("ada", False))), subject(opinions=(("ada", True), ("bob", False)))),
            (Disagreement(), subject(opinions=(("judge", False), ("ada", True))), subject(opinions=(("judge", True), ("ada", True)))),
            (InCategory(category=Category.TIMEOUT), subject(categories=frozenset({Category.TIMEOUT})), subject()),
            (Sample(share=1.0), subject(), None),
        ],
    )
    def test_each_fits_what_it_names_and_nothing_else(self, rule: Rule, fits: Subject, does_not: Subject | None) -> None:
        assert reasons([rule], fits) == (rules.name_of(rule),)
        assert does_not is None or reasons([rule], does_not) == ()

    def test_a_sample_is_its_share_and_always_the_same(self) -> None:
        taken = [n for n in range(5_000) if reasons([Sample(share=0.2)], subject(operation_id=f"op_{n}"))]
        assert abs(len(taken) - 1_000) < 120
        assert taken == [n for n in range(5_000) if reasons([Sample(share=0.2)], subject(operation_id=f"op_{n}"))]

    def test_what_cannot_be_a_dataset_is_told_all_at_once(self) -> None:
        wrong = spec(name="Bad Name", rules=(LowConfidence(below=2),), agreement=0, annotators=99, retention_s=-1.0)
        fields = {problem.field for problem in datasets.problems_of(wrong)}
        assert fields == {"dataset.name", "dataset.rules[0].low_confidence", "dataset.agreement", "dataset.annotators", "dataset.retention"}
        assert [one.field for one in datasets.problems_of(spec(rules=()))] == ["dataset.rules"]


def said(annotator: str, expected: str, after_s: float = 0) -> Annotation:
    return Annotation(annotator=annotator, expected=expected, at=NOON + timedelta(seconds=after_s))


class TestConsensus:
    def test_one_is_enough_where_one_is_asked_for(self) -> None:
        assert consensus(spec(), [said("ada", "refund")]) == Agreed(expected="refund", annotators=("ada",))

    def test_contradiction_asks_a_third_who_decides(self) -> None:
        two = spec(agreement=2, annotators=3)
        assert consensus(two, [said("ada", "refund"), said("bob", "card")]) == Pending()
        decided = consensus(two, [said("ada", "refund"), said("bob", "card"), said("cy", " REFUND")])
        assert decided == Agreed(expected="refund", annotators=("ada", "cy"))

    def test_to_discard_takes_as_many_as_to_agree(self) -> None:
        two = spec(agreement=2, annotators=3)
        ada, bob, cy = (Annotation(annotator=who, expected=None, at=NOON, discards=True) for who in ("ada", "bob", "cy"))
        assert consensus(spec(), [ada]) == Discarded(annotators=("ada",))
        assert consensus(two, [ada, ada]) == Pending()
        assert consensus(two, [ada, said("bob", "refund")]) == Pending()
        assert consensus(two, [ada, said("bob", "refund"), cy]) == Discarded(annotators=("ada", "cy"))
        assert consensus(two, [ada, said("bob", "refund"), said("cy", "refund")]) == Agreed(expected="refund", annotators=("bob", "cy"))
        assert consensus(two, [ada, said("bob", "refund"), said("cy", "card")]) == Disputed()
        assert consensus(two, [ada, said("bob", ""), bob, said("bob", "", after_s=1)]) == Pending()

    def test_three_opinions_are_disputed(self) -> None:
        assert consensus(spec(agreement=2, annotators=3), [said("ada", "a"), said("bob", "b"), said("cy", "c")]) == Disputed()

    def test_nobody_agrees_with_himself(self) -> None:
        assert consensus(spec(agreement=2, annotators=3), [said("ada", "a"), said("ada", "a", 1)]) == Pending()

    def test_of_one_annotator_the_last_word_counts(self) -> None:
        two = spec(agreement=2, annotators=3)
        assert consensus(two, [said("ada", "a"), said("bob", "b"), said("bob", "a", 5)]) == Agreed(expected="a", annotators=("ada", "bob"))

    @given(st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from("xyz")), max_size=8), st.integers(1, 3))
    def test_agreement_always_has_its_votes(self, words: list[tuple[str, str]], wanted: int) -> None:
        many = [said(who, what, at) for at, (who, what) in enumerate(words)]
        found = consensus(spec(agreement=wanted, annotators=5), many)
        last = {one.annotator: one.expected for one in many}
        if isinstance(found, Agreed):
            assert [last[who] for who in found.annotators] == [found.expected] * len(found.annotators)
            assert len(found.annotators) >= wanted
        assert isinstance(found, annotation.Disputed) <= (len(last) >= 5)


class TestScorers:
    def test_exact_is_about_the_answer_not_its_writing(self) -> None:
        assert score("exact", Given(value=" Refund"), "refund", None, ()) == 1.0
        assert score("exact", Given(value={"b": "X", "a": 1}), {"a": 1, "b": "x"}, None, ()) == 1.0
        assert score("exact", Given(value={"a": 1}), {"a": 1, "b": "x"}, None, ()) == 0.0
        assert score("exact", Given(value="1"), 1, None, ()) == 0.0

    def test_a_failed_answer_scores_nothing(self) -> None:
        assert score("similarity", Given(value="refund", failed=True), "refund", None, ()) == 0.0

    def test_schema_needs_one(self) -> None:
        schema = {"type": "object", "required": ["intent"]}
        assert score("schema", Given(value={"intent": "x"}), None, schema, ()) == 1.0
        assert score("schema", Given(value={}), None, schema, ()) == 0.0
        assert score("schema", Given(value={}), None, None, ()) is None
        with pytest.raises(ValueError, match="recorded schema"):
            score("schema", Given(value={}), None, {"type": "nothing"}, ())

    @pytest.mark.parametrize("scheme", ["http", "file"])
    def test_a_schema_that_refers_to_somewhere_else_is_none_and_nothing_is_fetched(self, scheme: str, tmp_path: Path) -> None:
        """Not even what is there: the file would be a schema that fits."""
        there = tmp_path / "any.json"
        there.write_text("{}")
        elsewhere = f"file://{there}" if scheme == "file" else "http://127.0.0.1:9/any.json"
        with pytest.raises(ValueError, match="lies outside of the schema"):
            score("schema", Given(value={}), None, {"$ref": elsewhere}, ())

    def test_tool_choice_counts_every_call(self) -> None:
        assert score("tool_choice", Given(value="", tools=("find", "pay")), None, None, ("pay", "find")) == 1.0
        assert score("tool_choice", Given(value="", tools=("pay", "pay")), None, None, ("pay",)) == 0.0

    def test_a_judge_that_says_nonsense_is_no_judge(self) -> None:
        assert judged({"score": 0.25}) == 0.25
        for nonsense in ("good", None, {}, {"score": "0.5"}, {"score": 2}, {"score": True}):
            with pytest.raises(ValueError, match="no score"):
                judged(nonsense)

    @given(st.text(max_size=80), st.text(max_size=80))
    def test_similarity_is_a_share_and_whole_for_itself(self, one: str, other: str) -> None:
        assert 0 <= overlap(one, other) <= 1
        assert overlap(one, one) == 1.0


class TestProposing:
    def test_every_label_gets_its_turn_before_any_gets_a_second(self) -> None:
        many = [Shown(user=f"question {n} about {label}", assistant=label, label=label) for label in "abc" for n in range(10)]
        budget = 6 * tokens(many[0])
        assert sorted(one.label for one in chosen([], many, budget)) == list("aabbcc")

    def test_a_correction_outlives_the_present_example_of_the_same_question(self) -> None:
        present, corrected = (
            Shown(user="Where is it?", assistant="card", label="card"),
            Shown(user="where is IT?", assistant="pin", label="pin"),
        )
        assert chosen([present], [corrected], 1_000) == (corrected,)

    def test_what_says_nearly_the_same_is_shown_once(self) -> None:
        text = "my card has not arrived after two weeks of waiting and I would like to know where it is"
        shown = [Shown(user=text, assistant="a", label="a"), Shown(user=text + " now", assistant="a", label="a")]
        assert len(chosen([], shown, 1_000)) == 1

    def test_no_label_no_example_and_no_budget_are_nothing(self) -> None:
        assert chosen([], [], 1_000) == ()
        assert chosen([], [Shown(user="x" * 400, assistant="a")], 10) == ()

    @given(st.lists(st.tuples(st.text(min_size=1, max_size=30), st.sampled_from("ab")), max_size=20), st.integers(0, 200))
    def test_the_budget_is_never_exceeded_and_chance_plays_no_part(self, told: list[tuple[str, str]], budget: int) -> None:
        shown = [Shown(user=text, assistant=label, label=label) for text, label in told]
        found = chosen([], shown, budget)
        assert sum(tokens(one) for one in found) <= budget
        assert found == chosen([], shown, budget)

    def test_a_template_is_filled_as_the_router_does(self) -> None:
        assert rendered(" {{ a }} and {{b}} {{c}} ", {"a": "{{b}}", "b": [1]}) == "{{b}} and [1] {{c}}"


class TestExports:
    def test_chat_lines_hold_the_whole_conversation_and_the_header_where_each_comes_from(self) -> None:
        export = exported("sorting", 3, ExportFormat.CHAT, [example("q1", "refund", answer="card")], {"p1": PROMPT})
        [line] = export.lines
        roles = [(one["role"], one["content"]) for one in orjson.loads(line)["messages"]]
        assert roles == [("system", "Sort."), ("user", "q1"), ("assistant", "refund")]
        assert export.header["part"] == "training"
        assert [source["run_id"] for source in export.header["sources"]] == ["run_q1"]  # type: ignore[index, union-attr, call-overload]

    def test_a_preference_needs_a_wrong_answer(self) -> None:
        those = [example("q1", "refund", answer="card"), example("q2", "card", answer="card")]
        export = exported("sorting", 3, ExportFormat.PREFERENCE, those, {})
        [line] = [orjson.loads(one) for one in export.lines]
        assert line["preferred_output"] == [{"role": "assistant", "content": "refund"}]
        assert line["non_preferred_output"] == [{"role": "assistant", "content": "card"}]
        assert export.header["lines"] == 1


def test_labels_are_short_answers_or_a_field_of_them() -> None:
    assert label_of("refund", "") == "refund"
    assert label_of({"intent": "refund", "n": 1}, "intent") == "refund"
    assert label_of({"intent": "refund"}, "") == ""
    assert label_of("x" * 500, "") == ""
    assert label_of({"urgent": True}, "urgent") == "true"


def test_a_draw_of_examples_is_always_the_same() -> None:
    many = [example(f"q{n}", "a") for n in range(50)]
    assert evaluations.drawn(many, 10) == evaluations.drawn(many[::-1], 10)
    assert len(evaluations.drawn(many, 10)) == 10


def test_slices_are_of_label_agent_tenant_tails_and_categories() -> None:
    one = example("a much longer question than the others", "refund", confidence=0.2, reasons=("category:timeout", "sample"))
    found = evaluations.slices_of(one, 10)
    assert set(found) == {"label=refund", "agent=desk", "tenant=acme", "tail=long", "tail=unsure", "category=timeout"}


def test_wrong_rules_and_plans_are_told_all_at_once() -> None:
    wrong = Rules(scorers=("exact", "vibes", "judge"), margin=2.0, minimum_examples=0, cost_ratio=-1)
    fields = {one.field for one in evaluations.problems_of(wrong)}
    assert fields == {"rules.scorers[1]", "rules.judge_prompt", "rules.margin", "rules.minimum_examples", "rules.cost_ratio"}
    plan = improvements.Plan(prompt="", dataset=datasets.DatasetName("d"), every_s=0.1, example_tokens=0, reflection="x")
    found = {one.field for one in improvements.problems_of(plan)}
    assert found == {"plan.prompt", "plan.every", "plan.example_tokens", "plan.reflection_prompt"}
