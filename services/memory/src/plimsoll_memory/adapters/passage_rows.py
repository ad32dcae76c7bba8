"""Rows of passages: text, words and weights of each, and its vectors."""

import asyncpg
from plimsoll_runtime.json_types import dump_json

from plimsoll_memory.adapters.halfvec import halfvec_text
from plimsoll_memory.domain.document import Document, Draft, context_of, passage_metadata
from plimsoll_memory.domain.embedding import is_learned

_BATCH = 500  # passages a statement

# BM25 as an inner product, k1 = 1.5, b = 0.75: a passage stores what it contributes. Its length is held against 80 words instead of the
# average: passages are cut to size, and weights must not change when other passages come and go. `offset 0` has a text analysed once.
_PUT_CHUNKS = """
    insert into chunks (tenant, chunk_id, collection, document_id, version, position, context, headings, body, span_start, span_end,
                        metadata, lexemes, weights, often)
    select $1, one.chunk_id, $2, $3, $4, one.position, one.context, array(select jsonb_array_elements_text(one.headings::jsonb)),
           one.body, one.span_start, one.span_end, one.metadata,
           array_to_tsvector(array(select $6::bigint || ':' || lexeme from unnest(analysed.lexemes))),
           (select ('{' || string_agg(place || ':' || weight, ',') || '}/268435456')::sparsevec
            from (select place, (sum(times) * 2.5 / (sum(times) + 1.5 * (0.25 + 0.75 * analysed.length / 80)))::float4 as weight
                  from (select lexeme_place(lexeme) as place, cardinality(positions)::float8 as times
                        from unnest(analysed.lexemes)) as words
                  group by place) as weighted),
           array(select lexeme from unnest(analysed.lexemes),
                 generate_series(1, case when cardinality(positions) >= 4 then 2 when cardinality(positions) >= 2 then 1 else 0 end))
    from unnest($7::text[], $8::bigint[], $9::text[], $10::text[], $11::text[], $12::bigint[], $13::bigint[], $14::jsonb[])
             as one (chunk_id, position, context, headings, body, span_start, span_end, metadata),
         lateral (select lexemes, (select sum(cardinality(positions)) from unnest(lexemes))::float8 as length
                  from (select to_tsvector($5::text::regconfig, one.context || E'\\n' || one.body) as lexemes offset 0) as said
                  offset 0) as analysed
"""

_PUT_EMBEDDINGS = """
    insert into embeddings (tenant, collection, embedder, chunk_id, metadata, embedding)
    select $1, $2, $3, one.chunk_id, one.metadata, one.embedding::halfvec
    from unnest($4::text[], $5::jsonb[], $6::text[]) as one (chunk_id, metadata, embedding)
"""

# The middle of where its words point. A passage without any known word gets a row too: it has been looked at. Each word is looked up by
# itself (`offset 0`): a join would be planned by statistics that know nothing of what was just learned, and go through all of it each time.
PUT_LEARNED = """
    insert into embeddings (tenant, collection, embedder, chunk_id, metadata, embedding)
    select $1, $2, $3, chunk.chunk_id, chunk.metadata, coalesce(
        (select l2_normalize(avg(pointing.projection))
         from (select substr(word, strpos(word, ':') + 1) as lexeme from unnest(tsvector_to_array(chunk.lexemes)) as word
               union all select unnest(chunk.often)) as said,
              lateral (select projection from projections
                       where tenant = $1 and collection = $2 and lexeme = said.lexeme and space = $3 offset 0) as pointing),
        array_fill(0, array[128])::vector::halfvec)
    from chunks as chunk
    where chunk.tenant = $1 and chunk.chunk_id = any ($4::text[])
    on conflict do nothing
"""


async def put_passages(connection: asyncpg.Connection, tenant: str, number: int, document: Document, draft: Draft) -> None:
    """Write the draft's passages and their vectors; `number` is the collection's, and goes before each word."""
    for at in range(0, len(draft.chunks), _BATCH):
        places = range(at, min(at + _BATCH, len(draft.chunks)))
        chunks, ids = draft.chunks[at : at + _BATCH], _ids(document, places)
        metadata = [passage_metadata(document.metadata, chunk) for chunk in chunks]
        await connection.execute(
            _PUT_CHUNKS,
            tenant,
            document.collection,
            document.document_id,
            document.version,
            draft.language,
            number,
            ids,
            list(places),
            [context_of(draft.title, chunk) for chunk in chunks],
            [dump_json(list(chunk.headings)) for chunk in chunks],  # as text: the driver takes a list of lists for one array
            [chunk.text for chunk in chunks],
            [chunk.start for chunk in chunks],
            [chunk.end for chunk in chunks],
            metadata,
        )
        if not is_learned(draft.embedder):
            vectors = [halfvec_text(vector) for vector in draft.vectors[at : at + _BATCH]]
            await connection.execute(_PUT_EMBEDDINGS, tenant, document.collection, draft.embedder, ids, metadata, vectors)
    await embed_document(connection, tenant, document, draft.embedder)


async def embed_document(connection: asyncpg.Connection, tenant: str, document: Document, embedder: str) -> None:
    """Embed the document's passages with what was learned; an embedder that was not learned here is none of the database's business."""
    if not is_learned(embedder):
        return
    for at in range(0, document.chunks, _BATCH):
        ids = _ids(document, range(at, min(at + _BATCH, document.chunks)))
        await connection.execute(PUT_LEARNED, tenant, document.collection, embedder, ids)


def _ids(document: Document, places: range) -> list[str]:
    return [f"{document.document_id}.{document.version}.{place}" for place in places]
