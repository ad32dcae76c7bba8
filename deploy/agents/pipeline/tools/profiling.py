"""Owns the looking at tables: keeping them, describing their columns, finding the rows that do not fit."""

import csv
import hashlib
import io
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from difflib import SequenceMatcher
from pathlib import Path
from statistics import median

import asyncpg
from plimsoll_runtime.json_types import JsonValue
from plimsoll_tool_dispatcher.handler import SetupContext, ToolContext, ToolRejected, ToolUnavailable

CONNECT_S = 3.0
SETUP_LOCK = 5_303_203  # any number nobody else uses: two workers must not create the schema at once
NO_ANSWER = (OSError, TimeoutError, asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError, asyncpg.TooManyConnectionsError)
MAX_ROWS, MAX_COLUMNS, MAX_FINDINGS, EXAMPLES = 5_000, 60, 300, 4
MISSING = frozenset({"", "-", "?", "n/a", "na", "nan", "none", "null"})
DATE_FORMATS = ("%Y-%m-%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d %b %Y", "%b %d, %Y", "%Y/%m/%d")
NUMBER = re.compile(r"-?\d+(\.\d+)?")
LOOSE_NUMBER = re.compile(r"[$€£]?\s*-?\d[\d,.' ]*\s*(%|[A-Za-z°]{1,3})?")
DATE_LIKE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}|\d{1,2} [A-Za-z]{3} \d{4}|[A-Za-z]{3} \d{1,2}, \d{4}")
TYPE_SHARE = 0.8  # of the values present must be of a type for the column to have it
OUTLIER_Z = 7.0
KNOWN_COUNT = 4  # a category seen this often is meant; a rarer one may be a slip


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table as text: every row has as many cells as the header, `widths` has how many it came with."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    widths: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """What the values of one column have in common."""

    name: str
    type: str
    missing: int
    distinct: int
    usual: str
    low: float | None = None
    high: float | None = None
    date_format: str | None = None
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One cell, or one row when `column` is None, that does not fit."""

    row: int
    column: str | None
    kind: str
    value: str


def parse_table(text: str) -> Table:
    """Reads CSV with comma, semicolon, tab or bar between the cells. Raises ToolRejected with what is wrong."""
    lines = text.removeprefix("\ufeff")
    first = lines.split("\n", 1)[0]
    delimiter = max(",;\t|", key=first.count)
    try:
        raw = [
            row for row in csv.reader(io.StringIO(lines, newline=""), delimiter=delimiter, strict=True) if any(cell.strip() for cell in row)
        ]
    except csv.Error as error:
        raise ToolRejected("NOT_CSV", f"The text cannot be read as CSV: {error}. Check the quotes.") from error
    if len(raw) < 2:
        raise ToolRejected("NO_ROWS", "The table has no row below its header. Give a header line and at least one row.")
    header = tuple(cell.strip() for cell in raw[0])
    if len(set(header)) < len(header) or not all(header):
        raise ToolRejected("BAD_HEADER", "Every column needs a name of its own in the first line.")
    if len(raw) - 1 > MAX_ROWS or len(header) > MAX_COLUMNS:
        raise ToolRejected("TOO_LARGE", f"At most {MAX_ROWS:,} rows and {MAX_COLUMNS} columns can be read. Split the table.")
    width = len(header)
    rows = tuple(tuple((*row, *[""] * width)[:width]) for row in raw[1:])
    return Table(header=header, rows=rows, widths=tuple(len(row) for row in raw[1:]))


def is_missing(value: str) -> bool:
    """Whether a cell says that there is no value."""
    return value.strip().lower() in MISSING


def to_number(value: str) -> float | None:
    """A plain number, such as 12, -3.5 or 0.07."""
    text = value.strip()  # of all that Python calls blank, of which `float` takes only a part
    return float(text) if NUMBER.fullmatch(text) else None


def to_date(value: str, form: str) -> date | None:
    """A date in one format."""
    try:
        return datetime.strptime(value.strip(), form).date()  # noqa: DTZ007 - a calendar day has no zone
    except ValueError:
        return None


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which a share of sorted numbers lies."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def robust_z(values: Sequence[float]) -> Callable[[float], float]:
    """How far a number lies from the median, in deviations that the outliers themselves do not stretch.

    Columns of positive numbers with a long upper tail, such as amounts, are measured on a logarithmic scale.
    """
    middle = median(values)
    skewed = min(values) > 0 and quantile(sorted(values), 0.9) > 4 * middle
    scale: Callable[[float], float] = (lambda x: math.log(x) if x > 0 else -math.inf) if skewed else (lambda x: x)
    centre = median(map(scale, values))
    spread = median(abs(scale(x) - centre) for x in values)
    # With more than half of the values equal there is no spread to measure by; a twentieth of the size stands in.
    unit = 1.4826 * spread or abs(centre) / 20 or 1.0
    return lambda x: abs(scale(x) - centre) / unit


def profile(table: Table) -> tuple[Column, ...]:
    """What each column holds, told by most of its values."""
    return tuple(_column(name, [row[index] for row in table.rows]) for index, name in enumerate(table.header))


def _column(name: str, cells: Sequence[str]) -> Column:
    present = [cell.strip() for cell in cells if not is_missing(cell)]
    missing, counts = len(cells) - len(present), Counter(present)
    enough = TYPE_SHARE * len(present)
    numbers = sorted(number for cell in present if (number := to_number(cell)) is not None)
    form, dates = _best_date_format(present)
    if numbers and len(numbers) >= enough:
        whole = sum(number.is_integer() for number in numbers) >= 0.95 * len(numbers)
        low, high = quantile(numbers, 0.05), quantile(numbers, 0.95)
        usual = f"{'whole numbers' if whole else 'numbers'}, mostly from {low:g} to {high:g}, in the middle {median(numbers):g}"
        kind = "integer" if whole else "number"
        return Column(name=name, type=kind, missing=missing, distinct=len(counts), usual=usual, low=low, high=high)
    if dates and len(dates) >= enough:
        usual = f"dates like {dates[0].strftime(form)}, from {min(dates)} to {max(dates)}"
        return Column(name=name, type="date", missing=missing, distinct=len(counts), usual=usual, date_format=form)
    known = tuple(value for value, count in counts.most_common() if count >= KNOWN_COUNT)
    if known and len(known) <= 20 and sum(counts[value] for value in known) >= enough:
        usual = f"one of {', '.join(known)}"
        return Column(name=name, type="category", missing=missing, distinct=len(counts), usual=usual, categories=known)
    usual = f"text, such as {present[0]!r}" if present else "nothing"
    return Column(name=name, type="text", missing=missing, distinct=len(counts), usual=usual)


def _best_date_format(present: Sequence[str]) -> tuple[str, list[date]]:
    read = {form: [day for cell in present if (day := to_date(cell, form)) is not None] for form in DATE_FORMATS}
    best = max(DATE_FORMATS, key=lambda form: len(read[form]))
    return best, read[best]


def key_column(table: Table, columns: Sequence[Column]) -> int | None:
    """The column that names the rows: the first that is nearly free of repeats and called like an identifier."""
    for index, column in enumerate(columns):
        named = re.search(r"(^|_)(id|no|nr|number|code|key|ref)$", column.name.lower())
        if named and column.distinct >= 0.9 * len(table.rows):
            return index
    return None


def find(table: Table, columns: Sequence[Column], limits: Mapping[str, tuple[float, float]]) -> list[Finding]:
    """Everything that does not fit, row by row."""
    found = [*_row_findings(table, key_column(table, columns))]
    # Cells of a repeated row would be found twice, and those of a row of the wrong width stand in wrong columns.
    skipped = {finding.row for finding in found if finding.kind in {"duplicate_row", "wrong_width"}}
    for index, column in enumerate(columns):
        cells = [(row, cells[index]) for row, cells in enumerate(table.rows, 1) if row not in skipped]
        found.extend(_cell_findings(column, cells, limits.get(column.name, (-math.inf, math.inf))))
    return sorted(found, key=lambda finding: (finding.row, finding.column or ""))


def _row_findings(table: Table, key: int | None) -> Iterator[Finding]:
    seen: set[tuple[str, ...]] = set()
    keys: set[str] = set()
    for number, (row, width) in enumerate(zip(table.rows, table.widths, strict=True), 1):
        if width != len(table.header):
            yield Finding(row=number, column=None, kind="wrong_width", value=f"{width} cells instead of {len(table.header)}")
        if row in seen:
            yield Finding(row=number, column=None, kind="duplicate_row", value=" | ".join(row))
        elif key is not None and not is_missing(row[key]) and row[key].strip() in keys:
            yield Finding(row=number, column=table.header[key], kind="duplicate_key", value=row[key])
        seen.add(row)
        if key is not None:
            keys.add(row[key].strip())


def _cell_findings(column: Column, cells: Sequence[tuple[int, str]], limits: tuple[float, float]) -> Iterator[Finding]:
    check = _check_for(column, [cell for _, cell in cells], limits)
    for row, cell in cells:
        if is_missing(cell):
            kind = "missing" if column.missing <= 0.2 * len(cells) else None
        elif cell != cell.strip() or "  " in cell:
            kind = "whitespace"
        else:
            kind = "encoding" if re.search(r"Ã.|â€", cell) else check(cell)
        if kind:
            yield Finding(row=row, column=column.name, kind=kind, value=cell)


def _check_for(column: Column, cells: Sequence[str], limits: tuple[float, float]) -> Callable[[str], str | None]:
    if column.type in {"integer", "number"}:
        return _number_check(column, [number for cell in cells if (number := to_number(cell)) is not None], limits)
    if column.type == "date":
        return _date_check(column, cells)
    if column.type == "category":
        return lambda cell: None if cell in column.categories else _category_kind(cell, column.categories)
    return lambda _: None


def _number_check(column: Column, numbers: Sequence[float], limits: tuple[float, float]) -> Callable[[str], str | None]:
    z = robust_z(numbers)
    positive = sum(number >= 0 for number in numbers) >= 0.97 * len(numbers)

    def check(cell: str) -> str | None:
        number = to_number(cell)
        if number is None:
            return "number_format" if LOOSE_NUMBER.fullmatch(cell) else "wrong_type"
        if not limits[0] <= number <= limits[1]:
            return "out_of_range"
        if positive and number < 0:
            return "negative"
        if column.type == "integer" and not number.is_integer():
            return "wrong_type"
        return "outlier" if z(number) > OUTLIER_Z and not (column.low or 0) <= number <= (column.high or 0) else None

    return check


def _date_check(column: Column, cells: Sequence[str]) -> Callable[[str], str | None]:
    form = column.date_format or DATE_FORMATS[0]
    z = robust_z([day.toordinal() for cell in cells if (day := to_date(cell, form)) is not None])

    def check(cell: str) -> str | None:
        day = to_date(cell, form)
        if day is not None:
            return "out_of_range" if z(day.toordinal()) > OUTLIER_Z else None
        if any(to_date(cell, other) for other in DATE_FORMATS):
            return "date_format"
        return "invalid_date" if DATE_LIKE.fullmatch(cell) else "wrong_type"

    return check


def _category_kind(cell: str, known: Sequence[str]) -> str:
    likeness = max(SequenceMatcher(None, cell.casefold(), value.casefold()).ratio() for value in known)
    return "category_spelling" if likeness >= 0.75 else "unknown_category"


KIND_WORDS = {
    "wrong_width": "more or fewer cells than the header",
    "duplicate_row": "the same as an earlier row",
    "duplicate_key": "a key that an earlier row has already, with other values",
    "missing": "empty, although nearly all rows have a value",
    "wrong_type": "not of the column's type",
    "number_format": "a number written with a unit, a currency sign or separators",
    "date_format": "a date written in another format",
    "invalid_date": "looks like a date, but names no day of the calendar",
    "out_of_range": "outside the range of the column",
    "outlier": "very far from the rest",
    "negative": "below zero, although the column is never negative otherwise",
    "category_spelling": "nearly, but not quite, one of the known categories",
    "unknown_category": "none of the known categories",
    "whitespace": "stray spaces",
    "encoding": "the marks of a wrong character encoding",
}


def describe(group: Sequence[Finding], usual: str) -> str:
    """A group of findings of one kind and column in words, with its first examples."""
    first = group[0]
    examples = "; ".join(f"row {finding.row} has {finding.value[:60]!r}" for finding in group[:EXAMPLES])
    more = f"; and {len(group) - EXAMPLES} more" if len(group) > EXAMPLES else ""
    where = f"Column {first.column}" if first.column else "Whole rows"
    return f"{where}: {len(group)} × {KIND_WORDS[first.kind]} ({examples}{more}).{f' The column usually holds {usual}.' if usual else ''}"


def grouped(findings: Sequence[Finding]) -> list[list[Finding]]:
    """Findings of the same column and kind together, the largest group first."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.column or "", finding.kind), []).append(finding)
    return sorted(groups.values(), key=lambda group: (-len(group), group[0].column or "", group[0].kind))


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


async def _staged(arguments: Mapping[str, JsonValue], context: ToolContext) -> Table:
    connection = await _connect(context.credentials, context.deadline_s)
    try:
        sql = "select csv from plimsoll_tables.staged where tenant = $1 and table_id = $2"
        text = await connection.fetchval(sql, context.tenant, arguments["table_id"])
    finally:
        await connection.close()
    if text is None:
        raise ToolRejected("TABLE_UNKNOWN", "There is no staged table of this number. Stage the table first.")
    return parse_table(str(text))


async def stage_table(arguments: dict[str, JsonValue], context: ToolContext) -> JsonValue:
    """Keeps a table under a number that its content decides: the same table, the same number."""
    text = str(arguments["csv"])
    table = parse_table(text)
    table_id = "TBL-" + hashlib.sha256(text.encode()).hexdigest()[:12].upper()
    connection = await _connect(context.credentials, context.deadline_s)
    try:
        sql = "insert into plimsoll_tables.staged (tenant, table_id, name, csv) values ($1, $2, $3, $4) on conflict do nothing"
        await connection.execute(sql, context.tenant, table_id, arguments["name"], text)
    finally:
        await connection.close()
    return {"table_id": table_id, "rows": len(table.rows), "columns": len(table.header)}


async def profile_table(arguments: dict[str, JsonValue], context: ToolContext) -> JsonValue:
    """What each column of a staged table holds."""
    table = await _staged(arguments, context)
    columns = profile(table)
    key = key_column(table, columns)
    return {
        "rows": len(table.rows),
        "key": None if key is None else table.header[key],
        "columns": [{**asdict(column), "categories": list(column.categories)} for column in columns],
    }


def read_limits(value: JsonValue) -> dict[str, tuple[float, float]]:
    """The ranges that the owner of the table has given, open where nothing is said."""
    limits: dict[str, tuple[float, float]] = {}
    for name, bounds in value.items() if isinstance(value, dict) else ():
        if isinstance(bounds, dict):
            low, high = bounds.get("min"), bounds.get("max")
            limits[name] = (
                float(low) if isinstance(low, int | float) else -math.inf,
                float(high) if isinstance(high, int | float) else math.inf,
            )
    return limits


async def find_bad_rows(arguments: dict[str, JsonValue], context: ToolContext) -> JsonValue:
    """The cells and rows of a staged table that do not fit the rest."""
    table = await _staged(arguments, context)
    columns = profile(table)
    usual = {column.name: column.usual for column in columns}
    limits = read_limits(arguments["limits"])
    if unknown := sorted(limits.keys() - usual.keys()):
        raise ToolRejected(
            "COLUMN_UNKNOWN", f"The limits name {len(unknown)} column(s) that the table does not have. Check their spelling."
        )
    findings = find(table, columns, limits)
    kept = findings[:MAX_FINDINGS]
    return {
        "findings": [asdict(finding) for finding in kept],
        "groups": [
            {
                "column": group[0].column or "(row)",
                "kind": group[0].kind,
                "count": len(group),
                "text": describe(group, usual.get(group[0].column or "", "")),
            }
            for group in grouped(kept)
        ],
        "bad_rows": len({finding.row for finding in findings}),
        "left_off": len(findings) - len(kept),
    }
