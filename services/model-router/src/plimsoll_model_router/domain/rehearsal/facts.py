"""What a text says outright: passages with their source, and values under a name (JSON, tables, `Key: value` lines)."""

import csv
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from plimsoll_runtime.json_types import JsonObject, JsonValue

from plimsoll_model_router.domain.rehearsal.text import words

Scalar: TypeAlias = str | int | float | bool

_PASSAGE = re.compile(r"^[ \t]*\[([^\[\]\n]{1,160})\](?:[ \t]+|[ \t]*\n[ \t]*)(?=\S)", re.MULTILINE)
_KEY_VALUE = re.compile(r"(?:[-*•]\s+)?\**([A-Za-z][\w .'/()#-]{0,48}?)\**\s*[:=]\s*\**\s*(\S.*)")
_JSON_START = re.compile(r"(?:^|(?<=[\s:=(]))[\[{](?=\s*[\[{\"\d\]}tfn-])")
_JSON_TRIES = 50  # places that look like JSON and are none; behind so many the rest is text
_DEPTH_CAP = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """Text that may be quoted; `source` is empty when nobody named one."""

    text: str
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A value and the name it stands under. Facts of one record (a row, an object) share its number."""

    key: str
    value: Scalar
    record: int = 0

    @property
    def words(self) -> frozenset[str]:
        return frozenset(words(self.key))


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a text holds. `rest` is the text without its passages and JSON; `told` is the JSON in words."""

    passages: tuple[Passage, ...]
    facts: tuple[Fact, ...]
    records: tuple[JsonObject, ...]
    rest: str
    told: tuple[Passage, ...]


def read(text: str) -> Contents:
    """Take a text apart."""
    rest, values = _embedded_json(text)
    rest, passages = _bracketed_passages(rest)
    records = [*_tables(rest)]
    for value in values:
        passages += passages_in(value)
        records += records_in(value)
    numbered = [fact for number, record in enumerate(records, start=1) for fact in facts_in(record, number)]
    singles = [fact for value in values if not records_in(value) for fact in facts_in(value, 0)]
    return Contents(
        passages=tuple(passages),
        facts=(*_lines(rest), *singles, *numbered),
        records=tuple(records),
        rest=_squeezed(rest),
        told=tuple(in_words(values)),
    )


def unbracketed(text: str) -> str:
    """The text with each passage's source as a line of its own."""
    return _PASSAGE.sub(r"\1\n", text)


def facts_in(value: JsonValue, record: int, key: str = "", depth: int = 0) -> Iterator[Fact]:
    """Every scalar inside a JSON value, under its key and under its path (`customer.name` is `customer name` as well)."""
    match value:
        case dict() if depth < _DEPTH_CAP:
            for name, inner in value.items():
                yield from facts_in(inner, record, f"{key} {name}".strip(), depth + 1)
        case list() if depth < _DEPTH_CAP:
            for inner in value:
                yield from facts_in(inner, record, key, depth + 1)
        case str() | bool() | int() | float():
            yield Fact(key=key, value=value, record=record)
        case _:
            return


def passages_in(value: JsonValue) -> list[Passage]:
    """Objects with a `text`, as retrieval returns them."""
    found: list[Passage] = []
    match value:
        case dict():
            text = value.get("text")
            if isinstance(text, str):
                named = [value.get(name) for name in ("source", "title", "document_id")]
                return [Passage(text=text, source=next((name for name in named if isinstance(name, str) and name), ""))]
            for inner in value.values():
                found += passages_in(inner)
        case list():
            for inner in value:
                found += passages_in(inner)
        case _:
            pass
    return found


def records_in(value: JsonValue) -> list[JsonObject]:
    """The objects of the lists inside a JSON value."""
    match value:
        case list():
            return [item for item in value if isinstance(item, dict)]
        case dict():
            return [record for inner in value.values() for record in records_in(inner)]
        case _:
            return []


def in_words(values: Sequence[JsonValue], source: str = "") -> Iterator[Passage]:
    """A sentence for each record of each value, or for the value itself."""
    for value in values:
        records = records_in(value)
        for sentence in map(as_sentence, records) if records else (as_sentence(value),):
            if sentence:
                yield Passage(text=f"{sentence}.", source=source)


def as_sentence(value: JsonValue) -> str:
    """A JSON object in words: `order id A-17, status shipped`."""
    return ", ".join(f"{fact.key.replace('_', ' ')} {_shown(fact.value)}".strip() for fact in facts_in(value, 0))


def _shown(value: Scalar) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _embedded_json(text: str) -> tuple[str, list[JsonValue]]:
    """JSON objects and lists inside a text, and the text without them."""
    decoder, values, kept, at, failed = json.JSONDecoder(), list[JsonValue](), list[str](), 0, 0
    for match in _JSON_START.finditer(text):
        if match.start() < at or failed >= _JSON_TRIES:
            continue
        try:
            value, end = decoder.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            failed += 1
            continue
        values.append(value)
        kept.append(text[at : match.start()])
        at = end
    return "".join([*kept, text[at:]]), values


def _bracketed_passages(text: str) -> tuple[str, list[Passage]]:
    """`[source] text` up to the next one or to an empty line."""
    passages, kept, at = [], [], 0
    starts = list(_PASSAGE.finditer(text))
    for index, match in enumerate(starts):
        limit = starts[index + 1].start() if index + 1 < len(starts) else len(text)
        end = text.find("\n\n", match.end(), limit)
        end = limit if end < 0 else end
        passages.append(Passage(text=text[match.end() : end].strip(), source=match[1].strip()))
        kept.append(text[at : match.start()])
        at = end
    return "".join([*kept, text[at:]]), passages


def _lines(text: str) -> Iterator[Fact]:
    for line in text.splitlines():
        match = _KEY_VALUE.match(line.strip())
        if match and not match[2].startswith("//"):
            yield Fact(key=match[1].strip(), value=match[2].strip("*").strip())


def _tables(text: str) -> Iterator[JsonObject]:
    """The rows of Markdown tables and of comma-separated blocks, as objects."""
    block: list[str] = []
    for line in [*text.splitlines(), ""]:
        if line.count("|") >= 2 or (line.count(",") >= 2 and not line.rstrip().endswith(".")):
            block.append(line)
            continue
        yield from _rows(block)
        block = []


def _rows(block: Sequence[str]) -> Iterator[JsonObject]:
    if len(block) < 2:
        return
    if "|" in block[0]:
        cells = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in block if line.strip(" \t|:-")]
    else:
        try:
            cells = [[cell.strip() for cell in row] for row in csv.reader(block)]
        except csv.Error:
            return
    header = cells[0] if cells else []
    if not header or any(not name or name.replace(".", "").isdigit() or len(name) > 48 for name in header):
        return
    for row in cells[1:]:
        if len(row) == len(header):
            yield dict(zip(header, row, strict=True))


def _squeezed(text: str) -> str:
    return re.sub(r"\n{3,}", "\n\n", text).strip()
