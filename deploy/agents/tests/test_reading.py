"""Documents are read whole, cut where their author cut them, and refused with a reason."""

import base64
import io
import re
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any

import pypdf
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_tool_dispatcher.handler import ToolRejected

WORDS = st.sampled_from(["rain", "quay", "ledger", "of", "seven", "boats,", "and", "is", "late.", "Then", "it", "ended."])
PARAGRAPHS = st.lists(st.lists(WORDS, min_size=1, max_size=120).map(" ".join), min_size=1, max_size=30)


@pytest.fixture(scope="session")
def reading(handlers: Callable[[str, str], ModuleType]) -> ModuleType:
    return handlers("documents", "reading")


async def split(reading: ModuleType, *, text: str | None = None, content: bytes | None = None, name: str = "a.txt") -> Any:
    encoded = None if content is None else base64.b64encode(content).decode()
    return await reading.split_document({"name": name, "text": text, "content_base64": encoded}, None)


def pdf(*, pages: int = 1, password: str = "") -> bytes:
    writer = pypdf.PdfWriter()
    for _ in range(pages):
        writer.add_blank_page(200, 200)
    if password:
        writer.encrypt(password, algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


@given(paragraphs=PARAGRAPHS)
def test_splitting_loses_and_adds_no_word(reading: ModuleType, paragraphs: list[str]):
    body = reading.clean("\n\n".join(paragraphs))
    sections = reading.split(body, "text")
    assert "".join("".join(section.text.split()) for section in sections) == "".join(body.split())


@given(paragraphs=PARAGRAPHS, headings=st.lists(st.sampled_from(["Rent", "Notice", "Law [draft]"]), max_size=6))
def test_sections_are_neither_empty_nor_too_long(reading: ModuleType, paragraphs: list[str], headings: list[str]):
    text = "\n\n".join(f"## {headings[at]}\n\n{text}" if at < len(headings) else text for at, text in enumerate(paragraphs))
    for section in reading.split(reading.clean(text), "markdown"):
        assert 0 < len(section.text) <= reading.LONGEST + reading.HEADING_LENGTH
        assert not re.search(r"[\[\]]", section.heading)


@given(text=st.text(max_size=400))
def test_cleaned_text_stays_the_same_when_it_is_cleaned_again(reading: ModuleType, text: str):
    once = reading.clean(text)
    assert reading.clean(once) == once


async def test_markdown_is_cut_at_its_headings(reading: ModuleType):
    body = "word " * 40
    result = await split(reading, text=f"# Lease\n\n{body}\n\n## 1. **Rent**\n\n{body}\n\n## 2. Law\n\n{body}", name="lease.md")
    assert result["format"] == "markdown"
    assert result["title"] == "Lease"
    assert [section["heading"] for section in result["sections"]] == ["Lease", "1. Rent", "2. Law"]


async def test_a_short_section_is_read_with_the_next_under_both_headings(reading: ModuleType):
    result = await split(reading, text=f"# Minutes\n\n## 1. Opening\n\nAt seven.\n\n## 2. Roof\n\n{'word ' * 40}", name="m.md")
    assert [section["heading"] for section in result["sections"]] == ["Minutes; 1. Opening; 2. Roof"]
    assert "At seven." in result["sections"][0]["text"]


async def test_plain_text_has_headings_that_stand_alone(reading: ModuleType):
    body = "word " * 40
    result = await split(reading, text=f"RESULTS\n\n{body}\n\n1) Desk, £132.00\n\n{body}\n\nSHOUTING IN\nthe middle of a text {body}")
    assert [section["heading"] for section in result["sections"]] == ["RESULTS"]


async def test_a_text_file_sent_as_bytes_is_read_as_text(reading: ModuleType):
    result = await split(reading, content="Grüße aus dem Hafen".encode())
    assert (result["format"], result["sections"][0]["text"]) == ("text", "Grüße aus dem Hafen")


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ({"text": " \n\t\x00"}, "EMPTY_DOCUMENT"),
        ({"text": "a" * 300_001}, "TOO_LONG"),
        ({"content": b"\x89PNG\r\n\x1a\n\x00\x00"}, "NOT_A_DOCUMENT"),
        ({"content": b"text with \x00 inside"}, "NOT_A_DOCUMENT"),
        ({"content": b"%PDF-1.7 and then nothing of use"}, "PDF_UNREADABLE"),
        ({"content": b"%PDF-1.4\n%%EOF"}, "PDF_UNREADABLE"),
        ({"content": pdf()}, "PDF_WITHOUT_TEXT"),
        ({"content": pdf(password="secret")}, "PDF_LOCKED"),
        ({"content": pdf(pages=301)}, "TOO_LONG"),
        ({}, "ONE_CONTENT"),
        ({"text": "both", "content": b"both"}, "ONE_CONTENT"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_cannot_be_read_is_refused_with_its_reason_and_a_remedy(reading: ModuleType, case: dict[str, Any], reason: str):
    with pytest.raises(ToolRejected) as refusal:
        await split(reading, **case)
    assert refusal.value.reason == reason
    assert refusal.value.message.endswith(".")


def test_what_is_not_base64_is_refused(reading: ModuleType):
    with pytest.raises(ToolRejected, match="NOT_BASE64"):
        reading.decode("this is no base64!")


@given(content=st.binary(max_size=300))
def test_no_damaged_file_fails_in_any_other_way(reading: ModuleType, content: bytes):
    with suppress(ToolRejected):
        reading.read_content(b"%PDF-1.5\n" + content)
