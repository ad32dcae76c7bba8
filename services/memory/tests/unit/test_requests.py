"""Requests: what is refused, with field, problem and remedy, all at once."""

import pytest
from memory_samples import incoming
from plimsoll_memory.domain.chunking import Chunk
from plimsoll_memory.domain.document import accept, context_of, passage_metadata, title_of
from plimsoll_memory.domain.paging import page_request, page_token
from plimsoll_memory.domain.search import SearchRequest, check
from plimsoll_memory.errors import DocumentTooLarge, EmptyDocument, RequestRefused, UnknownMediaType
from plimsoll_runtime.json_types import JsonObject, JsonValue


def send(
    *,
    collection: str = "help",
    source: str = "a.md",
    media_type: str = "text/plain",
    content: bytes = b"text",
    metadata: JsonObject | None = None,
) -> None:
    accept(collection=collection, source=source, media_type=media_type, content=content, metadata=metadata or {}, limit_bytes=1000)


def nested(levels: int) -> JsonObject:
    value: JsonValue = 1
    for _ in range(levels):
        value = [value]
    return {"deep": value}


class TestDocuments:
    @pytest.mark.parametrize("collection", ["", "Help", "a b", "../x", "-x", "a" * 64, "ä"])
    def test_a_collection_needs_a_plain_name(self, collection: str) -> None:
        with pytest.raises(RequestRefused, match=r"^collection: is .*\(use up to 63"):
            send(collection=collection)

    @pytest.mark.parametrize("source", ["", "  ", "a\nb", "a\x00", "x" * 1025])
    def test_a_source_is_one_line_of_some_length(self, source: str) -> None:
        with pytest.raises(RequestRefused, match=r"^source: .*\(send"):
            send(source=source)

    @pytest.mark.parametrize(
        ("metadata", "problem"),
        [
            ({"a": "x" * 20_000}, "the limit is 16,384"),
            ({"a": ["\x00"]}, "zero character"),
            ({"\x00": 1}, "zero character"),
            (nested(100), "deeper than 64"),
        ],
    )
    def test_metadata_is_small_shallow_and_clean(self, metadata: JsonObject, problem: str) -> None:
        with pytest.raises(RequestRefused, match=f"^metadata: .*{problem}"):
            send(metadata=metadata)

    def test_all_problems_are_told_at_once(self) -> None:
        with pytest.raises(RequestRefused) as caught:
            send(collection="", source="", metadata={"a": "\x00"})
        assert [problem.field for problem in caught.value.problems] == ["collection", "source", "metadata"]

    def test_an_empty_file_is_refused(self) -> None:
        with pytest.raises(EmptyDocument, match=r"content: is empty \(send"):
            send(content=b"")

    def test_a_large_file_is_refused_with_both_sizes(self) -> None:
        with pytest.raises(DocumentTooLarge, match=r"has 1,001 bytes; the limit is 1,000 \(split"):
            send(content=b"x" * 1001)

    def test_an_unknown_kind_is_refused(self) -> None:
        with pytest.raises(UnknownMediaType):
            send(media_type="video/mp4")

    def test_a_fingerprint_changes_with_everything_that_passages_are_made_from(self) -> None:
        one = incoming("text")
        others = [incoming("text!"), incoming("text", media_type="text/plain"), incoming("text", metadata={"a": 1})]
        prints = {one.fingerprint("1"), one.fingerprint("2"), *(other.fingerprint("1") for other in others)}
        assert len(prints) == 5
        assert incoming("text", source="other.md").fingerprint("1") == one.fingerprint("1")


class TestTitles:
    @pytest.mark.parametrize(
        ("source", "named", "title"),
        [
            ("docs/refund-policy.md", "", "refund-policy"),
            ("https://x.y/guide/", "", "guide"),
            ("a.md", "Named", "Named"),
            (".md", "", ".md"),
            ("/", "", "/"),
        ],
    )
    def test_a_document_is_called_what_it_says_or_after_its_source(self, source: str, named: str, title: str) -> None:
        assert title_of(source, named) == title

    def test_the_context_names_nothing_twice(self) -> None:
        chunk = Chunk(text="x", start=0, end=1, headings=("Guide", "Part"))
        assert context_of("Guide", chunk) == "Guide › Part"

    def test_a_passage_knows_its_page_unless_the_sender_says_otherwise(self) -> None:
        chunk = Chunk(text="x", start=0, end=1, page=3)
        assert passage_metadata({"team": "a"}, chunk) == {"team": "a", "page": 3}
        assert passage_metadata({"page": "pricing"}, chunk) == {"page": "pricing"}


class TestSearches:
    @pytest.mark.parametrize(
        ("field", "request_"),
        [
            ("collection", SearchRequest(collection="?", query="x", limit=5, filter={})),
            ("query", SearchRequest(collection="help", query=" \n", limit=5, filter={})),
            ("query", SearchRequest(collection="help", query="x" * 16_001, limit=5, filter={})),
            ("query", SearchRequest(collection="help", query="a\x00b", limit=5, filter={})),
            ("limit", SearchRequest(collection="help", query="x", limit=0, filter={})),
            ("limit", SearchRequest(collection="help", query="x", limit=10_000, filter={})),
            ("filter", SearchRequest(collection="help", query="x", limit=5, filter={"a": "\x00"})),
        ],
    )
    def test_what_cannot_be_searched_is_refused(self, field: str, request_: SearchRequest) -> None:
        with pytest.raises(RequestRefused) as caught:
            check(request_)
        assert [problem.field for problem in caught.value.problems] == [field]
        assert caught.value.problems[0].remedy

    def test_two_thousand_words_may_be_asked(self) -> None:
        check(SearchRequest(collection="help", query="kettle " * 2000, limit=100, filter={}))


class TestPages:
    @pytest.mark.parametrize("source", ["a.md", "päge/ü", "x" * 1024, "?&="])
    def test_a_token_leads_behind_the_source_it_was_made_of(self, source: str) -> None:
        assert page_request("help", 10, page_token("help", source)).after == source

    def test_without_a_size_there_is_a_default(self) -> None:
        assert page_request("help", 0, "").size == 50

    @pytest.mark.parametrize(
        "token", ["x", "%%%", "AAAA", page_token("help", ""), page_token("other", "a.md"), page_token("help", "a\x00")]
    )
    def test_a_token_of_another_list_is_refused(self, token: str) -> None:
        with pytest.raises(RequestRefused, match="page_token: does not belong to this list"):
            page_request("help", 10, token)

    @pytest.mark.parametrize("size", [-1, 501])
    def test_a_size_out_of_range_is_refused(self, size: int) -> None:
        with pytest.raises(RequestRefused, match=f"page_size: is {size}"):
            page_request("help", size, "")
