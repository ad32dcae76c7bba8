"""Parts: content of any size that comes in pieces, cut where a line, record or paragraph ends."""

from dataclasses import dataclass, field

from plimsoll_memory.domain.media import Format, MediaType
from plimsoll_memory.errors import DocumentTooLarge, MalformedRecord

PART_BYTES = 4 * 1024 * 1024
_SPLITTABLE = frozenset({MediaType.TEXT, MediaType.MARKDOWN, MediaType.CSV, MediaType.JSON_LINES})
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_LONGEST_HEAD = 64 * 1024
_CONTINUES = 0b1000_0000, 0b1100_0000  # the bytes inside a character of UTF-8


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A document's content; `ends` says how much of what came in is in this part and those before it."""

    content: bytes = field(repr=False)
    ends: int


@dataclass(slots=True, kw_only=True)
class Cutter:
    """Takes pieces in and gives parts out. Holds one part and one piece at the most.

    limit  bytes of a document that cannot be cut: PDF, HTML, UTF-16
    size   bytes of a part at the most
    begun  how much was taken in and given out before, by an upload that is gone on with
    head   the first line of CSV, which every part begins with; known when an upload is gone on with
    """

    format: Format
    limit: int
    size: int = PART_BYTES
    begun: int = 0
    head: bytes = b""
    _held: bytearray = field(default_factory=bytearray, init=False)

    @property
    def splits(self) -> bool:
        """Whether the content may be cut."""
        return self.format.media_type in _SPLITTABLE and self.format.charset != "utf-16" and bytes(self._held[:2]) not in _UTF16

    @property
    def waiting(self) -> bytes:
        """What was taken in and is in no part yet."""
        return bytes(self._held)

    def take(self, piece: bytes) -> list[Part]:
        """The parts that are full now. Raises DocumentTooLarge or MalformedRecord."""
        self._held += piece
        if not self.splits:
            if len(self._held) > self.limit:
                raise DocumentTooLarge(f"has more than {self.limit:,} bytes, and cannot be cut", "split it into several documents")
            return []
        parts = []
        while len(self._held) > self.size:
            parts.append(self._cut(self._end_of_part()))
        return parts

    def end(self) -> Part | None:
        """What is left; None when everything is given out. An empty document is a part, too."""
        return self._cut(len(self._held)) if self._held or not self.begun else None

    def _cut(self, at: int) -> Part:
        content = bytes(self._held[:at])
        whole = self.head + content if self.begun else content
        if self.format.media_type is MediaType.CSV and not self.begun:
            self.head = _first_row(content)
        del self._held[:at]
        self.begun += at
        return Part(content=whole, ends=self.begun)

    def _end_of_part(self) -> int:
        """Where to cut: behind a blank line or, without one in the second half, behind a line; a text without lines anywhere."""
        window = self._held[: self.size]
        kind = self.format.media_type
        if kind is MediaType.CSV:
            at = _end_of_rows(window)
        elif kind is MediaType.JSON_LINES:
            at = window.rfind(b"\n") + 1
        else:
            at = _after(window, b"\n# ", 1) or _after(window, b"\n\n", 2) or _after(window, b"\n", 1) or _after(window, b" ", 1)
            return at or _whole_characters(window)
        if not at:
            raise MalformedRecord(
                f"has a record of more than {self.size:,} bytes at byte {self.begun:,}", "shorten it, or check its quotes and line ends"
            )
        return at


def _after(window: bytearray, mark: bytes, length: int) -> int:
    """Behind the last mark in the second half of the window; 0 without one."""
    found = window.rfind(mark)
    return found + length if found > len(window) // 2 else 0


def _end_of_rows(window: bytearray) -> int:
    """Behind the last line end that is not inside quotes; 0 without one."""
    at = len(window)
    quotes = window.count(b'"')
    while True:
        line_end = window.rfind(b"\n", 0, at)
        if line_end < 0:
            return 0
        quotes -= window.count(b'"', line_end, at)
        if quotes % 2 == 0:
            return line_end + 1
        at = line_end


def _first_row(content: bytes) -> bytes:
    """The header, which may hold line ends in quotes; none when it is absurdly long."""
    at = 0
    while (line_end := content.find(b"\n", at, _LONGEST_HEAD)) >= 0:
        if content.count(b'"', 0, line_end) % 2 == 0:
            return content[: line_end + 1]
        at = line_end + 1
    return b""


def _whole_characters(window: bytearray) -> int:
    at = len(window)
    mark, mask = _CONTINUES
    while at > 1 and window[at - 1] & mask == mark:
        at -= 1
    return at - 1 if window[at - 1] >= mask else len(window)
