"""What memory does: take documents in, answer searches with a receipt, list and forget."""

from collections.abc import Sequence
from dataclasses import dataclass

from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.ids import Ids

from plimsoll_memory.domain import ranking
from plimsoll_memory.domain.document import Collection, Document, Draft, Incoming, Stored, Vector, context_of, title_of
from plimsoll_memory.domain.paging import PageRequest, page_token
from plimsoll_memory.domain.search import Answer, Candidates, Question, Receipt, SearchCompleted, SearchRequest, VectorQuestion, check
from plimsoll_memory.errors import CollectionNotFound, DocumentNotFound, EmbedderMissing
from plimsoll_memory.ports import DocumentReader, Embedder, Embedders, Library, PassageIndex, SearchLog

_DEPTH = 100  # of each list: as deep as an answer may be long
_EMBED_BATCH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What a new collection gets, and how documents are read: `recipe` names the way of reading and cutting them."""

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
    """The verbs of the service. Each works for one tenant and sees nothing of the others."""

    library: Library
    index: PassageIndex
    reader: DocumentReader
    embedders: Embedders
    search_log: SearchLog
    defaults: Defaults
    clock: Clock
    ids: Ids

    async def ingest(self, tenant: str, incoming: Incoming) -> Stored:
        """Store a document in the place of what its source had before; the same again changes nothing. Raises DocumentRefused."""
        fingerprint = incoming.fingerprint(self.defaults.recipe)
        known = await self.library.find_document(tenant, incoming.collection, incoming.source)
        if known is not None and known.fingerprint == fingerprint:
            return Stored(document=known, changed=False)
        collection = await self.library.find_collection(tenant, incoming.collection)
        embedder = self._embedder(collection)
        reading = await self.reader.read(incoming.format, incoming.content)
        title = title_of(incoming.source, reading.title)
        draft = Draft(
            document_id=self.ids.new("doc"),
            incoming=incoming,
            fingerprint=fingerprint,
            title=title,
            chunks=reading.chunks,
            vectors=await _embed(embedder, [f"{context_of(title, chunk)}\n{chunk.text}" for chunk in reading.chunks]),
            embedder=embedder.name,
            language=collection.language if collection else self.defaults.language,
            made_at=self.clock.now(),
        )
        return await self.library.store(tenant, draft)

    async def search(self, tenant: str, request: SearchRequest) -> Answer:
        """The passages that answer a query best. Raises RequestRefused or CollectionNotFound; finding nothing is an answer."""
        check(request)
        started_at, started = self.clock.now(), self.clock.monotonic()
        collection = await self._known_collection(tenant, request.collection)
        vector, skipped = await self._ask_vector(collection, request.query)
        question = Question(
            collection=collection.name,
            language=collection.language,
            query=request.query,
            filter=request.filter,
            vector=vector,
            depth=_DEPTH,
            keep=request.limit,
        )
        found = await self.index.candidates(tenant, question)
        answer = self._answer(request, question, found, skipped)
        await self.search_log.record(
            SearchCompleted(
                event_id=self.ids.new("evt"),
                tenant=tenant,
                work=request.work,
                collection=collection.name,
                receipt=answer.receipt,
                started_at=started_at,
                duration_s=self.clock.monotonic() - started,
            )
        )
        return answer

    async def list_collections(self, tenant: str) -> Sequence[Collection]:
        """All collections of the tenant, by name."""
        return await self.library.list_collections(tenant)

    async def list_documents(self, tenant: str, collection: str, page: PageRequest) -> DocumentPage:
        """One page of a collection's documents, by source. Raises CollectionNotFound."""
        await self._known_collection(tenant, collection)
        ahead = PageRequest(after=page.after, size=page.size + 1)
        documents = await self.library.list_documents(tenant, collection, ahead)
        shown = documents[: page.size]
        return DocumentPage(documents=shown, next_token=page_token(collection, shown[-1].source) if len(documents) > page.size else "")

    async def delete_document(self, tenant: str, collection: str, document_id: str) -> None:
        """Forget a document. Raises DocumentNotFound."""
        if not await self.library.delete_document(tenant, collection, document_id):
            raise DocumentNotFound(f"there is no document {document_id!r} in {collection!r}", remedy="see the list of documents")

    async def _known_collection(self, tenant: str, name: str) -> Collection:
        collection = await self.library.find_collection(tenant, name)
        if collection is None:
            raise CollectionNotFound(f"there is no collection {name!r}", remedy="ingest a document into it first")
        return collection

    def _embedder(self, collection: Collection | None) -> Embedder:
        name = collection.embedder if collection else self.defaults.embedder
        if name not in self.embedders:
            raise EmbedderMissing(f"the embedder {name!r} is not configured", remedy="configure it, or use another collection")
        return self.embedders[name]

    async def _ask_vector(self, collection: Collection, query: str) -> tuple[VectorQuestion | None, tuple[str, ...]]:
        """The query as a vector, or why there is none: search goes on with full text alone, and says so."""
        embedder = self.embedders.get(collection.embedder)
        if embedder is None:
            return None, (f"vector: the embedder {collection.embedder} is not configured",)
        try:
            vector = await embedder.embed_query(query)
        except PlimsollError as error:
            return None, (f"vector: the embedder failed with {error.reason}",)
        if not any(vector):
            return None, ("vector: the query has no word to embed",)
        return VectorQuestion(embedder=embedder.name, vector=vector, floor=embedder.floor), ()

    def _answer(self, request: SearchRequest, question: Question, found: Candidates, skipped: tuple[str, ...]) -> Answer:
        embedder = question.vector.embedder if question.vector else ""
        passages = ranking.fuse(found.passages, vector_weight=self.embedders[embedder].weight if embedder else 0.0, limit=request.limit)
        if not found.words:
            skipped = ("text: the collection knows no word of the query", *skipped)
        receipt = Receipt(
            search_id=self.ids.new("search"),
            requested=request.limit,
            returned=len(passages),
            text_candidates=found.text_count,
            vector_candidates=found.vector_count,
            exact=found.exact,
            embedder=embedder,
            skipped=skipped,
            best_score=passages[0].score if passages else 0.0,
        )
        return Answer(passages=passages, receipt=receipt)


async def _embed(embedder: Embedder, texts: Sequence[str]) -> tuple[Vector, ...]:
    """In batches, so that cancelling takes effect between them."""
    vectors: list[Vector] = []
    for at in range(0, len(texts), _EMBED_BATCH):
        vectors += await embedder.embed_passages(texts[at : at + _EMBED_BATCH])
    return tuple(vectors)
