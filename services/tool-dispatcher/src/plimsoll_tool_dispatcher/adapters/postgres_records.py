"""What is kept in Postgres for those who look back: calls, and the audit log."""

from collections.abc import Sequence

import asyncpg
from plimsoll_runtime import audit
from plimsoll_runtime.audit import Anchor, AuditEntry, AuditVerdict
from plimsoll_runtime.postgres import translating

from plimsoll_tool_dispatcher.adapters.postgres_rows import kept_call_of
from plimsoll_tool_dispatcher.domain.history import KeptCall, Page

_ACQUIRE_CAP_S = 5.0
_PAGE_CHARS = 8 * 1024 * 1024  # of arguments and results; one call may be longer

_CALL = "select * from calls where tenant = $1 and call_key = $2"

# $1 tenant, $2 run, $3 after which call id, $4 limit, $5 characters. A page holds at least one call.
OF_RUN = """
select * from (
    select *, sum(coalesce(octet_length(arguments), 0) + coalesce(octet_length(result), 0)) over (order by call_id) as so_far,
           coalesce(octet_length(arguments), 0) + coalesce(octet_length(result), 0) as own
    from (select * from calls where tenant = $1 and run_id = $2 and call_id > $3 order by call_id limit $4) as page
) as measured where so_far = own or so_far <= $5 order by call_id"""

# $1 tenant, $2 call keys, $3 after which call id, $4 limit, $5 characters
OF_KEYS = OF_RUN.replace("run_id = $2", "call_key = any($2::text[])")


class PostgresRecords:
    """Reads only."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def call(self, tenant: str, call_key: str) -> KeptCall | None:
        with translating():
            async with self._pool.acquire(timeout=_ACQUIRE_CAP_S) as connection:
                row = await connection.fetchrow(_CALL, tenant, call_key)
        return kept_call_of(row) if row is not None else None

    async def calls_of_run(self, tenant: str, run_id: str, after: str, limit: int) -> Page:
        return await self._page(OF_RUN, tenant, run_id, after, limit)

    async def calls(self, tenant: str, call_keys: Sequence[str], after: str, limit: int) -> Page:
        return await self._page(OF_KEYS, tenant, list(call_keys), after, limit)

    async def audit_entries(self, tenant: str, before: int, limit: int, action: str, subject: str) -> Sequence[AuditEntry]:
        return await audit.entries(self._pool, tenant, before=before, limit=limit, action=action, subject=subject)

    async def verify_audit(self, tenant: str, anchor: Anchor | None) -> AuditVerdict:
        return await audit.verify(self._pool, tenant, anchor=anchor)

    async def _page(self, statement: str, tenant: str, of: str | list[str], after: str, limit: int) -> Page:
        with translating():
            async with self._pool.acquire(timeout=_ACQUIRE_CAP_S) as connection:
                rows = await connection.fetch(statement, tenant, of, after, limit + 1, _PAGE_CHARS)
                last = rows[min(len(rows), limit) - 1]["call_id"] if rows else ""
                more = len(rows) > limit or (rows and await self._has_more(connection, tenant, of, last))
        return Page(calls=tuple(map(kept_call_of, rows[:limit])), after=last if more else "")

    async def _has_more(self, connection: asyncpg.Connection, tenant: str, of: str | list[str], after: str) -> bool:
        """Whether the page ended because it was full of characters."""
        which = "run_id = $2" if isinstance(of, str) else "call_key = any($2::text[])"
        question = f"select exists (select from calls where tenant = $1 and {which} and call_id > $3)"
        return bool(await connection.fetchval(question, tenant, of, after))
