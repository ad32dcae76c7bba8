"""Postgres keeps the promises of uploads, also between writers that meet."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import asyncpg
import pytest
from memory_samples import ACME, NOON, TEN, draft
from memory_upload_behaviour import FIRST, MARK, OTHER, UploadStoreBehaviour
from plimsoll_memory.adapters.postgres_library import PostgresLibrary
from plimsoll_memory.adapters.postgres_uploads import PostgresUploads
from plimsoll_memory.adapters.tenancy import working_for
from plimsoll_memory.errors import UploadSuperseded


@pytest.fixture
def uploads(pool: asyncpg.Pool) -> PostgresUploads:
    return PostgresUploads(pool)


class TestPostgresUploads(UploadStoreBehaviour):
    pass


async def test_a_part_of_a_superseded_upload_is_not_stored(uploads: PostgresUploads, pool: asyncpg.Pool) -> None:
    library = PostgresLibrary(pool)
    await uploads.begin_upload(ACME, FIRST, NOON)
    await uploads.begin_upload(ACME, OTHER, NOON)
    with pytest.raises(UploadSuperseded):
        await library.store(ACME, replace(draft("old text", source="a.txt"), upload=FIRST))
    await library.store(ACME, replace(draft("new text", source="a.txt"), upload=OTHER))
    assert await library.find_document(ACME, "help", "a.txt")


async def test_whoever_begins_waits_for_the_part_that_is_being_stored(uploads: PostgresUploads, pool: asyncpg.Pool) -> None:
    await uploads.begin_upload(ACME, FIRST, NOON)
    async with working_for(pool, ACME) as connection:
        await connection.fetchval(
            "select true from uploads where tenant = $1 and upload_key = $2 for share", ACME, FIRST.key
        )  # as storing does
        async with asyncio.TaskGroup() as group:
            beginning = group.create_task(uploads.begin_upload(ACME, OTHER, NOON))
            held = await connection.fetchval("select upload_key from uploads where tenant = $1", ACME)
            assert (held, beginning.done()) == (FIRST.key, False)
            await connection.execute("rollback")
            await connection.execute("begin")
    assert not beginning.result().done


async def test_deleting_a_document_ends_its_upload_and_its_waiting_content(uploads: PostgresUploads, pool: asyncpg.Pool) -> None:
    library = PostgresLibrary(pool)
    for forget in (lambda: library.delete_document(ACME, "help", "doc_1"), lambda: library.delete_collection(ACME, "help")):
        await uploads.begin_upload(ACME, FIRST, NOON)
        await library.store(ACME, replace(draft("part one", source="a.txt"), upload=FIRST))
        await uploads.keep_upload(ACME, FIRST, MARK, b"secret rest", NOON)
        assert await forget()
        async with working_for(pool, ACME) as connection:
            assert await connection.fetchval("select count(*) from upload_pieces") == 0
        with pytest.raises(UploadSuperseded):
            await library.store(ACME, replace(draft("part two", source="a.txt#2"), upload=FIRST))
    assert await library.list_documents(ACME, "help", TEN) == []


async def test_uploads_that_nobody_came_back_for_are_forgotten(uploads: PostgresUploads, pool: asyncpg.Pool) -> None:
    await uploads.begin_upload(ACME, FIRST, NOON)
    await uploads.hold(ACME, FIRST, 0, b"left behind")
    await uploads.begin_upload(ACME, replace(OTHER, source="b.txt"), NOON + timedelta(days=8))
    async with working_for(pool, ACME) as connection:
        assert await connection.fetchval("select array_agg(source) from uploads") == ["b.txt"]
        assert await connection.fetchval("select count(*) from upload_pieces") == 0
