"""How good retrieval is: labelled queries, measures, what a comparison says, and how searches went lately."""

from dataclasses import dataclass
from datetime import datetime

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


@dataclass(frozen=True, slots=True, kw_only=True)
class QuerySet:
    """Labelled queries that are stored under a name; `digest` names their content."""

    name: str
    collection: str
    queries: int
    judgements: int
    digest: str
    updated_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityWindow:
    """What the searches of a stretch of time were like.

    Attributes:
        empty, under_returned, failed, degraded: shares of the searches: nothing found, less than asked for, failed, a stage left out
        best_similarity, best_text_score: means over the searches that found something
        reported, used: searches whose use was reported, and the mean share of their passages that the answer used
    """

    started_at: datetime | None
    ended_at: datetime | None
    searches: int
    empty: float
    under_returned: float
    failed: float
    degraded: float
    best_similarity: float
    best_text_score: float
    reported: int
    used: float
    median_duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """A measure that left its usual range; `sigmas` is how far, in standard errors."""

    signal: str
    usual: float
    value: float
    sigmas: float
    searches: int
    since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """How the searches of a collection went lately, the latest window last, and what drifts now."""

    windows: tuple[QualityWindow, ...]
    drifts: tuple[Drift, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """How many passages a search gave, and how many of them the answer used."""

    passages: int
    used: int
