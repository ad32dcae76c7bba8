"""Markdown as blocks: headings, paragraphs, fenced code and tables; everything else is prose."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from plimsoll_memory.domain.block import Block, BlockKind, Line, lines_of, trimmed

_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*))?\Z")
_UNDERLINE = re.compile(r" {0,3}(=+|-{2,})[ \t]*\Z")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_MARKUP = re.compile(r"[*_`]|\[(?=[^\]]{0,200}\]\()|\]\([^)\s]{0,500}\)")


def blocks(text: str) -> Iterator[Block]:
    """Every block in order; no character that is not white space lies outside of all blocks."""
    lines = list(lines_of(text))
    index = 0
    while index < len(lines):
        if lines[index].is_blank:
            index += 1
            continue
        found = _next(lines, index)
        start, end = trimmed(text, lines[index].start, lines[found.until - 1].end)
        yield Block(kind=found.kind, start=start, end=end, level=found.level, title=found.title)
        index = found.until


def plain_title(markup: str) -> str:
    """A heading's text without emphasis, code marks and link targets."""
    return " ".join(_MARKUP.sub("", markup).split())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What starts at a line, and the line behind it."""

    kind: BlockKind
    until: int
    level: int = 0
    title: str = ""


def _next(lines: list[Line], index: int) -> _Found:
    line = lines[index].text
    if heading := _HEADING.match(line):
        title = plain_title((heading[2] or "").strip().rstrip("#"))
        return _Found(kind=BlockKind.HEADING, until=index + 1, level=len(heading[1]), title=title)
    if fence := _FENCE.match(line):
        return _Found(kind=BlockKind.LINES, until=_behind_fence(lines, index, fence[1]))
    if index == 0 and line.rstrip() == "---" and (until := _behind_front_matter(lines)):
        return _Found(kind=BlockKind.LINES, until=until)
    if _starts_table(lines, index):
        return _Found(kind=BlockKind.UNIT, until=_behind_table(lines, index))
    return _paragraph(lines, index)


def _paragraph(lines: list[Line], index: int) -> _Found:
    """Until a blank line or the start of something else; an underline makes it a heading."""
    until = index + 1
    while until < len(lines) and not lines[until].is_blank:
        text = lines[until].text
        if underline := _UNDERLINE.match(text):
            level = 1 if underline[1].startswith("=") else 2
            title = plain_title(" ".join(line.text.strip() for line in lines[index:until]))
            return _Found(kind=BlockKind.HEADING, until=until + 1, level=level, title=title)
        if _HEADING.match(text) or _FENCE.match(text) or _starts_table(lines, until):
            break
        until += 1
    return _Found(kind=BlockKind.PROSE, until=until)


def _behind_fence(lines: list[Line], index: int, fence: str) -> int:
    """Behind the closing fence; the end of the text closes too."""
    for until in range(index + 1, len(lines)):
        mark = lines[until].text.strip()
        if len(mark) >= len(fence) and not mark.strip(fence[0]):
            return until + 1
    return len(lines)


def _behind_front_matter(lines: list[Line]) -> int:
    """Behind the closing `---` of a block of metadata at the top; 0 when there is none."""
    for until in range(1, min(len(lines), 100)):
        if lines[until].text.rstrip() in {"---", "..."}:
            return until + 1
    return 0


def _starts_table(lines: list[Line], index: int) -> bool:
    below = lines[index + 1].text if index + 1 < len(lines) else ""
    return "|" in lines[index].text and "|" in below and "-" in below and not below.strip("|-: \t")


def _behind_table(lines: list[Line], index: int) -> int:
    until = index + 2
    while until < len(lines) and "|" in lines[until].text:
        until += 1
    return until
