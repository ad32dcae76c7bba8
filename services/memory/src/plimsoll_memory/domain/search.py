"""Searches: what may be asked, and the receipt that says how the answer came about."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.failures import Failure
from plimsoll_runtime.json_types import JsonObject
from plimsoll_runtime.work import WorkContext

from plimsoll_memory.domain.document import Vector, collection_problems, json_problems
from plimsoll_memory.domain.ranking import Candidate, Passage
from plimsoll_memory.errors import RequestRefused

MOST_PASSAGES = 100
_QUERY_LENGTH = 16_000
_MOST_WEIGHT = 100
_NAME_LENGTH = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """How to search, where it should differ from the default.

    vector_weight, text_weight  of each list in the fusion; 0 leaves the list out, None means the default
    rerank                      whether the reranker orders the best; None means as the collection is configured
    exact                       compare every vector, even where an index could approximate
    """

    name: str = ""
    vector_weight: float | None = None
    text_weight: float | None = None
    rerank: bool | None = None
    exact: bool = False


DEFAULT = Configuration()


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
    configuration: Configuration = DEFAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorQuestion:
    """Attributes:
    embedder  only its vectors are compared
    vector    None when the index itself learned where the words of the query point
    floor     cosine similarity below which a match means nothing
    exact     compare every vector; else an index may approximate
    """

    embedder: str
    vector: Vector | None
    floor: float
    exact: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A search as the index answers it.

    vector  None leaves the list of vectors out
    words   False leaves the list of full text out
    depth   length of each of the two lists
    keep    how many passages the answer can need: a candidate that is in one list only, behind this rank, is left out
    """

    collection: str
    language: str
    query: str
    filter: JsonObject
    vector: VectorQuestion | None
    depth: int
    keep: int
    words: bool = True


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
    returned: int = 0
    text_candidates: int = 0
    vector_candidates: int = 0
    exact: bool = True
    embedder: str = ""
    skipped: tuple[str, ...] = ()
    best_score: float = 0.0
    reranker: str = ""
    reranked: int = 0
    best_similarity: float = 0.0
    best_text_score: float = 0.0
    configuration: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Passages, best first; none is an answer too."""

    passages: Sequence[Passage]
    receipt: Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchCompleted:
    """A search happened; published for those who watch quality. Holds no query and no text.

    passages  ids of those in the answer, for who says later which of them were used
    failure   None for a search that was answered
    """

    event_id: str
    tenant: str
    work: WorkContext | None
    collection: str
    receipt: Receipt
    started_at: datetime
    duration_s: float
    passages: tuple[str, ...] = ()
    failure: Failure | None = None


def check(request: SearchRequest) -> None:
    """Raises RequestRefused with every problem of the request."""
    problems = [*collection_problems(request.collection), *query_problems(request.query), *json_problems(request.filter, "filter")]
    if not 1 <= request.limit <= MOST_PASSAGES:
        problems.append(FieldProblem("limit", f"is {request.limit}", f"use 1 to {MOST_PASSAGES}"))
    problems += configuration_problems(request.configuration, "configuration")
    if problems:
        raise RequestRefused(problems=problems)


def configuration_problems(configuration: Configuration, field: str) -> list[FieldProblem]:
    """What is wrong with a configuration."""
    problems = []
    for name in ("vector_weight", "text_weight"):
        weight = configuration.vector_weight if name == "vector_weight" else configuration.text_weight
        if weight is not None and not 0 <= weight <= _MOST_WEIGHT:  # also refuses what is no number
            problems.append(FieldProblem(f"{field}.{name}", f"is {weight}", f"use 0 to {_MOST_WEIGHT}, or leave it out"))
    if configuration.vector_weight == 0 and configuration.text_weight == 0:
        problems.append(FieldProblem(field, "leaves out both lists", "give one of the weights a value above 0"))
    if len(configuration.name) > _NAME_LENGTH:
        problems.append(FieldProblem(f"{field}.name", f"has {len(configuration.name)} characters", f"use up to {_NAME_LENGTH}"))
    return problems


def query_problems(query: str) -> list[FieldProblem]:
    """What is wrong with a query."""
    if not query.strip():
        return [FieldProblem("query", "is empty", "send a question or some words")]
    if len(query) > _QUERY_LENGTH:
        return [FieldProblem("query", f"has {len(query):,} characters; the limit is {_QUERY_LENGTH:,}", "shorten it")]
    if "\x00" in query:
        return [FieldProblem("query", "holds a zero character", "leave it out")]
    return []
