"""Files that people hand in: read whole within a limit, and told apart into text and binary. Every refusal says what to do."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from plimsoll_runtime.errors import FieldProblem

from plimsoll_client.errors import BadInput

MAX_BYTES = 4 * 1024 * 1024
"""The largest file that becomes an input, or a document in one call; larger documents go in pieces."""

STDIN = "-"

MEDIA_TYPES = {
    ".txt": "text/plain",
    ".text": "text/plain",
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".html": "text/html",
    ".htm": "text/html",
    ".csv": "text/csv",
    ".jsonl": "application/jsonl",
    ".ndjson": "application/jsonl",
    ".pdf": "application/pdf",
}
"""What can be ingested, by the end of the file's name."""

_KINDS = (
    (b"%PDF-", "a PDF"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"PK\x03\x04", "a ZIP archive or an office document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x7fELF", "a program"),
)
_PDF = "application/pdf"
_SNIFFED = 64 * 1024
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenFile:
    """A file's name and content; the name is `-` for standard input."""

    name: str
    content: bytes = field(repr=False)


def read_given(path: str, *, stdin: BinaryIO | None = None, max_bytes: int = MAX_BYTES) -> GivenFile:
    """Read a file, or standard input for `-`. Raises BadInput for one that is missing, empty, too large or unreadable."""
    content = _read_stdin(stdin or sys.stdin.buffer, max_bytes) if path == STDIN else _read_file(Path(path), max_bytes)
    if not content.strip():
        raise refused(path, "is empty", "Give a file with content")
    return GivenFile(name=path if path == STDIN else Path(path).name, content=content)


def text_of(file: GivenFile) -> str:
    """The file as text. Raises BadInput when it is binary or in another encoding than UTF-8."""
    if kind := binary_kind(file.content):
        raise refused(file.name, f"is {kind}, not text", "Give a text file in UTF-8")
    return _decoded(file)


def binary_kind(content: bytes) -> str:
    """What kind of binary file this is, in words; empty for text."""
    for magic, kind in _KINDS:
        if content.startswith(magic):
            return kind
    if content.startswith(_UTF16_MARKS):
        return ""  # text, though in an encoding that is refused later by its own name
    return "a binary file" if b"\0" in content else ""


def media_type(path: Path) -> str:
    """The media type by the end of the name. Raises BadInput for one that cannot be ingested."""
    found = MEDIA_TYPES.get(path.suffix.lower())
    if found is None:
        raise refused(str(path), f"has the ending {path.suffix or '(none)'}, which is not known", f"Use one of {' '.join(MEDIA_TYPES)}")
    return found


def document_content(path: Path, kind: str = "") -> bytes:
    """A document to ingest: read within the limit, and text unless its kind, by default that of its name, is PDF. Raises BadInput."""
    file = read_given(str(path))
    if (kind or media_type(path)) == _PDF:
        _must_be_pdf(path, file.content)
    else:
        text_of(GivenFile(name=str(path), content=file.content))
    return file.content


def sniffed(path: Path, kind: str) -> int:
    """The size of a document, of any size, whose beginning is what its kind says. Raises BadInput."""
    try:
        if path.is_dir():
            raise refused(str(path), "is a folder", "Give a file")
        with path.open("rb") as file:
            begins, found = file.read(_SNIFFED), path.stat().st_size
    except FileNotFoundError as error:
        raise refused(str(path), "does not exist", "Check the path") from error
    except OSError as error:
        raise refused(str(path), f"cannot be read: {error.strerror}", "Check its permissions") from error
    if not begins.strip() and found <= _SNIFFED:
        raise refused(str(path), "is empty", "Give a file with content")
    if kind == _PDF:
        _must_be_pdf(path, begins)
    elif binary := binary_kind(begins):
        raise refused(str(path), f"is {binary}, not text", "Give a text file in UTF-8")
    return found


def size(count: int) -> str:
    """A number of bytes for people."""
    return f"{count / 1024 / 1024:.1f} MiB" if count >= 1024 * 1024 else f"{count / 1024:.1f} KiB" if count >= 1024 else f"{count} bytes"


def refused(name: str, problem: str, remedy: str) -> BadInput:
    """The refusal of one file."""
    shown = "standard input" if name == STDIN else name
    return BadInput(f"{shown} {problem}", problems=(FieldProblem(shown, problem, remedy),), remedy=remedy)


def _must_be_pdf(path: Path, content: bytes) -> None:
    if not content.startswith(b"%PDF-"):
        raise refused(str(path), "is called a PDF and is none", "Give a PDF, or use the ending of what it is")


def _read_file(path: Path, max_bytes: int) -> bytes:
    try:
        if path.is_dir():
            raise refused(str(path), "is a folder", "Give a file")
        if path.is_file() and (found := path.stat().st_size) > max_bytes:
            raise _too_large(str(path), size(found), max_bytes)
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except FileNotFoundError as error:
        raise refused(str(path), "does not exist", "Check the path") from error
    except OSError as error:
        raise refused(str(path), f"cannot be read: {error.strerror}", "Check its permissions") from error
    if len(content) > max_bytes:
        raise _too_large(str(path), f"more than {size(max_bytes)}", max_bytes)
    return content


def _read_stdin(stdin: BinaryIO, max_bytes: int) -> bytes:
    content = stdin.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise _too_large(STDIN, f"more than {size(max_bytes)}", max_bytes)
    return content


def _too_large(name: str, found: str, max_bytes: int) -> BadInput:
    return refused(name, f"is too large: {found}, the limit is {size(max_bytes)}", "Split it into smaller files")


def _decoded(file: GivenFile) -> str:
    if file.content.startswith(_UTF16_MARKS):
        raise refused(file.name, "is text in UTF-16", "Save it as UTF-8")
    try:
        return file.content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise refused(
            file.name, f"is not UTF-8: byte {error.object[error.start]:#04x} at position {error.start}", "Save it as UTF-8"
        ) from error
