"""Hybrid search in PostgreSQL: one statement finds the candidates by words and by vectors."""

import asyncpg
from plimsoll_runtime.postgres import translating

from plimsoll_memory.adapters.halfvec import halfvec_text
from plimsoll_memory.adapters.tenancy import working_for
from plimsoll_memory.domain.ranking import Candidate
from plimsoll_memory.domain.search import Candidates, Question

_MOST_LOOKED_AT = 5_000
"""Passages that the rarer words of a query may match together; words beyond that only rank. The rarest word always counts."""

# asked      the words of the query that the collection knows, how rare each is (BM25), and how many passages the rarer ones match
# question   an OR of the rarer words, which says what to look at, and the weights of all words, which rank it
# by_text    the best by BM25: the inner product of what a passage contributes (lexeme_weights) and what the query contributes
# by_vector  the nearest by cosine; every vector is compared
# fused      what the answer can need: a passage in one list only, behind the rank that is kept, never gets into the answer
#
# $1 tenant, $2 collection, $3 language, $4 query, $5 filter, $6 depth of the lists, $7 rank kept, $8 most passages looked at,
# $9 embedder, $10 vector, $11 largest distance. Without a vector the last three are null, and by_vector is empty.
_SEARCH = r"""
    with asked as (
        select term.lexeme, term.chunks, collection.number,
               ln(1 + (greatest(collection.chunks - term.chunks, 0) + 0.5) / (term.chunks + 0.5)::float8) as rarity,
               sum(term.chunks) over (order by term.chunks, term.lexeme) - term.chunks as rarer
        from collections as collection
        join terms as term on term.tenant = collection.tenant and term.collection = collection.name
        where collection.tenant = $1 and collection.name = $2
          and term.lexeme = any (tsvector_to_array(to_tsvector($3::text::regconfig, $4)))
    ),
    question as (
        select (select string_agg('''' || number || ':' || replace(replace(lexeme, '\', '\\'), '''', '''''') || '''', ' | ')
                from asked where rarer = 0 or rarer + chunks <= $8)::tsquery as words,
               (select ('{' || string_agg(place || ':' || rarity, ',') || '}/268435456')::sparsevec
                from (select lexeme_place(lexeme) as place, sum(rarity) as rarity from asked group by 1) as placed) as weights,
               (select count(*) from asked) as known
    ),
    by_text as (
        select chunk_id, row_number() over (order by distance, chunk_id) as rank
        from (
            select chunk_id, weights <#> (select weights from question) as distance
            from chunks
            where tenant = $1 and collection = $2 and lexemes @@ (select words from question) and metadata @> $5
            order by distance, chunk_id
            limit $6
        ) as nearest
    ),
    by_vector as (
        select chunk_id, row_number() over (order by distance, chunk_id) as rank
        from (
            select chunk_id, embedding <=> $10::text::halfvec as distance
            from embeddings
            where tenant = $1 and collection = $2 and embedder = $9 and metadata @> $5
            order by distance, chunk_id
            limit $6
        ) as nearest
        where distance <= $11
    ),
    fused as materialized (
        select chunk_id, coalesce(by_text.rank, 0) as text_rank, coalesce(by_vector.rank, 0) as vector_rank
        from by_text full join by_vector using (chunk_id)
        where by_text.rank <= $7 or by_vector.rank <= $7 or (by_text.rank is not null and by_vector.rank is not null)
    )
    select question.known, (select count(*) from by_text) as text_count, (select count(*) from by_vector) as vector_count, found.*
    from question
    left join (
        select fused.text_rank, fused.vector_rank, chunks.chunk_id, chunks.document_id, documents.source, documents.title,
               chunks.headings, chunks.body, chunks.span_start, chunks.span_end, chunks.metadata
        from fused
        join chunks on chunks.tenant = $1 and chunks.chunk_id = fused.chunk_id
        join documents on documents.tenant = $1 and documents.document_id = chunks.document_id
    ) as found on true
"""


class PostgresPassageIndex:
    """A PassageIndex with BM25 over full text and an exact scan over vectors."""

    def __init__(self, pool: asyncpg.Pool, *, most_looked_at: int = _MOST_LOOKED_AT) -> None:
        self._pool = pool
        self._most_looked_at = most_looked_at

    async def candidates(self, tenant: str, question: Question) -> Candidates:
        vector = question.vector
        async with working_for(self._pool, tenant) as connection:
            rows = await connection.fetch(
                _SEARCH,
                tenant,
                question.collection,
                question.language,
                question.query,
                question.filter,
                question.depth,
                question.keep,
                self._most_looked_at,
                vector.embedder if vector else None,
                halfvec_text(vector.vector) if vector else None,
                1 - vector.floor if vector else None,
            )
        first = rows[0]
        return Candidates(
            passages=[_candidate(row) for row in rows if row["chunk_id"] is not None],
            text_count=first["text_count"],
            vector_count=first["vector_count"],
            words=first["known"],
        )


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
    )
