"""Upkeep in PostgreSQL: which collections are due, what an embedder learns from, filling, switching, indexes."""

import asyncio
import hashlib
from array import array
from collections.abc import Sequence
from functools import partial
from itertools import islice

import asyncpg
from plimsoll_runtime.postgres import translating

from plimsoll_memory.adapters.halfvec import halfvec_text, rows_of_halfvec
from plimsoll_memory.adapters.passage_rows import PUT_LEARNED
from plimsoll_memory.adapters.search_sql import place_of
from plimsoll_memory.adapters.tenancy import filling_for, working_for
from plimsoll_memory.domain.document import Vector
from plimsoll_memory.domain.embedding import LATENT_DIMENSIONS, Corpus, Projections, is_learned
from plimsoll_memory.domain.upkeep import Chore, CollectionState

_ACQUIRE_CAP_S = 10.0
_STATEMENT_CAP_S = 300.0
_INDEX_CAP_S = 3600.0
_BATCH = 2_000
_FETCH = 500

# What comes due while somebody works on it stays due; what somebody died over is due when the time is up.
_TAKE = """
    update chores set due_at = 'infinity', held_until = now() + make_interval(secs => $1)
    where (tenant, collection) = (
        select tenant, collection from chores where coalesce(held_until, due_at) <= now()
        order by coalesce(held_until, due_at) limit 1 for update skip locked
    )
    returning tenant, collection
"""
_HOLD = "update chores set held_until = now() + make_interval(secs => $3) where tenant = $1 and collection = $2"
_PUT_OFF = """
    update chores set due_at = least(due_at, now() + make_interval(secs => $3)), held_until = null where tenant = $1 and collection = $2
"""
_FORGET_CHORE = """
    delete from chores where tenant = $1 and collection = $2
    and not exists (select from collections where tenant = $1 and name = $2)
"""
_STATE = """
    select embedder, target, next_embedder, generation, learned_from, chunks, indexed from collections where tenant = $1 and name = $2
"""

# Words in two passages at least and not in most of them, the frequent ones first.
_VOCABULARY = """
    select lexeme, ln(greatest(collection.chunks, 1) / term.chunks::float8) as rarity
    from terms as term join collections as collection on collection.tenant = term.tenant and collection.name = term.collection
    where term.tenant = $1 and term.collection = $2 and term.chunks between 2 and greatest(collection.chunks / 2, 2)
    order by term.chunks desc, lexeme limit $3
"""
# A sample that is the same for the same passages.
_SAMPLE = """
    with known as (select lexeme, ordinality::integer - 1 as number from unnest($3::text[]) with ordinality as one (lexeme, ordinality)),
    chosen as (select chunk_id, lexemes, often from chunks where tenant = $1 and collection = $2 order by md5(chunk_id) limit $4)
    select array_agg(known.number) as numbers
    from chosen,
         lateral (select substr(word, strpos(word, ':') + 1) as lexeme from unnest(tsvector_to_array(chosen.lexemes)) as word
                  union all select unnest(chosen.often)) as said
    join known on known.lexeme = said.lexeme
    group by chunk_id order by md5(chunk_id)
"""
_PUT_PROJECTIONS = """
    insert into projections (tenant, collection, space, lexeme, projection)
    select $1, $2, $3, one.lexeme, one.projection::halfvec
    from unnest($4::text[], $5::text[]) as one (lexeme, projection)
    where exists (select from terms where tenant = $1 and collection = $2 and terms.lexeme = one.lexeme)
    on conflict do nothing
"""
_BEGIN = "update collections set next_embedder = $3 where tenant = $1 and name = $2 and next_embedder = ''"
_LEARNED = """
    update collections set next_embedder = $3, generation = generation + 1, learned_from = chunks
    where tenant = $1 and name = $2 and next_embedder = ''
"""
# Each passage is looked up by itself (`offset 0`): joined, the plan would hang on statistics that are never those of a table being filled.
MISSING = """
    select chunk_id from chunks
    where tenant = $1 and collection = $2 and chunk_id > $4
      and not exists (select from embeddings as one
                      where one.tenant = $1 and one.collection = $2 and one.embedder = $3 and one.chunk_id = chunks.chunk_id offset 0)
    order by chunk_id limit $5
"""
_MISSING_TEXTS = MISSING.replace("chunk_id from", "chunk_id, context, body from", 1)
_PUT_VECTORS = """
    insert into embeddings (tenant, collection, embedder, chunk_id, metadata, embedding)
    select $1, $2, $3, one.chunk_id, chunks.metadata, one.embedding::halfvec
    from unnest($4::text[], $5::text[]) as one (chunk_id, embedding)
    join chunks on chunks.tenant = $1 and chunks.chunk_id = one.chunk_id
    on conflict do nothing
"""
_SERVING = "select embedder from collections where tenant = $1 and name = $2"
# As an update of it locks it: writers hold its key all the time, one or another of them, and are not waited for.
_LOCK = "select next_embedder from collections where tenant = $1 and name = $2 for no key update"
_SWITCH = """
    update collections set embedder = next_embedder, next_embedder = '' where tenant = $1 and name = $2
"""
_NOT_SERVING = """
    select distinct one.embedder from embeddings as one join collections on collections.tenant = one.tenant and name = one.collection
    where one.tenant = $1 and one.collection = $2 and one.embedder not in (collections.embedder, next_embedder)
"""
_FORGET_VECTORS = """
    delete from embeddings where tenant = $1 and collection = $2 and embedder = $3 and chunk_id = any (array(
        select chunk_id from embeddings where tenant = $1 and collection = $2 and embedder = $3 limit $4
    ))
"""
_UNLEARN = """
    delete from projections using collections
    where projections.tenant = $1 and projections.collection = $2 and collections.tenant = $1 and name = $2
      and space not in (embedder, next_embedder)
"""
_INDEXED = "update collections set indexed = $3 where tenant = $1 and name = $2 and embedder = $4"
_INDEXES = """
    select index.relname as name, pg_index.indisvalid as valid from pg_class as index join pg_index on indexrelid = index.oid
    where index.relnamespace = current_schema()::regnamespace and starts_with(index.relname, $1)
"""
_DIMENSIONS = """
    select vector_dims(embedding::vector) from embeddings where tenant = $1 and collection = $2 and embedder = $3 limit 1
"""


class PostgresWorkshop:
    """A Workshop. What is long is done in pieces, each a transaction of its own, so that writers wait for moments only."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def take(self, lease_s: float) -> Chore | None:
        with translating():
            async with self._pool.acquire(timeout=_ACQUIRE_CAP_S) as connection:
                row = await connection.fetchrow(_TAKE, lease_s)
        return Chore(tenant=row["tenant"], collection=row["collection"]) if row else None

    async def hold(self, chore: Chore, lease_s: float) -> None:
        async with working_for(self._pool, chore.tenant) as connection:
            await connection.execute(_HOLD, chore.tenant, chore.collection, lease_s)

    async def put_off(self, chore: Chore, seconds: float | None) -> None:
        async with working_for(self._pool, chore.tenant) as connection:
            await connection.execute(_PUT_OFF, chore.tenant, chore.collection, seconds)

    async def forget(self, chore: Chore) -> None:
        await self._drop_indexes(chore, keep="")
        async with working_for(self._pool, chore.tenant) as connection:
            await connection.execute(_FORGET_CHORE, chore.tenant, chore.collection)

    async def state(self, chore: Chore) -> CollectionState | None:
        async with working_for(self._pool, chore.tenant) as connection:
            row = await connection.fetchrow(_STATE, chore.tenant, chore.collection)
        return CollectionState(**dict(row)) if row else None

    async def corpus(self, chore: Chore, *, most_words: int, most_passages: int) -> Corpus:
        async with working_for(self._pool, chore.tenant) as connection:
            vocabulary = await connection.fetch(_VOCABULARY, chore.tenant, chore.collection, most_words)
            lexemes = [row["lexeme"] for row in vocabulary]
            sample = connection.cursor(
                _SAMPLE, chore.tenant, chore.collection, lexemes, most_passages, prefetch=_FETCH, timeout=_STATEMENT_CAP_S
            )
            passages = [array("i", row["numbers"]).tobytes() async for row in sample]
        return Corpus(lexemes=lexemes, rarities=[row["rarity"] for row in vocabulary], passages=passages)

    async def put_learned(self, chore: Chore, embedder: str, projections: Projections) -> bool:
        """In one transaction, so that a space is whole or not there. Words that were forgotten meanwhile are left out."""
        async with filling_for(self._pool, chore.tenant) as connection:
            rows = rows_of_halfvec(projections.rows, LATENT_DIMENSIONS)
            for at in range(0, len(projections.lexemes), _BATCH):
                lexemes = projections.lexemes[at : at + _BATCH]
                texts = await asyncio.to_thread(lambda: list(islice(rows, _BATCH)))
                await connection.execute(_PUT_PROJECTIONS, chore.tenant, chore.collection, embedder, lexemes, texts)
            return bool(await connection.execute(_LEARNED, chore.tenant, chore.collection, embedder) == "UPDATE 1")

    async def begin(self, chore: Chore, embedder: str) -> None:
        async with working_for(self._pool, chore.tenant) as connection:
            await connection.execute(_BEGIN, chore.tenant, chore.collection, embedder)

    async def missing(self, chore: Chore, embedder: str, *, after: str, limit: int) -> Sequence[tuple[str, str]]:
        async with working_for(self._pool, chore.tenant) as connection:
            rows = await connection.fetch(_MISSING_TEXTS, chore.tenant, chore.collection, embedder, after, limit, timeout=_STATEMENT_CAP_S)
        return [(row["chunk_id"], f"{row['context']}\n{row['body']}") for row in rows]

    async def put_vectors(self, chore: Chore, embedder: str, chunk_ids: Sequence[str], vectors: Sequence[Vector]) -> None:
        async with filling_for(self._pool, chore.tenant) as connection:
            texts = [halfvec_text(vector) for vector in vectors]
            await connection.execute(_PUT_VECTORS, chore.tenant, chore.collection, embedder, list(chunk_ids), texts)

    async def project(self, chore: Chore, embedder: str, *, after: str, limit: int) -> str:
        key = (chore.tenant, chore.collection, embedder)
        async with filling_for(self._pool, chore.tenant) as connection:
            rows = await connection.fetch(MISSING, *key, after, limit, timeout=_STATEMENT_CAP_S)
            ids = [row["chunk_id"] for row in rows]
            await connection.execute(PUT_LEARNED, *key, ids, timeout=_STATEMENT_CAP_S)
        return ids[-1] if ids else ""

    async def switch(self, chore: Chore, embedder: str) -> bool:
        """Holds the collection's row: who stores a document at this moment finds that another embedder serves, and begins anew.

        All is looked through once more. For a learned embedder before anybody has to wait: what is stored meanwhile has its vectors.
        """
        key = (chore.tenant, chore.collection)
        async with filling_for(self._pool, chore.tenant) as connection:
            is_missing = partial(connection.fetchrow, MISSING, *key, embedder, "", 1, timeout=_STATEMENT_CAP_S)
            if is_learned(embedder) and await is_missing():
                return False
            if await connection.fetchval(_LOCK, *key) != embedder:
                return False
            if not is_learned(embedder) and await is_missing():
                return False
            await connection.execute(_SWITCH, *key)
        await self.tidy(chore)
        await self._analyse()
        return True

    async def tidy(self, chore: Chore) -> None:
        key = (chore.tenant, chore.collection)
        async with working_for(self._pool, chore.tenant) as connection:
            serving = await connection.fetchval(_SERVING, *key)
            left = await connection.fetch(_NOT_SERVING, *key, timeout=_STATEMENT_CAP_S)
        if serving is not None:
            await self._drop_indexes(chore, keep=_index_name(chore, serving))
        for row in left:
            while await self._forget_vectors(chore, row["embedder"]):
                pass
        async with filling_for(self._pool, chore.tenant) as connection:
            await connection.execute(_UNLEARN, *key, timeout=_STATEMENT_CAP_S)

    async def _forget_vectors(self, chore: Chore, embedder: str) -> bool:
        """A batch of them; returns whether there was one."""
        async with filling_for(self._pool, chore.tenant) as connection:
            gone = await connection.execute(_FORGET_VECTORS, chore.tenant, chore.collection, embedder, _BATCH, timeout=_STATEMENT_CAP_S)
        return bool(gone != "DELETE 0")

    async def index(self, chore: Chore, embedder: str) -> None:
        """Beside the work of others. One that an earlier attempt left unfinished is dropped first."""
        name = _index_name(chore, embedder)
        async with working_for(self._pool, chore.tenant) as connection:
            dimensions = await connection.fetchval(_DIMENSIONS, chore.tenant, chore.collection, embedder)
            where = await connection.fetchval(
                "select format('tenant = %L and collection = %L and embedder = %L', $1::text, $2::text, $3::text)",
                chore.tenant,
                chore.collection,
                embedder,
            )
        with translating():
            async with self._pool.acquire(timeout=_ACQUIRE_CAP_S) as connection:
                rows = await connection.fetch(_INDEXES, name)
                if not any(row["valid"] for row in rows):
                    await connection.execute(f"drop index if exists {name}")
                    await connection.execute("set maintenance_work_mem = '256MB'")
                    try:
                        await connection.execute(
                            f"create index concurrently {name} on embeddings"
                            f" using hnsw ({place_of(dimensions)} halfvec_cosine_ops) with (ef_construction = 100) where {where}",
                            timeout=_INDEX_CAP_S,
                        )
                    finally:
                        await connection.execute("reset maintenance_work_mem")
        await self._analyse()
        async with working_for(self._pool, chore.tenant) as connection:
            await connection.execute(_INDEXED, chore.tenant, chore.collection, embedder, embedder)

    async def unindex(self, chore: Chore) -> None:
        async with working_for(self._pool, chore.tenant) as connection:
            await connection.execute("update collections set indexed = '' where tenant = $1 and name = $2", chore.tenant, chore.collection)
        await self._drop_indexes(chore, keep="")

    async def _analyse(self) -> None:
        """Much has changed: let searches be planned for what is there now, and not when autovacuum comes by."""
        with translating():
            async with self._pool.acquire(timeout=_ACQUIRE_CAP_S) as connection:
                for table in ("chunks", "embeddings", "terms", "projections", "documents"):
                    await connection.execute(f"analyze {table}", timeout=_STATEMENT_CAP_S)

    async def _drop_indexes(self, chore: Chore, *, keep: str) -> None:
        with translating():
            async with self._pool.acquire(timeout=_ACQUIRE_CAP_S) as connection:
                for row in await connection.fetch(_INDEXES, _index_prefix(chore)):
                    if row["name"] != keep:
                        await connection.execute(f"drop index concurrently if exists {row['name']}", timeout=_INDEX_CAP_S)


def _index_prefix(chore: Chore) -> str:
    return "near_" + hashlib.sha256(f"{chore.tenant}\n{chore.collection}".encode()).hexdigest()[:24] + "_"


def _index_name(chore: Chore, embedder: str) -> str:
    return _index_prefix(chore) + hashlib.sha256(embedder.encode()).hexdigest()[:12]
