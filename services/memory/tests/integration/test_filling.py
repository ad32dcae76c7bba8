"""Another embedder takes over while searches and writers go on."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace

import asyncpg
import pytest
from memory_fakes import FakeEmbedder
from memory_keeping import GO, SPACE, by_meaning, collection, hashed, somebody_waits_for, texts, upkeep, vectors_by_embedder
from memory_samples import ACME, draft, question
from plimsoll_memory.adapters.passage_rows import PUT_LEARNED
from plimsoll_memory.adapters.postgres_index import PostgresPassageIndex
from plimsoll_memory.adapters.postgres_library import PostgresLibrary
from plimsoll_memory.adapters.postgres_workshop import MISSING, PostgresWorkshop
from plimsoll_memory.adapters.tenancy import working_for
from plimsoll_memory.domain.document import Collection, Draft, Wanted
from plimsoll_memory.domain.search import VectorQuestion
from plimsoll_memory.domain.upkeep import Chore
from plimsoll_memory.errors import CollectionChanged
from plimsoll_runtime.errors import Unavailable


@pytest.fixture
def library(pool: asyncpg.Pool) -> PostgresLibrary:
    return PostgresLibrary(pool)


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


async def test_what_is_stored_while_a_learned_embedder_is_filled_has_both_vectors_at_once(
    pool: asyncpg.Pool, library: PostgresLibrary
) -> None:
    """So that nothing is left to look for in the moment of the switch, when everybody who stores would have to wait."""
    await library.store(ACME, hashed(*texts(300), document_id="doc_5"))
    late = [
        hashed(*texts(40, seed=2), source="early.md", document_id="doc_1"),
        hashed("another kettle", document_id="doc_5"),
        hashed("late kettle", source="late.md", document_id="doc_9"),
    ]
    counts: list[dict[str, int]] = []

    class Meddling(PostgresWorkshop):
        """Somebody stores documents before, among and behind the passages that are filled, one in the place of all that was there."""

        async def project(self, chore: Chore, embedder: str, *, after: str, limit: int) -> str:
            filled = await super().project(chore, embedder, after=after, limit=100)
            if late:
                await library.store(ACME, late.pop())
            counts.append(await vectors_by_embedder(pool))
            return filled

    await replace(upkeep(pool), workshop=Meddling(pool)).tend_next(GO)
    learned = "latent-128-v1.1"
    assert counts[:3] == [
        {"hashing-384-v1": 301, learned: 101},
        {"hashing-384-v1": 2, learned: 2},
        {"hashing-384-v1": 42, learned: 42},
    ]
    assert (await collection(library)).embedder == learned
    assert await vectors_by_embedder(pool) == {learned: 42}


async def test_what_is_stored_in_the_moment_in_which_filling_begins_has_both_vectors_too(
    pool: asyncpg.Pool, library: PostgresLibrary
) -> None:
    await library.store(ACME, hashed("kettle"))
    learned = "latent-128-v1.1"
    async with asyncio.TaskGroup() as group, working_for(pool, ACME) as beginning:
        await beginning.execute("update collections set next_embedder = $1", learned)
        group.create_task(library.store(ACME, hashed("late kettle", source="late.md", document_id="doc_2")))
        await somebody_waits_for(beginning, pool)
    assert await vectors_by_embedder(pool) == {"hashing-384-v1": 2, learned: 1}


async def test_what_somebody_died_over_while_filling_is_filled_by_others(pool: asyncpg.Pool, library: PostgresLibrary) -> None:
    await library.store(ACME, hashed(*texts(300)))

    class Dying(PostgresWorkshop):
        """Is at its end behind the first batch."""

        async def project(self, chore: Chore, embedder: str, *, after: str, limit: int) -> str:
            await super().project(chore, embedder, after=after, limit=100)
            raise Unavailable("died")

    await replace(upkeep(pool), workshop=Dying(pool)).tend_next(GO)
    assert await vectors_by_embedder(pool) == {"hashing-384-v1": 300, "latent-128-v1.1": 100}
    by_parts = VectorQuestion(embedder="hashing-384-v1", vector=SPACE.embed("captain"), floor=-1.0)
    found = await PostgresPassageIndex(pool).candidates(ACME, replace(question("captain", depth=1_000), vector=by_parts))
    assert found.vector_count == 300, "the old one serves, and knows all"
    async with working_for(pool, ACME) as connection:
        await connection.execute("update chores set due_at = now()")
    await upkeep(pool).tend_next(GO)
    assert await vectors_by_embedder(pool) == {"latent-128-v1.1": 300}


async def test_a_switch_does_not_wait_for_those_who_are_storing(pool: asyncpg.Pool, library: PostgresLibrary) -> None:
    """There is always one of them while many documents come: the switch would never have its turn."""
    await library.store(ACME, hashed(*texts(300)))
    async with working_for(pool, ACME) as storing:
        await storing.execute("select true from collections for key share")
        await upkeep(pool).tend_next(GO)
        assert (await collection(library)).embedder == "latent-128-v1.1"


async def test_nothing_serves_while_a_passage_lacks_its_vector(pool: asyncpg.Pool, library: PostgresLibrary) -> None:
    await library.store(ACME, hashed(*texts(300)))

    class Forgetful(PostgresWorkshop):
        """Loses a vector on the way to the switch, once."""

        async def switch(self, chore: Chore, embedder: str) -> bool:
            if not switched:
                async with working_for(pool, ACME) as connection:
                    await connection.execute("delete from embeddings where embedder = $1 and chunk_id = 'doc_1.1.7'", embedder)
            switched.append(await super().switch(chore, embedder))
            return switched[-1]

    switched: list[bool] = []
    await replace(upkeep(pool), workshop=Forgetful(pool)).tend_next(GO)
    assert switched == [False, True]
    assert await vectors_by_embedder(pool) == {"latent-128-v1.1": 300}


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


async def test_each_word_of_a_passage_is_looked_up_whatever_the_statistics_say(pool: asyncpg.Pool, library: PostgresLibrary) -> None:
    """They know nothing of what was just learned: a plan by them took apart every passage again for each word of the collection."""
    await library.store(ACME, hashed(*texts(300)))
    await upkeep(pool).tend_next(GO)
    ids = [f"doc_1.1.{number}" for number in range(300)]
    async with working_for(pool, ACME) as connection:
        await connection.execute("insert into projections select tenant, collection, lexeme, 'new-1', projection from projections")
        rows = await connection.fetch("explain " + PUT_LEARNED, ACME, "help", "new-1", ids)
    told = "\n".join(row[0] for row in rows)
    assert "Join" not in told
    assert re.search(r"projections_pkey on projections.*\n *Index Cond: .*lexeme = ", told)
