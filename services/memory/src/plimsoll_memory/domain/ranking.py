"""Ranking: two lists of candidates fused into one by reciprocal rank."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from plimsoll_runtime.json_types import JsonObject

RANK_CONSTANT = 60
"""Softens the lead of the first ranks: the usual value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A passage that at least one list holds. Ranks count from 1; 0 means absent from the list."""

    chunk_id: str
    document_id: str
    source: str
    title: str
    headings: tuple[str, ...]
    text: str
    start: int
    end: int
    metadata: JsonObject
    text_rank: int
    vector_rank: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A candidate with its fused score, comparable within one answer only."""

    candidate: Candidate
    score: float


def fuse(candidates: Iterable[Candidate], *, vector_weight: float, limit: int) -> Sequence[Passage]:
    """The best `limit` candidates by weighted reciprocal rank, best first; full text weighs 1. Equal scores go by id."""
    passages = [Passage(candidate=one, score=fused_score(one.text_rank, one.vector_rank, vector_weight)) for one in candidates]
    return sorted(passages, key=lambda passage: (-passage.score, passage.candidate.chunk_id))[:limit]


def fused_score(text_rank: int, vector_rank: int, vector_weight: float) -> float:
    """The sum over both lists of weight / (constant + rank)."""
    return _share(text_rank, 1.0) + _share(vector_rank, vector_weight)


def _share(rank: int, weight: float) -> float:
    return weight / (RANK_CONSTANT + rank) if rank else 0.0
