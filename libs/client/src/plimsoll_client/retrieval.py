"""How good retrieval is: labelled queries, measures, and what a comparison says."""

from dataclasses import dataclass

from plimsoll_runtime.json_types import JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """That a document, or the characters of a span of it, answers a query; the span 0 to 0 means any of it."""

    source: str
    grade: int = 1
    span: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledQuery:
    """A query of which it is known what answers it."""

    id: str
    query: str
    judgements: tuple[Judgement, ...]
    filter: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchConfiguration:
    """How to search, where it should differ from the default: None leaves it."""

    name: str = ""
    vector_weight: float | None = None
    text_weight: float | None = None
    rerank: bool | None = None
    exact: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A mean over the queries, with its 95 % interval."""

    name: str
    k: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The mean of the differences query by query, with its 95 % interval; `verdict` is better, worse or undecided."""

    name: str
    k: int
    value: float
    baseline: float
    difference: float
    low: float
    high: float
    wins: int
    losses: int
    ties: int
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryOutcome:
    """How one query went; `first_rank` is 0 when nothing relevant was found."""

    query_id: str
    ndcg: float
    recall: float
    first_rank: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What a set of queries says about a collection; `left_out` names those that could not be measured, with the reason."""

    collection: str
    configuration: str
    embedder: str
    reranker: str
    digest: str
    queries: int
    measures: tuple[Measure, ...]
    comparisons: tuple[Comparison, ...]
    worst: tuple[QueryOutcome, ...]
    left_out: tuple[str, ...]
