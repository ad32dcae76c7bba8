"""Hybrid search in PostgreSQL: one statement finds the candidates by words and by vectors."""

from collections.abc import Sequence

import asyncpg
from plimsoll_runtime.postgres import translating

from plimsoll_memory.adapters.halfvec import halfvec_text
from plimsoll_memory.adapters.search_sql import statement
from plimsoll_memory.adapters.tenancy import working_for
from plimsoll_memory.domain.embedding import dimensions_of
from plimsoll_memory.domain.ranking import Candidate
from plimsoll_memory.domain.search import Candidates, Question

_MOST_LOOKED_AT = 2_000
"""Passages that the rarer words of a query may match together; words beyond that only rank. The rarest word always counts."""

# The index gives what it finds first; with a filter it goes on until there are enough, or until it has seen this many.
_APPROXIMATELY = """
    select set_config('hnsw.iterative_scan', 'strict_order', true), set_config('hnsw.ef_search', $1, true),
           set_config('hnsw.max_scan_tuples', '20000', true)
"""
_LEAST_EF = 400
_UNKNOWN_FIELDS = """
    select field from unnest($3::text[]) as field
    where not exists (select from chunks where tenant = $1 and collection = $2 and metadata ? field)
"""


class PostgresPassageIndex:
    """A PassageIndex with BM25 over full text, and over vectors an exact scan or an index."""

    def __init__(self, pool: asyncpg.Pool, *, most_looked_at: int = _MOST_LOOKED_AT) -> None:
        self._pool = pool
        self._most_looked_at = most_looked_at

    async def candidates(self, tenant: str, question: Question) -> Candidates:
        vector = question.vector
        async with working_for(self._pool, tenant) as connection:
            exact = vector is None or vector.exact
            if not exact:
                await connection.execute(_APPROXIMATELY, str(max(_LEAST_EF, 4 * question.keep)))
            rows = await self._fetch(connection, tenant, question, exact=exact)
            if not exact and question.filter and rows[0]["near_count"] < question.depth:  # the filter let too little through
                exact = True
                rows = await self._fetch(connection, tenant, question, exact=exact)
        first = rows[0]
        return Candidates(
            passages=[_candidate(row) for row in rows if row["chunk_id"] is not None],
            text_count=first["text_count"],
            vector_count=first["vector_count"],
            words=first["known"],
            exact=exact,
        )

    async def unknown_fields(self, tenant: str, collection: str, fields: Sequence[str]) -> Sequence[str]:
        async with working_for(self._pool, tenant) as connection:
            rows = await connection.fetch(_UNKNOWN_FIELDS, tenant, collection, list(fields))
        return [row["field"] for row in rows]

    async def _fetch(self, connection: asyncpg.Connection, tenant: str, question: Question, *, exact: bool) -> list[asyncpg.Record]:
        vector = question.vector
        given = vector.vector if vector else None
        rows: list[asyncpg.Record] = await connection.fetch(
            statement(
                learned=vector is not None and given is None,
                dimensions=dimensions_of(given) if vector else 0,
                exact=exact,
            ),
            tenant,
            question.collection,
            question.language,
            question.query,
            question.filter,
            question.depth,
            question.keep,
            self._most_looked_at,
            question.words,
            vector.embedder if vector else None,
            1 - vector.floor if vector else None,
            halfvec_text(given) if given is not None else None,
        )
        return rows


async def index_is_usable(pool: asyncpg.Pool) -> bool:
    """Whether row-level security lets the full-text index be used: only when the operator's function counts as leakproof."""
    with translating():
        return bool(await pool.fetchval("select proleakproof from pg_proc where oid = 'ts_match_vq(tsvector, tsquery)'::regprocedure"))


def _candidate(row: asyncpg.Record) -> Candidate:
    return Candidate(
        chunk_id=row["chunk_id"],
        document_id=row["document_id"],
        source=row["source"],
        title=row["title"],
        headings=tuple(row["headings"]),
        text=row["body"],
        start=row["span_start"],
        end=row["span_end"],
        metadata=row["metadata"],
        text_rank=row["text_rank"],
        vector_rank=row["vector_rank"],
        text_score=row["text_score"],
        similarity=row["similarity"],
        labels=tuple(row["labels"]),
    )
