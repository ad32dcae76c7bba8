"""Ranking: two lists of candidates fused into one by reciprocal rank."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

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
    text_score: float = 0.0
    similarity: float = 0.0
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A candidate with its fused score, comparable within one answer only, and the reranker's; 0 when it saw it not."""

    candidate: Candidate
    score: float
    rerank_score: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What the two lists weigh in the fusion."""

    text: float = 1.0
    vector: float


def fuse(candidates: Iterable[Candidate], weights: Weights, *, limit: int) -> Sequence[Passage]:
    """The best `limit` candidates by weighted reciprocal rank, best first. Equal scores go by id."""
    passages = [Passage(candidate=one, score=fused_score(one.text_rank, one.vector_rank, weights)) for one in candidates]
    return sorted(passages, key=lambda passage: (-passage.score, passage.candidate.chunk_id))[:limit]


def fused_score(text_rank: int, vector_rank: int, weights: Weights) -> float:
    """The sum over both lists of weight / (constant + rank)."""
    return _share(text_rank, weights.text) + _share(vector_rank, weights.vector)


def reorder(passages: Sequence[Passage], scores: Sequence[float], *, limit: int) -> Sequence[Passage]:
    """The first passages by a reranker's scores, as many as it gave; behind them the rest as it was."""
    judged = [replace(passage, rerank_score=score) for passage, score in zip(passages, scores, strict=False)]
    judged.sort(key=lambda passage: -passage.rerank_score)  # stable: equal ones keep the order of the fusion
    return [*judged, *passages[len(judged) :]][:limit]


def _share(rank: int, weight: float) -> float:
    return weight / (RANK_CONSTANT + rank) if rank else 0.0
