"""Reading a declared mapping field by field, collecting every mistake instead of stopping at the first."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.json_types import JsonObject, JsonValue

from plimsoll_graph.expression import Expression, ExpressionBroken, Template, compile_expression, compile_template
from plimsoll_graph.graph import compile_schema
from plimsoll_graph.yaml_source import Path, Source

NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
NODE_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
FALSE = Expression("false")


@dataclass(slots=True)
class Reader:
    """One mapping of the source. Every getter takes the field off the list of unknown ones and notes what is wrong with it."""

    source: Source
    path: Path
    value: JsonObject
    problems: list[FieldProblem]
    _seen: set[str] = field(default_factory=set)

    @classmethod
    def at(cls, source: Source, path: Path, value: JsonValue, problems: list[FieldProblem]) -> "Reader":
        """A reader of the mapping at `path`; of an empty one, with a problem noted, when something else is there."""
        if not isinstance(value, dict):
            problems.append(source.problem(path, "is not a mapping", "write `key: value` lines"))
            return cls(source, path, {}, problems)
        return cls(source, path, value, problems)

    def note(self, key: str, problem: str, remedy: str = "") -> None:
        self.problems.append(self.source.problem((*self.path, key) if key else self.path, problem, remedy))

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
            self.note(key, f"is {value!r}", f"must match {pattern.pattern}")
        return value

    def whole(self, key: str, *, default: int, least: int, most: int) -> int:
        value = self.raw(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self.note(key, f"is {value!r}", f"write a whole number from {least} to {most}")
            return default
        return value

    def seconds(self, key: str, *, default: float) -> float:
        """A duration such as 500ms, 30s, 5m, 24h."""
        value = self.raw(key)
        if value is None:
            return default
        found = _DURATION.fullmatch(value) if isinstance(value, str) else None
        if not found or float(found[1]) <= 0:
            self.note(key, f"is {value!r}", "write a duration such as 500ms, 30s, 5m or 24h")
            return default
        return float(found[1]) * _SECONDS[found[2]]

    def words(self, key: str) -> tuple[str, ...]:
        value = self.raw(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.note(key, "is not a list of words", "write [one, two]")
            return ()
        return tuple(str(item) for item in value)

    def schema(self, key: str) -> JsonObject | None:
        """A JSON Schema that compiles."""
        value = self.raw(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.note(key, "is not a JSON Schema", "write a mapping with `type: object`")
            return None
        try:
            compile_schema(value)
        except ValueError as error:
            self.note(key, f"is not a JSON Schema: {error}", "see json-schema.org, draft 2020-12")
            return None
        return value

    def object_schema(self, key: str) -> JsonObject:
        schema = self.schema(key)
        if schema is None:
            if not self.has(key):
                self.note(key, "is missing", "write a JSON Schema with `type: object`")
            return {"type": "object"}
        if schema.get("type") != "object":
            self.note(key, "does not say `type: object`", "inputs and states are objects")
        return schema

    def expression(self, key: str, *, default: Expression | None = None) -> Expression:
        value = self.raw(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, str):
            self.note(key, "is missing" if value is None else "is not an expression", "write a CEL expression")
            return FALSE
        try:
            return compile_expression(value)
        except ExpressionBroken as error:
            self.note(key, f"is not a valid expression: {error}", "names: state, input, run, result, item, index, failure, attempts")
            return FALSE

    def expressions(self, key: str) -> tuple[Expression, ...]:
        found = []
        for index, text in enumerate(self.words(key)):
            try:
                found.append(compile_expression(text))
            except ExpressionBroken as error:
                self.problems.append(self.source.problem((*self.path, key, index), f"is not a valid expression: {error}"))
        return tuple(found)

    def templates(self, key: str) -> Mapping[str, Template]:
        value = self.raw(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.note(key, "is not a mapping", "write `field: expression` lines")
            return {}
        return self.fill_templates((*self.path, key), value)

    def fill_templates(self, path: Path, value: JsonObject) -> Mapping[str, Template]:
        """Compile every entry of a mapping by itself, so that each mistake has its own line."""
        compiled: dict[str, Template] = {}
        for name, item in value.items():
            try:
                compiled[name] = compile_template(item)
            except ExpressionBroken as error:
                self.problems.append(
                    self.source.problem(
                        (*path, name), f"is not a valid expression: {error}", "a literal text needs its own quotes: \"'text'\""
                    )
                )
        return compiled

    def reader(self, key: str) -> "Reader":
        return Reader.at(self.source, (*self.path, key), self.raw(key), self.problems)

    def items(self, key: str) -> list["Reader"]:
        """A reader for each mapping of a list."""
        value = self.raw(key)
        if not isinstance(value, list) or not value:
            self.note(key, "is not a list" if value is not None else "is missing", "write at least one entry")
            return []
        return [Reader.at(self.source, (*self.path, key, index), item, self.problems) for index, item in enumerate(value)]

    def finish(self) -> None:
        """Note every field that nobody asked for."""
        for key in self.value:
            if key not in self._seen:
                near = difflib.get_close_matches(key, sorted(self._seen), n=1)
                self.note(key, "is not known here", f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(self._seen))}")
