"""Transactions that say which part of the examples they may see; the database hides the other one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from plimsoll_runtime.postgres import MigrationSet

from plimsoll_feedback.adapters.postgres_session import reading, writing
from plimsoll_feedback.domain.learning.parts import Part

LEARNING_MIGRATIONS = MigrationSet("feedback_learning", "plimsoll_feedback.adapters", "learning_migrations")

_SEE = "select set_config('plimsoll.part', $1, true)"


@asynccontextmanager
async def reading_part(pool: asyncpg.Pool, tenant: str, part: Part) -> AsyncIterator[asyncpg.Connection]:
    """One snapshot of the tenant's rows, with the examples of one part only."""
    async with reading(pool, tenant) as connection:
        await connection.execute(_SEE, part.value)
        yield connection


@asynccontextmanager
async def keeping_both(pool: asyncpg.Pool, tenant: str) -> AsyncIterator[asyncpg.Connection]:
    """For keeping the examples' house: writing, deleting and counting. Nothing that was read here may leave but numbers and ids."""
    async with writing(pool, tenant) as connection:
        await connection.execute(_SEE, "both")
        yield connection
