"""JSON lines and CSV as blocks: each record rendered as `name: value` lines, a passage of its own."""

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from plimsoll_runtime.errors import Invalid
from plimsoll_runtime.json_types import JsonValue, dump_json, parse_json

from plimsoll_memory.domain.block import Block, BlockKind
from plimsoll_memory.domain.media import clean
from plimsoll_memory.domain.nesting import MOST_LEVELS, too_deep
from plimsoll_memory.errors import MalformedRecord, TooManyPassages

_DELIMITERS = ",;\t|"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A text made from records, and where each lies in it."""

    text: str
    blocks: tuple[Block, ...]


def from_json_lines(text: str, *, most: int) -> Rendered:
    """One record a line, blank lines left out. Raises MalformedRecord, naming the line; TooManyPassages beyond `most`."""
    return _rendered(((number, _record(number, line)) for number, line in enumerate(text.split("\n"), 1) if line.strip()), most)


def from_csv(text: str, *, most: int) -> Rendered:
    """One record a row, named by the header. Raises MalformedRecord, naming the line; TooManyPassages beyond `most`."""
    return _rendered(_rows(text), most)


def _rows(text: str) -> Iterator[tuple[int, str]]:
    header_line, _, _ = text.lstrip().partition("\n")
    delimiter = max(_DELIMITERS, key=header_line.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        header = next((row for row in reader if any(map(str.strip, row))), [])
        names = [name.strip() or f"column {index}" for index, name in enumerate(header, 1)]
        number = 0
        for row in reader:
            if any(map(str.strip, row)):
                number += 1
                names += [f"column {index}" for index in range(len(names) + 1, len(row) + 1)]
                yield number, _lines(zip(names, row, strict=False))
    except csv.Error as error:
        raise MalformedRecord(f"line {reader.line_num}: {error}", "check the quotes of this line and the one before") from error


def _record(number: int, line: str) -> str:
    try:
        value = parse_json(line, field="content")
    except Invalid as error:
        problem = error.problems[0].problem
        raise MalformedRecord(f"line {number} {problem}", "send one JSON value a line") from error
    if too_deep(value):
        raise MalformedRecord(f"line {number} nests deeper than {MOST_LEVELS} levels", "flatten it")
    if isinstance(value, dict):
        return _lines((name, _shown(item)) for name, item in value.items())
    return _shown(value)


def _shown(value: JsonValue) -> str:
    match value:
        case str():
            return value
        case None:
            return ""
    return dump_json(value)


def _lines(fields: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"{name}: {value.strip()}" for name, value in fields if value.strip())


def _rendered(records: Iterable[tuple[int, str]], most: int) -> Rendered:
    """Records joined by blank lines; those without any text are left out."""
    parts: list[str] = []
    blocks: list[Block] = []
    at = 0
    for number, record in records:
        text = clean(record).strip()
        if not text:
            continue
        if len(blocks) == most:
            raise TooManyPassages(f"has more than {most:,} records", "split it into several documents")
        blocks.append(Block(kind=BlockKind.UNIT, start=at, end=at + len(text), row=number))
        parts.append(text)
        at += len(text) + 2
    return Rendered(text="\n\n".join(parts), blocks=tuple(blocks))
