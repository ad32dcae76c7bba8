"""Uploads in PostgreSQL: how far they got."""

from datetime import datetime

import asyncpg

from plimsoll_memory.adapters.postgres_library import delete_document
from plimsoll_memory.adapters.tenancy import working_for
from plimsoll_memory.domain.upload import Mark, UploadKey

_FIND = """
    select stored, parts, chunks, changed, head from uploads where tenant = $1 and collection = $2 and source = $3 and upload_key = $4
"""
_KEEP = """
    insert into uploads (tenant, collection, source, upload_key, stored, parts, chunks, changed, head, updated_at)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
    on conflict (tenant, collection, source) do update
    set upload_key = excluded.upload_key, stored = excluded.stored, parts = excluded.parts, chunks = excluded.chunks,
        changed = excluded.changed, head = excluded.head, updated_at = excluded.updated_at
"""
_DONE = "delete from uploads where tenant = $1 and collection = $2 and source = $3"
_SURPLUS = """
    select document_id from documents
    where tenant = $1 and collection = $2 and starts_with(source, $3 || '#') and metadata ->> 'part_of' = $3
      and (metadata ->> 'part')::bigint > $4
"""


class PostgresUploads:
    """An UploadStore."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def find_upload(self, tenant: str, key: UploadKey) -> Mark | None:
        async with working_for(self._pool, tenant) as connection:
            row = await connection.fetchrow(_FIND, tenant, key.collection, key.source, key.key)
        return Mark(**dict(row)) if row else None

    async def keep_upload(self, tenant: str, key: UploadKey, mark: Mark, at: datetime) -> None:
        async with working_for(self._pool, tenant) as connection:
            await connection.execute(
                _KEEP,
                tenant,
                key.collection,
                key.source,
                key.key,
                mark.stored,
                mark.parts,
                mark.chunks,
                mark.changed,
                mark.head,
                at,
            )

    async def finish_upload(self, tenant: str, key: UploadKey, parts: int) -> None:
        async with working_for(self._pool, tenant) as connection:
            rows = await connection.fetch(_SURPLUS, tenant, key.collection, key.source, parts)
            for row in rows:
                await delete_document(connection, tenant, key.collection, row["document_id"])
            await connection.execute(_DONE, tenant, key.collection, key.source)
