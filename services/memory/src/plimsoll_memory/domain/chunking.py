"""Chunking: blocks cut and packed into passages that follow the document's structure."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, pairwise

from plimsoll_memory.domain.block import Block, BlockKind, trimmed

_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’)\]]{0,3}\s+|(?<=[。！？])|\n(?=[ \t]{0,8}(?:[-*+•]|\d{1,3}[.)])[ \t])")
_LINE_END = re.compile(r"\n")
_SHORTEST = 40  # characters; shorter sentences join the next
_HEADING_LENGTH = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkPlan:
    """How large passages are, in characters.

    target   passages are cut at the best place before this
    limit    no passage is longer; what fits whole within it stays whole
    overlap  of whole sentences that a passage may repeat from the one before, within a section
    """

    target: int = 1200
    limit: int = 2000
    overlap: int = 150

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < self.target <= self.limit:
            raise ValueError("need 0 <= overlap < target <= limit")

    @property
    def recipe(self) -> str:
        """Names the way of cutting: documents cut in another way count as changed."""
        return f"structure-1:{self.target}:{self.limit}:{self.overlap}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A passage before it is stored. `text` is exactly the document's text from `start` to `end`."""

    text: str
    start: int
    end: int
    headings: tuple[str, ...] = ()
    page: int = 0
    row: int = 0


def chunks(text: str, blocks: Iterable[Block], plan: ChunkPlan) -> Iterator[Chunk]:
    """Cut `text` into passages, in order. Whatever lies in a block lies in a passage.

    A passage never crosses a heading; a unit is a passage of its own, with the heading directly above it.
    """
    section = _Section(text=text, plan=plan)
    for block in blocks:
        match block.kind:
            case BlockKind.HEADING:
                yield from section.open(block)
            case BlockKind.PROSE | BlockKind.LINES:
                yield from section.add(block)
            case BlockKind.UNIT:
                yield from section.add_unit(block)
    yield from section.close()


@dataclass(frozen=True, slots=True)
class _Piece:
    """What is never cut: a sentence, a line, or a part of one that is too long."""

    start: int
    end: int
    ends_block: bool
    page: int
    row: int


@dataclass(slots=True)
class _Section:
    """The pieces that are not in a passage yet, all of one section. `fresh` counts those not in any passage."""

    text: str
    plan: ChunkPlan
    pieces: list[_Piece] = field(default_factory=list)
    fresh: int = 0
    headings: list[tuple[int, str]] = field(default_factory=list)
    bare: bool = True

    def open(self, heading: Block) -> Iterator[Chunk]:
        """Begin a section; headings with nothing between them stay together."""
        if not self.bare:
            yield from self.close()
        self.headings = [above for above in self.headings if above[0] < heading.level]
        self.headings.append((heading.level, heading.title[:_HEADING_LENGTH]))
        yield from self._append(heading)
        self.bare = True

    def add(self, block: Block) -> Iterator[Chunk]:
        """Add prose or lines, giving out passages that are full."""
        yield from self._append(block)
        self.bare = False

    def add_unit(self, block: Block) -> Iterator[Chunk]:
        """Give out a unit by itself, cut between lines when it is too long."""
        if not self.bare or (self.pieces and block.end - self.pieces[0].start > self.plan.limit):
            yield from self.close()
        yield from self._append(block)
        yield from self.close()
        self.bare = False

    def close(self) -> Iterator[Chunk]:
        """Give out what is left."""
        if self.fresh:
            yield self._chunk(self.pieces)
        self.pieces, self.fresh = [], 0

    def _append(self, block: Block) -> Iterator[Chunk]:
        for piece in _pieces(self.text, block, self.plan):
            if self.pieces and piece.end - self.pieces[0].start > self.plan.limit:
                yield from self._make_room(piece)
            self.pieces.append(piece)
            self.fresh += 1

    def _make_room(self, coming: _Piece) -> Iterator[Chunk]:
        """Give out passages until the coming piece fits; keep whole sentences at the end as overlap."""
        while self.pieces and coming.end - self.pieces[0].start > self.plan.limit:
            cut = self._cut()
            yield self._chunk(self.pieces[:cut])
            self.fresh = min(self.fresh, len(self.pieces) - cut)
            self._keep_overlap(cut, coming)

    def _cut(self) -> int:
        """How many pieces the next passage takes: up to the target, best to the end of a block, at least one that is fresh."""
        first = self.pieces[0].start
        fitting = max(len(self.pieces) - self.fresh + 1, sum(piece.end - first <= self.plan.target for piece in self.pieces))
        whole = [
            count
            for count, piece in enumerate(self.pieces[:fitting], 1)
            if piece.ends_block and piece.end - first >= self.plan.target // 2 and len(self.pieces) - count < self.fresh
        ]
        return whole[-1] if whole else fitting

    def _keep_overlap(self, cut: int, coming: _Piece) -> None:
        following = self.pieces[cut] if cut < len(self.pieces) else coming
        end = self.pieces[cut - 1].end
        keep = cut
        while (
            keep > 1
            and end - self.pieces[keep - 1].start <= self.plan.overlap
            and following.end - self.pieces[keep - 1].start <= self.plan.limit
        ):
            keep -= 1
        self.pieces = self.pieces[keep:]

    def _chunk(self, pieces: list[_Piece]) -> Chunk:
        start, end = pieces[0].start, pieces[-1].end
        return Chunk(
            text=self.text[start:end],
            start=start,
            end=end,
            headings=tuple(title for _, title in self.headings if title),
            page=pieces[0].page,
            row=pieces[0].row,
        )


def _pieces(text: str, block: Block, plan: ChunkPlan) -> Iterator[_Piece]:
    """The block cut as finely as passages may be cut; the last piece ends the block."""
    held: tuple[int, int] | None = None
    for start, end in _spans(text, block, plan):
        if held:
            yield _Piece(held[0], held[1], False, block.page, block.row)
        held = start, end
    if held:
        yield _Piece(held[0], held[1], True, block.page, block.row)


def _spans(text: str, block: Block, plan: ChunkPlan) -> Iterator[tuple[int, int]]:
    if block.kind is BlockKind.UNIT and block.end - block.start <= plan.limit:
        yield block.start, block.end
        return
    ends = _SENTENCE_END if block.kind is BlockKind.PROSE else _LINE_END
    start = end = block.start
    places = (match.end() for match in ends.finditer(text, block.start, block.end))
    for before, end in pairwise(chain([start], places, [block.end])):
        if start < before and end - start > plan.target:  # short ones that lead up to a long one
            yield from _bounded(text, start, before, plan)
            start = before
        if end - start >= _SHORTEST:
            yield from _bounded(text, start, end, plan)
            start = end
    yield from _bounded(text, start, end, plan)


def _bounded(text: str, start: int, end: int, plan: ChunkPlan) -> Iterator[tuple[int, int]]:
    """The span without blank ends, in parts no longer than the target, cut at white space where there is some."""
    start, end = trimmed(text, start, end)
    while end - start > plan.target:
        window = text[start : start + plan.target]
        room = max(window.rfind("\n"), window.rfind(" "))
        cut = start + (room if room > plan.target // 2 else plan.target)
        yield trimmed(text, start, cut)
        start = cut
        while text[start].isspace():  # ends before `end`, which has no blank before it
            start += 1
    if start < end:
        yield start, end
