"""Cutting what comes in pieces: nothing is lost, doubled or cut inside a character or a record."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_memory.domain.media import Format, MediaType
from plimsoll_memory.domain.parts import Cutter
from plimsoll_memory.errors import DocumentTooLarge, MalformedRecord

texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=400)


def cut(
    content: bytes, *, size: int, piece: int, media_type: MediaType = MediaType.TEXT, charset: str = "", limit: int = 10_000
) -> list[bytes]:
    cutter = Cutter(format=Format(media_type=media_type, charset=charset), limit=limit, size=size)
    parts = [part for at in range(0, len(content), piece) for part in cutter.take(content[at : at + piece])]
    last = cutter.end()
    return [part.content for part in [*parts, *([last] if last else [])]]


@given(texts, st.integers(8, 60), st.integers(1, 80))
def test_the_parts_of_a_text_are_the_text(text: str, size: int, piece: int) -> None:
    parts = cut(text.encode(), size=size, piece=piece)
    assert b"".join(parts) == text.encode()
    assert all(len(part) <= size for part in parts)
    for part in parts:
        part.decode()


@given(texts, st.integers(8, 60))
def test_how_it_was_sent_does_not_matter(text: str, size: int) -> None:
    assert cut(text.encode(), size=size, piece=1) == cut(text.encode(), size=size, piece=1000)


@given(
    st.lists(st.lists(st.text(st.characters(codec="ascii", exclude_characters="\x00\r"), max_size=8), min_size=2, max_size=2), max_size=30)
)
def test_rows_stay_whole_and_every_part_begins_with_the_header(rows: list[list[str]]) -> None:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerows([["name", "city"], *rows])
    parts = cut(out.getvalue().encode(), size=64, piece=7, media_type=MediaType.CSV)
    found = [list(csv.reader(io.StringIO(part.decode(), newline=""))) for part in parts]
    assert all(part[0] == ["name", "city"] for part in found)
    assert [row for part in found for row in part[1:]] == rows


@given(st.lists(st.integers(0, 10**6), max_size=50))
def test_json_lines_stay_whole(values: list[int]) -> None:
    content = "".join(f'{{"value": {value}}}\n' for value in values).encode()
    parts = cut(content, size=50, piece=9, media_type=MediaType.JSON_LINES)
    assert b"".join(parts) == content
    assert all(part.endswith(b"\n") or not part for part in parts)


def test_a_paragraph_is_cut_behind_rather_than_through() -> None:
    assert cut(b"aaaa bbbb cccc\n\ndddd eeee", size=20, piece=100) == [b"aaaa bbbb cccc\n\n", b"dddd eeee"]


def test_where_an_upload_goes_on_does_not_matter() -> None:
    content = b"name;city\n" + b"".join(f"row {number};Oslo\n".encode() for number in range(40))
    whole = Cutter(format=Format(media_type=MediaType.CSV), limit=10_000, size=100)
    parts = [*whole.take(content)]
    last = whole.end()
    assert last
    parts.append(last)
    for at, part in enumerate(parts[:-1]):
        rest = Cutter(format=Format(media_type=MediaType.CSV), limit=10_000, size=100, begun=part.ends, head=b"name;city\n")
        again = [*rest.take(content[part.ends :])]
        end = rest.end()
        assert end
        assert [*again, end] == parts[at + 1 :]


def test_a_record_that_never_ends_is_refused() -> None:
    with pytest.raises(MalformedRecord) as refusal:
        cut(b'{"a": "' + b"x" * 100, size=50, piece=10, media_type=MediaType.JSON_LINES)
    assert "at byte 0" in refusal.value.problems[0].problem
    with pytest.raises(MalformedRecord):
        cut(b'a;b\n"' + b"x\n" * 100, size=50, piece=10, media_type=MediaType.CSV)


@pytest.mark.parametrize(
    ("media_type", "charset", "begin"),
    [(MediaType.PDF, "", b"%PDF-"), (MediaType.HTML, "", b"<p>"), (MediaType.TEXT, "utf-16", b"a\0"), (MediaType.TEXT, "", b"\xff\xfe")],
)
def test_what_cannot_be_cut_is_taken_whole_up_to_the_limit(media_type: MediaType, charset: str, begin: bytes) -> None:
    content = begin + b"x\0" * 40
    assert cut(content, size=16, piece=10, media_type=media_type, charset=charset, limit=100) == [content]
    with pytest.raises(DocumentTooLarge):
        cut(content, size=16, piece=10, media_type=media_type, charset=charset, limit=50)


def test_nothing_is_one_empty_part() -> None:
    assert cut(b"", size=16, piece=1) == [b""]
