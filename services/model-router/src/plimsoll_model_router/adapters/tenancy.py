"""The tables, and transactions that see one tenant's rows of them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from plimsoll_runtime.audit import AUDIT_MIGRATIONS
from plimsoll_runtime.outbox import OUTBOX_MIGRATIONS
from plimsoll_runtime.postgres import MigrationSet, translating

MIGRATIONS = (MigrationSet("model_router", "plimsoll_model_router.adapters"), OUTBOX_MIGRATIONS, AUDIT_MIGRATIONS)
_ACQUIRE_CAP_S = 10.0


@asynccontextmanager
async def working_for(pool: asyncpg.Pool, tenant: str) -> AsyncIterator[asyncpg.Connection]:
    """A transaction in which the policies show the rows of `tenant` only; the setting ends with it.

    Raises Unavailable, DeadlineExpired or Conflict in place of the driver's errors.
    """
    with translating():
        async with pool.acquire(timeout=_ACQUIRE_CAP_S) as connection, connection.transaction():
            await connection.execute("select set_config('plimsoll.tenant', $1, true)", tenant)
            yield connection
