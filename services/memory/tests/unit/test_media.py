"""Media types and encodings: what is understood, and how the rest is refused."""

import pytest
from plimsoll_memory.domain.media import Format, MediaType, clean, decode, parse_media_type
from plimsoll_memory.errors import BinaryContent, UndecodableText, UnknownMediaType


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("text/plain", Format(media_type=MediaType.TEXT)),
        ('Text/HTML; Charset="ISO-8859-1"', Format(media_type=MediaType.HTML, charset="iso8859-1")),
        ("text/csv;charset=utf8;header=present", Format(media_type=MediaType.CSV, charset="utf-8")),
        ("application/jsonl", Format(media_type=MediaType.JSON_LINES)),
    ],
)  # fmt: skip
def test_a_media_type_is_read_with_its_charset(text: str, expected: Format) -> None:
    assert parse_media_type(text) == expected


@pytest.mark.parametrize(
    "text", ["", "image/png", "text", "application/zip; charset=utf-8", "text/plain; charset=klingon", "text/plain; charset=\x00"]
)
def test_an_unknown_media_type_is_refused_with_those_that_are_known(text: str) -> None:
    with pytest.raises(UnknownMediaType, match=r"^media_type: .*\(use .*\)"):
        parse_media_type(text)


def test_a_byte_order_mark_wins() -> None:
    assert decode("Größe".encode("utf-8-sig"), "cp1252") == "Größe"
    assert decode("Größe".encode("utf-16")) == "Größe"


def test_a_named_charset_is_used() -> None:
    assert decode("Größe".encode("cp1252"), "cp1252") == "Größe"


def test_line_ends_become_one() -> None:
    assert decode(b"a\r\nb\rc\n") == "a\nb\nc\n"


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        (b"%PDF-1.7 ...", "application/pdf"),
        (b"PK\x03\x04...", "export"),
        (b"\x89PNG\r\n", "text"),
        (b"\x1f\x8b\x08", "unpack"),
        (b"MZ\x90\x00\x03", "send text"),
    ],
)
def test_a_binary_file_is_refused_whatever_it_claims(content: bytes, remedy: str) -> None:
    with pytest.raises(BinaryContent, match=remedy):
        decode(content)


def test_bytes_that_do_not_fit_are_refused_with_their_place() -> None:
    with pytest.raises(UndecodableText, match=r"content: is not utf-8: the byte at offset 7 .*\(convert it to UTF-8"):
        decode("drei Größen".encode("latin-1"))


def test_text_is_made_fit_for_every_store() -> None:
    assert clean("a\x00b\ud800c\r\n") == "a b?c\n"
