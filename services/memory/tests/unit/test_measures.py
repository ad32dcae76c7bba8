"""Measures of retrieval: known values, and what every ranking must obey."""

from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_memory.domain.measures import Ranking, compare, interval, measure, mrr, ndcg, precision, recall
from plimsoll_memory.domain.query_set import Judgement, LabelledQuery, QuerySet, check
from plimsoll_memory.domain.ranking import Candidate, Passage
from plimsoll_memory.errors import RequestRefused

ideals = st.lists(st.integers(1, 3), min_size=1, max_size=20)


def test_known_values() -> None:
    ranking = Ranking(grades=(0, 2, 0, 1), ideal=(2, 1, 1))
    assert precision(ranking, 2) == 0.5
    assert precision(ranking, 10) == 0.2
    assert recall(ranking, 10) == pytest.approx(2 / 3)
    assert mrr(ranking, 10) == 0.5
    assert mrr(ranking, 1) == 0
    best = 2 / log2(2) + 1 / log2(3) + 1 / log2(4)
    assert ndcg(ranking, 10) == pytest.approx((2 / log2(3) + 1 / log2(5)) / best)


@given(ideals, st.integers(1, 30))
def test_the_best_order_has_the_full_score(ideal: list[int], k: int) -> None:
    ranking = Ranking(grades=tuple(sorted(ideal, reverse=True)), ideal=tuple(ideal))
    assert ndcg(ranking, k) == pytest.approx(1)
    assert mrr(ranking, k) == 1
    assert recall(ranking, len(ideal)) == 1


@given(st.data(), ideals, st.integers(1, 30))
def test_no_order_of_what_is_relevant_leaves_the_range(data: st.DataObject, ideal: list[int], k: int) -> None:
    ranking = Ranking(grades=tuple(data.draw(st.permutations([*ideal, 0, 0, 0]))), ideal=tuple(ideal))
    for one in (precision, recall, mrr, ndcg):
        assert 0 <= one(ranking, k) <= 1 + 1e-9


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_the_interval_holds_the_mean_and_is_the_same_each_time(values: list[float]) -> None:
    low, high = interval(values)
    assert low - 1e-9 <= sum(values) / len(values) <= high + 1e-9 or len(values) < 5
    assert interval(values) == (low, high)


def test_more_queries_make_the_interval_narrower() -> None:
    few, many = [0.0, 1.0] * 10, [0.0, 1.0] * 200
    assert interval(many)[1] - interval(many)[0] < (interval(few)[1] - interval(few)[0]) / 3


def test_a_comparison_is_decided_only_when_its_interval_leaves_zero() -> None:
    good, bad = Ranking(grades=(1,), ideal=(1,)), Ranking(grades=(0, 1), ideal=(1,))
    (better,) = [one for one in compare([good] * 30, [bad] * 30, [1]) if one.name == "ndcg"]
    assert (better.verdict, better.wins, better.losses, better.difference) == ("better", 30, 0, 1)
    (worse,) = [one for one in compare([bad] * 30, [good] * 30, [1]) if one.name == "ndcg"]
    assert worse.verdict == "worse"
    mixed = compare([good, bad] * 15, [bad, good] * 15, [1])
    assert {one.verdict for one in mixed} == {"undecided"}
    (same,) = [one for one in compare([good] * 30, [good] * 30, [1]) if one.name == "mrr"]
    assert (same.verdict, same.ties) == ("undecided", 30)


def test_every_measure_comes_at_every_depth() -> None:
    found = measure([Ranking(grades=(1,), ideal=(1,))], [1, 10])
    assert [(one.name, one.k) for one in found] == [(name, k) for name in ("precision", "recall", "mrr", "ndcg") for k in (1, 10)]


def passage(source: str, start: int = 0, end: int = 10) -> Passage:
    candidate = Candidate(
        chunk_id=f"{source}.{start}", document_id=source, source=source, title="", headings=(), text="", start=start, end=end, metadata={},
        text_rank=1, vector_rank=0,
    )  # fmt: skip
    return Passage(candidate=candidate, score=1.0)


def query(*judgements: Judgement, query_id: str = "q1", text: str = "tea") -> LabelledQuery:
    return LabelledQuery(query_id=query_id, query=text, filter={}, judgements=judgements)


def test_passages_of_a_document_judged_as_a_whole_are_one_result() -> None:
    ranking = query(Judgement(source="a", grade=2), Judgement(source="b", grade=1), Judgement(source="z", grade=0)).judge(
        [passage("c"), passage("a"), passage("a", 20, 30), passage("b")]
    )
    assert (ranking.grades, ranking.ideal) == ((0, 2, 1), (2, 1))


def test_passages_are_judged_by_their_place_where_the_judgement_names_one() -> None:
    ranking = query(Judgement(source="a", grade=1, start=15, end=25)).judge(
        [passage("a", 0, 10), passage("a", 20, 30), passage("a", 24, 40)]
    )
    assert ranking.grades == (0, 1, 0), "the second passage of the same place brings nothing new"


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (QuerySet(name="Set", collection="help", queries=(query(),)), "name"),
        (QuerySet(name="set", collection="", queries=(query(),)), "collection"),
        (QuerySet(name="set", collection="help", queries=()), "queries"),
        (QuerySet(name="set", collection="help", queries=(query(), query())), "queries[1].query_id"),
        (QuerySet(name="set", collection="help", queries=(query(query_id=""),)), "queries[0].query_id"),
        (QuerySet(name="set", collection="help", queries=(query(text=" "),)), "queries[0].query"),
        (QuerySet(name="set", collection="help", queries=(query(Judgement(source="", grade=1)),)), "queries[0].judgements[0].source"),
        (QuerySet(name="set", collection="help", queries=(query(Judgement(source="a", grade=-1)),)), "queries[0].judgements[0].grade"),
        (
            QuerySet(name="set", collection="help", queries=(query(Judgement(source="a", grade=1, start=5, end=5)),)),
            "queries[0].judgements[0].span_end",
        ),
    ],
)
def test_a_set_that_makes_no_sense_is_refused(wrong: QuerySet, field: str) -> None:
    with pytest.raises(RequestRefused) as refusal:
        check(wrong, named=True)
    assert refusal.value.problems[0].field == field


def test_the_digest_names_the_content_and_not_the_name() -> None:
    one = QuerySet(name="a", collection="help", queries=(query(Judgement(source="a", grade=1)),))
    assert one.digest == QuerySet(name="b", collection="help", queries=one.queries).digest
    assert one.digest != QuerySet(name="a", collection="help", queries=(query(Judgement(source="a", grade=2)),)).digest
