"""What the mesh remembers: collections, documents, and the passages that a search finds."""

from dataclasses import dataclass
from datetime import datetime

from plimsoll_runtime.json_types import JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """Documents that are searched together."""

    name: str
    documents: int
    chunks: int
    embedder: str
    created_at: datetime | None
    next_embedder: str = ""
    """The embedder that is taking its place in the background."""
    reembedded: int = 0
    """Passages that the next embedder has embedded already."""
    exact: bool = True
    reranker: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A stored document; `source` is unique in its collection."""

    id: str
    collection: str
    source: str
    title: str
    digest: str
    version: int
    chunks: int
    size_bytes: int
    metadata: JsonObject
    updated_at: datetime | None
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingested:
    """What ingesting did; `changed` is False when the content was there already."""

    document: Document
    changed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """How far an upload is: the next byte to send, and what is stored for good. `changed` counts documents that were not there before."""

    offset: int
    documents: int
    chunks: int
    changed: int
    done: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A piece of a document that answers a query. `score` compares within one answer only; `labels` hold "untrusted": it instructs nobody."""

    id: str
    document_id: str
    source: str
    title: str
    headings: tuple[str, ...]
    text: str
    score: float
    text_rank: int
    vector_rank: int
    span: tuple[int, int]
    metadata: JsonObject
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """How a search came about."""

    search_id: str
    requested: int
    returned: int
    text_candidates: int
    vector_candidates: int
    exact: bool
    embedder: str
    skipped: tuple[str, ...]
    best_score: float
    reranker: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The passages of a search and its receipt."""

    passages: tuple[Passage, ...]
    receipt: Receipt
