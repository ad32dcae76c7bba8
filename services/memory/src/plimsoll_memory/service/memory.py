"""Documents in, passages out: take documents in, answer searches with a receipt, list, configure and forget."""

from collections.abc import Sequence
from dataclasses import dataclass

from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.ids import Ids

from plimsoll_memory.domain.document import (
    Collection,
    Document,
    Draft,
    Incoming,
    Settled,
    Stored,
    Vector,
    Wanted,
    collection_problems,
    context_of,
    title_of,
)
from plimsoll_memory.domain.embedding import HASHING, LATENT, is_learned
from plimsoll_memory.domain.paging import PageRequest, page_token
from plimsoll_memory.domain.upload import UploadKey
from plimsoll_memory.errors import CollectionChanged, CollectionNotFound, DocumentNotFound, EmbedderMissing, RequestRefused
from plimsoll_memory.ports import DocumentReader, Embedder, Embedders, Library, Rerankers

_EMBED_BATCH = 64
_ATTEMPTS = 3  # to store a document while another embedder takes over
NO_RERANKER = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What a new collection gets, and how documents are read: `recipe` names the way of reading and cutting them.

    embedder  a configured one, or the family of those that are learned
    """

    embedder: str
    language: str
    recipe: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentPage:
    """`next_token` is empty on the last page."""

    documents: Sequence[Document]
    next_token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The verbs about documents. Each works for one tenant and sees nothing of the others."""

    library: Library
    reader: DocumentReader
    embedders: Embedders
    rerankers: Rerankers
    defaults: Defaults
    clock: Clock
    ids: Ids

    async def ingest(self, tenant: str, incoming: Incoming, upload: UploadKey | None = None) -> Stored:
        """Store a document, or a part of an upload, in the place of what its source had before; the same again changes nothing.

        Raises DocumentRefused, or UploadSuperseded.
        """
        fingerprint = incoming.fingerprint(self.defaults.recipe)
        known = await self.library.find_document(tenant, incoming.collection, incoming.source)
        if known is not None and known.fingerprint == fingerprint:
            return Stored(document=known, changed=False)
        reading = await self.reader.read(incoming.format, incoming.content)
        title = title_of(incoming.source, reading.title)
        document_id = self.ids.new("doc")
        attempt = 0
        while True:
            attempt += 1
            settled = await self.library.settled(tenant, incoming.collection)
            embedder = self._embedder_of(settled)
            texts = [f"{context_of(title, chunk)}\n{chunk.text}" for chunk in reading.chunks]
            draft = Draft(
                document_id=document_id,
                incoming=incoming,
                fingerprint=fingerprint,
                title=title,
                chunks=reading.chunks,
                vectors=() if is_learned(embedder) else await embed_all(self._embedder(embedder), texts),
                embedder=embedder,
                language=settled.language if settled else self.defaults.language,
                made_at=self.clock.now(),
                target=self.defaults.embedder,
                upload=upload,
            )
            try:
                return await self.library.store(tenant, draft)
            except CollectionChanged:
                if attempt == _ATTEMPTS:
                    raise

    async def list_collections(self, tenant: str) -> Sequence[Collection]:
        """All collections of the tenant, by name."""
        return await self.library.list_collections(tenant)

    async def list_documents(self, tenant: str, collection: str, page: PageRequest) -> DocumentPage:
        """One page of a collection's documents, by source. Raises CollectionNotFound."""
        await known_collection(self.library, tenant, collection)
        ahead = PageRequest(after=page.after, size=page.size + 1)
        documents = await self.library.list_documents(tenant, collection, ahead)
        shown = documents[: page.size]
        return DocumentPage(documents=shown, next_token=page_token(collection, shown[-1].source) if len(documents) > page.size else "")

    async def delete_document(self, tenant: str, collection: str, document_id: str) -> None:
        """Forget a document. Raises DocumentNotFound."""
        if not await self.library.delete_document(tenant, collection, document_id):
            raise DocumentNotFound(f"there is no document {document_id!r} in {collection!r}", remedy="see the list of documents")

    async def delete_collection(self, tenant: str, name: str) -> int:
        """Forget a collection with all that it holds; returns how many documents it had. Raises CollectionNotFound."""
        documents = await self.library.delete_collection(tenant, name)
        if documents is None:
            raise CollectionNotFound(f"there is no collection {name!r}", remedy="see the list of collections")
        return documents

    async def configure(self, tenant: str, name: str, *, embedder: str, reranker: str) -> Collection:
        """Say how a collection is embedded and reranked; an empty name leaves it. Raises RequestRefused or CollectionNotFound."""
        problems = collection_problems(name)
        embedders = sorted({LATENT, *self.embedders})
        if embedder and embedder not in embedders:
            problems.append(FieldProblem("embedder", f"is {embedder[:80]!r}", f"use one that is configured: {', '.join(embedders)}"))
        rerankers = sorted({NO_RERANKER, *self.rerankers})
        if reranker and reranker not in rerankers:
            problems.append(FieldProblem("reranker", f"is {reranker[:80]!r}", f"use one that is configured: {', '.join(rerankers)}"))
        if problems:
            raise RequestRefused(problems=problems)
        wanted = Wanted(embedder=embedder or None, reranker=("" if reranker == NO_RERANKER else reranker) if reranker else None)
        if await self.library.configure(tenant, name, wanted) and (collection := await self.library.find_collection(tenant, name)):
            return collection
        raise _unknown(name)

    def _embedder_of(self, settled: Settled | None) -> str:
        """A collection keeps its embedder until another one is ready; what is learned begins with the hashing one."""
        if settled:
            return settled.embedder
        return HASHING if self.defaults.embedder == LATENT else self.defaults.embedder

    def _embedder(self, name: str) -> Embedder:
        if name not in self.embedders:
            raise EmbedderMissing(f"the embedder {name!r} is not configured", remedy="configure it, or use another collection")
        return self.embedders[name]


async def known_collection(library: Library, tenant: str, name: str) -> Settled:
    """How the collection is settled. Raises CollectionNotFound."""
    settled = await library.settled(tenant, name)
    if settled is None:
        raise _unknown(name)
    return settled


async def embed_all(embedder: Embedder, texts: Sequence[str]) -> tuple[Vector, ...]:
    """In batches, so that cancelling takes effect between them."""
    vectors: list[Vector] = []
    for at in range(0, len(texts), _EMBED_BATCH):
        vectors += await embedder.embed_passages(texts[at : at + _EMBED_BATCH])
    return tuple(vectors)


def _unknown(name: str) -> CollectionNotFound:
    return CollectionNotFound(f"there is no collection {name!r}", remedy="ingest a document into it first")
