"""Tables in the tenant's workspace, as CSV and as spreadsheets."""

import asyncio
import csv
import io
import math
import zipfile
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import TypeAlias

import openpyxl
from plimsoll_runtime.json_types import JsonValue
from plimsoll_tool_dispatcher.handler import ToolContext, ToolRejected
from plimsoll_tool_dispatcher.workspace import Workspace

Arguments: TypeAlias = "dict[str, JsonValue]"
Cell: TypeAlias = "str | int | float | bool | None"

MAX_ROWS = 100_000
MAX_COLUMNS = 500
MAX_UNPACKED_BYTES = 128 * 1024 * 1024
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows below the row of names."""

    columns: list[str]
    rows: list[list[Cell]]
    sheets: list[str]


async def sheet_read(arguments: Arguments, context: ToolContext) -> JsonValue:
    """Some rows of a table."""
    table = await asyncio.to_thread(_table, arguments, context)
    first = int(str(arguments["from_row"])) - 1
    rows: list[JsonValue] = [list(row) for row in table.rows[first : first + int(str(arguments["rows"]))]]
    return {"columns": list(table.columns), "rows": rows, "total": len(table.rows), "sheets": list(table.sheets)}


async def sheet_summary(arguments: Arguments, context: ToolContext) -> JsonValue:
    """Each column summed up."""
    table = await asyncio.to_thread(_table, arguments, context)
    columns: list[JsonValue] = [_summary(name, [row[at] for row in table.rows]) for at, name in enumerate(table.columns)]
    return {"rows": len(table.rows), "columns": columns}


async def sheet_write(arguments: Arguments, context: ToolContext) -> JsonValue:
    """Puts a table in place. Repeated, it writes the same."""
    path, columns, rows = str(arguments["path"]), arguments["columns"], arguments["rows"]
    assert isinstance(columns, list)
    assert isinstance(rows, list)
    if any(isinstance(row, list) and len(row) != len(columns) for row in rows):
        raise ToolRejected("UNEVEN_ROWS", f"every row needs {len(columns)} values, one for each column")
    write = _as_csv if path.endswith(".csv") else _as_xlsx
    content = await asyncio.to_thread(write, [columns, *rows])
    await asyncio.to_thread(_workspace(context).write, path, content)
    return {"path": path, "rows": len(rows), "bytes": len(content)}


def _table(arguments: Arguments, context: ToolContext) -> Table:
    path, sheet = str(arguments["path"]), str(arguments["sheet"])
    content = _workspace(context).read(path)
    match path.rsplit(".", 1)[-1].lower():
        case "csv":
            return _from_csv(content, None)
        case "tsv":
            return _from_csv(content, "\t")
        case "xlsx":
            return _from_xlsx(content, sheet)
    raise ToolRejected("NOT_A_TABLE", "the file is neither .csv, .tsv nor .xlsx")


def _from_csv(content: bytes, delimiter: str | None) -> Table:
    try:
        text = content.decode("utf-8-sig").replace("\0", "\N{REPLACEMENT CHARACTER}")
    except UnicodeDecodeError as error:
        raise ToolRejected("NOT_TEXT", "the file is not text in UTF-8") from error
    if delimiter is None:
        head = text.partition("\n")[0]
        delimiter = max(",;\t|", key=head.count)  # the first is taken where none is there
    try:
        rows = list(csv.reader(io.StringIO(text), delimiter=delimiter))
    except csv.Error as error:
        raise ToolRejected("NOT_A_TABLE", f"the file is no CSV: {error}") from error
    return _made([[_typed(cell) for cell in row] for row in rows if row], [])


def _from_xlsx(content: bytes, sheet: str) -> Table:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            unpacked = sum(part.file_size for part in packed.infolist())
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise ToolRejected("NOT_A_TABLE", "the file is no spreadsheet that can be read") from error
    if unpacked > MAX_UNPACKED_BYTES:
        raise ToolRejected("FILE_TOO_LARGE", f"the spreadsheet unpacks to more than {MAX_UNPACKED_BYTES // 1024 // 1024} MiB")
    try:
        book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True, keep_links=False)
    except Exception as error:
        raise ToolRejected("NOT_A_TABLE", "the file is no spreadsheet that can be read") from error
    names = book.sheetnames
    if sheet and sheet not in names:
        raise ToolRejected("NO_SUCH_SHEET", f"the spreadsheet has no such sheet, but {', '.join(names)[:300]}")
    found: list[list[Cell]] = []
    try:
        for row in book[sheet or names[0]].iter_rows(max_row=MAX_ROWS + 2, max_col=MAX_COLUMNS, values_only=True):
            cells = [_plain(cell) for cell in row]
            if any(cell is not None for cell in cells):
                found.append(cells)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ToolRejected("NOT_A_TABLE", "the sheet cannot be read") from error
    finally:
        book.close()
    return _made(found, list(names))


def _made(rows: list[list[Cell]], sheets: list[str]) -> Table:
    """The first row names the columns; rows are made even."""
    if not rows:
        return Table(columns=[], rows=[], sheets=sheets)
    if len(rows) > MAX_ROWS + 1 or len(rows[0]) > MAX_COLUMNS:
        raise ToolRejected("TABLE_TOO_LARGE", f"the table has more than {MAX_ROWS} rows or {MAX_COLUMNS} columns")
    head = rows[0]
    while head and head[-1] is None:
        head = head[:-1]
    columns = [str(name) if name is not None else f"column {at}" for at, name in enumerate(head, 1)]
    even = [(row + [None] * len(columns))[: len(columns)] for row in rows[1:]]
    return Table(columns=columns, rows=even, sheets=sheets)


def _typed(cell: str) -> Cell:
    """Numbers as numbers where nothing is lost: 007 and 1e5 stay text."""
    text = cell.strip()
    if not text:
        return None
    digits = text.removeprefix("-")
    if digits.isascii() and digits.isdigit() and len(digits) <= 15 and (digits == "0" or not digits.startswith("0")):
        return int(text)
    whole, point, part = digits.partition(".")
    plain = point and whole.isascii() and whole.isdigit() and part.isascii() and part.isdigit() and len(digits) <= 15
    return float(text) if plain and (whole == "0" or not whole.startswith("0")) else cell


def _plain(cell: object) -> Cell:
    match cell:
        case None | bool() | int() | str():
            return cell
        case float():
            return cell if math.isfinite(cell) else None
        case datetime() | date() | time():
            return cell.isoformat()
    return str(cell)


def _summary(name: str, cells: list[Cell]) -> JsonValue:
    filled = [cell for cell in cells if cell is not None]
    numbers = [cell for cell in filled if isinstance(cell, int | float) and not isinstance(cell, bool)]
    return {
        "name": name,
        "filled": len(filled),
        "distinct": len({(type(cell), cell) for cell in filled}),
        "numbers": len(numbers),
        "least": min(numbers, default=None),
        "greatest": max(numbers, default=None),
        "sum": math.fsum(numbers) if numbers else None,
        "mean": math.fsum(numbers) / len(numbers) if numbers else None,
    }


def _as_csv(rows: list[JsonValue]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    for row in rows:
        assert isinstance(row, list)
        writer.writerow(["" if cell is None else _harmless(cell) for cell in row])
    return text.getvalue().encode()


def _as_xlsx(rows: list[JsonValue]) -> bytes:
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("Sheet1")
    for row in rows:
        assert isinstance(row, list)
        sheet.append([_harmless(cell) for cell in row])
    packed = io.BytesIO()
    book.save(packed)
    return packed.getvalue()


def _harmless(cell: JsonValue) -> object:
    """Text that a spreadsheet would take for a formula gets the mark that says text."""
    if isinstance(cell, str):
        text = "".join(one for one in cell if one in "\t\n\r" or ord(one) >= 0x20)
        return "'" + text if text.startswith(_FORMULA_STARTS) else text
    return cell


def _workspace(context: ToolContext) -> Workspace:
    return Workspace(context.credentials["workspace_directory"], context.tenant)
