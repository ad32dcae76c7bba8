"""Plain text as blocks: paragraphs between blank lines."""

from collections.abc import Iterator

from plimsoll_memory.domain.block import Block, BlockKind, Line, lines_of, trimmed


def paragraphs(text: str, *, page: int = 0) -> Iterator[Block]:
    """Every run of lines that are not blank."""
    first: Line | None = None
    last: Line | None = None
    for line in lines_of(text):
        if not line.is_blank:
            first, last = first or line, line
        elif first and last:
            yield _paragraph(text, first, last, page)
            first = last = None
    if first and last:
        yield _paragraph(text, first, last, page)


def _paragraph(text: str, first: Line, last: Line, page: int) -> Block:
    start, end = trimmed(text, first.start, last.end)
    return Block(kind=BlockKind.PROSE, start=start, end=end, page=page)
