"""Reading: from a document's bytes to its passages."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from plimsoll_memory.domain import markdown, plain, records
from plimsoll_memory.domain.block import Block
from plimsoll_memory.domain.chunking import Chunk, ChunkPlan, chunks
from plimsoll_memory.domain.html import read_html
from plimsoll_memory.domain.media import Format, MediaType, decode
from plimsoll_memory.errors import NoText, TooManyPassages, UnknownMediaType


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """A document's text and what its blocks are; `title` is empty when the format has no place for one."""

    title: str
    text: str
    blocks: Iterable[Block]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A document's passages. `title` is empty when the document names none."""

    title: str
    chunks: tuple[Chunk, ...]


def parse(format_: Format, content: bytes, *, most: int) -> Parsed:
    """Read every format that is text. Raises DocumentRefused."""
    text = decode(content, format_.charset)
    match format_.media_type:
        case MediaType.TEXT:
            return Parsed(title="", text=text, blocks=plain.paragraphs(text))
        case MediaType.MARKDOWN:
            return Parsed(title="", text=text, blocks=markdown.blocks(text))
        case MediaType.HTML:
            page = read_html(text)
            return Parsed(title=page.title, text=page.text, blocks=page.blocks)
        case MediaType.JSON_LINES:
            rendered = records.from_json_lines(text, most=most)
        case MediaType.CSV:
            rendered = records.from_csv(text, most=most)
        case MediaType.PDF:
            raise UnknownMediaType("is not text", "read it as pages", field="media_type")
    return Parsed(title="", text=rendered.text, blocks=rendered.blocks)


def cut(parsed: Parsed, plan: ChunkPlan, *, most: int) -> Reading:
    """The passages of what was parsed. Raises NoText without any, TooManyPassages with more than `most`."""
    passages = tuple(islice(chunks(parsed.text, parsed.blocks, plan), most + 1))
    if not passages:
        raise NoText("has no text", "send a document with words; recognise the text of scans and pictures first (OCR)")
    if len(passages) > most:
        raise TooManyPassages(f"falls into more than {most:,} passages", "split it into several documents")
    title = parsed.title or next((passage.headings[0] for passage in passages if passage.headings), "")
    return Reading(title=title, chunks=passages)
