"""Chunking: passages follow the structure, keep their bounds, and lose nothing."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_memory.domain import markdown, plain
from plimsoll_memory.domain.block import Block, BlockKind
from plimsoll_memory.domain.chunking import Chunk, ChunkPlan, chunks
from plimsoll_memory.domain.media import clean

Parser: TypeAlias = Callable[[str], Iterator[Block]]

PLAN = ChunkPlan(target=60, limit=100, overlap=20)

fragments = st.sampled_from(
    [
        "# Title\n", "## Part\n", "### Detail ###\n", "Setext\n===\n", "Under\n---\n", "\n", "\n\n", "A sentence. ", "Another one! ", "Why? ",
        "- item\n", "1. first\n", "```\ncode line\n```\n", "~~~\n", "| a | b |\n|---|---|\n| 1 | 2 |\n", "| x |\n", "word ", "x" * 150, "é。ü？", "\t", "   ",
        "---\n", "\r\n", "\u2028", "\x0b",
    ]
)  # fmt: skip
texts = st.one_of(st.lists(fragments, max_size=60).map("".join), st.text(max_size=600)).map(clean)
plans = st.builds(
    lambda overlap, more, most: ChunkPlan(target=overlap + more, limit=overlap + more + most, overlap=overlap),
    overlap=st.integers(0, 50),
    more=st.integers(1, 100),
    most=st.integers(0, 100),
)


def cut(text: str, plan: ChunkPlan = PLAN) -> list[Chunk]:
    return list(chunks(text, markdown.blocks(text), plan))


def texts_of(found: list[Chunk]) -> list[str]:
    return [one.text for one in found]


@given(text=texts, plan=plans, reader=st.sampled_from([markdown.blocks, plain.paragraphs]))
def test_every_passage_is_what_its_span_says_and_keeps_the_bounds(text: str, plan: ChunkPlan, reader: Parser) -> None:
    for one in chunks(text, reader(text), plan):
        assert one.text == text[one.start : one.end]
        assert one.text.strip() == one.text
        assert 0 < len(one.text) <= plan.limit


@given(text=texts, plan=plans, reader=st.sampled_from([markdown.blocks, plain.paragraphs]))
def test_nothing_but_white_space_is_lost(text: str, plan: ChunkPlan, reader: Parser) -> None:
    covered: set[int] = set()
    for one in chunks(text, reader(text), plan):
        covered.update(range(one.start, one.end))
    assert not "".join(character for at, character in enumerate(text) if at not in covered).strip()


@given(text=texts, plan=plans)
def test_passages_go_forward_and_repeat_no_more_than_the_overlap(text: str, plan: ChunkPlan) -> None:
    found = cut(text, plan)
    for before, after in pairwise(found):
        assert before.start < after.start
        assert before.end < after.end
        assert before.end - after.start <= plan.overlap


@given(text=texts)
def test_the_same_text_gives_the_same_passages(text: str) -> None:
    assert cut(text) == cut(text)


@given(text=texts)
def test_blocks_lie_in_order_and_cover_all_but_white_space(text: str) -> None:
    for reader in (markdown.blocks, plain.paragraphs):
        at = 0
        for block in reader(text):
            assert at <= block.start < block.end <= len(text)
            assert not text[at : block.start].strip()
            assert text[block.start : block.end].strip() == text[block.start : block.end]
            at = block.end
        assert not text[at:].strip()


def test_what_fits_whole_stays_whole() -> None:
    text = "A first sentence of some length here. And a second one that goes past the target."
    assert texts_of(cut(text)) == [text]


def test_a_passage_does_not_cross_a_heading() -> None:
    found = cut("# Tea\n\nHot.\n\n## Green\n\nGreen.\n\n## Black\n\nBlack.")
    assert texts_of(found) == ["# Tea\n\nHot.", "## Green\n\nGreen.", "## Black\n\nBlack."]
    assert [one.headings for one in found] == [("Tea",), ("Tea", "Green"), ("Tea", "Black")]


def test_headings_without_text_between_them_stay_with_what_follows() -> None:
    found = cut("# Tea\n\n## Green\n\nLeaves.")
    assert texts_of(found) == ["# Tea\n\n## Green\n\nLeaves."]
    assert found[0].headings == ("Tea", "Green")


def test_a_heading_at_the_end_is_kept() -> None:
    assert texts_of(cut("Text.\n\n# Left over")) == ["Text.", "# Left over"]


def test_a_long_section_is_cut_between_sentences_and_repeats_one() -> None:
    sentences = [f"Sentence number {number} is here to stay where it was put." for number in range(6)]
    found = cut(" ".join(sentences), ChunkPlan(target=110, limit=140, overlap=60))
    assert len(found) > 1
    for one in found:
        assert one.text.startswith("Sentence")
        assert one.text.endswith(".")
    for before, after in pairwise(found):
        assert after.start < before.end, "the last sentence comes again"


def test_the_end_of_a_paragraph_is_a_better_place_to_cut() -> None:
    first, second = "A paragraph of forty-odd characters, no more.", "The next has two sentences. They are not short either, by far not."
    assert texts_of(cut(f"{first}\n\n{second}", ChunkPlan(target=80, limit=90, overlap=10)))[0] == first


def test_a_table_is_a_passage_of_its_own_with_its_heading() -> None:
    table = "| a | b |\n|---|---|\n| 1 | 2 |"
    found = cut(f"# Prices\n\n{table}\n\nAfterwards.")
    assert texts_of(found) == [f"# Prices\n\n{table}", "Afterwards."]
    assert texts_of(cut(f"Before.\n\n{table}")) == ["Before.", table]


def test_a_long_table_is_cut_between_rows() -> None:
    rows = [f"| row {number} | {'x' * 20} |" for number in range(8)]
    found = cut("\n".join(["| a | b |", "|---|---|", *rows]))
    assert len(found) > 1
    assert all(row in "\n".join(texts_of(found)) for row in rows)
    assert all(line.startswith("|") and line.endswith("|") for one in found for line in one.text.splitlines())


def test_records_are_passages_of_their_own() -> None:
    text = "a: 1\n\nb: 2"
    blocks = [Block(kind=BlockKind.UNIT, start=0, end=4, row=1), Block(kind=BlockKind.UNIT, start=6, end=10, row=2)]
    assert [(one.text, one.row) for one in chunks(text, blocks, PLAN)] == [("a: 1", 1), ("b: 2", 2)]


def test_a_word_longer_than_a_passage_is_cut() -> None:
    found = cut("x" * 250)
    assert "".join(texts_of(found)) == "x" * 250


@pytest.mark.parametrize(("target", "limit", "overlap"), [(0, 0, 0), (10, 5, 0), (10, 20, 10), (10, 20, -1)])
def test_a_plan_that_makes_no_sense_is_refused(target: int, limit: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="overlap < target <= limit"):
        ChunkPlan(target=target, limit=limit, overlap=overlap)


def test_a_megabyte_in_one_line_takes_linear_time() -> None:
    found = cut("word " * 200_000, ChunkPlan())
    assert sum(len(one.text) for one in found) > 900_000
