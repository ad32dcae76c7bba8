"""Owns the reading of documents: text out of text, Markdown and PDF, cut into sections where the author cut it."""

import base64
import binascii
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pypdf
import pypdf.errors
from plimsoll_runtime.json_types import JsonValue
from plimsoll_tool_dispatcher.handler import ToolContext, ToolRejected

MAX_CHARACTERS = 300_000
MAX_PAGES = 300
MAX_SECTIONS = 400
LONGEST = 1_500  # of a section; longer ones are cut between paragraphs, then between sentences
SHORTEST = 120  # a shorter one is joined with the next, so that a title page is not a section
HEADING_LENGTH = 120
MARKDOWN_HEADING = re.compile(r"#{1,6}\s+(.+?)\s*#*$")
NUMBERED_HEADING = re.compile(
    r"(?:article|section|chapter|part|annex|appendix|schedule) [\dIVX]+\b.*|\d+(?:\.\d+)+\.? [A-Z].*|(?:\d+|[IVX]+|[A-Z])[.)] [A-Z].*",
    re.IGNORECASE,
)
EMPHASIS = re.compile(r"(\*\*?)(?=\S)([^*\n]+)(?<=\S)\1")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9\"“(])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A piece of the document that is read on its own."""

    heading: str
    text: str


def decode(content_base64: str) -> bytes:
    """The bytes of a file. Raises ToolRejected when the text is not Base64."""
    try:
        return base64.b64decode("".join(content_base64.split()), validate=True)
    except binascii.Error as error:
        raise ToolRejected("NOT_BASE64", "content_base64 is not Base64. Encode the bytes of the file and send them again.") from error


def read_pdf(content: bytes) -> str:
    """The text of a PDF, pages apart. Raises ToolRejected when there is none to get."""
    try:
        reader = pypdf.PdfReader(io.BytesIO(content))
        if reader.is_encrypted and not reader.decrypt(""):
            raise ToolRejected("PDF_LOCKED", "The PDF is locked with a password. Send it without one.")
        if len(reader.pages) > MAX_PAGES:
            raise ToolRejected("TOO_LONG", f"The PDF has {len(reader.pages)} pages; {MAX_PAGES} can be read. Send a part of it.")
        text = "\n\n".join(page.extract_text() for page in reader.pages)
    except (pypdf.errors.PyPdfError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        # Damaged files break the reader in more ways than it names.
        raise ToolRejected("PDF_UNREADABLE", "The PDF is damaged and cannot be read. Export it again.") from error
    if not text.strip():
        raise ToolRejected("PDF_WITHOUT_TEXT", "The PDF holds pictures and no text. Run text recognition on it first.")
    return text


def read_content(content: bytes) -> tuple[str, str]:
    """(format, text) of a file. Raises ToolRejected for anything that is neither PDF nor text."""
    if content.lstrip()[:5] == b"%PDF-":
        return "pdf", read_pdf(content)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ToolRejected("NOT_A_DOCUMENT", "The file is neither PDF nor UTF-8 text. Send text, Markdown or PDF.") from error
    if "\0" in text:
        raise ToolRejected("NOT_A_DOCUMENT", "The file is neither PDF nor UTF-8 text. Send text, Markdown or PDF.")
    return "text", text


def clean(text: str) -> str:
    """Text with plain line ends and without control characters; words cut at a line's end are put together."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n\n").replace("\u00ad", "")
    text = re.sub(r"[^\S\n]+", " ", "".join(char for char in text if char.isprintable() or char in "\n\t "))
    text = re.sub(r"(?<=[a-z])-\n(?=[a-z])", "", text)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(line.strip() for line in text.split("\n"))).strip()


def heading_of(line: str, following: str, form: str) -> str | None:
    """The heading that a line is, or None. In plain text a heading stands alone; a PDF has lost its empty lines."""
    if form == "markdown":
        found = MARKDOWN_HEADING.fullmatch(line)
        return found[1] if found else None
    if not line or len(line) > 80 or line.endswith((".", ",", ";", ":")) or (form == "text" and following) or re.search(r"[$€£]", line):
        return None
    letters = [char for char in line if char.isalpha()]
    shouted = len(letters) >= 4 and all(char.isupper() for char in letters) and not any(char.isdigit() for char in line)
    return line if shouted or NUMBERED_HEADING.fullmatch(line) else None


def split(text: str, form: str) -> list[Section]:
    """The sections of a cleaned text, none of them longer than the longest allowed."""
    pieces: list[tuple[str, list[str]]] = [("", [])]
    lines = text.split("\n")
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        heading = heading_of(line, following, form)
        if heading is None:
            pieces[-1][1].append(line)
        else:
            # Brackets mark sources in prompts, so a heading must not bring its own.
            pieces.append((heading.translate(str.maketrans("[]", "()"))[:HEADING_LENGTH], []))
    whole = [Section(heading=heading, text="\n".join(body).strip()) for heading, body in pieces]
    return [part for section in _joined(section for section in whole if section.heading or section.text) for part in _cut(section)]


def _joined(sections: Iterable[Section]) -> Iterator[Section]:
    """Puts sections that are too short to stand alone in front of the next one."""
    held: Section | None = None
    for section in sections:
        whole = _after(held, section) if held else section
        held = whole if len(whole.text) < SHORTEST else None
        if held is None:
            yield whole
    if held is not None:
        yield Section(heading=held.heading, text=held.text or held.heading)


def _after(first: Section, second: Section) -> Section:
    if not first.heading:
        return Section(heading=second.heading, text=f"{first.text}\n\n{second.text}")
    if not second.heading:
        return Section(heading=first.heading, text="\n\n".join(part for part in (first.text, second.text) if part))
    text = "\n\n".join(part for part in (first.text, second.text) if part)
    return Section(heading=f"{first.heading}; {second.heading}"[:HEADING_LENGTH], text=text)


def _cut(section: Section) -> Iterator[Section]:
    """Cuts a section that is too long: between paragraphs, else lines, else sentences, else anywhere."""
    part = ""
    for piece in _pieces(section.text):
        if part and len(part) + len(piece) + 2 > LONGEST:
            yield Section(heading=section.heading, text=part)
            part = ""
        part = f"{part}\n\n{piece}" if part else piece
    if part:
        yield Section(heading=section.heading, text=part)


def _pieces(text: str) -> Iterator[str]:
    for paragraph in (part.strip() for part in text.split("\n\n")):
        if len(paragraph) <= LONGEST:
            yield from (paragraph,) if paragraph else ()
            continue
        sentence_parts = SENTENCE_END.split(paragraph) if "\n" not in paragraph else paragraph.split("\n")
        for sentence in sentence_parts:
            yield from (sentence[start : start + LONGEST] for start in range(0, len(sentence), LONGEST))


def title_of(name: str, text: str) -> str:
    """The first heading or first short line of a document, else its name."""
    first = next((line for line in text.split("\n") if line.strip()), "")
    found = MARKDOWN_HEADING.fullmatch(first)
    return found[1][:HEADING_LENGTH] if found else first if 3 <= len(first) <= HEADING_LENGTH else name


async def split_document(arguments: dict[str, JsonValue], context: ToolContext) -> JsonValue:
    """The sections of a document that came as text or as the bytes of a file."""
    name, text, encoded = str(arguments["name"]), arguments["text"], arguments["content_base64"]
    if (text is None) == (encoded is None):
        raise ToolRejected("ONE_CONTENT", "Give the document either as text or as content_base64.")
    form, raw = read_content(decode(str(encoded))) if encoded is not None else ("text", str(text))
    if form == "text" and (name.lower().endswith((".md", ".markdown")) or re.search(r"^#{1,6}\s+\S", raw, re.MULTILINE)):
        form = "markdown"
    body = clean(EMPHASIS.sub(r"\2", raw) if form == "markdown" else raw)
    if not body:
        raise ToolRejected("EMPTY_DOCUMENT", "The document has no text. Send a document with content.")
    if len(body) > MAX_CHARACTERS:
        raise ToolRejected("TOO_LONG", f"The document has {len(body):,} characters; {MAX_CHARACTERS:,} can be read. Send a part of it.")
    sections = split(body, form)
    if len(sections) > MAX_SECTIONS:
        raise ToolRejected("TOO_LONG", f"The document has {len(sections)} sections; {MAX_SECTIONS} can be read. Send a part of it.")
    return {
        "format": form,
        "title": title_of(name, body),
        "characters": len(body),
        "sections": [
            {"number": number, "heading": section.heading or "Opening", "text": section.text} for number, section in enumerate(sections, 1)
        ],
    }
