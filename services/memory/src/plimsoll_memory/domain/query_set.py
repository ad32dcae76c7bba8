"""Query sets: queries of which it is known what answers them, and how an answer is judged by that."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.json_types import JsonObject, JsonValue, digest

from plimsoll_memory.domain.document import collection_problems, json_problems
from plimsoll_memory.domain.measures import Ranking
from plimsoll_memory.domain.ranking import Passage
from plimsoll_memory.domain.search import query_problems
from plimsoll_memory.errors import RequestRefused

MOST_QUERIES, MOST_JUDGEMENTS = 5_000, 1_000  # of a set, of a query
_ID_LENGTH = 200
_MOST_GRADE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """That a document, or the characters from `start` to `end` of it, answers a query; `end` 0 means any of it."""

    source: str
    grade: int
    start: int = 0
    end: int = 0

    def covers(self, passage: Passage) -> bool:
        one = passage.candidate
        return one.source == self.source and (not self.end or (one.start < self.end and self.start < one.end))


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledQuery:
    query_id: str
    query: str
    filter: JsonObject
    judgements: tuple[Judgement, ...]

    @property
    def relevant(self) -> Sequence[Judgement]:
        return [judgement for judgement in self.judgements if judgement.grade > 0]

    def judge(self, passages: Sequence[Passage]) -> Ranking:
        """Each result by the best judgement that it is the first to meet. Passages of a document that is judged as a whole are one result."""
        grades: list[int] = []
        met: set[Judgement] = set()
        seen: set[str] = set()
        by_document = not any(judgement.end for judgement in self.judgements)
        for passage in passages:
            source = passage.candidate.source
            if by_document and source in seen:
                continue
            seen.add(source)
            fresh = [one for one in self.relevant if one not in met and one.covers(passage)]
            met.update(fresh)
            grades.append(max((one.grade for one in fresh), default=0))
        return Ranking(grades=tuple(grades), ideal=tuple(one.grade for one in self.relevant))


@dataclass(frozen=True, slots=True, kw_only=True)
class QuerySet:
    name: str
    collection: str
    queries: tuple[LabelledQuery, ...]

    @property
    def digest(self) -> str:
        """Of its content; two of the same digest measure the same."""
        return digest(to_json(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class QuerySetSummary:
    name: str
    collection: str
    queries: int
    judgements: int
    digest: str
    updated_at: datetime


def check(query_set: QuerySet, *, named: bool) -> None:
    """Raises RequestRefused with every problem of the set."""
    problems = collection_problems(query_set.collection)
    if named:
        problems += [FieldProblem("name", one.problem, one.remedy) for one in collection_problems(query_set.name)]
    if not 1 <= len(query_set.queries) <= MOST_QUERIES:
        problems.append(FieldProblem("queries", f"has {len(query_set.queries):,} queries", f"send 1 to {MOST_QUERIES:,}"))
    ids: set[str] = set()
    for at, query in enumerate(query_set.queries[:MOST_QUERIES]):
        problems += _query_problems(f"queries[{at}]", query)
        if query.query_id in ids:
            problems.append(
                FieldProblem(f"queries[{at}].query_id", f"is {query.query_id[:80]!r} again", "give each query an id of its own")
            )
        ids.add(query.query_id)
    if problems:
        raise RequestRefused(problems=problems[:50])


def _query_problems(field: str, query: LabelledQuery) -> list[FieldProblem]:
    problems = [FieldProblem(f"{field}.query", one.problem, one.remedy) for one in query_problems(query.query)]
    problems += json_problems(query.filter, f"{field}.filter")
    if not 0 < len(query.query_id) <= _ID_LENGTH or "\x00" in query.query_id:
        problems.append(FieldProblem(f"{field}.query_id", "is empty or long", f"use 1 to {_ID_LENGTH} characters"))
    if len(query.judgements) > MOST_JUDGEMENTS:
        problems.append(
            FieldProblem(f"{field}.judgements", f"has {len(query.judgements):,}", f"send {MOST_JUDGEMENTS:,} or fewer for a query")
        )
    for at, one in enumerate(query.judgements[:MOST_JUDGEMENTS]):
        if not one.source or "\x00" in one.source:
            problems.append(FieldProblem(f"{field}.judgements[{at}].source", "is empty", "name the document's source"))
        if not 0 <= one.grade <= _MOST_GRADE:
            problems.append(FieldProblem(f"{field}.judgements[{at}].grade", f"is {one.grade}", f"use 0 to {_MOST_GRADE}"))
        if one.start < 0 or (one.end and one.end <= one.start):
            problems.append(FieldProblem(f"{field}.judgements[{at}].span_end", f"is {one.end}", "let it be above span_start, or 0"))
    return problems


def to_json(query_set: QuerySet) -> JsonObject:
    """The content, for storing and for the digest."""
    queries: list[JsonValue] = [
        {
            "id": query.query_id,
            "query": query.query,
            "filter": query.filter,
            "judgements": [[one.source, one.start, one.end, one.grade] for one in query.judgements],
        }
        for query in query_set.queries
    ]
    return {"collection": query_set.collection, "queries": queries}
