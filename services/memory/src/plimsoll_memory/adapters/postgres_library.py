"""Documents and their passages in PostgreSQL."""

from collections.abc import Sequence

import asyncpg

from plimsoll_memory.adapters.passage_rows import embed_document, put_passages
from plimsoll_memory.adapters.tenancy import filling_for, working_for
from plimsoll_memory.domain.document import Collection, Document, Draft, Settled, Stored, Wanted
from plimsoll_memory.domain.paging import PageRequest
from plimsoll_memory.domain.upload import UploadKey
from plimsoll_memory.errors import CollectionChanged, UploadSuperseded

_DOCUMENT = "document_id, collection, source, title, digest, fingerprint, version, chunks, size_bytes, metadata, updated_at, labels"

_COLLECTION = """
    select *, case when next_embedder = '' then 0
                   else (select count(*) from embeddings as one
                         where one.tenant = collections.tenant and one.collection = name and one.embedder = next_embedder) end as reembedded
    from collections where tenant = $1
"""
_SETTLED = "select name, number, language, embedder, next_embedder, indexed, reranker from collections where tenant = $1 and name = $2"
_FIND = f"select {_DOCUMENT} from documents where tenant = $1 and collection = $2 and source = $3"
_PAGE = f"""
    select {_DOCUMENT} from documents where tenant = $1 and collection = $2 and source > $3 order by source limit $4
"""
_SOURCE = "select source from documents where tenant = $1 and collection = $2 and document_id = $3"
_PARTS = """
    select document_id from documents
    where tenant = $1 and collection = $2 and starts_with(source, $3 || '#') and metadata ->> 'part_of' = $3
      and case when metadata ->> 'part' ~ '^[0-9]{1,9}$' then (metadata ->> 'part')::bigint > $4 else false end
"""
_END_UPLOADS = "delete from uploads where tenant = $1 and collection = $2"
_HOLD_UPLOAD = "select true from uploads where tenant = $1 and collection = $2 and source = $3 and upload_key = $4 for share"
_LOCK_DOCUMENT = "select true from documents where tenant = $1 and collection = $2 and document_id = $3 for update"

_NEW_COLLECTION = """
    with made as (
        insert into collections (tenant, name, language, embedder, created_at, target) values ($1, $2, $3, $4, $5, $6)
        on conflict (tenant, name) do nothing
        returning true
    )
    insert into chores (tenant, collection, due_at) select $1, $2, 'infinity' from made
    on conflict (tenant, collection) do nothing
"""

# Locks the document's row until the end, so that two writers of one source take turns; no row means that nothing changes.
_PUT_DOCUMENT = f"""
    insert into documents as old (tenant, document_id, collection, source, title, media_type, digest, fingerprint, version, chunks,
                                  size_bytes, metadata, created_at, updated_at, labels)
    values ($1, $2, $3, $4, $5, $6, $7, $8, 1, $9, $10, $11, $12, $12, $13)
    on conflict (tenant, collection, source) do update
    set title = excluded.title, media_type = excluded.media_type, digest = excluded.digest, fingerprint = excluded.fingerprint,
        version = old.version + 1, chunks = excluded.chunks, size_bytes = excluded.size_bytes, metadata = excluded.metadata,
        updated_at = excluded.updated_at, labels = excluded.labels
    where old.fingerprint <> excluded.fingerprint
    returning {_DOCUMENT}
"""

# Holds the collection's row until the end: its words are counted under it, one document at a time. No row means that another embedder
# serves by now.
_COUNT_COLLECTION = """
    with change as (
        select coalesce(sum(case when version = $5 then 1 else -1 end), 0)::bigint as chunks from chunks
        where tenant = $1 and document_id = $3
    )
    update collections set documents = documents + $4, chunks = collections.chunks + change.chunks
    from change
    where tenant = $1 and name = $2 and ($6 = '' or embedder = $6)
    returning collections.chunks, change.chunks as change, next_embedder
"""
_DUE = "update chores set due_at = now() where tenant = $1 and collection = $2"

# Words of passages of version $4 come in, words of all other versions of the document go out.
_COUNT_TERMS = """
    merge into terms as known
    using (
        select substr(word, strpos(word, ':') + 1) as lexeme, sum(case when version = $4 then 1 else -1 end) as change
        from chunks, unnest(tsvector_to_array(lexemes)) as word
        where tenant = $1 and collection = $2 and document_id = $3
        group by word
        having sum(case when version = $4 then 1 else -1 end) <> 0
    ) as delta
    on known.tenant = $1 and known.collection = $2 and known.lexeme = delta.lexeme
    when matched and known.chunks + delta.change <= 0 then delete
    when matched then update set chunks = known.chunks + delta.change
    when not matched then insert (tenant, collection, lexeme, chunks) values ($1, $2, delta.lexeme, delta.change)
"""

# The same for a document that is new: nothing goes out, which is much less work.
_ADD_TERMS = """
    insert into terms as known (tenant, collection, lexeme, chunks)
    select $1, $2, substr(word, strpos(word, ':') + 1), count(*)
    from chunks, unnest(tsvector_to_array(lexemes)) as word
    where tenant = $1 and document_id = $3 and version = $4
    group by word
    on conflict (tenant, collection, lexeme) do update set chunks = known.chunks + excluded.chunks
"""

_FORGET_OTHER_VERSIONS = "delete from chunks where tenant = $1 and document_id = $2 and version <> $3"
_HAS_COLLECTION = "select true from collections where tenant = $1 and name = $2"
_LOCK_COLLECTION = "select true from collections where tenant = $1 and name = $2 for update"
_CONFIGURE = """
    update collections set target = coalesce($3, target), reranker = coalesce($4, reranker) where tenant = $1 and name = $2 returning true
"""
_FIRST, _NONE = 1, 0  # versions


class PostgresLibrary:
    """A Library. Writers of one collection take turns only for the moment in which its words are counted."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def find_collection(self, tenant: str, name: str) -> Collection | None:
        async with working_for(self._pool, tenant) as connection:
            row = await connection.fetchrow(f"{_COLLECTION} and name = $2", tenant, name)
        return _collection(row) if row else None

    async def settled(self, tenant: str, name: str) -> Settled | None:
        async with working_for(self._pool, tenant) as connection:
            row = await connection.fetchrow(_SETTLED, tenant, name)
        return _settled(row) if row else None

    async def list_collections(self, tenant: str) -> Sequence[Collection]:
        async with working_for(self._pool, tenant) as connection:
            rows = await connection.fetch(f"{_COLLECTION} order by name", tenant)
        return [_collection(row) for row in rows]

    async def find_document(self, tenant: str, collection: str, source: str) -> Document | None:
        async with working_for(self._pool, tenant) as connection:
            row = await _find(connection, tenant, collection, source)
        return _document(row) if row else None

    async def list_documents(self, tenant: str, collection: str, page: PageRequest) -> Sequence[Document]:
        async with working_for(self._pool, tenant) as connection:
            rows = await connection.fetch(_PAGE, tenant, collection, page.after, page.size)
        return [_document(row) for row in rows]

    async def store(self, tenant: str, draft: Draft) -> Stored:
        collection, source = draft.incoming.collection, draft.incoming.source
        async with filling_for(self._pool, tenant) as connection:
            if draft.upload:
                await hold_upload(connection, tenant, draft.upload)
            settled = await _settle_collection(connection, tenant, draft)
            row = await _put_document(connection, tenant, draft)
            if row is None:
                return Stored(document=_document(await _find(connection, tenant, collection, source)), changed=False)
            document = _document(row)
            await put_passages(connection, tenant, settled["number"], document, draft)
            await embed_document(connection, tenant, document, settled["next_embedder"])
            created = document.version == _FIRST
            await _count(connection, tenant, document, settled, created=int(created))
            if created:
                await connection.execute(_ADD_TERMS, tenant, collection, document.document_id, document.version)
            else:
                await connection.execute(_COUNT_TERMS, tenant, collection, document.document_id, document.version)
                await connection.execute(_FORGET_OTHER_VERSIONS, tenant, document.document_id, document.version)
                if not draft.upload:
                    await forget_parts(connection, tenant, collection, source, beyond=1)
        return Stored(document=document, changed=True)

    async def delete_document(self, tenant: str, collection: str, document_id: str) -> bool:
        async with filling_for(self._pool, tenant) as connection:
            source = await connection.fetchval(_SOURCE, tenant, collection, document_id)
            if source is None:
                return False
            await connection.execute(f"{_END_UPLOADS} and source = $3", tenant, collection, source)  # in the order of those that store
            gone = await delete_document(connection, tenant, collection, document_id)
            await forget_parts(connection, tenant, collection, source, beyond=1)
        return gone

    async def delete_collection(self, tenant: str, name: str) -> int | None:
        async with filling_for(self._pool, tenant) as connection:
            if not await connection.fetchval(_HAS_COLLECTION, tenant, name):
                return None
            await connection.execute(_END_UPLOADS, tenant, name)  # in the order of those that store
            if not await connection.fetchval(_LOCK_COLLECTION, tenant, name):
                return None
            gone = await connection.fetch("delete from documents where tenant = $1 and collection = $2 returning 1", tenant, name)
            await connection.execute("delete from terms where tenant = $1 and collection = $2", tenant, name)
            await connection.execute("delete from collections where tenant = $1 and name = $2", tenant, name)
            await connection.execute(_DUE, tenant, name)
        return len(gone)

    async def configure(self, tenant: str, name: str, wanted: Wanted) -> bool:
        async with working_for(self._pool, tenant) as connection:
            found = await connection.fetchval(_CONFIGURE, tenant, name, wanted.embedder, wanted.reranker)
            await connection.execute(_DUE, tenant, name)
        return found is not None


async def delete_document(connection: asyncpg.Connection, tenant: str, collection: str, document_id: str) -> bool:
    """Forget a document inside the caller's transaction; returns whether it was there."""
    if not await connection.fetchval(_LOCK_DOCUMENT, tenant, collection, document_id):
        return False
    await connection.execute(_COUNT_COLLECTION, tenant, collection, document_id, -1, _NONE, "")
    await connection.execute(_COUNT_TERMS, tenant, collection, document_id, _NONE)
    await connection.execute("delete from documents where tenant = $1 and document_id = $2", tenant, document_id)
    return True


async def forget_parts(connection: asyncpg.Connection, tenant: str, collection: str, source: str, *, beyond: int) -> None:
    """Forget the parts of a source with numbers above `beyond`, inside the caller's transaction."""
    for row in await connection.fetch(_PARTS, tenant, collection, source, beyond):
        await delete_document(connection, tenant, collection, row["document_id"])


async def hold_upload(connection: asyncpg.Connection, tenant: str, key: UploadKey) -> None:
    """Let nobody else begin an upload of the source before the caller's transaction ends. Raises UploadSuperseded when somebody did."""
    if not await connection.fetchval(_HOLD_UPLOAD, tenant, key.collection, key.source, key.key):
        raise UploadSuperseded


async def _find(connection: asyncpg.Connection, tenant: str, collection: str, source: str) -> asyncpg.Record | None:
    return await connection.fetchrow(_FIND, tenant, collection, source)


async def _settle_collection(connection: asyncpg.Connection, tenant: str, draft: Draft) -> asyncpg.Record:
    """The collection's row; it is created when missing. Raises CollectionChanged when it is not what the draft was made for.

    Looked for first: to insert it, if only to find it there, waits for whoever counts a document under it. Locked as a foreign key
    locks it: nobody deletes it before the end.
    """
    name = draft.incoming.collection
    settled = await connection.fetchrow(f"{_SETTLED} for key share", tenant, name)
    if settled is None:
        await connection.execute(_NEW_COLLECTION, tenant, name, draft.language, draft.embedder, draft.made_at, draft.target)
        settled = await connection.fetchrow(_SETTLED, tenant, name)
    if (settled["language"], settled["embedder"]) != (draft.language, draft.embedder):
        raise CollectionChanged
    return settled


async def _put_document(connection: asyncpg.Connection, tenant: str, draft: Draft) -> asyncpg.Record | None:
    incoming = draft.incoming
    return await connection.fetchrow(
        _PUT_DOCUMENT,
        tenant,
        draft.document_id,
        incoming.collection,
        incoming.source,
        draft.title,
        incoming.format.media_type.value,
        incoming.digest,
        draft.fingerprint,
        len(draft.chunks),
        len(incoming.content),
        incoming.metadata,
        draft.made_at,
        list(incoming.labels),
    )


async def _count(connection: asyncpg.Connection, tenant: str, document: Document, settled: asyncpg.Record, *, created: int) -> None:
    """Count the document; whenever the number of passages doubles, upkeep has a look. Raises CollectionChanged.

    From here on nobody begins to fill another embedder or lets it serve: one that somebody began to fill since the collection was looked
    at gets this document now.
    """
    row = await connection.fetchrow(
        _COUNT_COLLECTION, tenant, document.collection, document.document_id, created, document.version, settled["embedder"]
    )
    if row is None:
        raise CollectionChanged
    if row["next_embedder"] != settled["next_embedder"]:
        await embed_document(connection, tenant, document, row["next_embedder"])
    if row["chunks"].bit_length() > (row["chunks"] - row["change"]).bit_length():
        await connection.execute(_DUE, tenant, document.collection)


def _settled(row: asyncpg.Record) -> Settled:
    return Settled(
        name=row["name"],
        language=row["language"],
        embedder=row["embedder"],
        exact=row["indexed"] != row["embedder"],
        reranker=row["reranker"],
    )


def _collection(row: asyncpg.Record) -> Collection:
    return Collection(
        name=row["name"],
        language=row["language"],
        embedder=row["embedder"],
        documents=row["documents"],
        chunks=row["chunks"],
        created_at=row["created_at"],
        next_embedder=row["next_embedder"],
        reembedded=row["reembedded"],
        exact=row["indexed"] != row["embedder"],
        reranker=row["reranker"],
    )


def _document(row: asyncpg.Record) -> Document:
    return Document(
        document_id=row["document_id"],
        collection=row["collection"],
        source=row["source"],
        title=row["title"],
        digest=row["digest"],
        fingerprint=row["fingerprint"],
        version=row["version"],
        chunks=row["chunks"],
        size_bytes=row["size_bytes"],
        metadata=row["metadata"],
        updated_at=row["updated_at"],
        labels=tuple(row["labels"]),
    )
