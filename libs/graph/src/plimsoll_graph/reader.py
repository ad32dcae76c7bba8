"""Reading a declared mapping field by field, collecting every mistake instead of stopping at the first."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from plimsoll_runtime.json_types import JsonObject, JsonValue

from plimsoll_graph.expression import Expression, ExpressionBroken, Template, compile_expression
from plimsoll_graph.yaml_source import Mistake, Path, Source

NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
NODE_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_UNKNOWN_MOST = 50
_SECONDS_MOST = 366 * 86400.0
FALSE = Expression("false")
_Word = TypeVar("_Word", bound=StrEnum)


@dataclass(slots=True)
class Reader:
    """One mapping of the source. Every getter takes the field off the list of unknown ones and notes what is wrong with it."""

    source: Source
    path: Path
    value: JsonObject
    mistakes: list[Mistake]
    _seen: set[str] = field(default_factory=set)

    @classmethod
    def at(cls, source: Source, path: Path, value: JsonValue, mistakes: list[Mistake]) -> "Reader":
        """A reader of the mapping at `path`; of an empty one, with a mistake noted, when something else is there."""
        if not isinstance(value, dict):
            problem = "is missing" if value is None else "is not a mapping"
            mistakes.append(source.mistake(path, problem, "write `key: value` lines"))
            return cls(source, path, {}, mistakes)
        return cls(source, path, value, mistakes)

    def note(self, key: str, problem: str, remedy: str = "") -> None:
        self.note_at((*self.path, key) if key else self.path, problem, remedy)

    def note_at(self, path: Path, problem: str, remedy: str = "", offset: int | None = None) -> None:
        self.mistakes.append(self.source.mistake(path, problem, remedy, offset=offset))

    def has(self, key: str) -> bool:
        return key in self.value

    def raw(self, key: str) -> JsonValue:
        self._seen.add(key)
        return self.value.get(key)

    def text(self, key: str, *, default: str | None = None, pattern: re.Pattern[str] | None = None) -> str:
        value = self.raw(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or not value:
            self.note(key, "is missing" if value is None else "is not a text", "write a text")
            return default or ""
        if pattern is not None and not pattern.fullmatch(value):
            self.note(key, f"is {shown(value)}", f"must match {pattern.pattern}")
        return value

    def word(self, key: str, default: _Word) -> _Word:
        """One of the words of an enumeration."""
        words = type(default)
        value = self.raw(key)
        if value is None:
            return default
        try:
            return words(str(value))
        except ValueError:
            self.note(key, f"is {shown(value)}", f"write one of {', '.join(words)}")
            return default

    def flag(self, key: str, *, default: bool = False) -> bool:
        value = self.raw(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.note(key, f"is {shown(value)}", "write true or false")
            return default
        return value

    def whole(self, key: str, *, default: int, least: int, most: int) -> int:
        value = self.raw(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self.note(key, f"is {shown(value)}", f"write a whole number from {least} to {most}")
            return default
        return value

    def share(self, key: str, *, default: float) -> float:
        """A number above 0 and up to 1."""
        value = self.raw(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
            self.note(key, f"is {shown(value)}", "write a share above 0 and up to 1, such as 0.8")
            return default
        return float(value)

    def seconds(self, key: str, *, default: float) -> float:
        """A duration such as 500ms, 30s, 5m, 24h."""
        value = self.raw(key)
        if value is None:
            return default
        found = _DURATION.fullmatch(value) if isinstance(value, str) else None
        seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
        if not 0 < seconds <= _SECONDS_MOST:
            self.note(key, f"is {shown(value)}", "write a duration such as 500ms, 30s, 5m or 24h, at most 366d")
            return default
        return seconds

    def words(self, key: str) -> tuple[str, ...]:
        value = self.raw(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.note(key, "is not a list of words", "write [one, two]")
            return ()
        return tuple(str(item) for item in value)

    def schema(self, key: str) -> JsonObject | None:
        """A JSON Schema, by its form; what it says is checked with all schemas of the graph."""
        value = self.raw(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.note(key, "is not a JSON Schema", "write a mapping with `type: object`")
            return None
        return value

    def object_schema(self, key: str) -> JsonObject:
        schema = self.schema(key)
        if schema is None:
            if self.value.get(key) is None:
                self.note(key, "is missing", "write a JSON Schema with `type: object`")
            return {"type": "object"}
        if schema.get("type") != "object":
            self.note(key, "does not say `type: object`", "inputs and states are objects")
        return schema

    def expression(self, key: str) -> Expression:
        value = self.raw(key)
        if not isinstance(value, str):
            self.note(key, "is missing" if value is None else "is not an expression", "write a CEL expression")
            return FALSE
        return self._compiled((*self.path, key), value, "")

    def optional(self, key: str) -> Expression | None:
        """An expression, or None when the field is not there."""
        return self.expression(key) if self.has(key) else None

    def expressions(self, key: str) -> tuple[Expression, ...]:
        return tuple(self._compiled((*self.path, key, index), text, "") for index, text in enumerate(self.words(key)))

    def templates(self, key: str) -> Mapping[str, Template]:
        """A mapping whose string leaves are expressions, each compiled by itself, so that each mistake has its own line."""
        value = self.raw(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.note(key, "is not a mapping", "write `field: expression` lines")
            return {}
        return {name: self._template((*self.path, key, name), item) for name, item in value.items()}

    def _template(self, path: Path, value: JsonValue) -> Template:
        match value:
            case str():
                return self._compiled(path, value, "a literal text needs its own quotes: \"'text'\"")
            case list():
                return [self._template((*path, index), item) for index, item in enumerate(value)]
            case dict():
                return {key: self._template((*path, key), item) for key, item in value.items()}
            case _:
                return value

    def _compiled(self, path: Path, text: str, remedy: str) -> Expression:
        try:
            return compile_expression(text)
        except ExpressionBroken as error:
            for fault in error.faults:
                self.note_at(path, f"is not a valid expression: {fault.message}", fault.remedy or remedy, fault.offset)
            return FALSE

    def reader(self, key: str) -> "Reader":
        return Reader.at(self.source, (*self.path, key), self.raw(key), self.mistakes)

    def items(self, key: str) -> list["Reader"]:
        """A reader for each mapping of a list that has at least one."""
        value = self.raw(key)
        if not isinstance(value, list) or not value:
            self.note(key, "is not a list" if value is not None else "is missing", "write at least one entry")
            return []
        return [Reader.at(self.source, (*self.path, key, index), item, self.mistakes) for index, item in enumerate(value)]

    def optional_items(self, key: str) -> list["Reader"]:
        """A reader for each mapping of a list that may be left out."""
        return self.items(key) if self.has(key) else []

    def finish(self) -> None:
        """Note every field that nobody asked for."""
        unknown = [key for key in self.value if key not in self._seen]
        if len(unknown) > _UNKNOWN_MOST:
            self.note("", f"has {len(unknown)} unknown fields", f"known: {', '.join(sorted(self._seen))}")
        else:
            for key in unknown:
                near = difflib.get_close_matches(key, sorted(self._seen), n=1)
                self.note(key, "is not known here", f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(self._seen))}")


def shown(value: JsonValue) -> str:
    """A value as a mistake shows it, cut when it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
