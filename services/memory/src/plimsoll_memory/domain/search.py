"""Searches: what may be asked, and the receipt that says how the answer came about."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.json_types import JsonObject
from plimsoll_runtime.work import WorkContext

from plimsoll_memory.domain.document import Vector, collection_problems, json_problems
from plimsoll_memory.domain.ranking import Candidate, Passage
from plimsoll_memory.errors import RequestRefused

MOST_PASSAGES = 100
_QUERY_LENGTH = 16_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """Attributes:
    limit   1 to 100
    filter  a passage matches when its metadata holds all of it
    work    the piece of a run that asks; None for a person
    """

    collection: str
    query: str
    limit: int
    filter: JsonObject
    work: WorkContext | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorQuestion:
    """Attributes:
    embedder  only its vectors are compared
    floor     cosine similarity below which a match means nothing
    """

    embedder: str
    vector: Vector
    floor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A search as the index answers it.

    depth  length of each of the two lists
    keep   how many passages the answer can need: a candidate that is in one list only, behind this rank, is left out
    """

    collection: str
    language: str
    query: str
    filter: JsonObject
    vector: VectorQuestion | None
    depth: int
    keep: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """Attributes:
    words  how many words of the query the index knows, inflection and stop words aside
    exact  whether every vector was compared
    """

    passages: Sequence[Candidate]
    text_count: int
    vector_count: int
    words: int
    exact: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """How an answer came about; `skipped` names each stage that was left out, with the reason."""

    search_id: str
    requested: int
    returned: int
    text_candidates: int
    vector_candidates: int
    exact: bool
    embedder: str
    skipped: tuple[str, ...]
    best_score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Passages, best first; none is an answer too."""

    passages: Sequence[Passage]
    receipt: Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchCompleted:
    """A search happened; published for those who watch quality. Holds no query and no text."""

    event_id: str
    tenant: str
    work: WorkContext | None
    collection: str
    receipt: Receipt
    started_at: datetime
    duration_s: float


def check(request: SearchRequest) -> None:
    """Raises RequestRefused with every problem of the request."""
    problems = [*collection_problems(request.collection), *_query_problems(request.query), *json_problems(request.filter, "filter")]
    if not 1 <= request.limit <= MOST_PASSAGES:
        problems.append(FieldProblem("limit", f"is {request.limit}", f"use 1 to {MOST_PASSAGES}"))
    if problems:
        raise RequestRefused(problems=problems)


def _query_problems(query: str) -> list[FieldProblem]:
    if not query.strip():
        return [FieldProblem("query", "is empty", "send a question or some words")]
    if len(query) > _QUERY_LENGTH:
        return [FieldProblem("query", f"has {len(query):,} characters; the limit is {_QUERY_LENGTH:,}", "shorten it")]
    if "\x00" in query:
        return [FieldProblem("query", "holds a zero character", "leave it out")]
    return []
