"""PDF: text with its page and title; what cannot be read is refused for what it is."""

import pytest
from memory_samples import pdf
from plimsoll_memory.adapters.pdf import parse_pdf
from plimsoll_memory.domain.chunking import ChunkPlan
from plimsoll_memory.domain.reading import Reading, cut
from plimsoll_memory.errors import DamagedDocument, DocumentTooLarge, EncryptedDocument, NoText


def read(content: bytes, most_pages: int = 10) -> Reading:
    return cut(parse_pdf(content, most_pages=most_pages), ChunkPlan(), most=100)


def test_a_page_becomes_text_that_knows_its_page() -> None:
    long = "\n".join(f"Line {number} of the second page, which is long." for number in range(50))
    reading = read(pdf("First page.", long, title="Annual report"))
    assert reading.title == "Annual report"
    assert reading.chunks[0].text.startswith("First page.")
    assert {one.page for one in reading.chunks} == {1, 2}


def test_a_pdf_that_needs_a_password_is_refused() -> None:
    with pytest.raises(EncryptedDocument, match=r"needs a password \(send it without"):
        read(pdf("Secret.", password="x"))


def test_a_pdf_that_anybody_may_open_is_read_though_it_is_encrypted() -> None:
    assert read(pdf("Not to be printed.", owner="x")).chunks[0].text == "Not to be printed."


def test_a_pdf_of_pictures_is_refused_with_what_helps() -> None:
    with pytest.raises(NoText, match="OCR"):
        read(pdf("", ""))


def test_too_many_pages_are_refused() -> None:
    with pytest.raises(DocumentTooLarge, match="has 3 pages; the limit is 2"):
        read(pdf("a", "b", "c"), most_pages=2)


@pytest.mark.parametrize(
    "content", [b"%PDF-1.7\n", b"%PDF-1.7\ntrailer<</Root 1 0 R>>", b"no pdf at all", b"\x00" * 100, pdf("Text.")[:-300]]
)
def test_a_damaged_pdf_is_refused(content: bytes) -> None:
    with pytest.raises((DamagedDocument, NoText)):
        read(content)
