"""Upkeep on Postgres: collections learn, change embedders and get an index while searches go on."""

import asyncio
import random
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace

import asyncpg
import pytest
from memory_fakes import FakeEmbedder
from memory_samples import ACME, UMBRELLA, draft, question
from plimsoll_memory.adapters.learner import LearnerCrashed, ProcessLearner
from plimsoll_memory.adapters.postgres_index import PostgresPassageIndex
from plimsoll_memory.adapters.postgres_library import PostgresLibrary
from plimsoll_memory.adapters.postgres_workshop import MISSING, PostgresWorkshop
from plimsoll_memory.adapters.search_sql import statement
from plimsoll_memory.adapters.tenancy import working_for
from plimsoll_memory.domain.document import Collection, Draft, Wanted
from plimsoll_memory.domain.embedding import LATENT, Corpus
from plimsoll_memory.domain.hashing import HashingSpace
from plimsoll_memory.domain.search import Question, VectorQuestion
from plimsoll_memory.domain.upkeep import Chore, Rules
from plimsoll_memory.errors import CollectionChanged
from plimsoll_memory.ports import Embedder
from plimsoll_memory.service.upkeep import Upkeep
from plimsoll_runtime import logs
from plimsoll_runtime.errors import Unavailable

SUBJECTS = {
    "sea": "harbour ship anchor sail captain crew deck storm tide wharf",
    "kitchen": "kettle oven flour butter spoon recipe bread cake sugar bowl",
    "garden": "rose spade seed soil hedge lawn tulip bulb rake compost",
}
SPACE = HashingSpace()
GO = asyncio.Event()


def texts(count: int, *, seed: int = 1) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.sample(draw.choice(list(SUBJECTS.values())).split(), 5)) for _ in range(count)]


def hashed(*passages: str, source: str = "a.md", document_id: str = "doc_1", target: str = LATENT) -> Draft:
    vectors = tuple(SPACE.embed(one) for one in passages)
    made = draft(*passages, source=source, document_id=document_id, vectors=vectors, embedder="hashing-384-v1", title="")
    return replace(made, target=target)


def upkeep(pool: asyncpg.Pool, *embedders: Embedder, learn_from: int = 100, index_from: int = 1_000_000) -> Upkeep:
    return Upkeep(
        workshop=PostgresWorkshop(pool),
        learner=ProcessLearner(logs.get("memory")),
        embedders={one.name: one for one in embedders},
        rules=Rules(learn_from=learn_from, index_from=index_from),
        log=logs.get("memory"),
    )


async def collection(library: PostgresLibrary, tenant: str = ACME) -> Collection:
    found = await library.find_collection(tenant, "help")
    assert found is not None
    return found


def by_meaning(query: str, embedder: str, *, exact: bool = True, keep: int = 10, team: str = "") -> Question:
    vector = VectorQuestion(embedder=embedder, vector=None, floor=0.1, exact=exact)
    return replace(question(query, keep=keep, metadata={"team": team} if team else None), vector=vector, words=False)


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


async def test_vectors_of_the_old_embedder_are_gone_and_new_documents_get_the_new_ones(
    pool: asyncpg.Pool, library: PostgresLibrary
) -> None:
    await library.store(ACME, hashed(*texts(300)))
    await upkeep(pool).tend_next(GO)
    learned = (await collection(library)).embedder
    with pytest.raises(CollectionChanged):
        await library.store(ACME, hashed("a kettle", source="b.md", document_id="doc_2"))
    late = replace(draft("kettle and oven", source="b.md", document_id="doc_2", embedder=learned), vectors=())
    await library.store(ACME, late)
    assert await vectors_by_embedder(pool) == {learned: 301}
    found = await PostgresPassageIndex(pool).candidates(ACME, by_meaning("kettle", learned))
    assert "kettle and oven" in {one.text for one in found.passages}


async def test_what_is_stored_while_another_embedder_is_filled_is_embedded_too(pool: asyncpg.Pool, library: PostgresLibrary) -> None:
    await library.store(ACME, hashed(*texts(40), target=""))
    await library.configure(ACME, "help", Wanted(embedder="fake-2"))
    late: list[Draft] = [hashed("late kettle", source="late.md", document_id="doc_2")]

    class Meddling(FakeEmbedder):
        """Somebody stores a document while it works."""

        async def embed_passages(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
            during.append(await collection(library))
            while late:
                await library.store(ACME, late.pop())
            return await super().embed_passages(texts)

    during: list[Collection] = []
    await upkeep(pool, Meddling(name="fake-2")).tend_next(GO)
    assert [(one.embedder, one.next_embedder) for one in during] == [("hashing-384-v1", "fake-2")] * 2, "the old one served meanwhile"
    assert (await collection(library)).embedder == "fake-2"
    assert await vectors_by_embedder(pool) == {"fake-2": 41}


async def test_what_is_stored_among_passages_that_are_filled_is_embedded_too(pool: asyncpg.Pool, library: PostgresLibrary) -> None:
    await library.store(ACME, hashed(*texts(40), document_id="doc_2", target=""))
    await library.configure(ACME, "help", Wanted(embedder="fake-2"))
    early = [hashed("early kettle", source="early.md", document_id="doc_1")]

    class Meddling(PostgresWorkshop):
        """Somebody stores a document with the first ids when the last are filled."""

        async def switch(self, chore: Chore, embedder: str) -> bool:
            while early:
                await library.store(ACME, early.pop())
            return await super().switch(chore, embedder)

    one = replace(upkeep(pool, FakeEmbedder(name="fake-2")), workshop=Meddling(pool))
    await one.tend_next(GO)
    assert await vectors_by_embedder(pool) == {"fake-2": 41}


async def test_the_old_vectors_are_forgotten_after_the_switch_and_by_others_when_somebody_dies_over_it(
    pool: asyncpg.Pool, library: PostgresLibrary
) -> None:
    """Not in the switch itself: nobody could store a document in the collection meanwhile."""
    await library.store(ACME, hashed(*texts(40), target="fake-2"))

    class Dying(PostgresWorkshop):
        """Is at its end when the new embedder serves."""

        async def tidy(self, chore: Chore) -> None:
            if (await collection(library)).embedder == "fake-2":
                raise Unavailable("died")

    embedder = FakeEmbedder(name="fake-2")
    await replace(upkeep(pool, embedder), workshop=Dying(pool)).tend_next(GO)
    assert await vectors_by_embedder(pool) == {"fake-2": 40, "hashing-384-v1": 40}
    async with working_for(pool, ACME) as connection:
        await connection.execute("update chores set due_at = now()")
    await upkeep(pool, embedder).tend_next(GO)
    assert await vectors_by_embedder(pool) == {"fake-2": 40}


async def vectors_by_embedder(pool: asyncpg.Pool) -> dict[str, int]:
    async with working_for(pool, ACME) as connection:
        return {
            row["embedder"]: row["count"] for row in await connection.fetch("select embedder, count(*) as count from embeddings group by 1")
        }


async def test_filling_never_comes_back_to_what_is_filled(pool: asyncpg.Pool, library: PostgresLibrary) -> None:
    await library.store(ACME, hashed(*texts(600), target="fake-2"))
    ways: list[tuple[str, str, str]] = []

    class Watched(PostgresWorkshop):
        """Keeps from where to where each batch went."""

        async def missing(self, chore: Chore, embedder: str, *, after: str, limit: int) -> Sequence[tuple[str, str]]:
            found = await super().missing(chore, embedder, after=after, limit=limit)
            ids = [chunk_id for chunk_id, _ in found]
            ways.append((after, min(ids, default=""), max(ids, default="")))
            return found

    await replace(upkeep(pool, FakeEmbedder(name="fake-2")), workshop=Watched(pool)).tend_next(GO)
    assert [after for after, _, _ in ways] == ["", *[last for _, _, last in ways[:-1]]]
    assert all(after < first for after, first, _ in ways[:-1])
    assert (len(ways), ways[-1][1]) == (4, "")


async def test_what_is_missing_is_looked_up_whatever_the_statistics_say(pool: asyncpg.Pool, library: PostgresLibrary) -> None:
    """Those of a table that is being filled lag behind: a join planned by them reads all vectors again for each passage."""
    await library.store(ACME, hashed(*texts(600)))
    await pool.execute("analyze")
    async with working_for(pool, ACME) as connection:
        rows = await connection.fetch("explain " + MISSING, ACME, "help", "new-1", "", 256)
    told = "\n".join(row[0] for row in rows)
    assert "Join" not in told
    assert "embeddings_pkey" in told


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
    for query in ("captain storm", "flour butter", "tulip"):
        exact = await index.candidates(ACME, by_meaning(query, here.embedder))
        near = await index.candidates(ACME, by_meaning(query, here.embedder, exact=False))
        assert (exact.exact, near.exact) == (True, False)
        best = {round(one.similarity, 4) for one in exact.passages if one.vector_rank <= 10}
        assert len(best & {round(one.similarity, 4) for one in near.passages if one.vector_rank <= 10}) >= 0.9 * len(best)
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
