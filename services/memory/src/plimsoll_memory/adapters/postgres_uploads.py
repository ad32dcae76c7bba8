"""Uploads in PostgreSQL: how far they got, and what waits for its part."""

from datetime import datetime

import asyncpg

from plimsoll_memory.adapters.postgres_library import forget_parts, hold_upload
from plimsoll_memory.adapters.tenancy import filling_for, working_for
from plimsoll_memory.domain.upload import Begun, Mark, UploadKey
from plimsoll_memory.errors import UploadSuperseded

_LEFT_DAYS = 7
"""After that, nobody will come back for an upload."""

_BEGIN = """
    insert into uploads as old (tenant, collection, source, upload_key, stored, parts, chunks, changed, head, updated_at)
    values ($1, $2, $3, $4, 0, 0, 0, 0, '', $5)
    on conflict (tenant, collection, source) do update
    set stored = 0, parts = 0, chunks = 0, changed = 0, head = '', done = false, upload_key = excluded.upload_key,
        updated_at = excluded.updated_at
    where old.upload_key <> excluded.upload_key or $6::boolean
"""
_FIND = """
    select stored, parts, chunks, changed, head, done from uploads where tenant = $1 and collection = $2 and source = $3 and upload_key = $4
"""
_KEEP = """
    update uploads set stored = $5, parts = $6, chunks = $7, changed = $8, head = $9, updated_at = $10
    where tenant = $1 and collection = $2 and source = $3 and upload_key = $4
    returning true
"""
_DONE = """
    update uploads set done = true, updated_at = $5 where tenant = $1 and collection = $2 and source = $3 and upload_key = $4 returning true
"""
_LEFT = "delete from uploads where tenant = $1 and updated_at < $2::timestamptz - make_interval(days => $3)"
_HOLD = "insert into upload_pieces (tenant, collection, source, at, content) values ($1, $2, $3, $4, $5) on conflict do nothing"
_SIZES = "select at, octet_length(content) as size from upload_pieces where tenant = $1 and collection = $2 and source = $3 order by at"
_PIECES = "select at, content from upload_pieces where tenant = $1 and collection = $2 and source = $3 order by at"
_LET_GO = "delete from upload_pieces where tenant = $1 and collection = $2 and source = $3"


class PostgresUploads:
    """An UploadStore."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def begin_upload(self, tenant: str, key: UploadKey, at: datetime, *, anew: bool = False) -> Begun:
        place = (tenant, key.collection, key.source)
        async with working_for(self._pool, tenant) as connection:
            await connection.execute(_LEFT, tenant, at, _LEFT_DAYS)
            if await connection.execute(_BEGIN, *place, key.key, at, anew) != "INSERT 0 0":
                await connection.execute(_LET_GO, *place)
            row = await connection.fetchrow(_FIND, *place, key.key)
            if row is None:  # superseded between the two statements
                raise UploadSuperseded
            done, held = row["done"], 0
            mark = Mark(**{name: row[name] for name in ("stored", "parts", "chunks", "changed", "head")})
            for size in await connection.fetch(_SIZES, *place):
                held += size["size"] if size["at"] == mark.stored + held else 0
        return Begun(mark=mark, held=held, done=done)

    async def hold(self, tenant: str, key: UploadKey, offset: int, content: bytes) -> None:
        async with working_for(self._pool, tenant) as connection:
            await hold_upload(connection, tenant, key)
            await connection.execute(_HOLD, tenant, key.collection, key.source, offset, content)

    async def held(self, tenant: str, key: UploadKey, mark: Mark) -> bytes:
        found = bytearray()
        async with working_for(self._pool, tenant) as connection:
            for row in await connection.fetch(_PIECES, tenant, key.collection, key.source):
                if row["at"] == mark.stored + len(found):
                    found += row["content"]
        return bytes(found)

    async def keep_upload(self, tenant: str, key: UploadKey, mark: Mark, held: bytes, at: datetime) -> None:
        place = (tenant, key.collection, key.source)
        async with working_for(self._pool, tenant) as connection:
            figures = (mark.stored, mark.parts, mark.chunks, mark.changed, mark.head)
            if not await connection.fetchval(_KEEP, *place, key.key, *figures, at):
                raise UploadSuperseded
            await connection.execute(_LET_GO, *place)
            if held:
                await connection.execute(_HOLD, *place, mark.stored, held)

    async def finish_upload(self, tenant: str, key: UploadKey, parts: int, at: datetime) -> None:
        place = (tenant, key.collection, key.source)
        async with filling_for(self._pool, tenant) as connection:
            if not await connection.fetchval(_DONE, *place, key.key, at):
                raise UploadSuperseded
            await connection.execute(_LET_GO, *place)
            await forget_parts(connection, *place, beyond=parts)
