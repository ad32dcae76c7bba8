"""The tables, and transactions that see one tenant's rows of them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from plimsoll_runtime.postgres import MigrationSet, translating

MIGRATIONS = MigrationSet("memory", "plimsoll_memory.adapters")
_ACQUIRE_CAP_S = 10.0

# Tenants differ in size by orders of magnitude: each statement is planned for the one at hand, not once for all.
_BECOME = "select set_config('plimsoll.tenant', $1, true), set_config('plan_cache_mode', 'force_custom_plan', true)"
# Foreign keys are checked by statements as well: planned anew for every row, they would cost more than writing it.
_FILL = "select set_config('plimsoll.tenant', $1, true)"


@asynccontextmanager
async def working_for(pool: asyncpg.Pool, tenant: str) -> AsyncIterator[asyncpg.Connection]:
    """A transaction in which the policies show the rows of `tenant` only; the setting ends with it.

    Raises Unavailable, DeadlineExpired or Conflict in place of the driver's errors.
    """
    with translating():
        async with pool.acquire(timeout=_ACQUIRE_CAP_S) as connection, connection.transaction():
            await connection.execute(_BECOME, tenant)
            yield connection


@asynccontextmanager
async def filling_for(pool: asyncpg.Pool, tenant: str) -> AsyncIterator[asyncpg.Connection]:
    """The same for writing many rows, by statements whose plan is the same for every tenant."""
    with translating():
        async with pool.acquire(timeout=_ACQUIRE_CAP_S) as connection, connection.transaction():
            await connection.execute(_FILL, tenant)
            yield connection
