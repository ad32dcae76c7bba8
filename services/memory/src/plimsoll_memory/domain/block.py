"""Blocks: what a reader finds in a text, in order, each with its place."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto


class BlockKind(Enum):
    HEADING = auto()
    """Opens a section; everything until the next heading belongs to it."""
    PROSE = auto()
    """A paragraph; may be cut between sentences and share a passage with its neighbours."""
    LINES = auto()
    """Code or a list; may be cut between lines and share a passage with its neighbours."""
    UNIT = auto()
    """A table, a row or a record: a passage of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Attributes:
    start, end  characters of the text, end excluded; never blank
    level       of a heading, 1 is the outermost
    title       of a heading, without its markup
    page, row   where it is in a paged or row-wise document, from 1; 0 when it has none
    """

    kind: BlockKind
    start: int
    end: int
    level: int = 0
    title: str = ""
    page: int = 0
    row: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a text without its line end."""

    start: int
    text: str

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    @property
    def is_blank(self) -> bool:
        return not self.text or self.text.isspace()


def lines_of(text: str) -> Iterator[Line]:
    """Every line with its place; only `\\n` ends one."""
    start = 0
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        yield Line(start, text[start:end])
        start = end + 1


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """The span without the white space at its ends; empty when it is all blank."""
    piece = text[start:end]
    begin = start + len(piece) - len(piece.lstrip())
    return (begin, begin + len(piece.strip())) if begin < end else (start, start)
