"""What becomes of a file that a person hands in: read, recognised, mapped to an input, or refused with a remedy."""

import base64
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_client.errors import BadInput
from plimsoll_client.files import MAX_BYTES, GivenFile, binary_kind, document_content, media_type, read_given, size, text_of
from plimsoll_client.inputs import input_from_file
from plimsoll_client.models import Accepts

TEXT = Accepts(text_field="message")
BOTH = Accepts(text_field="text", base64_field="pdf", name_field="name")
BINARY = Accepts(base64_field="pdf", name_field="name")
NOTHING = Accepts()
PDF = b"%PDF-1.7\n\x00\x01"


def _given(name: str, content: bytes) -> GivenFile:
    return GivenFile(name=name, content=content)


def _refusal(error: pytest.ExceptionInfo[BadInput]) -> tuple[str, str, str]:
    problem = error.value.problems[0]
    assert error.value.remedy == problem.remedy != ""
    return problem.field, problem.problem, problem.remedy


def test_text_fills_the_text_field_and_the_name_field() -> None:
    assert input_from_file(_given("a.md", "# Grüße".encode()), BOTH, "documents") == {"text": "# Grüße", "name": "a.md"}
    assert input_from_file(_given("a.csv", b"a,b"), TEXT, "pipeline") == {"message": "a,b"}


def test_a_byte_order_mark_is_not_part_of_the_text() -> None:
    assert input_from_file(_given("a.txt", b"\xef\xbb\xbfhello"), TEXT, "support") == {"message": "hello"}


def test_a_pdf_fills_the_base64_field() -> None:
    found = input_from_file(_given("a.pdf", PDF), BOTH, "documents")
    assert found == {"pdf": base64.b64encode(PDF).decode(), "name": "a.pdf"}


def test_text_goes_as_base64_to_an_agent_that_takes_nothing_else() -> None:
    assert input_from_file(_given("a.txt", b"hi"), BINARY, "scan") == {"pdf": "aGk=", "name": "a.txt"}


def test_a_json_file_is_the_input_itself() -> None:
    assert input_from_file(_given("a.json", b'{"message": "x", "n": 1}'), NOTHING, "support") == {"message": "x", "n": 1}


def test_a_json_object_on_standard_input_is_the_input_itself_and_other_text_is_text() -> None:
    assert input_from_file(_given("-", b' {"message": "x"} '), TEXT, "support") == {"message": "x"}
    assert input_from_file(_given("-", b"[1, 2]"), TEXT, "support") == {"message": "[1, 2]"}
    assert input_from_file(_given("-", b"where is it?"), BOTH, "documents") == {"text": "where is it?", "name": "stdin"}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "is not JSON"),
        (b'{"a": 1}\n{"b": 2}', "line 2, column 1"),
        (b"[1]", "JSON that is not an object"),
        (b"3", "JSON that is not an object"),
    ],
)
def test_bad_json_is_refused_with_its_place(content: bytes, problem: str) -> None:
    with pytest.raises(BadInput) as caught:
        input_from_file(_given("a.json", content), TEXT, "support")
    assert problem in _refusal(caught)[1]


@pytest.mark.parametrize(
    ("content", "kind"), [(PDF, "a PDF"), (b"\x89PNG\r\n", "a PNG image"), (b"PK\x03\x04", "a ZIP"), (b"a\0b", "a binary file")]
)
def test_a_binary_file_is_refused_where_only_text_is_taken(content: bytes, kind: str) -> None:
    with pytest.raises(BadInput) as caught:
        input_from_file(_given("x.bin", content), TEXT, "support")
    field, problem, remedy = _refusal(caught)
    assert field == "x.bin"
    assert kind in problem
    assert "'message'" in problem
    assert "text file" in remedy


def test_a_plain_file_is_refused_where_only_json_is_taken() -> None:
    with pytest.raises(BadInput) as caught:
        input_from_file(_given("x.txt", b"hello"), NOTHING, "billing")
    assert "plimsoll agents show billing" in _refusal(caught)[2]


@pytest.mark.parametrize(
    ("content", "problem"),
    [("é".encode("latin-1"), "is not UTF-8: byte 0xe9 at position 0"), ("hello".encode("utf-16"), "UTF-16")],
)
def test_other_encodings_are_refused_by_name(content: bytes, problem: str) -> None:
    with pytest.raises(BadInput) as caught:
        text_of(_given("x.txt", content))
    assert problem in _refusal(caught)[1]


def test_files_that_cannot_be_used_are_refused_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_bytes(b" \n")
    (tmp_path / "large.txt").write_bytes(b"x" * (MAX_BYTES + 1))
    for name, problem in (
        ("none.txt", "does not exist"),
        ("empty.txt", "is empty"),
        ("large.txt", "too large: 4.0 MiB, the limit is 4.0 MiB"),
        ("", "is a folder"),
    ):
        with pytest.raises(BadInput) as caught:
            read_given(str(tmp_path / name))
        field, found, _ = _refusal(caught)
        assert field == str(tmp_path / name)
        assert problem in found


def test_a_file_of_fifty_megabytes_is_refused_by_its_size_alone(tmp_path: Path) -> None:
    sparse = tmp_path / "huge.txt"
    with sparse.open("wb") as file:
        file.truncate(50_000_000)
    with pytest.raises(BadInput, match=r"too large: 47\.7 MiB"):
        read_given(str(sparse))


def test_standard_input_has_the_same_limits() -> None:
    assert read_given("-", stdin=io.BytesIO(b"hello")).content == b"hello"
    with pytest.raises(BadInput, match="standard input is too large"):
        read_given("-", stdin=io.BytesIO(b"123456"), max_bytes=5)
    with pytest.raises(BadInput, match="standard input is empty"):
        read_given("-", stdin=io.BytesIO(b""))


def test_documents_are_known_by_the_end_of_their_name(tmp_path: Path) -> None:
    assert media_type(Path("a/B.MD")) == "text/markdown"
    with pytest.raises(BadInput, match=r"has the ending \.docx"):
        media_type(Path("a.docx"))
    (tmp_path / "a.pdf").write_bytes(b"hello")
    with pytest.raises(BadInput, match="is called a PDF and is none"):
        document_content(tmp_path / "a.pdf")
    (tmp_path / "b.md").write_bytes(PDF)
    with pytest.raises(BadInput, match="is a PDF, not text"):
        document_content(tmp_path / "b.md")


@given(st.text(min_size=1).filter(lambda text: "\0" not in text and not text.startswith(("\ufeff", "%PDF-", "GIF8", "\x7fELF"))))
def test_any_text_in_utf8_arrives_unchanged(text: str) -> None:
    content = text.encode()
    if not binary_kind(content):
        assert input_from_file(_given("a.txt", content), TEXT, "support") == {"message": text}


@given(st.binary())
def test_any_bytes_become_an_input_or_a_refusal(content: bytes) -> None:
    try:
        found = input_from_file(_given("a", content), BOTH, "documents")
    except BadInput:
        return
    assert set(found) in ({"text", "name"}, {"pdf", "name"})


def test_sizes_are_told_in_words() -> None:
    assert [size(count) for count in (3, 2048, 5_000_000)] == ["3 bytes", "2.0 KiB", "4.8 MiB"]
