"""CSV and spreadsheets."""

import io
import zipfile
from collections.abc import Awaitable, Callable
from datetime import date
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_tool_dispatcher.handler import ToolRejected
from tools_on_board import load

Call = Callable[..., Awaitable[Any]]


@pytest.fixture
def place(credentials: dict[str, str]) -> Callable[[str, bytes], None]:
    def put(name: str, content: bytes) -> None:
        folder = Path(credentials["workspace_directory"]) / "acme"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

    return put


def book(*rows: list[object]) -> bytes:
    made = openpyxl.Workbook()
    for row in rows:
        made.active.append(row)  # type: ignore[union-attr]
    made.create_sheet("Other").append(["a"])
    packed = io.BytesIO()
    made.save(packed)
    return packed.getvalue()


@pytest.mark.parametrize("suffix", ["csv", "xlsx"])
async def test_a_table_comes_back_as_it_was_written(call: Call, suffix: str) -> None:
    rows = [["Ann", 7, 1.5], ["Ben", None, -2], ["007", 12, 0.5]]
    await call("sheet_write", path=f"t.{suffix}", columns=["name", "n", "x"], rows=rows)
    table = await call("sheet_read", path=f"t.{suffix}")
    assert (table["columns"], table["rows"], table["total"]) == (["name", "n", "x"], rows, 3)
    assert (await call("sheet_read", path=f"t.{suffix}", from_row=2, rows=1))["rows"] == [rows[1]]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-x", "@SUM(A1)", "=cmd|' /C calc'!A0", "\t=1"])
@pytest.mark.parametrize("suffix", ["csv", "xlsx"])
async def test_text_never_becomes_a_formula(call: Call, suffix: str, text: str) -> None:
    await call("sheet_write", path=f"t.{suffix}", columns=["a"], rows=[[text]])
    assert (await call("sheet_read", path=f"t.{suffix}"))["rows"][0][0].startswith("'")


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b"a;b\n1;2,5\n", [[1, "2,5"]]),
        (b'\xef\xbb\xbfa,b\r\n"x, y","two\nlines"\r\n', [["x, y", "two\nlines"]]),
        (b"a,b\n1\n1,2,3\n\n", [[1, None], [1, 2]]),
        (b"a\n007\n1e5\n-3\n0.50\n+4\n12345678901234567890\n", [["007"], ["1e5"], [-3], [0.5], ["+4"], ["12345678901234567890"]]),
    ],
)
async def test_csv_is_read_in_its_ways_of_being_written(
    call: Call, place: Callable[[str, bytes], None], content: bytes, rows: list[object]
) -> None:
    place("t.csv", content)
    assert (await call("sheet_read", path="t.csv"))["rows"] == rows


async def test_a_spreadsheet_gives_its_sheets_and_dates(call: Call, place: Callable[[str, bytes], None]) -> None:
    place("t.xlsx", book(["day", "n"], [date(2026, 1, 2), 5]))
    table = await call("sheet_read", path="t.xlsx")
    assert table["sheets"] == ["Sheet", "Other"]
    assert table["rows"] == [["2026-01-02T00:00:00", 5]]
    assert (await call("sheet_read", path="t.xlsx", sheet="Other"))["columns"] == ["a"]
    with pytest.raises(ToolRejected, match="NO_SUCH_SHEET"):
        await call("sheet_read", path="t.xlsx", sheet="None")


async def test_a_summary_counts_what_is_there(call: Call, place: Callable[[str, bytes], None]) -> None:
    place("t.csv", b"name,n\nann,1\nben,2.5\nann,\n")
    name, number = (await call("sheet_summary", path="t.csv"))["columns"]
    assert (name["filled"], name["distinct"], name["numbers"], name["sum"]) == (3, 2, 0, None)
    assert (number["filled"], number["least"], number["greatest"], number["sum"], number["mean"]) == (2, 1, 2.5, 3.5, 1.75)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("t.csv", b"\xff\xfe", "NOT_TEXT"),
        ("t.xlsx", b"not a zip", "NOT_A_TABLE"),
        ("t.xlsx", b"PK\x03\x04broken", "NOT_A_TABLE"),
        ("t.txt", b"a", "NOT_A_TABLE"),
        ("t.csv", b'a\n"' + b"x" * 200_000 + b'"', "NOT_A_TABLE"),
    ],
)
async def test_what_is_no_table_is_told(call: Call, place: Callable[[str, bytes], None], name: str, content: bytes, reason: str) -> None:
    place(name, content)
    with pytest.raises(ToolRejected, match=reason):
        await call("sheet_read", path=name)


async def test_a_spreadsheet_that_unpacks_without_end_is_not_unpacked(call: Call, place: Callable[[str, bytes], None]) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("xl/workbook.xml", bytes(200 * 1024 * 1024))
    place("t.xlsx", packed.getvalue())
    with pytest.raises(ToolRejected, match="FILE_TOO_LARGE"):
        await call("sheet_read", path="t.xlsx")


async def test_uneven_rows_are_refused(call: Call) -> None:
    with pytest.raises(ToolRejected, match="UNEVEN_ROWS"):
        await call("sheet_write", path="t.csv", columns=["a", "b"], rows=[["x"]])


@given(st.binary(max_size=300))
def test_whatever_a_csv_holds_reading_it_ends_in_a_table_or_a_refusal(content: bytes) -> None:
    sheets = load("sheets")
    try:
        table = sheets._from_csv(content, None)
    except ToolRejected:
        return
    assert all(len(row) == len(table.columns) for row in table.rows)
