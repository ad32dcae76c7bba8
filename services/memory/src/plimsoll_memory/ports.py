"""What the service needs of the world outside."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol, TypeAlias

from plimsoll_memory.domain.conversation import Claim, Fact, Forgotten, Remembered, Remembering, Summary, ThreadHead, Turn
from plimsoll_memory.domain.document import Collection, Document, Draft, Settled, Stored, Vector, Wanted
from plimsoll_memory.domain.embedding import Corpus, Projections
from plimsoll_memory.domain.media import Format
from plimsoll_memory.domain.paging import PageRequest
from plimsoll_memory.domain.quality import Drift, QualityWindow
from plimsoll_memory.domain.query_set import QuerySet, QuerySetSummary
from plimsoll_memory.domain.reading import Reading
from plimsoll_memory.domain.search import Candidates, Question, SearchCompleted
from plimsoll_memory.domain.upkeep import Chore, CollectionState
from plimsoll_memory.domain.upload import Begun, Mark, UploadKey

SearchUse: TypeAlias = Mapping[str, str]
"""Passages of a search by id; the text is empty of one that was forgotten."""


class Library(Protocol):
    """Keeps documents. Each method is one transaction, and sees the given tenant only.

    Raises Unavailable or DeadlineExpired when it cannot be reached.
    """

    async def find_collection(self, tenant: str, name: str) -> Collection | None:
        """The collection, if there is one, with what is counted of it."""
        ...

    async def settled(self, tenant: str, name: str) -> Settled | None:
        """What every document and every search must know of a collection: reads one row."""
        ...

    async def list_collections(self, tenant: str) -> Sequence[Collection]:
        """All collections, by name."""
        ...

    async def find_document(self, tenant: str, collection: str, source: str) -> Document | None:
        """What is stored under a source, if anything."""
        ...

    async def list_documents(self, tenant: str, collection: str, page: PageRequest) -> Sequence[Document]:
        """One page of documents, by source."""
        ...

    async def store(self, tenant: str, draft: Draft) -> Stored:
        """Put the draft in the place of what its source had before, all or nothing; its collection is created when missing.

        A draft with the fingerprint of what is stored changes nothing. The first document settles a collection's language
        and embedder; a draft embedded by another one is a Conflict, and so is a part of an upload that another one superseded. What came
        whole takes the place of all parts that its source had.
        """
        ...

    async def delete_document(self, tenant: str, collection: str, document_id: str) -> bool:
        """Forget a document: its text, passages, vectors, words, and what was learned of words that only it had; with the first part of
        a large one its other parts. Returns whether it was there.
        """
        ...

    async def delete_collection(self, tenant: str, name: str) -> int | None:
        """Forget a collection with all that it holds. Returns how many documents it had; None when it was not there."""
        ...

    async def configure(self, tenant: str, name: str, wanted: Wanted) -> bool:
        """Settle how a collection should be embedded and reranked. Returns whether it is there."""
        ...


class PassageIndex(Protocol):
    """Finds candidates for an answer."""

    async def candidates(self, tenant: str, question: Question) -> Candidates:
        """The passages nearest in words and in vectors, with their rank in each list."""
        ...

    async def unknown_fields(self, tenant: str, collection: str, fields: Sequence[str]) -> Sequence[str]:
        """Which of these fields no passage's metadata has."""
        ...


class DocumentReader(Protocol):
    """Turns bytes into passages without holding up anything else."""

    async def read(self, format_: Format, content: bytes) -> Reading:
        """Raises DocumentRefused."""
        ...


class Embedder(Protocol):
    """Turns texts into vectors. Vectors of different names never meet.

    name    with its version: another name, another space
    floor   cosine similarity below which a match means nothing
    weight  of its list in the fusion, beside 1 for full text
    """

    @property
    def name(self) -> str: ...

    @property
    def floor(self) -> float: ...

    @property
    def weight(self) -> float: ...

    async def embed_passages(self, texts: Sequence[str]) -> Sequence[Vector]:
        """One vector for each text."""
        ...

    async def embed_query(self, text: str) -> Vector:
        """The vector to compare with those of passages."""
        ...


class Reranker(Protocol):
    """Judges how well each text answers a query; `name` with its version."""

    @property
    def name(self) -> str: ...

    async def rerank(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """One score for each text, higher is better. Must bear being cancelled."""
        ...


class Learner(Protocol):
    """Learns an embedder from a collection's words."""

    async def learn(self, corpus: Corpus) -> Projections:
        """Where each word points."""
        ...


class Workshop(Protocol):
    """Where collections are kept up. Each method is one transaction, or several that bear being cut off between them."""

    async def take(self, lease_s: float) -> Chore | None:
        """The collection that has been due for the longest, for nobody else during the lease."""
        ...

    async def hold(self, chore: Chore, lease_s: float) -> None:
        """Lengthen the lease: it lasts this long from now."""
        ...

    async def put_off(self, chore: Chore, seconds: float | None) -> None:
        """Let go of it. Due again after this many seconds; None means when something changes."""
        ...

    async def forget(self, chore: Chore) -> None:
        """The collection is gone: so are its indexes, and the chore."""
        ...

    async def state(self, chore: Chore) -> CollectionState | None:
        """None when the collection is gone."""
        ...

    async def corpus(self, chore: Chore, *, most_words: int, most_passages: int) -> Corpus:
        """What there is to learn from: the most frequent words that say something, and a sample of passages."""
        ...

    async def put_learned(self, chore: Chore, embedder: str, projections: Projections) -> bool:
        """Keep what was learned, and begin to fill it. Returns False when another embedder is being filled meanwhile."""
        ...

    async def begin(self, chore: Chore, embedder: str) -> None:
        """Begin to fill another embedder."""
        ...

    async def missing(self, chore: Chore, embedder: str, *, after: str, limit: int) -> Sequence[tuple[str, str]]:
        """Ids and texts of passages behind `after` that have no vector of it yet, by id."""
        ...

    async def put_vectors(self, chore: Chore, embedder: str, chunk_ids: Sequence[str], vectors: Sequence[Vector]) -> None:
        """Keep vectors of passages; those that are gone are left out."""
        ...

    async def project(self, chore: Chore, embedder: str, *, after: str, limit: int) -> str:
        """Embed the next passages behind `after` with what was learned; returns the id of the last one, '' when none is left."""
        ...

    async def switch(self, chore: Chore, embedder: str) -> bool:
        """Let it serve, then forget the vectors of all others. Returns False while a passage has no vector of it."""
        ...

    async def tidy(self, chore: Chore) -> None:
        """Forget what is left of embedders that serve no more, also when somebody died over it."""
        ...

    async def index(self, chore: Chore, embedder: str) -> None:
        """Make an approximate index of its vectors, and use it from then on."""
        ...

    async def unindex(self, chore: Chore) -> None:
        """Compare every vector again."""
        ...


class ThreadStore(Protocol):
    """Keeps conversations. Each method is one transaction, and sees the given tenant only."""

    async def find(self, tenant: str, request: Remembering) -> Remembered | None:
        """What the request's key stored, as far as it was not forgotten. Raises KeyReused when that was something else."""
        ...

    async def keep_key(self, tenant: str, request: Remembering, at: datetime) -> None:
        """The request is done under its key."""
        ...

    async def remember(
        self, tenant: str, request: Remembering, claims: Sequence[Claim], left_out: Sequence[str], at: datetime
    ) -> Remembered:
        """Keep the request's turns and summary, and these claims, all or nothing, once per key.

        A claim that is known counts once more; one about an attribute that has another value takes its place. Raises KeyReused.
        """
        ...

    async def head(self, tenant: str, thread_id: str) -> ThreadHead:
        """How long the thread is, and its summary."""
        ...

    async def latest(self, tenant: str, thread_id: str, *, tokens: int, after: int = 0) -> Sequence[Turn]:
        """The latest turns, latest first, until they have this many tokens; only those after a number."""
        ...

    async def matching(self, tenant: str, thread_id: str, query: str, limit: int) -> Sequence[Turn]:
        """Turns that share words with the query, best first; no instructions and nothing recalled."""
        ...

    async def holding(self, tenant: str, subjects: Sequence[str], query: str, limit: int) -> Sequence[Fact]:
        """Facts that hold about these subjects: by the query, then the latest first."""
        ...

    async def facts(self, tenant: str, subject: str, thread_id: str, page: PageRequest, *, superseded: bool) -> Sequence[Fact]:
        """Facts about a subject or, without one, those learned in a thread; the latest first, before the page's id."""
        ...

    async def known_texts(self, tenant: str, thread_id: str) -> Sequence[str]:
        """The latest instructions and recalled texts of the thread."""
        ...

    async def put_summary(self, tenant: str, thread_id: str, summary: Summary, *, before: int) -> None:
        """Keep a summary in the place of one that went through turn `before`; another one that came meanwhile stays."""
        ...

    async def forget_thread(self, tenant: str, thread_id: str, subject: str) -> Forgotten:
        """Forget its turns and keys, its summary, the facts learned in it, and those about the subject."""
        ...

    async def forget_subject(self, tenant: str, subject: str) -> Forgotten:
        """Forget all facts about it."""
        ...

    async def forget_fact(self, tenant: str, fact_id: str) -> Forgotten:
        """Forget it, and what it superseded."""
        ...


class UploadStore(Protocol):
    """Keeps how far uploads got. Each method is one transaction, and sees the given tenant only."""

    async def begin_upload(self, tenant: str, key: UploadKey, at: datetime, *, anew: bool = False) -> Begun:
        """Go on with an upload of these bytes unless `anew`, or begin one: whatever else was uploaded under the source is superseded."""
        ...

    async def hold(self, tenant: str, key: UploadKey, offset: int, content: bytes) -> None:
        """Keep content that waits for its part. The same offset again changes nothing. Raises UploadSuperseded."""
        ...

    async def held(self, tenant: str, key: UploadKey, mark: Mark) -> bytes:
        """All that waits behind the mark, without a gap."""
        ...

    async def keep_upload(self, tenant: str, key: UploadKey, mark: Mark, held: bytes, at: datetime) -> None:
        """How far it is now, and what waits. Raises UploadSuperseded."""
        ...

    async def finish_upload(self, tenant: str, key: UploadKey, parts: int, at: datetime) -> None:
        """It is whole with this many parts; those of the same source beyond them are forgotten. Raises UploadSuperseded."""
        ...


class QuerySetStore(Protocol):
    """Keeps labelled queries. Each method is one transaction, and sees the given tenant only."""

    async def put_query_set(self, tenant: str, query_set: QuerySet, at: datetime) -> QuerySetSummary:
        """Keep the set in the place of what its name had before."""
        ...

    async def find_query_set(self, tenant: str, name: str) -> QuerySet | None:
        """The set, if there is one."""
        ...

    async def list_query_sets(self, tenant: str) -> Sequence[QuerySetSummary]:
        """All sets, by name."""
        ...

    async def delete_query_set(self, tenant: str, name: str) -> None:
        """Forget the set."""
        ...

    async def known_sources(self, tenant: str, collection: str, sources: Sequence[str]) -> frozenset[str]:
        """Which of these documents the collection holds."""
        ...


class QualityStore(Protocol):
    """Keeps how searches went."""

    async def passages(self, tenant: str, search_id: str) -> SearchUse | None:
        """The passages that a search gave; None when it is not known."""
        ...

    async def run_passages(self, tenant: str, run_id: str) -> Mapping[str, SearchUse]:
        """The passages of the latest searches of a run, by search."""
        ...

    async def keep_use(self, tenant: str, search_id: str, used: Sequence[str], *, add: bool) -> int:
        """Which of them were used: these alone, or with `add` these too. Returns how many now are."""
        ...

    async def windows(self, tenant: str, collection: str, now: datetime) -> tuple[Sequence[QualityWindow], Sequence[Drift]]:
        """The last windows, oldest first, with what has happened since; and what drifts."""
        ...

    async def close_windows(self, now: datetime) -> Sequence[tuple[Drift, bool]]:
        """Measure, compare and publish the windows that are over, of all tenants.

        Returns what began to drift and, with True, what is back in its usual range.
        """
        ...


class SearchLog(Protocol):
    """Publishes that searches happened."""

    async def record(self, completed: SearchCompleted) -> None:
        """Returns when the event can no longer be lost."""
        ...


Embedders: TypeAlias = Mapping[str, Embedder]
"""Those at hand, by name."""
Rerankers: TypeAlias = Mapping[str, Reranker]
"""Those at hand, by name."""
