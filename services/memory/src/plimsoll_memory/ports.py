"""What the service needs of the world outside."""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

from plimsoll_memory.domain.document import Collection, Document, Draft, Stored, Vector
from plimsoll_memory.domain.media import Format
from plimsoll_memory.domain.paging import PageRequest
from plimsoll_memory.domain.reading import Reading
from plimsoll_memory.domain.search import Candidates, Question, SearchCompleted


class Library(Protocol):
    """Keeps documents. Each method is one transaction, and sees the given tenant only.

    Raises Unavailable or DeadlineExpired when it cannot be reached.
    """

    async def find_collection(self, tenant: str, name: str) -> Collection | None:
        """The collection, if there is one."""
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
        and embedder; a draft embedded by another one is a Conflict.
        """
        ...

    async def delete_document(self, tenant: str, collection: str, document_id: str) -> bool:
        """Forget a document: its text, passages, vectors and words. Returns whether it was there."""
        ...


class PassageIndex(Protocol):
    """Finds candidates for an answer."""

    async def candidates(self, tenant: str, question: Question) -> Candidates:
        """The passages nearest in words and in vectors, with their rank in each list."""
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


class SearchLog(Protocol):
    """Publishes that searches happened."""

    async def record(self, completed: SearchCompleted) -> None:
        """Returns when the event can no longer be lost."""
        ...


Embedders: TypeAlias = Mapping[str, Embedder]
"""Those at hand, by name."""
