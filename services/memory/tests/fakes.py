"""Ports kept in memory, with the promises that the behaviour suites state."""

import asyncio
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import log, sqrt

from memory_fake_quality import FakeQuality
from memory_fake_threads import FakeThreads
from plimsoll_memory.domain.chunking import ChunkPlan
from plimsoll_memory.domain.document import Collection, Document, Draft, Settled, Stored, Vector, Wanted, context_of, passage_metadata
from plimsoll_memory.domain.hashing import HashingSpace
from plimsoll_memory.domain.media import Format
from plimsoll_memory.domain.paging import PageRequest
from plimsoll_memory.domain.ranking import Candidate
from plimsoll_memory.domain.reading import Reading, cut, parse
from plimsoll_memory.domain.search import Candidates, Question, SearchCompleted, VectorQuestion
from plimsoll_memory.domain.upload import Begun, Mark, UploadKey
from plimsoll_memory.errors import CollectionChanged, UploadSuperseded
from plimsoll_memory.ports import PassageIndex
from plimsoll_memory.service.conversations import Conversations
from plimsoll_memory.service.evaluating import Evaluating
from plimsoll_memory.service.memory import Defaults, Memory
from plimsoll_memory.service.searching import Searching
from plimsoll_memory.service.uploads import Uploads
from plimsoll_memory.service.watching import Watching
from plimsoll_memory.transport.grpc import Verbs
from plimsoll_runtime import logs
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.json_types import JsonValue
from plimsoll_testkit.clock import FakeClock
from plimsoll_testkit.ids import FakeIds

_STOP_WORDS = frozenset(["a", "and", "be", "for", "in", "is", "it", "not", "of", "on", "or", "the", "to", "what", "with"])
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
Key = tuple[str, str]


@dataclass
class FakeLibrary:
    """A Library and a PassageIndex. Words are ranked by how rare they are, vectors by cosine."""

    _collections: dict[Key, Collection] = field(default_factory=dict)
    _drafts: dict[tuple[str, str, str], tuple[Document, Draft]] = field(default_factory=dict)
    error: PlimsollError | None = None
    """What looking for candidates fails with."""

    async def find_collection(self, tenant: str, name: str) -> Collection | None:
        settled = self._collections.get((tenant, name))
        if settled is None:
            return None
        documents = [document for document, _ in self._of(tenant, name)]
        return replace(settled, documents=len(documents), chunks=sum(one.chunks for one in documents))

    async def settled(self, tenant: str, name: str) -> Settled | None:
        one = self._collections.get((tenant, name))
        if one is None:
            return None
        return Settled(name=name, language=one.language, embedder=one.embedder, exact=one.exact, reranker=one.reranker)

    async def list_collections(self, tenant: str) -> Sequence[Collection]:
        found = [await self.find_collection(owner, name) for owner, name in sorted(self._collections) if owner == tenant]
        return [one for one in found if one is not None]

    async def find_document(self, tenant: str, collection: str, source: str) -> Document | None:
        stored = self._drafts.get((tenant, collection, source))
        return stored[0] if stored else None

    async def list_documents(self, tenant: str, collection: str, page: PageRequest) -> Sequence[Document]:
        documents = sorted((document for document, _ in self._of(tenant, collection)), key=lambda one: one.source.encode())
        return [one for one in documents if one.source.encode() > page.after.encode()][: page.size]

    async def store(self, tenant: str, draft: Draft) -> Stored:
        incoming = draft.incoming
        fresh = Collection(
            name=incoming.collection, language=draft.language, embedder=draft.embedder, documents=0, chunks=0, created_at=draft.made_at
        )
        settled = self._collections.get((tenant, incoming.collection), fresh)
        if (settled.language, settled.embedder) != (draft.language, draft.embedder):
            raise CollectionChanged
        key = (tenant, incoming.collection, incoming.source)
        before = self._drafts[key][0] if key in self._drafts else None
        if before and before.fingerprint == draft.fingerprint:
            return Stored(document=before, changed=False)
        document = Document(
            document_id=before.document_id if before else draft.document_id,
            collection=incoming.collection,
            source=incoming.source,
            title=draft.title,
            digest=incoming.digest,
            fingerprint=draft.fingerprint,
            version=before.version + 1 if before else 1,
            chunks=len(draft.chunks),
            size_bytes=len(incoming.content),
            metadata=incoming.metadata,
            updated_at=draft.made_at,
            labels=incoming.labels,
        )
        self._collections[tenant, incoming.collection] = settled
        self._drafts[key] = document, draft
        if not draft.upload:
            self._forget_parts(tenant, incoming.collection, incoming.source)
        return Stored(document=document, changed=True)

    async def delete_document(self, tenant: str, collection: str, document_id: str) -> bool:
        for document, _ in self._of(tenant, collection):
            if document.document_id == document_id:
                del self._drafts[tenant, collection, document.source]
                self._forget_parts(tenant, collection, document.source)
                return True
        return False

    def _forget_parts(self, tenant: str, collection: str, source: str) -> None:
        for document, _ in self._of(tenant, collection):
            if document.metadata.get("part_of") == source and isinstance(document.metadata.get("part"), int):
                del self._drafts[tenant, collection, document.source]

    async def delete_collection(self, tenant: str, name: str) -> int | None:
        if self._collections.pop((tenant, name), None) is None:
            return None
        gone = [key for key in self._drafts if key[:2] == (tenant, name)]
        for key in gone:
            del self._drafts[key]
        return len(gone)

    async def configure(self, tenant: str, name: str, wanted: Wanted) -> bool:
        if (tenant, name) not in self._collections:
            return False
        one = self._collections[tenant, name]
        self._collections[tenant, name] = replace(one, reranker=one.reranker if wanted.reranker is None else wanted.reranker)
        return True

    async def unknown_fields(self, tenant: str, collection: str, fields: Sequence[str]) -> Sequence[str]:
        known = {
            name
            for document, draft in self._of(tenant, collection)
            for one in _passages(document, draft)
            for name in one.candidate.metadata
        }
        return [name for name in fields if name not in known]

    async def candidates(self, tenant: str, question: Question) -> Candidates:
        if self.error:
            raise self.error
        passages = [one for document, draft in self._of(tenant, question.collection) for one in _passages(document, draft)]
        frequency = Counter(word for one in passages for word in set(one.words))
        asked = {word for word in _words(question.query) if word in frequency}
        ranking = asked if question.words else set()
        allowed = [one for one in passages if _holds(one.candidate.metadata, question.filter)]
        rarity = {word: log(1 + len(passages) / frequency[word]) for word in ranking}
        by_text = _ranked({one.candidate.chunk_id: _text_score(one, rarity) for one in allowed}, question)
        near = {one.candidate.chunk_id: _similarity(one, question.vector) for one in allowed} if question.vector else {}
        by_vector = _ranked(near, question)
        candidates = [
            replace(
                one.candidate,
                text_rank=by_text.get(one.candidate.chunk_id, 0),
                vector_rank=by_vector.get(one.candidate.chunk_id, 0),
                similarity=near.get(one.candidate.chunk_id, 0.0) if one.candidate.chunk_id in by_vector else 0.0,
                text_score=_text_score(one, rarity) if one.candidate.chunk_id in by_text else 0.0,
            )
            for one in allowed
        ]
        return Candidates(
            passages=[one for one in candidates if _can_matter(one, question.keep)],
            text_count=len(by_text),
            vector_count=len(by_vector),
            words=len(asked),
        )

    def _of(self, tenant: str, collection: str) -> list[tuple[Document, Draft]]:
        return [stored for key, stored in self._drafts.items() if key[:2] == (tenant, collection)]


@dataclass(frozen=True)
class _Stored:
    candidate: Candidate
    words: list[str]
    vector: Vector
    embedder: str


def _passages(document: Document, draft: Draft) -> list[_Stored]:
    return [
        _Stored(
            candidate=Candidate(
                chunk_id=f"{document.document_id}.{document.version}.{place}",
                document_id=document.document_id,
                source=document.source,
                title=document.title,
                headings=chunk.headings,
                text=chunk.text,
                start=chunk.start,
                end=chunk.end,
                metadata=passage_metadata(document.metadata, chunk),
                text_rank=0,
                vector_rank=0,
                labels=document.labels,
            ),
            words=_words(f"{context_of(draft.title, chunk)} {chunk.text}"),
            vector=vector,
            embedder=draft.embedder,
        )
        for place, (chunk, vector) in enumerate(zip(draft.chunks, draft.vectors, strict=True))
    ]


def _text_score(one: _Stored, rarity: dict[str, float]) -> float:
    return sum(rarity.get(word, 0) for word in set(one.words))


def _words(text: str) -> list[str]:
    return [word.removesuffix("s") for word in re.findall(r"\w+", text.lower()) if word not in _STOP_WORDS]


def _similarity(one: _Stored, asked: VectorQuestion) -> float:
    if one.embedder != asked.embedder or asked.vector is None:
        return 0.0
    lengths = sqrt(sum(x * x for x in one.vector)) * sqrt(sum(x * x for x in asked.vector))
    cosine = sum(x * y for x, y in zip(one.vector, asked.vector, strict=True)) / lengths if lengths else 0.0
    return cosine if cosine >= asked.floor else 0.0


def _ranked(scores: dict[str, float], question: Question) -> dict[str, int]:
    found = sorted((one for one in scores if scores[one] > 0), key=lambda one: (-scores[one], one))
    return {one: rank for rank, one in enumerate(found[: question.depth], 1)}


def _can_matter(one: Candidate, keep: int) -> bool:
    ranks = [rank for rank in (one.text_rank, one.vector_rank) if rank]
    return len(ranks) == 2 or any(rank <= keep for rank in ranks)


def _holds(value: JsonValue, wanted: JsonValue) -> bool:
    if isinstance(value, dict) and isinstance(wanted, dict):
        return all(key in value and _holds(value[key], item) for key, item in wanted.items())
    return value == wanted


@dataclass
class FakeReader:
    """A DocumentReader of text formats, at once."""

    plan: ChunkPlan = field(default_factory=ChunkPlan)
    reads: int = 0

    async def read(self, format_: Format, content: bytes) -> Reading:
        self.reads += 1
        return cut(parse(format_, content, most=1000), self.plan, most=1000)


@dataclass
class FakeEmbedder:
    """Hashes words; fails when told to."""

    name: str = "fake-1"
    floor: float = 0.2
    weight: float = 0.25
    error: PlimsollError | None = None
    embedded: list[str] = field(default_factory=list)
    _space: HashingSpace = field(default_factory=HashingSpace)

    async def embed_passages(self, texts: Sequence[str]) -> Sequence[Vector]:
        self.embedded += texts
        return [self._space.embed(text) for text in texts]

    async def embed_query(self, text: str) -> Vector:
        if self.error:
            raise self.error
        return self._space.embed(text)


@dataclass
class FakeReranker:
    """Likes long texts; fails or dawdles when told to."""

    name: str = "length-1"
    error: PlimsollError | None = None
    never: bool = False

    async def rerank(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        if self.error:
            raise self.error
        if self.never:
            await asyncio.Event().wait()
        return [float(len(text)) for text in texts]


@dataclass
class FakeSearchLog:
    completed: list[SearchCompleted] = field(default_factory=list)
    error: PlimsollError | None = None

    async def record(self, completed: SearchCompleted) -> None:
        if self.error:
            raise self.error
        self.completed.append(completed)


@dataclass
class FakeUploads:
    """An UploadStore; `finished` is what was told to be whole."""

    marks: dict[tuple[str, UploadKey], Mark] = field(default_factory=dict)
    pieces: dict[tuple[str, UploadKey], dict[int, bytes]] = field(default_factory=dict)
    finished: list[tuple[str, int]] = field(default_factory=list)
    done: set[tuple[str, UploadKey]] = field(default_factory=set)

    async def begin_upload(self, tenant: str, key: UploadKey, at: datetime, *, anew: bool = False) -> Begun:
        place = (tenant, key.collection, key.source)
        others = [(owner, one) for owner, one in self.marks if (owner, one.collection, one.source) == place and (one != key or anew)]
        for other in others:
            del self.marks[other]
            self.pieces.pop(other, None)
            self.done.discard(other)
        mark = self.marks.setdefault((tenant, key), Mark())
        return Begun(mark=mark, held=len(await self.held(tenant, key, mark)), done=(tenant, key) in self.done)

    async def hold(self, tenant: str, key: UploadKey, offset: int, content: bytes) -> None:
        self._must_hold(tenant, key)
        self.pieces.setdefault((tenant, key), {}).setdefault(offset, content)

    async def held(self, tenant: str, key: UploadKey, mark: Mark) -> bytes:
        found = b""
        for at, piece in sorted(self.pieces.get((tenant, key), {}).items()):
            if at == mark.stored + len(found):
                found += piece
        return found

    async def keep_upload(self, tenant: str, key: UploadKey, mark: Mark, held: bytes, at: datetime) -> None:
        self._must_hold(tenant, key)
        self.marks[tenant, key] = mark
        self.pieces[tenant, key] = {mark.stored: held} if held else {}

    async def finish_upload(self, tenant: str, key: UploadKey, parts: int, at: datetime) -> None:
        self._must_hold(tenant, key)
        self.done.add((tenant, key))
        self.pieces.pop((tenant, key), None)
        self.finished.append((key.source, parts))

    def _must_hold(self, tenant: str, key: UploadKey) -> None:
        if (tenant, key) not in self.marks:
            raise UploadSuperseded


@dataclass
class Desk:
    """Memory on fakes; `memory` may be called again for a later version of the service on the same documents."""

    clock: FakeClock
    ids: FakeIds
    library: FakeLibrary = field(default_factory=FakeLibrary)
    reader: FakeReader = field(default_factory=FakeReader)
    embedder: FakeEmbedder = field(default_factory=FakeEmbedder)
    search_log: FakeSearchLog = field(default_factory=FakeSearchLog)
    rerankers: list[FakeReranker] = field(default_factory=list)
    uploads: FakeUploads = field(default_factory=FakeUploads)
    quality: FakeQuality = field(default_factory=FakeQuality)

    def memory(self, *embedders: FakeEmbedder, recipe: str = "1", language: str = "english") -> Memory:
        """The first of the embedders is the default."""
        known = embedders or (self.embedder,)
        return Memory(
            library=self.library,
            reader=self.reader,
            embedders={one.name: one for one in known},
            rerankers={one.name: one for one in self.rerankers},
            defaults=Defaults(embedder=known[0].name, language=language, recipe=recipe),
            clock=self.clock,
            ids=self.ids,
        )

    def searching(self, *embedders: FakeEmbedder, index: PassageIndex | None = None, rerank_cap_s: float = 5.0) -> Searching:
        """On the same documents."""
        return Searching(
            library=self.library,
            index=index or self.library,
            embedders={one.name: one for one in embedders or (self.embedder,)},
            rerankers={one.name: one for one in self.rerankers},
            search_log=self.search_log,
            rerank_cap_s=rerank_cap_s,
            clock=self.clock,
            ids=self.ids,
            log=logs.get("memory"),
        )

    def verbs(self, *, index: PassageIndex | None = None) -> Verbs:
        """The whole service."""
        memory, searching = self.memory(), self.searching(index=index)
        return Verbs(
            memory=memory,
            searching=searching,
            uploads=Uploads(memory=memory, store=self.uploads, limit_bytes=4_000, clock=self.clock, ids=self.ids),
            conversations=Conversations(threads=FakeThreads(ids=self.ids), memory=memory, clock=self.clock, log=logs.get("memory")),
            evaluating=Evaluating(store=self.quality, searching=searching, clock=self.clock),
            watching=Watching(store=self.quality, clock=self.clock, log=logs.get("memory")),
        )
