"""Query sets and searches kept in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from plimsoll_memory.domain.quality import Drift, QualityWindow
from plimsoll_memory.domain.query_set import QuerySet, QuerySetSummary
from plimsoll_memory.ports import SearchUse

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
Key = tuple[str, str]


@dataclass
class FakeQuality:
    """A QuerySetStore and a QualityStore that knows no searches but those it is given."""

    sets: dict[Key, QuerySet] = field(default_factory=dict)
    sources: frozenset[str] | None = None
    searches: dict[Key, dict[str, str]] = field(default_factory=dict)
    runs: dict[Key, tuple[str, ...]] = field(default_factory=dict)
    used: dict[Key, set[str]] = field(default_factory=dict)
    closing: list[tuple[Drift, bool]] = field(default_factory=list)

    async def put_query_set(self, tenant: str, query_set: QuerySet, at: datetime) -> QuerySetSummary:
        self.sets[tenant, query_set.name] = query_set
        return _summary(query_set, at)

    async def find_query_set(self, tenant: str, name: str) -> QuerySet | None:
        return self.sets.get((tenant, name))

    async def list_query_sets(self, tenant: str) -> Sequence[QuerySetSummary]:
        return [_summary(one, NOON) for (owner, _), one in sorted(self.sets.items()) if owner == tenant]

    async def delete_query_set(self, tenant: str, name: str) -> None:
        self.sets.pop((tenant, name), None)

    async def known_sources(self, tenant: str, collection: str, sources: Sequence[str]) -> frozenset[str]:
        return frozenset(sources) if self.sources is None else self.sources & frozenset(sources)

    async def passages(self, tenant: str, search_id: str) -> SearchUse | None:
        return self.searches.get((tenant, search_id))

    async def run_passages(self, tenant: str, run_id: str) -> Mapping[str, SearchUse]:
        return {search_id: self.searches[tenant, search_id] for search_id in self.runs.get((tenant, run_id), ())}

    async def keep_use(self, tenant: str, search_id: str, used: Sequence[str], *, add: bool) -> int:
        before = self.used.get((tenant, search_id), set()) if add else set()
        self.used[tenant, search_id] = before | set(used)
        return len(self.used[tenant, search_id])

    async def windows(self, tenant: str, collection: str, now: datetime) -> tuple[Sequence[QualityWindow], Sequence[Drift]]:
        return [], [drift for drift, over in self.closing if not over]

    async def close_windows(self, now: datetime) -> Sequence[tuple[Drift, bool]]:
        return self.closing


def _summary(query_set: QuerySet, at: datetime) -> QuerySetSummary:
    return QuerySetSummary(
        name=query_set.name,
        collection=query_set.collection,
        queries=len(query_set.queries),
        judgements=sum(len(one.judgements) for one in query_set.queries),
        digest=query_set.digest,
        updated_at=at,
    )
