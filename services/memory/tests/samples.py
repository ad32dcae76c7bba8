"""Documents and drafts that tests share."""

import zlib
from datetime import UTC, datetime
from io import BytesIO

from plimsoll_memory.domain.chunking import Chunk
from plimsoll_memory.domain.document import Draft, Incoming, Vector, accept
from plimsoll_memory.domain.paging import PageRequest
from plimsoll_memory.domain.search import Question, VectorQuestion
from plimsoll_runtime.json_types import JsonObject
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject, StreamObject

ACME, UMBRELLA = "acme", "umbrella"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NORTH: Vector = (1.0, 0.0, 0.0)
EAST: Vector = (0.0, 1.0, 0.0)
NORTH_EAST: Vector = (0.8, 0.6, 0.0)
TEN = PageRequest(after="", size=10)

HANDBOOK = """\
# Billing handbook

How money moves between us and our customers.

## Refunds

A refund goes back to the card that paid. It arrives within five working days.
Refunds over 200 euros need a second pair of eyes.

## Invoices

We send invoices on the first of the month. An unpaid invoice blocks new orders after thirty days.
"""


def incoming(
    text: str | bytes = HANDBOOK, *, source: str = "billing.md", media_type: str = "text/markdown", metadata: JsonObject | None = None
) -> Incoming:
    content = text.encode() if isinstance(text, str) else text
    return accept(
        collection="help", source=source, media_type=media_type, content=content, metadata=metadata or {}, limit_bytes=32 * 1024 * 1024
    )


def draft(
    *texts: str,
    source: str = "a.md",
    document_id: str = "doc_1",
    vectors: tuple[Vector, ...] | None = None,
    metadata: JsonObject | None = None,
    embedder: str = "compass-1",
    language: str = "english",
    title: str = "Notes",
) -> Draft:
    """A document whose passages are `texts`; its fingerprint is what it says."""
    one = incoming("\n\n".join(texts), source=source, metadata=metadata)
    starts = [sum(len(text) + 2 for text in texts[:index]) for index in range(len(texts))]
    return Draft(
        document_id=document_id,
        incoming=one,
        fingerprint=one.fingerprint("by hand"),
        title=title,
        chunks=tuple(
            Chunk(text=text, start=at, end=at + len(text), headings=("Overview",)) for text, at in zip(texts, starts, strict=True)
        ),
        vectors=vectors or (NORTH,) * len(texts),
        embedder=embedder,
        language=language,
        made_at=NOON,
    )


def question(
    query: str, *, vector: Vector | None = None, metadata: JsonObject | None = None, depth: int = 100, keep: int = 10, floor: float = 0.5
) -> Question:
    return Question(
        collection="help",
        language="english",
        query=query,
        filter=metadata or {},
        vector=VectorQuestion(embedder="compass-1", vector=vector, floor=floor) if vector else None,
        depth=depth,
        keep=keep,
    )


def pdf(*pages: str, title: str = "", password: str = "", owner: str = "") -> bytes:
    """A PDF with a line of text for each line of each page; an empty page has no text."""
    writer = PdfWriter()
    for page in pages:
        sheet = writer.add_blank_page(width=595, height=842)
        font = DictionaryObject(
            {
                NameObject("/Type"): NameObject("/Font"),
                NameObject("/Subtype"): NameObject("/Type1"),
                NameObject("/BaseFont"): NameObject("/Helvetica"),
            }
        )
        sheet[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): DictionaryObject({NameObject("/F1"): font})})
        lines = " 0 -14 Td ".join(f"({line}) Tj" for line in page.splitlines())
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 12 Tf 50 790 Td {lines} ET".encode("latin-1"))
        sheet[NameObject("/Contents")] = writer._add_object(stream)
    if title:
        writer.add_metadata({"/Title": title})
    if password or owner:
        writer.encrypt(password, owner or None, algorithm="AES-256")
    out = BytesIO()
    writer.write(out)
    return out.getvalue()


def bomb(content: bytes) -> bytes:
    """A small PDF whose one page is so much larger when it is unpacked."""
    writer = PdfWriter()
    sheet = writer.add_blank_page(width=595, height=842)
    stream = StreamObject()
    stream._data = zlib.compress(content, 9)
    stream[NameObject("/Filter")] = NameObject("/FlateDecode")
    sheet[NameObject("/Contents")] = writer._add_object(stream)
    out = BytesIO()
    writer.write(out)
    return out.getvalue()
