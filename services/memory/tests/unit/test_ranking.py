"""Fusion by reciprocal rank."""

from hypothesis import given
from hypothesis import strategies as st
from plimsoll_memory.domain.ranking import Candidate, Weights, fuse, fused_score

ranks = st.integers(0, 200)


def candidate(chunk_id: str, text_rank: int, vector_rank: int) -> Candidate:
    return Candidate(
        chunk_id=chunk_id, document_id="doc_1", source="a", title="", headings=(), text="", start=0, end=1, metadata={},
        text_rank=text_rank, vector_rank=vector_rank,
    )  # fmt: skip


@st.composite
def lists(draw: st.DrawFn) -> list[Candidate]:
    """Two rankings of some of the same passages."""
    names = [f"c{number}" for number in range(draw(st.integers(0, 12)))]
    text = draw(st.permutations(names))[: draw(st.integers(0, 12))]
    vector = draw(st.permutations(names))[: draw(st.integers(0, 12))]
    places = [(name, text.index(name) + 1 if name in text else 0, vector.index(name) + 1 if name in vector else 0) for name in names]
    return [candidate(*place) for place in places if place[1] or place[2]]


@given(lists(), st.floats(0.01, 2), st.integers(1, 10))
def test_the_best_come_first_and_no_more_than_asked(candidates: list[Candidate], weight: float, limit: int) -> None:
    answer = fuse(candidates, Weights(vector=weight), limit=limit)
    scores = [one.score for one in answer]
    assert scores == sorted(scores, reverse=True)
    assert len(answer) == min(limit, len(candidates))
    left_out = {one.chunk_id for one in candidates} - {one.candidate.chunk_id for one in answer}
    assert all(
        fused_score(one.text_rank, one.vector_rank, Weights(vector=weight)) <= scores[-1] for one in candidates if one.chunk_id in left_out
    )


@given(lists(), st.floats(0.01, 2))
def test_the_order_of_arrival_does_not_matter(candidates: list[Candidate], weight: float) -> None:
    assert fuse(candidates, Weights(vector=weight), limit=10) == fuse(candidates[::-1], Weights(vector=weight), limit=10)


@given(ranks.filter(bool), ranks, st.floats(0.01, 2))
def test_a_better_rank_never_lowers_the_score(text_rank: int, vector_rank: int, weight: float) -> None:
    assert fused_score(text_rank, vector_rank, Weights(vector=weight)) > fused_score(text_rank + 1, vector_rank, Weights(vector=weight))
    assert fused_score(text_rank, vector_rank, Weights(vector=weight)) >= fused_score(text_rank, 0, Weights(vector=weight))


@given(lists(), st.floats(0.01, 2), st.integers(1, 10))
def test_a_passage_in_one_list_only_behind_the_limit_never_gets_in(candidates: list[Candidate], weight: float, limit: int) -> None:
    """The promise by which the index leaves candidates out."""
    for one in fuse(candidates, Weights(vector=weight), limit=limit):
        held = [rank for rank in (one.candidate.text_rank, one.candidate.vector_rank) if rank]
        assert len(held) == 2 or held[0] <= limit


def test_found_by_both_beats_found_by_one() -> None:
    answer = fuse([candidate("text", 1, 0), candidate("both", 2, 2), candidate("vector", 0, 1)], Weights(vector=1), limit=3)
    assert [one.candidate.chunk_id for one in answer] == ["both", "text", "vector"]
