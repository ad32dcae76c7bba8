"""Formats: what each of them becomes as text, blocks and passages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_memory.domain.block import BlockKind
from plimsoll_memory.domain.chunking import ChunkPlan
from plimsoll_memory.domain.html import read_html
from plimsoll_memory.domain.media import Format, MediaType
from plimsoll_memory.domain.reading import Reading, cut, parse
from plimsoll_memory.errors import DocumentRefused, MalformedRecord, NoText, TooManyPassages


def read(media_type: MediaType, text: str, most: int = 1000) -> Reading:
    return cut(parse(Format(media_type=media_type), text.encode(), most=most), ChunkPlan(), most=most)


def texts_of(reading: Reading) -> list[str]:
    return [one.text for one in reading.chunks]


class TestMarkdown:
    def test_the_first_heading_is_the_title(self) -> None:
        reading = read(MediaType.MARKDOWN, "Preamble.\n\n# The *great* [guide](http://x.y)\n\nText.")
        assert reading.title == "The great guide"

    def test_a_hash_in_code_is_no_heading(self) -> None:
        reading = read(MediaType.MARKDOWN, "# Real\n\n```sh\n# comment\nmake\n```\n\nMore.")
        assert [one.headings for one in reading.chunks] == [("Real",)]

    def test_a_code_block_that_is_never_closed_goes_to_the_end(self) -> None:
        assert texts_of(read(MediaType.MARKDOWN, "~~~\n# no heading\n```\ntext")) == ["~~~\n# no heading\n```\ntext"]

    def test_front_matter_is_not_a_heading(self) -> None:
        reading = read(MediaType.MARKDOWN, "---\nlang: en\n---\n# Title\n\nText.")
        assert reading.title == "Title"

    def test_underlined_headings_count(self) -> None:
        reading = read(MediaType.MARKDOWN, "Guide\n=====\n\nText.\n\nPart\n----\n\nMore.")
        assert [one.headings for one in reading.chunks] == [("Guide",), ("Guide", "Part")]


class TestJsonLines:
    def test_each_line_is_a_passage_of_its_fields(self) -> None:
        reading = read(MediaType.JSON_LINES, '{"q": "How?", "n": 1, "tags": ["a"], "empty": null}\n\n"just text"\n')
        assert [(one.text, one.row) for one in reading.chunks] == [('q: How?\nn: 1\ntags: ["a"]', 1), ("just text", 3)]

    @pytest.mark.parametrize("line", ['{"a": 1', "not json", '{"a": "\\ud800"}', "[" * 2000])
    def test_a_broken_line_is_named_and_nothing_is_stored(self, line: str) -> None:
        with pytest.raises(MalformedRecord, match="line 2"):
            read(MediaType.JSON_LINES, f'{{"a": 1}}\n{line}\n{{"a": 3}}')

    def test_nesting_without_end_is_refused(self) -> None:
        with pytest.raises(MalformedRecord, match="nests deeper"):
            read(MediaType.JSON_LINES, "[" * 500 + "]" * 500)

    def test_more_records_than_allowed_are_refused(self) -> None:
        with pytest.raises(TooManyPassages, match="more than 3"):
            read(MediaType.JSON_LINES, "1\n2\n3\n4\n", most=3)


class TestCsv:
    def test_each_row_is_a_passage_named_by_the_header(self) -> None:
        reading = read(MediaType.CSV, 'name,note\nAda,"likes\ncommas, lines"\n,\nBob,\n')
        assert [(one.text, one.row) for one in reading.chunks] == [("name: Ada\nnote: likes\ncommas, lines", 1), ("name: Bob", 2)]

    @pytest.mark.parametrize("delimiter", [";", "\t", "|"])
    def test_other_delimiters_are_understood(self, delimiter: str) -> None:
        assert texts_of(read(MediaType.CSV, f"a{delimiter}b\n1{delimiter}2\n")) == ["a: 1\nb: 2"]

    def test_cells_beyond_the_header_are_kept(self) -> None:
        assert texts_of(read(MediaType.CSV, "a,b\n1,2,3\n")) == ["a: 1\nb: 2\ncolumn 3: 3"]

    def test_a_header_alone_has_no_text(self) -> None:
        with pytest.raises(NoText):
            read(MediaType.CSV, "a,b\n")

    def test_a_quote_that_is_never_closed_is_refused_with_its_line(self) -> None:
        with pytest.raises(MalformedRecord, match="line 3"):
            read(MediaType.CSV, 'a,b\n1,2\n"' + "x" * 200_000 + "\n")


class TestHtml:
    def test_only_what_a_reader_sees_is_text(self) -> None:
        reading = read(
            MediaType.HTML,
            "<html><head><title>Tea &amp; more</title><style>p{}</style></head><body><script>bad()</script>"
            "<h1>Tea</h1><p>Hot<br>drink</p><ul><li>green<li>black</ul><h2>Cups</h2><p>Many.</p></body></html>",
        )
        assert reading.title == "Tea & more"
        assert texts_of(reading) == ["Tea\n\nHot\ndrink\n\n- green\n\n- black", "Cups\n\nMany."]
        assert [one.headings for one in reading.chunks] == [("Tea",), ("Tea", "Cups")]

    def test_a_table_keeps_its_rows(self) -> None:
        page = read_html("<table>\n<tr>\n<th>a</th>\n<th>b</th>\n</tr>\n<tr><td>1</td><td><p>2</p></td></tr></table>")
        assert page.text == "a | b\n1 | 2"
        assert [block.kind for block in page.blocks] == [BlockKind.UNIT]

    def test_preformatted_text_keeps_its_lines(self) -> None:
        assert read_html("<pre>a\n  b</pre>").text == "a\n  b"

    def test_a_title_that_is_never_closed_does_not_swallow_the_page(self) -> None:
        assert read_html("<title>Tea<body><p>Hot.</p>").text == "Hot."

    @given(
        st.lists(
            st.sampled_from(
                ["<p>", "</p>", "<table>", "</table>", "<tr>", "<td>", "<h1>", "</h2>", "<pre>", "<script>", "</script>", "<!--", "<", "&", "&#0;", "text", "\n", "<li>", "<title>", "<![CDATA["]
            ),
            max_size=40,
        ).map("".join)
    )  # fmt: skip
    def test_any_markup_gives_blocks_that_cover_its_text(self, markup: str) -> None:
        page = read_html(markup)
        at = 0
        for block in page.blocks:
            assert not page.text[at : block.start].strip()
            assert page.text[block.start : block.end].strip() == page.text[block.start : block.end] != ""
            at = block.end
        assert at == len(page.text)


@given(content=st.binary(max_size=300), media_type=st.sampled_from([one for one in MediaType if one is not MediaType.PDF]))
def test_any_bytes_are_read_or_refused_with_problem_and_remedy(content: bytes, media_type: MediaType) -> None:
    try:
        reading = cut(parse(Format(media_type=media_type), content, most=1000), ChunkPlan(), most=1000)
    except DocumentRefused as refusal:
        (problem,) = refusal.problems
        assert problem.field
        assert problem.problem
        assert problem.remedy
    else:
        assert reading.chunks
        assert "\x00" not in "".join(one.text for one in reading.chunks)


def test_more_passages_than_allowed_are_refused() -> None:
    with pytest.raises(TooManyPassages, match="more than 2 passages"):
        read(MediaType.MARKDOWN, "# a\nx\n# b\nx\n# c\nx\n", most=2)
