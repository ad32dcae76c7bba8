"""Transactions on Postgres: each says for whom it works, which is what row-level security goes by."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from plimsoll_runtime.deadline import budget_s
from plimsoll_runtime.postgres import MigrationSet, translating

MIGRATIONS = MigrationSet("feedback", "plimsoll_feedback.adapters")

_ACQUIRE_CAP_S = 5.0


@asynccontextmanager
async def reading(pool: asyncpg.Pool, tenant: str) -> AsyncIterator[asyncpg.Connection]:
    """One snapshot of what `tenant` may see."""
    async with _transaction(pool, "plimsoll.tenant", tenant, readonly=True) as connection:
        yield connection


@asynccontextmanager
async def writing(pool: asyncpg.Pool, tenant: str) -> AsyncIterator[asyncpg.Connection]:
    """A transaction that sees and writes rows of `tenant` only."""
    async with _transaction(pool, "plimsoll.tenant", tenant) as connection:
        yield connection


@asynccontextmanager
async def ingesting(pool: asyncpg.Pool) -> AsyncIterator[asyncpg.Connection]:
    """A transaction that writes rows of every tenant."""
    async with _transaction(pool, "plimsoll.ingesting", "yes") as connection:
        yield connection


@asynccontextmanager
async def _transaction(pool: asyncpg.Pool, name: str, value: str, *, readonly: bool = False) -> AsyncIterator[asyncpg.Connection]:
    with translating():
        async with pool.acquire(timeout=budget_s(_ACQUIRE_CAP_S)) as connection:
            isolation = "repeatable_read" if readonly else "read_committed"
            async with connection.transaction(isolation=isolation, readonly=readonly):
                await connection.execute("select set_config($1, $2, true)", name, value)
                yield connection
