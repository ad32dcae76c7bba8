"""API keys in Postgres."""

from collections.abc import Callable, Sequence
from datetime import datetime

import asyncpg
from plimsoll_runtime.postgres import MigrationSet, translating

from plimsoll_gateway.domain.principal import KeyRecord
from plimsoll_gateway.domain.scopes import Scope

MIGRATIONS = MigrationSet("gateway", "plimsoll_gateway.adapters")
_ACQUIRE_CAP_S = 3.0
_FIND_CAP_S = 3.0  # a request waits for it, before anything else
_LOCK = 0x706C6B31  # "plk1": replicas that start together agree on one first key
_COLUMNS = "key_id, tenant, name, digest, scopes, created_at, created_by, expires_at, revoked_at"


class PostgresKeyStore:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def find(self, key_id: str) -> KeyRecord | None:
        with translating():
            async with self._pool.acquire(timeout=_ACQUIRE_CAP_S) as connection:
                row = await connection.fetchrow(f"select {_COLUMNS} from api_keys where key_id = $1", key_id, timeout=_FIND_CAP_S)
        return _record(row) if row else None

    async def add(self, record: KeyRecord) -> None:
        with translating():
            async with self._pool.acquire(timeout=_ACQUIRE_CAP_S) as connection:
                await _insert(connection, record)

    async def add_first(self, record: KeyRecord, before_commit: Callable[[], None]) -> bool:
        with translating():
            async with self._pool.acquire(timeout=_ACQUIRE_CAP_S) as connection, connection.transaction():
                await connection.execute("select pg_advisory_xact_lock($1, hashtext(current_schema()))", _LOCK)
                if await connection.fetchval("select exists (select from api_keys)"):
                    return False
                await _insert(connection, record)
                before_commit()
        return True

    async def of_tenant(self, tenant: str) -> Sequence[KeyRecord]:
        with translating():
            async with self._pool.acquire(timeout=_ACQUIRE_CAP_S) as connection:
                rows = await connection.fetch(
                    f"select {_COLUMNS} from api_keys where tenant = $1 order by created_at, key_id",
                    tenant,
                )
        return [_record(row) for row in rows]

    async def revoke(self, tenant: str, key_id: str, at: datetime) -> KeyRecord | None:
        with translating():
            async with self._pool.acquire(timeout=_ACQUIRE_CAP_S) as connection:
                row = await connection.fetchrow(
                    f"update api_keys set revoked_at = coalesce(revoked_at, $3) where tenant = $1 and key_id = $2 returning {_COLUMNS}",
                    tenant,
                    key_id,
                    at,
                )
        return _record(row) if row else None


async def _insert(connection: asyncpg.Connection, record: KeyRecord) -> None:
    await connection.execute(
        f"insert into api_keys ({_COLUMNS}) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        record.key_id,
        record.tenant,
        record.name,
        record.digest,
        sorted(record.scopes),
        record.created_at,
        record.created_by,
        record.expires_at,
        record.revoked_at,
    )


def _record(row: asyncpg.Record) -> KeyRecord:
    known = set(Scope)
    return KeyRecord(
        key_id=row["key_id"],
        tenant=row["tenant"],
        name=row["name"],
        digest=row["digest"],
        scopes=frozenset(Scope(scope) for scope in row["scopes"] if scope in known),  # a newer gateway may know more
        created_at=row["created_at"],
        created_by=row["created_by"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
    )
