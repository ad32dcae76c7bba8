"""API keys in Postgres."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

import asyncpg
from plimsoll_runtime import audit
from plimsoll_runtime.audit import AUDIT_MIGRATIONS, AuditRecord
from plimsoll_runtime.postgres import MigrationSet, translating

from plimsoll_gateway.domain.principal import KeyRecord
from plimsoll_gateway.domain.scopes import Scope

MIGRATIONS = MigrationSet("gateway", "plimsoll_gateway.adapters")
TABLES = (AUDIT_MIGRATIONS, MIGRATIONS)
_ACQUIRE_CAP_S = 3.0
_FIND_CAP_S = 3.0  # a request waits for it, before anything else
_LOCK = 0x706C6B31  # "plk1": replicas that start together agree on one first key
_COLUMNS = "key_id, tenant, name, digest, scopes, created_at, created_by, expires_at, revoked_at, replaces, last_used_at"


class PostgresKeyStore:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def find(self, key_id: str) -> KeyRecord | None:
        with translating():
            async with self._pool.acquire(timeout=_ACQUIRE_CAP_S) as connection:
                row = await connection.fetchrow(f"select {_COLUMNS} from api_keys where key_id = $1", key_id, timeout=_FIND_CAP_S)
        return _record(row) if row else None

    async def add(self, record: KeyRecord, told: AuditRecord) -> None:
        async with self._transaction() as connection:
            await _insert(connection, record)
            await audit.append(connection, [told])

    async def add_first(self, record: KeyRecord, before_commit: Callable[[], None]) -> bool:
        async with self._transaction() as connection:
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

    async def of_id(self, tenant: str, key_id: str) -> KeyRecord | None:
        record = await self.find(key_id)
        return record if record is not None and record.tenant == tenant else None

    async def replace(self, old: KeyRecord, old_until: datetime, new: KeyRecord, told: AuditRecord) -> KeyRecord | None:
        async with self._transaction() as connection:
            row = await connection.fetchrow(
                f"update api_keys set expires_at = least(expires_at, $3) where tenant = $1 and key_id = $2 and revoked_at is null "
                f"returning {_COLUMNS}",
                old.tenant,
                old.key_id,
                old_until,
            )
            if row is None:
                return None
            await _insert(connection, new)
            await audit.append(connection, [told])
        return _record(row)

    async def revoke(self, tenant: str, key_id: str, at: datetime, told: AuditRecord) -> KeyRecord | None:
        async with self._transaction() as connection:
            row = await connection.fetchrow(
                f"update api_keys set revoked_at = $3 where tenant = $1 and key_id = $2 and revoked_at is null returning {_COLUMNS}",
                tenant,
                key_id,
                at,
            )
            if row is not None:
                await audit.append(connection, [told])
        return _record(row) if row is not None else await self.of_id(tenant, key_id)

    async def events(self, tenant: str, before: int, limit: int) -> Sequence[audit.AuditEntry]:
        return await audit.entries(self._pool, tenant, before=before, limit=limit)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[asyncpg.Connection]:
        with translating():
            async with self._pool.acquire(timeout=_ACQUIRE_CAP_S) as connection, connection.transaction():
                yield connection


async def _insert(connection: asyncpg.Connection, record: KeyRecord) -> None:
    await connection.execute(
        f"insert into api_keys ({_COLUMNS}) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        record.key_id,
        record.tenant,
        record.name,
        record.digest,
        sorted(record.scopes),
        record.created_at,
        record.created_by,
        record.expires_at,
        record.revoked_at,
        record.replaces,
        record.last_used_at,
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
        replaces=row["replaces"],
        last_used_at=row["last_used_at"],
    )
