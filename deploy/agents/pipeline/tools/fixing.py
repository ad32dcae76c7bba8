"""Owns the repair of tables: what could be done about a finding, and doing what was approved."""

import csv
import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import SequenceMatcher
from pathlib import Path

import asyncpg
from plimsoll_runtime.json_types import JsonValue
from plimsoll_tool_dispatcher.handler import SetupContext, ToolContext, ToolRejected, ToolUnavailable

CONNECT_S = 3.0
SETUP_LOCK = 5_303_203  # the same as in profiling.py: both create the same tables
NO_ANSWER = (OSError, TimeoutError, asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError, asyncpg.TooManyConnectionsError)
DATE_FORMATS = ("%Y-%m-%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d %b %Y", "%b %d, %Y", "%Y/%m/%d")
SCALES = (0.1, 10.0, 0.01, 100.0, 0.001, 1000.0)  # the smallest change first
SURE_LIKENESS = 0.82


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """What a repair has to know of a column."""

    name: str
    type: str
    low: float | None
    high: float | None
    date_format: str | None
    categories: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fix:
    """One change to one cell, or to a whole row when `column` is None."""

    row: int
    column: str | None
    action: str
    before: str
    after: str | None
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What could be done about one finding; `sure` when the other values leave no second reading."""

    action: str
    after: str | None
    why: str
    sure: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """A table after its repair."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    rows_before: int
    cells_changed: int
    rows_dropped: int


def plain_number(value: str) -> str | None:
    """A number without its unit, currency sign and separators; None when it can be read in two ways."""
    text = re.sub(r"^[$€£]\s*|\s*(%|[A-Za-z°]{1,3})$", "", value.strip()).replace(" ", "").replace("'", "")
    if re.fullmatch(r"-?\d{1,3}(,\d{3})+(\.\d+)?", text) and not re.fullmatch(r"-?\d{1,3},\d{3}", text):
        return text.replace(",", "")
    if re.fullmatch(r"-?\d{1,3}(\.\d{3})*,\d{1,2}", text):
        return text.replace(".", "").replace(",", ".")
    return text if re.fullmatch(r"-?\d+(\.\d+)?", text) else None


def readings(value: str, form: str) -> list[str]:
    """The days that a date can mean in any of the known formats, written in the column's format."""
    days = set()
    for other in DATE_FORMATS:
        try:
            days.add(datetime.strptime(value.strip(), other).strftime(form))  # noqa: DTZ007 - a calendar day has no zone
        except ValueError:
            continue
    return sorted(days)


def repaired_text(value: str) -> str | None:
    """Text whose UTF-8 was once read as Windows-1252, put right; None when it was not that."""
    try:
        text = value.encode("cp1252").decode("utf-8")
    except (UnicodeEncodeError, UnicodeDecodeError):
        return None
    return text if text != value else None


def propose(kind: str, value: str, column: Column | None) -> Proposal | None:
    """A repair for one finding, or None when only the owner of the data can settle it."""
    if kind == "duplicate_row":
        return Proposal(action="drop_row", after=None, why="The row repeats an earlier row exactly.", sure=True)
    if column is None:
        return None
    match kind:
        case "whitespace":
            return _replace(" ".join(value.split()), "Stray spaces are removed.", sure=True)
        case "encoding":
            text = repaired_text(value)
            return None if text is None else _replace(text, "The characters were read in a wrong encoding.", sure=True)
        case "number_format":
            number = plain_number(value)
            return None if number is None else _replace(number, "The number is written as the column writes it.", sure=True)
        case "date_format":
            return _date(value, column)
        case "category_spelling" | "unknown_category":
            return _category(value, column)
        case "negative" | "outlier" | "out_of_range":
            return _scaled(value, column)
        case "invalid_date" | "wrong_type":
            return Proposal(action="clear", after=None, why="The value cannot be read; an empty cell says that it is unknown.", sure=False)
    return None


def _replace(after: str, why: str, *, sure: bool) -> Proposal:
    return Proposal(action="replace", after=after, why=why, sure=sure)


def _date(value: str, column: Column) -> Proposal | None:
    days = readings(value, column.date_format or DATE_FORMATS[0])
    if not days:
        return None
    why = "The date is written as the column writes it."
    return _replace(days[0], why if len(days) == 1 else f"{why} It could also mean {days[1]}.", sure=len(days) == 1)


def _category(value: str, column: Column) -> Proposal | None:
    likeness, best = max((SequenceMatcher(None, value.casefold(), known.casefold()).ratio(), known) for known in column.categories)
    if likeness < 0.6:
        return None
    return _replace(best, f"{best!r} is the known category that is nearest to it.", sure=likeness >= SURE_LIKENESS)


def _scaled(value: str, column: Column) -> Proposal | None:
    """A number that fits when its sign or its unit is put right; otherwise the cell is cleared."""
    if column.low is None or column.high is None or not re.fullmatch(r"-?\d+(\.\d+)?", value.strip()):
        return Proposal(action="clear", after=None, why="Nothing tells what the value should be.", sure=False)
    number = float(value)
    if column.low <= number <= column.high:
        return None  # only a limit of the owner's says that it is wrong, and the rest of the column does not say what is right
    if number < 0 and column.low <= -number <= column.high:
        return _replace(value.strip().removeprefix("-"), "Without its sign the number fits the column.", sure=False)
    celsius = (number - 32) / 1.8
    if re.search(r"temp|celsius|_c$", column.name.lower()) and column.low <= celsius <= column.high:
        return _replace(f"{celsius:.1f}", "Read as degrees Fahrenheit the number fits the column.", sure=False)
    for scale in SCALES:
        if column.low <= number * scale <= column.high:
            digits = 0 if column.type == "integer" else 4
            after = f"{round(number * scale, digits):g}"
            return _replace(
                after, f"Multiplied by {scale:g} the number fits the column: perhaps another unit or a slipped point.", sure=False
            )
    return Proposal(action="clear", after=None, why="The value is far outside of what the column holds.", sure=False)


def settle(columns: Mapping[str, Column], findings: Sequence[tuple[int, str | None, str, str]]) -> tuple[list[Fix], list[Fix], int]:
    """The sure fixes, the unsure ones, and how many findings stay open."""
    sure: list[Fix] = []
    unsure: list[Fix] = []
    for row, name, kind, value in findings:
        proposal = propose(kind, value, columns.get(name or ""))
        if proposal is not None:
            fix = Fix(row=row, column=name, action=proposal.action, before=value, after=proposal.after, why=proposal.why)
            (sure if proposal.sure else unsure).append(fix)
    return sure, unsure, len(findings) - len(sure) - len(unsure)


def apply(text: str, fixes: Sequence[Fix]) -> Fixed:
    """The table with exactly these fixes made. Raises ToolRejected when the table is not the one they were made for."""
    lines = text.removeprefix("\ufeff")
    delimiter = max(",;\t|", key=lines.split("\n", 1)[0].count)
    raw = [row for row in csv.reader(io.StringIO(lines, newline=""), delimiter=delimiter) if any(cell.strip() for cell in row)]
    header = tuple(cell.strip() for cell in raw[0])
    rows = [[*row, *[""] * len(header)][: len(header)] for row in raw[1:]]
    dropped: set[int] = set()
    changed = 0
    for fix in fixes:
        if not 1 <= fix.row <= len(rows) or (fix.column is not None and fix.column not in header):
            raise ToolRejected("FIX_MISPLACED", "A fix names a row or a column that the table does not have. Propose the fixes again.")
        if fix.action == "drop_row":
            dropped.add(fix.row)
            continue
        cells, index = rows[fix.row - 1], header.index(fix.column or "")
        if cells[index] != fix.before:
            raise ToolRejected("FIX_OUTDATED", f"Row {fix.row} no longer holds the value that its fix replaces. Propose the fixes again.")
        cells[index] = fix.after or ""
        changed += 1
    kept = tuple(tuple(row) for number, row in enumerate(rows, 1) if number not in dropped)
    return Fixed(header=header, rows=kept, rows_before=len(rows), cells_changed=changed, rows_dropped=len(dropped))


def to_csv(table: Fixed) -> str:
    """The fixed table as CSV with commas."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.header)
    writer.writerows(table.rows)
    return out.getvalue()


def _objects(value: JsonValue) -> list[dict[str, JsonValue]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _text(value: JsonValue) -> str | None:
    return None if value is None else str(value)


def _number(value: JsonValue) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _row(value: JsonValue) -> int:
    assert isinstance(value, int)
    return value


def read_column(item: Mapping[str, JsonValue]) -> Column:
    """A column as the profile describes it."""
    known = item["categories"]
    return Column(
        name=str(item["name"]),
        type=str(item["type"]),
        low=_number(item["low"]),
        high=_number(item["high"]),
        date_format=_text(item["date_format"]),
        categories=tuple(map(str, known)) if isinstance(known, list) else (),
    )


def read_fix(item: Mapping[str, JsonValue]) -> Fix:
    """A fix as it was proposed."""
    return Fix(
        row=_row(item["row"]),
        column=_text(item["column"]),
        action=str(item["action"]),
        before=str(item["before"]),
        after=_text(item["after"]),
        why=str(item["why"]),
    )


def write_fix(fix: Fix) -> JsonValue:
    """A fix as JSON."""
    return {"row": fix.row, "column": fix.column, "action": fix.action, "before": fix.before, "after": fix.after, "why": fix.why}


async def propose_fixes(arguments: dict[str, JsonValue], context: ToolContext) -> JsonValue:
    """A repair for each finding where one follows from the rest of the column."""
    columns = {str(item["name"]): read_column(item) for item in _objects(arguments["columns"])}
    findings = [
        (_row(item["row"]), _text(item["column"]), str(item["kind"]), str(item["value"])) for item in _objects(arguments["findings"])
    ]
    sure, unsure, still_open = settle(columns, findings)
    return {"sure": [write_fix(fix) for fix in sure], "unsure": [write_fix(fix) for fix in unsure], "open": still_open}


async def _connect(credentials: Mapping[str, str], timeout_s: float) -> asyncpg.Connection:
    try:
        return await asyncpg.connect(credentials["examples_database"], timeout=CONNECT_S, command_timeout=timeout_s)
    except NO_ANSWER as error:
        raise ToolUnavailable("TABLES_UNREACHABLE", "The database of the tables does not answer.", retry_after_s=1.0) from error


async def setup(context: SetupContext) -> None:
    """Creates the tables for tables when they are missing."""
    connection = await _connect(context.credentials, 20.0)
    try:
        async with connection.transaction():
            await connection.execute("select pg_advisory_xact_lock($1)", SETUP_LOCK)
            await connection.execute(Path(__file__).with_name("tables.sql").read_text(encoding="utf-8"))
    finally:
        await connection.close()


STAGED_SQL = "select csv from plimsoll_tables.staged where tenant = $1 and table_id = $2"
FIXED_SQL = """
insert into plimsoll_tables.fixed (tenant, fixed_id, call_key, table_id, columns, fixes) values ($1, $2, $3, $4, $5, $6)
on conflict (tenant, call_key) do nothing returning fixed_id"""
ROW_SQL = "insert into plimsoll_tables.fixed_rows (tenant, fixed_id, row_number, cells) values ($1, $2, $3, $4)"


async def apply_fixes(arguments: dict[str, JsonValue], context: ToolContext) -> JsonValue:
    """Writes the fixed table, once per call key; a repeat gives the same answer and writes nothing."""
    fixes = [read_fix(item) for item in _objects(arguments["fixes"])]
    fixed_id = "FIX-" + hashlib.sha256(f"{context.tenant}:{context.call_key}".encode()).hexdigest()[:12].upper()
    connection = await _connect(context.credentials, context.deadline_s)
    try:
        async with connection.transaction():
            text = await connection.fetchval(STAGED_SQL, context.tenant, arguments["table_id"])
            if text is None:
                raise ToolRejected("TABLE_UNKNOWN", "There is no staged table of this number. Stage the table first.")
            table = apply(str(text), fixes)
            head = (context.tenant, fixed_id, context.call_key, arguments["table_id"])
            if await connection.fetchval(FIXED_SQL, *head, json.dumps(table.header), json.dumps(arguments["fixes"])):
                rows = [(context.tenant, fixed_id, number, json.dumps(row)) for number, row in enumerate(table.rows, 1)]
                await connection.executemany(ROW_SQL, rows)
    finally:
        await connection.close()
    return {
        "fixed_id": fixed_id,
        "rows_before": table.rows_before,
        "rows_after": len(table.rows),
        "cells_changed": table.cells_changed,
        "rows_dropped": table.rows_dropped,
        "csv": to_csv(table),
    }
