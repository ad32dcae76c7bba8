"""Quality in PostgreSQL: query sets, what was used of searches, windows of searches, and what drifts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

import asyncpg
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_runtime.outbox import OutboxEvent, add_events
from plimsoll_runtime.postgres import translating

from plimsoll_memory.adapters.tenancy import working_for
from plimsoll_memory.domain.quality import Drift, Mean, QualityWindow, drifts
from plimsoll_memory.domain.query_set import Judgement, LabelledQuery, QuerySet, QuerySetSummary, to_json
from plimsoll_memory.ports import SearchUse

_ACQUIRE_CAP_S = 5.0
_USUAL = 24  # windows that tell what is usual
_KEPT_DAYS = 7
_SUMMARY = "name, collection, queries, judgements, digest, updated_at"

_PUT = f"""
    insert into query_sets (tenant, name, collection, content, digest, queries, judgements, updated_at) values ($1, $2, $3, $4, $5, $6, $7, $8)
    on conflict (tenant, name) do update
    set collection = excluded.collection, content = excluded.content, digest = excluded.digest, queries = excluded.queries,
        judgements = excluded.judgements, updated_at = excluded.updated_at
    returning {_SUMMARY}
"""
_KNOWN_SOURCES = "select source from documents where tenant = $1 and collection = $2 and source = any ($3::text[])"
_PASSAGES = """
    select passage.chunk_id, coalesce(chunks.body, '') as body
    from searches, unnest(searches.passages) as passage (chunk_id)
    left join chunks on chunks.tenant = $1 and chunks.chunk_id = passage.chunk_id
    where searches.tenant = $1 and search_id = $2
"""
_RUN_PASSAGES = """
    with latest as (
        select search_id, passages from searches where tenant = $1 and run_id = $2 order by started_at desc limit $3
    )
    select latest.search_id, passage.chunk_id, coalesce(chunks.body, '') as body
    from latest, unnest(latest.passages) as passage (chunk_id)
    left join chunks on chunks.tenant = $1 and chunks.chunk_id = passage.chunk_id
"""
_KEEP_USE = """
    with said as (
        select array(select distinct one from unnest(case when $4 then used_passages || $3::text[] else $3::text[] end) as one) as ids
        from searches where tenant = $1 and search_id = $2 for update
    )
    update searches set used_passages = said.ids, used = cardinality(said.ids) from said
    where tenant = $1 and search_id = $2
    returning used
"""
_RUN_SEARCHES = 20
_WINDOW = """
    select count(*) as searches,
           coalesce(avg((returned = 0 and not failed)::int), 0)::float8 as empty,
           coalesce(avg((returned < requested and not failed)::int), 0)::float8 as under_returned,
           coalesce(avg(failed::int), 0)::float8 as failed,
           coalesce(avg(degraded::int), 0)::float8 as degraded,
           count(*) filter (where best_similarity > 0) as similarity_count,
           coalesce(avg(best_similarity) filter (where best_similarity > 0), 0) as similarity,
           coalesce(avg(best_similarity ^ 2) filter (where best_similarity > 0), 0) as similarity_square,
           count(*) filter (where best_text_score > 0) as text_count,
           coalesce(avg(best_text_score) filter (where best_text_score > 0), 0) as text_score,
           coalesce(avg(best_text_score ^ 2) filter (where best_text_score > 0), 0) as text_square,
           count(used) filter (where returned > 0) as used_count,
           coalesce(avg(used::float8 / returned) filter (where returned > 0), 0) as used,
           coalesce(avg((used::float8 / returned) ^ 2) filter (where returned > 0), 0) as used_square,
           coalesce(percentile_cont(0.5) within group (order by duration_s), 0) as median_duration_s
    from searches where tenant = $1 and collection = $2 and started_at >= $3 and started_at < $4
"""
_USUAL_WINDOWS = """
    select content, start_at from quality_windows where tenant = $1 and collection = $2 and not ($3 and drifting)
    order by start_at desc limit $4
"""
_KEEP_WINDOW = """
    insert into quality_windows (tenant, collection, start_at, content, drifting) values ($1, $2, $3, $4, $5)
    on conflict (tenant, collection, start_at) do update set content = excluded.content, drifting = excluded.drifting
"""
_KEEP_DRIFT = """
    insert into drifts (tenant, collection, signal, content, since) values ($1, $2, $3, $4, $5)
    on conflict (tenant, collection, signal) do update set content = excluded.content
"""
_PRUNE = "delete from searches where tenant = $1 and collection = $2 and started_at < $3"
_PRUNE_WINDOWS = "delete from quality_windows where tenant = $1 and collection = $2 and start_at < $3"
_OVER = "select tenant, collection, start_at from watched where start_at <= $1 order by start_at limit 100"


@dataclass(frozen=True, slots=True)
class QualityEvents:
    """How what is found out is published."""

    measured: Callable[[str, QualityWindow], OutboxEvent]
    drifted: Callable[[str, Drift, bool], OutboxEvent]


class PostgresQuality:
    """A QuerySetStore and a QualityStore."""

    def __init__(self, pool: asyncpg.Pool, events: QualityEvents, window_s: int) -> None:
        self._pool = pool
        self._events = events
        self._window = timedelta(seconds=window_s)

    async def put_query_set(self, tenant: str, query_set: QuerySet, at: datetime) -> QuerySetSummary:
        judgements = sum(len(query.judgements) for query in query_set.queries)
        content = to_json(query_set)
        async with working_for(self._pool, tenant) as connection:
            row = await connection.fetchrow(
                _PUT, tenant, query_set.name, query_set.collection, content, query_set.digest, len(query_set.queries), judgements, at
            )
        return _summary(row)

    async def find_query_set(self, tenant: str, name: str) -> QuerySet | None:
        async with working_for(self._pool, tenant) as connection:
            content = await connection.fetchval("select content from query_sets where tenant = $1 and name = $2", tenant, name)
        return _query_set(name, content) if content else None

    async def list_query_sets(self, tenant: str) -> Sequence[QuerySetSummary]:
        async with working_for(self._pool, tenant) as connection:
            rows = await connection.fetch(f"select {_SUMMARY} from query_sets where tenant = $1 order by name", tenant)
        return [_summary(row) for row in rows]

    async def delete_query_set(self, tenant: str, name: str) -> None:
        async with working_for(self._pool, tenant) as connection:
            await connection.execute("delete from query_sets where tenant = $1 and name = $2", tenant, name)

    async def known_sources(self, tenant: str, collection: str, sources: Sequence[str]) -> frozenset[str]:
        async with working_for(self._pool, tenant) as connection:
            rows = await connection.fetch(_KNOWN_SOURCES, tenant, collection, list(sources))
        return frozenset(row["source"] for row in rows)

    async def passages(self, tenant: str, search_id: str) -> SearchUse | None:
        async with working_for(self._pool, tenant) as connection:
            known = await connection.fetchval("select true from searches where tenant = $1 and search_id = $2", tenant, search_id)
            rows = await connection.fetch(_PASSAGES, tenant, search_id)
        return {row["chunk_id"]: row["body"] for row in rows} if known else None

    async def run_passages(self, tenant: str, run_id: str) -> Mapping[str, SearchUse]:
        found: dict[str, dict[str, str]] = {}
        async with working_for(self._pool, tenant) as connection:
            for row in await connection.fetch(_RUN_PASSAGES, tenant, run_id, _RUN_SEARCHES):
                found.setdefault(row["search_id"], {})[row["chunk_id"]] = row["body"]
        return found

    async def keep_use(self, tenant: str, search_id: str, used: Sequence[str], *, add: bool) -> int:
        async with working_for(self._pool, tenant) as connection:
            return int(await connection.fetchval(_KEEP_USE, tenant, search_id, list(used), add) or 0)

    async def close_windows(self, now: datetime) -> Sequence[tuple[Drift, bool]]:
        with translating():
            async with self._pool.acquire(timeout=_ACQUIRE_CAP_S) as connection:
                due = await connection.fetch(_OVER, now - self._window)
        changes: list[tuple[Drift, bool]] = []
        for row in due:
            changes += await self._close(row["tenant"], row["collection"], row["start_at"])
        return changes

    async def windows(self, tenant: str, collection: str, now: datetime) -> tuple[Sequence[QualityWindow], Sequence[Drift]]:
        async with working_for(self._pool, tenant) as connection:
            rows = await connection.fetch(_USUAL_WINDOWS, tenant, collection, False, 2 * _USUAL)
            kept = [_window(collection, row["start_at"], self._window, row["content"]) for row in reversed(rows)]
            after = kept[-1].end if kept else now - 2 * _USUAL * self._window
            open_now = await _measured(connection, tenant, collection, after, now)
            found = await connection.fetch(
                "select content from drifts where tenant = $1 and collection = $2 order by signal", tenant, collection
            )
        return [*kept, *([open_now] if open_now.searches else [])], [_drift(collection, row["content"]) for row in found]

    async def _close(self, tenant: str, collection: str, start: datetime) -> Sequence[tuple[Drift, bool]]:
        """Measure a window, compare it, publish, and have done with it, in one transaction; returns what began to drift or ended."""
        async with working_for(self._pool, tenant) as connection:
            taken = await connection.fetchval(
                "delete from watched where tenant = $1 and collection = $2 and start_at = $3 returning true", tenant, collection, start
            )
            if not taken:  # another replica did it
                return []
            window = await _measured(connection, tenant, collection, start, start + self._window)
            rows = await connection.fetch(_USUAL_WINDOWS, tenant, collection, True, _USUAL)
            found = drifts(window, [_window(collection, row["start_at"], self._window, row["content"]) for row in rows])
            changes = await self._settle_drifts(connection, tenant, window, found)
            await connection.execute(_KEEP_WINDOW, tenant, collection, start, _window_json(window), bool(found))
            await connection.execute(_PRUNE, tenant, collection, start - timedelta(days=_KEPT_DAYS))
            await connection.execute(_PRUNE_WINDOWS, tenant, collection, start - timedelta(days=4 * _KEPT_DAYS))
            events = [self._events.drifted(tenant, drift, over) for drift, over in changes]
            await add_events(connection, [self._events.measured(tenant, window), *events])
        return changes

    async def _settle_drifts(
        self, connection: asyncpg.Connection, tenant: str, window: QualityWindow, found: Sequence[Drift]
    ) -> Sequence[tuple[Drift, bool]]:
        key = (tenant, window.collection)
        rows = await connection.fetch("select signal, content from drifts where tenant = $1 and collection = $2", *key)
        before = {row["signal"]: _drift(window.collection, row["content"]) for row in rows}
        for drift in found:
            await connection.execute(_KEEP_DRIFT, *key, drift.signal, _drift_json(drift), drift.start)
        now = {drift.signal for drift in found}
        over = [drift for signal, drift in before.items() if signal not in now]
        await connection.execute(
            "delete from drifts where tenant = $1 and collection = $2 and signal = any ($3::text[])", *key, [one.signal for one in over]
        )
        return [*((drift, False) for drift in found if drift.signal not in before), *((drift, True) for drift in over)]


async def _measured(connection: asyncpg.Connection, tenant: str, collection: str, start: datetime, end: datetime) -> QualityWindow:
    row = await connection.fetchrow(_WINDOW, tenant, collection, start, end)
    return QualityWindow(
        collection=collection,
        start=start,
        end=end,
        searches=row["searches"],
        empty=row["empty"],
        under_returned=row["under_returned"],
        failed=row["failed"],
        degraded=row["degraded"],
        best_similarity=Mean(count=row["similarity_count"], value=row["similarity"], square=row["similarity_square"]),
        best_text_score=Mean(count=row["text_count"], value=row["text_score"], square=row["text_square"]),
        used=Mean(count=row["used_count"], value=row["used"], square=row["used_square"]),
        median_duration_s=row["median_duration_s"],
    )


def _window_json(window: QualityWindow) -> JsonObject:
    means: list[JsonValue] = [[one.count, one.value, one.square] for one in (window.best_similarity, window.best_text_score, window.used)]
    shares: list[JsonValue] = [window.empty, window.under_returned, window.failed, window.degraded]
    return {"searches": window.searches, "shares": shares, "means": means, "median_duration_s": window.median_duration_s}


def _window(collection: str, start: datetime, length: timedelta, content: JsonObject) -> QualityWindow:
    empty, under_returned, failed, degraded = cast("list[float]", content["shares"])
    similarity, text, used = (Mean(count=int(count), value=value, square=square) for count, value, square in _triples(content["means"]))
    return QualityWindow(
        collection=collection,
        start=start,
        end=start + length,
        searches=cast("int", content["searches"]),
        empty=empty,
        under_returned=under_returned,
        failed=failed,
        degraded=degraded,
        best_similarity=similarity,
        best_text_score=text,
        used=used,
        median_duration_s=cast("float", content["median_duration_s"]),
    )


def _triples(value: JsonValue) -> "list[tuple[float, float, float]]":
    return cast("list[tuple[float, float, float]]", value)


def _drift_json(drift: Drift) -> JsonObject:
    return {
        "signal": drift.signal,
        "baseline": drift.baseline,
        "value": drift.value,
        "sigmas": drift.sigmas,
        "searches": drift.searches,
        "start": drift.start.isoformat(),
    }


def _drift(collection: str, content: JsonObject) -> Drift:
    numbers = cast("dict[str, float]", content)
    return Drift(
        collection=collection,
        signal=str(content["signal"]),
        baseline=numbers["baseline"],
        value=numbers["value"],
        sigmas=numbers["sigmas"],
        searches=int(numbers["searches"]),
        start=datetime.fromisoformat(str(content["start"])),
    )


def _summary(row: asyncpg.Record) -> QuerySetSummary:
    return QuerySetSummary(**dict(row))


def _query_set(name: str, content: JsonObject) -> QuerySet:
    queries = cast("list[JsonObject]", content["queries"])
    return QuerySet(
        name=name,
        collection=str(content["collection"]),
        queries=tuple(
            LabelledQuery(
                query_id=str(one["id"]),
                query=str(one["query"]),
                filter=cast("JsonObject", one["filter"]),
                judgements=tuple(
                    Judgement(source=source, start=start, end=end, grade=grade)
                    for source, start, end, grade in cast("list[tuple[str, int, int, int]]", one["judgements"])
                ),
            )
            for one in queries
        ),
    )
