"""Upkeep on Postgres: collections learn and get an index while searches go on."""

import tracemalloc
from dataclasses import replace

import asyncpg
import pytest
from memory_keeping import GO, SUBJECTS, by_meaning, collection, hashed, texts, upkeep
from memory_samples import ACME, UMBRELLA, draft
from plimsoll_memory.adapters.learner import LearnerCrashed, ProcessLearner
from plimsoll_memory.adapters.postgres_index import PostgresPassageIndex
from plimsoll_memory.adapters.postgres_library import PostgresLibrary
from plimsoll_memory.adapters.postgres_workshop import PostgresWorkshop
from plimsoll_memory.adapters.search_sql import statement
from plimsoll_memory.adapters.tenancy import working_for
from plimsoll_memory.domain.embedding import Corpus
from plimsoll_memory.domain.search import VectorQuestion
from plimsoll_memory.domain.upkeep import Chore
from plimsoll_runtime import logs


@pytest.fixture
def library(pool: asyncpg.Pool) -> PostgresLibrary:
    return PostgresLibrary(pool)


async def test_a_collection_learns_which_words_belong_together(pool: asyncpg.Pool, library: PostgresLibrary) -> None:
    await library.store(ACME, hashed(*texts(300)))
    assert await upkeep(pool).tend_next(GO)
    now = await collection(library)
    assert (now.embedder, now.next_embedder, now.exact) == ("latent-128-v1.1", "", True)
    found = await PostgresPassageIndex(pool).candidates(ACME, by_meaning("captain", now.embedder))
    assert found.passages
    sea = set(SUBJECTS["sea"].split())
    near = [one for one in found.passages if one.vector_rank <= 10]
    assert all(set(one.text.split()) & sea for one in near)
    assert any("captain" not in one.text for one in near), "found by what stands beside the word elsewhere"


async def test_a_collection_learns_anew_when_it_has_doubled(pool: asyncpg.Pool, library: PostgresLibrary) -> None:
    await library.store(ACME, hashed(*texts(120)))
    one = upkeep(pool)
    assert await one.tend_next(GO)
    assert not await one.tend_next(GO), "nothing changed"
    more = replace(draft(*texts(200, seed=2), source="b.md", document_id="doc_2", embedder="latent-128-v1.1"), vectors=())
    await library.store(ACME, more)
    assert await one.tend_next(GO)
    assert (await collection(library)).embedder == "latent-128-v1.2"
    async with working_for(pool, ACME) as connection:
        assert [row["space"] for row in await connection.fetch("select distinct space from projections")] == ["latent-128-v1.2"]


async def test_forgetting_takes_what_was_learned_of_words_that_are_gone(pool: asyncpg.Pool, library: PostgresLibrary) -> None:
    await library.store(ACME, hashed(*texts(150)))
    secret = " ".join(["zanzibar quagga"] * 3)
    await library.store(ACME, hashed(secret, f"{secret} kettle", source="secret.md", document_id="doc_2"))
    await upkeep(pool).tend_next(GO)
    async with working_for(pool, ACME) as connection:
        assert await connection.fetchval("select count(*) from projections where lexeme like 'zanzibar%' or lexeme like 'quagga%'") == 2
    assert await library.delete_document(ACME, "help", "doc_2")
    async with working_for(pool, ACME) as connection:
        assert await connection.fetchval("select count(*) from projections where lexeme like 'zanzibar%' or lexeme like 'quagga%'") == 0


async def test_a_deleted_collection_leaves_no_row_and_no_index(
    pool: asyncpg.Pool, library: PostgresLibrary, postgres_superuser_dsn: str
) -> None:
    await library.store(ACME, hashed(*texts(150)))
    await library.store(UMBRELLA, hashed("kettle"))
    one = upkeep(pool, index_from=100)
    while await one.tend_next(GO):
        pass
    assert not (await collection(library)).exact
    assert await library.delete_collection(ACME, "help") == 1
    assert await library.delete_collection(ACME, "help") is None
    while await one.tend_next(GO):
        pass
    superuser = await asyncpg.connect(postgres_superuser_dsn)
    try:
        for table in ("collections", "documents", "chunks", "embeddings", "terms", "projections", "chores"):
            tenants = {row["tenant"] for row in await superuser.fetch(f"select distinct tenant from memory.{table}")}
            assert tenants <= {UMBRELLA}, table
        assert await superuser.fetchval("select count(*) from pg_class where relname like 'near\\_%'") == 0
    finally:
        await superuser.close()


async def test_a_large_collection_is_indexed_and_the_index_finds_what_an_exact_scan_finds(
    pool: asyncpg.Pool, library: PostgresLibrary
) -> None:
    for number in range(4):
        parts = texts(400, seed=number)
        made = hashed(*parts, source=f"{number}.md", document_id=f"doc_{number}")
        await library.store(ACME, replace(made, incoming=replace(made.incoming, metadata={"team": f"t{number}"})))
    await library.store(UMBRELLA, hashed(*texts(100, seed=9)))
    one = upkeep(pool, index_from=1_000)
    while await one.tend_next(GO):
        pass
    here, there = await collection(library), await collection(library, UMBRELLA)
    assert (here.exact, there.exact) == (False, True)
    index = PostgresPassageIndex(pool)
    wanted, found = 0, 0
    for query in ("captain storm", "flour butter", "tulip"):
        exact = await index.candidates(ACME, by_meaning(query, here.embedder))
        near = await index.candidates(ACME, by_meaning(query, here.embedder, exact=False))
        assert (exact.exact, near.exact) == (True, False)
        best = {round(one.similarity, 4) for one in exact.passages if one.vector_rank <= 10}
        wanted += len(best)
        found += len(best & {round(one.similarity, 4) for one in near.passages if one.vector_rank <= 10})
    assert found >= 0.95 * wanted
    filtered = await index.candidates(ACME, by_meaning("captain storm", here.embedder, exact=False, team="t2"))
    assert filtered.passages
    assert {one.metadata["team"] for one in filtered.passages} == {"t2"}
    assert "near_" in await plan(pool, here.embedder), "row-level security leaves the index of vectors in use"
    async with working_for(pool, ACME) as connection:
        assert await connection.fetchval("select count(*) from pg_indexes where indexname like 'near\\_%' and indexdef like '%acme%'") == 1


async def plan(pool: asyncpg.Pool, embedder: str) -> str:
    """How Postgres goes about an approximate search."""
    async with working_for(pool, ACME) as connection:
        rows = await connection.fetch(
            "explain " + statement(learned=True, dimensions=128, exact=False),
            ACME, "help", "english", "captain", {}, 100, 10, 2000, True, embedder, 0.9, None,
        )  # fmt: skip
    return "\n".join(row[0] for row in rows)


async def test_a_filter_that_lets_little_through_gets_all_of_it(pool: asyncpg.Pool, library: PostgresLibrary) -> None:
    """The index alone would stop after what it looked at: an under-return that nobody sees."""
    await library.store(ACME, hashed(*texts(1500)))
    few = hashed(*texts(12, seed=3), source="few.md", document_id="doc_2")
    await library.store(ACME, replace(few, incoming=replace(few.incoming, metadata={"team": "few"})))
    one = upkeep(pool, index_from=1_000)
    while await one.tend_next(GO):
        pass
    here = await collection(library)
    wanted = replace(by_meaning("captain storm", here.embedder, exact=False, keep=100, team="few"), vector=None)
    wanted = replace(wanted, vector=VectorQuestion(embedder=here.embedder, vector=None, floor=-1.0, exact=False))
    found = await PostgresPassageIndex(pool).candidates(ACME, wanted)
    assert (found.vector_count, found.exact) == (12, True)


async def test_what_fails_is_tried_again_later_and_holds_up_nothing_else(pool: asyncpg.Pool, library: PostgresLibrary) -> None:
    await library.store(ACME, hashed("a", target="missing-1"))
    await library.store(UMBRELLA, hashed(*texts(120)))
    one = upkeep(pool)
    while await one.tend_next(GO):
        pass
    assert (await collection(library)).embedder == "hashing-384-v1"
    assert (await collection(library, UMBRELLA)).embedder == "latent-128-v1.1"


async def test_what_somebody_died_over_is_taken_over_when_the_time_is_up(pool: asyncpg.Pool, library: PostgresLibrary) -> None:
    await library.store(ACME, hashed(*texts(120)))
    workshop = PostgresWorkshop(pool)
    chore = await workshop.take(0.0)
    assert chore == Chore(tenant=ACME, collection="help")
    assert await workshop.take(60.0) == chore
    assert await workshop.take(60.0) is None
    await workshop.put_off(chore, None)
    assert await workshop.take(60.0) is None


async def test_a_learner_that_fails_says_so() -> None:
    with pytest.raises(LearnerCrashed):
        await ProcessLearner(logs.get("memory")).learn(Corpus(lexemes=["a"], rarities=[1.0], passages=[b"\xff\xff\xff\x7f"]))


async def test_a_learner_is_told_the_sample_piece_by_piece() -> None:
    """The pieces are one and the same object here: whatever is allocated is a copy."""
    pieces = [b"\xff\xff\xff\x7f" * 1_000] * 2_000
    tracemalloc.start()
    try:
        with pytest.raises(LearnerCrashed):
            await ProcessLearner(logs.get("memory")).learn(Corpus(lexemes=["a"], rarities=[1.0], passages=pieces))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < sum(map(len, pieces)) / 4
