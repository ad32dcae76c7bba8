"""Postgres keeps the promises of the ports."""

from collections.abc import Sequence

import asyncpg
import pytest
from memory_behaviour import LibraryBehaviour, PassageIndexBehaviour, by_rank
from memory_samples import ACME, draft, question
from plimsoll_memory.adapters.postgres_index import PostgresPassageIndex
from plimsoll_memory.adapters.postgres_library import PostgresLibrary
from plimsoll_memory.domain.search import Candidates, Question


class PostgresShelf(PostgresLibrary):
    """Both adapters on one database."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        super().__init__(pool)
        self._index = PostgresPassageIndex(pool)

    async def candidates(self, tenant: str, question: Question) -> Candidates:
        return await self._index.candidates(tenant, question)

    async def unknown_fields(self, tenant: str, collection: str, fields: Sequence[str]) -> Sequence[str]:
        return await self._index.unknown_fields(tenant, collection, fields)


class TestPostgresLibrary(LibraryBehaviour):
    @pytest.fixture
    def shelf(self, pool: asyncpg.Pool) -> PostgresShelf:
        return PostgresShelf(pool)


class TestPostgresPassageIndex(PassageIndexBehaviour):
    @pytest.fixture
    def shelf(self, pool: asyncpg.Pool) -> PostgresShelf:
        return PostgresShelf(pool)


async def test_where_words_are_many_the_rare_ones_choose_and_the_common_ones_rank(pool: asyncpg.Pool) -> None:
    library, index = PostgresLibrary(pool), PostgresPassageIndex(pool, most_looked_at=3)
    await library.store(ACME, draft("tea kettle", "tea", "tea pot", "kettle", "tea kettle steam", "lamp"))
    found = await index.candidates(ACME, question("kettle tea"))
    assert by_rank(found) == ["tea kettle", "tea kettle steam", "kettle"]
    assert found.words == 2
