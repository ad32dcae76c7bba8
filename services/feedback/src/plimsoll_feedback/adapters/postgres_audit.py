"""The audit log in Postgres, for what changes no other row."""

import asyncpg
from plimsoll_runtime import audit
from plimsoll_runtime.audit import AuditRecord

from plimsoll_feedback.adapters.postgres_session import writing


class PostgresAuditLog:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def tell(self, record: AuditRecord) -> None:
        async with writing(self._pool, record.tenant) as connection:
            await audit.append(connection, [record])
