"""Fixtures that need real servers."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from plimsoll_memory.adapters.tenancy import MIGRATIONS
from plimsoll_runtime.outbox import OUTBOX_MIGRATIONS
from plimsoll_runtime.postgres import migrate, open_pool
from plimsoll_runtime.settings import PostgresSettings, Secret


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    """The schema of memory, owned by a role that is no superuser, as in production."""
    async with open_pool(PostgresSettings(dsn=Secret(postgres_dsn)), "memory") as pool:
        await migrate(pool, "memory", [OUTBOX_MIGRATIONS, MIGRATIONS])
        yield pool
