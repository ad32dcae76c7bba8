"""The statement of hybrid search: one for each way of comparing vectors."""

# words      what the query says, as the full text configuration reads it
# asked      its words that the collection knows, how rare each is (BM25), and how many passages the rarer ones match
# question   an OR of the rarer words, which says what to look at, and the weights of all words, which rank it
# by_text    the best by BM25: the inner product of what a passage contributes (its weights) and what the query contributes
# near       the nearest by cosine, all of those looked at
# by_vector  those of them that are near enough to mean something
# fused      what the answer can need: a passage in one list only, behind the rank that is kept, never gets into the answer
#
# $1 tenant, $2 collection, $3 language, $4 query, $5 filter, $6 depth of the lists, $7 rank kept, $8 most passages looked at, $9 whether
# full text takes part, $10 embedder, $11 largest distance, $12 vector. Without an embedder, or with one that was learned here, the last is
# null. A vector that is null or all zero is near to nothing.
_SEARCH = r"""
    with words as (
        select tsvector_to_array(to_tsvector($3::text::regconfig, $4)) as lexemes
    ),
    asked as (
        select term.lexeme, term.chunks, collection.number,
               ln(1 + (greatest(collection.chunks - term.chunks, 0) + 0.5) / (term.chunks + 0.5)::float8) as rarity,
               sum(term.chunks) over (order by term.chunks, term.lexeme) - term.chunks as rarer
        from collections as collection
        join terms as term on term.tenant = collection.tenant and term.collection = collection.name
        where collection.tenant = $1 and collection.name = $2 and term.lexeme = any ((select lexemes from words)::text[])
    ),
    question as (
        select (select string_agg('''' || number || ':' || replace(replace(lexeme, '\', '\\'), '''', '''''') || '''', ' | ')
                from asked where $9 and (rarer = 0 or rarer + chunks <= $8))::tsquery as words,
               (select ('{' || string_agg(place || ':' || rarity, ',') || '}/268435456')::sparsevec
                from (select lexeme_place(lexeme) as place, sum(rarity) as rarity from asked group by 1) as placed) as weights,
               (select count(*) from asked) as known
    ),
    by_text as (
        select chunk_id, distance, row_number() over (order by distance, chunk_id) as rank
        from (
            select chunk_id, weights <#> (select weights from question) as distance
            from chunks
            where tenant = $1 and collection = $2 and lexemes @@ (select words from question) and metadata @> $5
            order by distance, chunk_id
            limit $6
        ) as nearest
    ),
    near as materialized (
        select chunk_id, distance
        from (
            select chunk_id, {place} <=> (select {vector} as vector) as distance
            from embeddings
            where tenant = $1 and collection = $2 and embedder = $10 and metadata @> $5
            order by {place} <=> (select {vector} as vector)
            limit $6
        ) as looked_at
    ),
    by_vector as (
        select chunk_id, distance, row_number() over (order by distance, chunk_id) as rank
        from near
        where distance <= $11
    ),
    fused as materialized (
        select chunk_id, coalesce(by_text.rank, 0) as text_rank, coalesce(by_vector.rank, 0) as vector_rank,
               coalesce(-by_text.distance, 0) as text_score, coalesce(1 - by_vector.distance, 0) as similarity
        from by_text full join by_vector using (chunk_id)
        where by_text.rank <= $7 or by_vector.rank <= $7 or (by_text.rank is not null and by_vector.rank is not null)
    )
    select question.known, (select count(*) from by_text) as text_count, (select count(*) from by_vector) as vector_count,
           (select count(*) from near) as near_count, found.*
    from question
    left join (
        select fused.text_rank, fused.vector_rank, fused.text_score, fused.similarity, chunks.chunk_id, chunks.document_id,
               documents.source, documents.title, documents.labels, chunks.headings, chunks.body, chunks.span_start, chunks.span_end,
               chunks.metadata
        from fused
        join chunks on chunks.tenant = $1 and chunks.chunk_id = fused.chunk_id
        join documents on documents.tenant = $1 and documents.document_id = chunks.document_id
    ) as found on true
"""

_GIVEN = "$12::text::halfvec{cast}"
# The middle of where the query's words point; every word of the query counts once, as in the passages.
_LEARNED = """(
    select l2_normalize(avg(projection)) from projections, words
    where tenant = $1 and collection = $2 and space = $10 and lexeme = any (words.lexemes) and $12::text is null
)"""


def statement(*, learned: bool, dimensions: int, exact: bool) -> str:
    """The text of the search. An index of vectors knows one number of dimensions; comparing each one needs none."""
    cast = "" if exact else f"({dimensions:d})"
    vector = _LEARNED if learned else _GIVEN.format(cast=cast)
    return _SEARCH.replace("{place}", place_of(dimensions) if not exact else "embedding").replace("{vector}", vector)


def place_of(dimensions: int) -> str:
    """What an approximate index is made of."""
    return f"(embedding::halfvec({dimensions:d}))"
