"""Writers that meet, and writers that fail."""

import asyncio
from dataclasses import replace

import asyncpg
import pytest
from memory_fakes import Desk
from memory_keeping import somebody_waits_for
from memory_samples import ACME, NORTH, draft, incoming
from plimsoll_memory.adapters.postgres_library import PostgresLibrary
from plimsoll_memory.adapters.tenancy import working_for
from plimsoll_runtime.errors import PlimsollError
from plimsoll_testkit.clock import FakeClock
from plimsoll_testkit.ids import FakeIds


@pytest.fixture
def library(pool: asyncpg.Pool) -> PostgresLibrary:
    return PostgresLibrary(pool)


async def words_are_counted_right(pool: asyncpg.Pool) -> bool:
    """Whether the counts of words and of passages are what counting again gives."""
    async with working_for(pool, ACME) as connection:
        words = await connection.fetch(
            """
            select lexeme, terms.chunks as kept, coalesce(counted.chunks, 0) as counted
            from terms full join (
                select split_part(word, ':', 2) as lexeme, count(*) as chunks from chunks, unnest(tsvector_to_array(lexemes)) as word group by 1
            ) as counted using (lexeme)
            """
        )
        passages = await connection.fetchrow(
            "select chunks as kept, (select count(*) from chunks) as counted, (select count(*) from embeddings) as embedded from collections"
        )
    return all(row["kept"] == row["counted"] for row in words) and passages["kept"] == passages["counted"] == passages["embedded"]


async def test_the_same_document_sent_by_many_at_once_is_stored_once(library: PostgresLibrary, pool: asyncpg.Pool) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(library.store(ACME, draft("the very same", document_id=f"doc_{number}"))) for number in range(8)]
    outcomes = [task.result() for task in tasks]
    assert sum(outcome.changed for outcome in outcomes) == 1
    assert len({outcome.document.document_id for outcome in outcomes}) == 1
    assert {outcome.document.version for outcome in outcomes} == {1}
    assert await words_are_counted_right(pool)


async def test_versions_sent_at_once_follow_each_other(library: PostgresLibrary, pool: asyncpg.Pool) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(library.store(ACME, draft(f"version {number} of it", "and a rest"))) for number in range(6)]
    assert sorted(task.result().document.version for task in tasks) == [1, 2, 3, 4, 5, 6]
    collection = await library.find_collection(ACME, "help")
    assert collection is not None
    assert (collection.documents, collection.chunks) == (1, 2)
    assert await words_are_counted_right(pool)


async def test_many_documents_at_once_do_not_lock_each_other_out(library: PostgresLibrary, pool: asyncpg.Pool) -> None:
    words = [f"word{number}" for number in range(60)]
    async with asyncio.TaskGroup() as group:
        for number in range(12):
            mixed = words[number * 5 :] + words[: number * 5]
            group.create_task(library.store(ACME, draft(" ".join(mixed), source=f"{number}.md", document_id=f"doc_{number}")))
    async with asyncio.TaskGroup() as group:
        for number in range(0, 12, 2):
            group.create_task(library.delete_document(ACME, "help", f"doc_{number}"))
            group.create_task(library.store(ACME, draft("new", source=f"{number + 1}.md")))
    collection = await library.find_collection(ACME, "help")
    assert collection is not None
    assert (collection.documents, collection.chunks) == (6, 6)
    assert await words_are_counted_right(pool)


async def test_a_document_that_comes_while_its_collection_is_deleted_begins_a_new_one(library: PostgresLibrary, pool: asyncpg.Pool) -> None:
    await library.store(ACME, draft("the old one"))
    async with asyncio.TaskGroup() as group, working_for(pool, ACME) as deleting:
        for table in ("documents", "terms", "collections"):
            await deleting.execute(f"delete from {table}")
        group.create_task(library.store(ACME, draft("the new one", source="b.md", document_id="doc_2")))
        await somebody_waits_for(deleting, pool)
    collection = await library.find_collection(ACME, "help")
    assert collection is not None
    assert (collection.documents, collection.chunks) == (1, 1)
    assert await words_are_counted_right(pool)


async def test_a_document_that_fails_halfway_leaves_what_was_there(library: PostgresLibrary, pool: asyncpg.Pool) -> None:
    await library.store(ACME, draft("the old one"))
    texts = [f"passage {number}" for number in range(600)]
    with pytest.raises(PlimsollError):
        await library.store(ACME, draft(*texts, vectors=((*[NORTH] * 599, (float("nan"), 0.0, 0.0)))))
    document = await library.find_document(ACME, "help", "a.md")
    assert document is not None
    assert (document.version, document.chunks) == (1, 1)
    assert await words_are_counted_right(pool)


async def test_no_document_reads_the_vectors_of_its_collection(library: PostgresLibrary, pool: asyncpg.Pool) -> None:
    """Counting them would make every document of a large collection slow while another embedder is filled."""
    memory = replace(Desk(clock=FakeClock(), ids=FakeIds()).memory(), library=library)
    first = await memory.ingest(ACME, incoming())
    async with working_for(pool, ACME) as connection:
        await connection.execute("update collections set next_embedder = 'another'")
    await pool.execute("revoke select on embeddings from current_user")
    second = await memory.ingest(ACME, incoming("# Other\n\nText.", source="other.md"))
    assert (first.changed, second.changed) == (True, True)
    with pytest.raises(PlimsollError):
        await library.find_collection(ACME, "help")


async def test_a_large_document_is_stored_whole(library: PostgresLibrary, pool: asyncpg.Pool) -> None:
    stored = await library.store(ACME, draft(*(f"passage number {number}" for number in range(1201))))
    assert stored.document.chunks == 1201
    assert await words_are_counted_right(pool)
    await library.store(ACME, draft("short now"))
    assert await words_are_counted_right(pool)


async def test_what_was_forgotten_is_gone_from_every_table(library: PostgresLibrary, postgres_superuser_dsn: str) -> None:
    await library.store(ACME, draft("unforgettable secret"))
    assert await library.delete_document(ACME, "help", "doc_1")
    superuser = await asyncpg.connect(postgres_superuser_dsn)
    try:
        for table in ("documents", "chunks", "embeddings", "terms"):
            assert await superuser.fetchval(f"select count(*) from memory.{table}") == 0
    finally:
        await superuser.close()
