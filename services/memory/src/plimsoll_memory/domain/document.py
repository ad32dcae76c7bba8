"""Collections and documents: what is stored, what comes in, and the rules of their names."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import PurePosixPath
from typing import TypeAlias

from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.json_types import JsonObject, JsonValue, canonical, digest

from plimsoll_memory.domain.chunking import Chunk
from plimsoll_memory.domain.media import Format, parse_media_type
from plimsoll_memory.domain.nesting import MOST_LEVELS, too_deep
from plimsoll_memory.domain.upload import UploadKey
from plimsoll_memory.errors import DocumentTooLarge, EmptyDocument, RequestRefused

Vector: TypeAlias = Sequence[float]
"""What an embedder makes of a text: of length one, or all zero when it found nothing in it."""

UNTRUSTED = "untrusted"
"""The label of every text from outside: it informs, and instructs nobody."""

_COLLECTION = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_LABEL = re.compile(r"[a-z0-9][a-z0-9._:-]{0,62}")
_MOST_LABELS = 20
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SOURCE_LENGTH = 1024
_TITLE_LENGTH = 300
_METADATA_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """Documents that are searched together.

    language       the text search configuration its passages are indexed with
    embedder       the one whose vectors answer
    next_embedder  the one that takes its place when all passages have its vectors; empty for none
    reembedded     passages that have them already
    exact          whether every vector is compared
    reranker       the one that orders its answers; empty for none
    """

    name: str
    language: str
    embedder: str
    documents: int
    chunks: int
    created_at: datetime
    next_embedder: str = ""
    reembedded: int = 0
    exact: bool = True
    reranker: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """How a collection's passages are stored and found, without any count of them."""

    name: str
    language: str
    embedder: str
    exact: bool = True
    reranker: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """Attributes:
    digest       SHA-256 of the content, hex
    fingerprint  of everything its passages are made from; the same again changes nothing
    version      counts up from 1 per source
    """

    document_id: str
    collection: str
    source: str
    title: str
    digest: str
    fingerprint: str
    version: int
    chunks: int
    size_bytes: int
    metadata: JsonObject
    updated_at: datetime
    labels: tuple[str, ...] = (UNTRUSTED,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A document that somebody sends, checked as far as its fields go."""

    collection: str
    source: str
    format: Format
    content: bytes = field(repr=False)
    digest: str
    metadata: JsonObject
    labels: tuple[str, ...] = (UNTRUSTED,)

    def fingerprint(self, recipe: str) -> str:
        """Changes when the content, its format, the metadata, the labels or the way of reading it (`recipe`) does."""
        made_from: list[JsonValue] = [recipe, self.digest, self.format.media_type.value, self.format.charset, self.metadata]
        return digest(made_from if self.labels == (UNTRUSTED,) else [*made_from, list(self.labels)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A document read, cut and embedded, ready to be stored.

    vectors  belong to `chunks` one by one; none when the embedder is one that the library learned
    target   what a new collection should be embedded with; empty for `embedder` itself
    upload   what it is a part of; None for a document that came whole
    """

    document_id: str
    incoming: Incoming
    fingerprint: str
    title: str
    chunks: tuple[Chunk, ...]
    vectors: tuple[Vector, ...] = field(repr=False)
    embedder: str
    language: str
    made_at: datetime
    target: str = ""
    upload: UploadKey | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What became of an incoming document."""

    document: Document
    changed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How a collection should be embedded and reranked; None leaves it as it is, an empty reranker means none."""

    embedder: str | None = None
    reranker: str | None = None


def accept(
    *,
    collection: str,
    source: str,
    media_type: str,
    content: bytes,
    metadata: JsonObject,
    limit_bytes: int,
    labels: Sequence[str] = (),
) -> Incoming:
    """Check the fields of a document that comes in. Raises RequestRefused, UnknownMediaType, EmptyDocument or DocumentTooLarge."""
    problems = [*collection_problems(collection), *_source_problems(source), *json_problems(metadata, "metadata"), *_label_problems(labels)]
    if problems:
        raise RequestRefused(problems=problems)
    format_ = parse_media_type(media_type)
    if not content:
        raise EmptyDocument("is empty", "send a document with at least one word")
    if len(content) > limit_bytes:
        raise DocumentTooLarge(f"has {len(content):,} bytes; the limit is {limit_bytes:,}", "split it into several documents")
    return Incoming(
        collection=collection,
        source=source,
        format=format_,
        content=content,
        digest=sha256(content).hexdigest(),
        metadata=metadata,
        labels=tuple(sorted({UNTRUSTED, *labels})),
    )


def collection_problems(name: str) -> list[FieldProblem]:
    """What is wrong with a collection's name."""
    if _COLLECTION.fullmatch(name):
        return []
    return [FieldProblem("collection", f"is {name[:80]!r}", "use up to 63 of a–z, 0–9, dot, dash and underscore, a letter or digit first")]


def json_problems(value: JsonObject, name: str) -> list[FieldProblem]:
    """What is wrong with a JSON object that is stored or searched by."""
    if too_deep(value):
        return [FieldProblem(name, f"nests deeper than {MOST_LEVELS} levels", "flatten it")]
    size = len(canonical(value).encode())
    if size > _METADATA_BYTES:
        return [FieldProblem(name, f"has {size:,} bytes; the limit is {_METADATA_BYTES:,}", "keep long text in the document")]
    if _has_zero(value):
        return [FieldProblem(name, "holds a zero character", "leave it out")]
    return []


def title_of(source: str, named: str) -> str:
    """What the document names itself; else the last part of its source, without the suffix."""
    return (named or PurePosixPath(source).stem or source)[:_TITLE_LENGTH]


def context_of(title: str, chunk: Chunk) -> str:
    """Where a passage stands: the document's title, then the headings above it."""
    return " › ".join(dict.fromkeys(part for part in (title, *chunk.headings) if part))


def passage_metadata(metadata: JsonObject, chunk: Chunk) -> JsonObject:
    """The document's metadata with the passage's page or row; what the sender set stays."""
    place: JsonObject = {name: number for name, number in (("page", chunk.page), ("row", chunk.row)) if number}
    return {**place, **metadata}


def _label_problems(labels: Sequence[str]) -> list[FieldProblem]:
    wrong = next((label for label in labels if not _LABEL.fullmatch(label)), None)
    if wrong is not None:
        return [FieldProblem("labels", f"holds {wrong[:80]!r}", "use up to 63 of a–z, 0–9, dot, dash, colon and underscore for each")]
    if len(labels) > _MOST_LABELS:
        return [FieldProblem("labels", f"has {len(labels)} labels", f"use {_MOST_LABELS} or fewer")]
    return []


def _source_problems(source: str) -> list[FieldProblem]:
    if not source.strip():
        return [FieldProblem("source", "is empty", "send the path or address it comes from")]
    if len(source) > _SOURCE_LENGTH:
        return [
            FieldProblem("source", f"has {len(source):,} characters; the limit is {_SOURCE_LENGTH:,}", "send a shorter path or address")
        ]
    if _CONTROL.search(source):
        return [FieldProblem("source", "holds control characters", "send a path or address in one line")]
    return []


def _has_zero(value: JsonValue) -> bool:
    match value:
        case str():
            return "\x00" in value
        case list():
            return any(map(_has_zero, value))
        case dict():
            return any("\x00" in key or _has_zero(item) for key, item in value.items())
    return False
