"""Media types and text encodings: what kind of document the bytes claim to be, and whether they are."""

import codecs
from dataclasses import dataclass
from enum import StrEnum

from plimsoll_memory.errors import BinaryContent, UndecodableText, UnknownMediaType

_CHARSETS = {"utf-8", "ascii", "iso8859-1", "cp1252", "utf-16"}  # codec names as `codecs.lookup` spells them
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_SIGNATURES = (
    (b"%PDF-", "a PDF", "send it as application/pdf"),
    (b"PK\x03\x04", "a ZIP archive or an office document", "send its text, for example exported as Markdown or PDF"),
    (b"\xd0\xcf\x11\xe0", "an office document", "send its text, for example exported as Markdown or PDF"),
    (b"\x1f\x8b", "a gzip file", "unpack it first"),
    (b"\x89PNG", "a picture", "send its text"),
    (b"\xff\xd8\xff", "a picture", "send its text"),
)


class MediaType(StrEnum):
    """What can be read."""

    TEXT = "text/plain"
    MARKDOWN = "text/markdown"
    HTML = "text/html"
    PDF = "application/pdf"
    JSON_LINES = "application/jsonl"
    CSV = "text/csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A media type with its charset; the charset is empty when the sender named none."""

    media_type: MediaType
    charset: str = ""


def parse_media_type(text: str) -> Format:
    """Read `type/subtype; charset=…`. Raises UnknownMediaType, naming what could be read."""
    essence, *parameters = (part.strip() for part in text.split(";"))
    try:
        media_type = MediaType(essence.lower())
    except ValueError:
        known = ", ".join(MediaType)
        raise UnknownMediaType(f"{essence[:100]!r} cannot be read", f"use one of {known}", field="media_type") from None
    charset = ""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            charset = _known_charset(value.strip().strip('"'))
    return Format(media_type=media_type, charset=charset)


def decode(content: bytes, charset: str = "") -> str:
    """The text of the bytes, line ends as `\\n`. Raises BinaryContent or UndecodableText.

    A byte order mark wins over `charset`; without either the text must be UTF-8.
    """
    for signature, what, remedy in _SIGNATURES:
        if content.startswith(signature):
            raise BinaryContent(f"is {what}, not text", remedy)
    encoding = next((codec for mark, codec in _MARKS if content.startswith(mark)), charset or "utf-8")
    if "utf-16" not in encoding and b"\x00" in content:
        raise BinaryContent(f"has a zero byte at offset {content.index(0)}: it is not text", "send text, or a PDF as application/pdf")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise UndecodableText(
            f"is not {encoding}: the byte at offset {error.start} does not fit",
            "convert it to UTF-8, or name its charset in the media type",
        ) from error
    return clean(text)


def clean(text: str) -> str:
    """Text that every store accepts: line ends as `\\n`, no zero characters, no lone surrogates."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", " ")
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _known_charset(name: str) -> str:
    try:
        codec = codecs.lookup(name).name
    except (LookupError, ValueError):
        codec = ""
    if codec not in _CHARSETS:
        raise UnknownMediaType(
            f"the charset {name[:50]!r} cannot be read", "use utf-8, us-ascii, iso-8859-1, windows-1252 or utf-16", field="media_type"
        )
    return codec
