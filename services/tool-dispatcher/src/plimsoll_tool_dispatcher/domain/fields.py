"""Reading the fields of a mapping, one problem per mistake and none left out."""

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import TypeVar

from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.json_types import JsonObject, JsonValue

E = TypeVar("E", bound=StrEnum)

_DURATION = re.compile(r"(?P<amount>[0-9]+(?:\.[0-9]+)?)(?P<unit>ms|s|m|h)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Fields:
    """One mapping under its name; every getter returns a usable value and notes what was wrong with the one given."""

    def __init__(self, where: str, mapping: JsonObject, problems: list[FieldProblem], known: Iterable[str]) -> None:
        self._where = where
        self._mapping = mapping
        self._problems = problems
        names = tuple(known)
        for name in mapping:
            if name not in names:
                self.refuse(name, "is not a field", f"use one of {', '.join(names)}")

    def path(self, name: str) -> str:
        """The full name of a field."""
        return f"{self._where}.{name}" if self._where else name

    def refuse(self, name: str, problem: str, remedy: str) -> None:
        """Note a mistake in a field."""
        self._problems.append(FieldProblem(self.path(name), problem, remedy))

    def value(self, name: str) -> JsonValue:
        """The field as it is, None when absent."""
        return self._mapping.get(name)

    def text(self, name: str, pattern: str, remedy: str) -> str:
        """A text that fits the whole pattern."""
        value = self._mapping.get(name)
        if value is None:
            self.refuse(name, "is missing", remedy)
        elif not isinstance(value, str):
            self.refuse(name, "is not text", f"{remedy}; put it in quotes")
        elif re.fullmatch(pattern, value, re.DOTALL) is None:
            self.refuse(name, f"is {value[:80]!r}", remedy)
        else:
            return value
        return ""

    def choice(self, name: str, options: type[E]) -> E:
        """One of the words of an enum."""
        words = tuple(options)
        remedy = f"use one of {', '.join(words)}"
        value = self._mapping.get(name)
        if value is None:
            self.refuse(name, "is missing", remedy)
        elif isinstance(value, str) and value in words:
            return options(value)
        else:
            self.refuse(name, f"is {str(value)[:80]!r}", remedy)
        return words[0]

    def seconds(self, name: str, default: float | None, *, least: float, most: float) -> float:
        """A duration such as 500ms, 30s, 5m or 24h."""
        remedy = f"write a duration from {least:g}s to {most:g}s, such as 500ms or 30s"
        value = self._mapping.get(name)
        if value is None:
            if default is None:
                self.refuse(name, "is missing", remedy)
            return default or least
        match = _DURATION.fullmatch(value) if isinstance(value, str) else None
        seconds = float(match["amount"]) * _UNIT_S[match["unit"]] if match else -1.0
        if not least <= seconds <= most:
            self.refuse(name, f"is {str(value)[:80]!r}", remedy)
            return least
        return seconds

    def count(self, name: str, default: int, *, least: int, most: int) -> int:
        """A whole number within bounds."""
        value = self._mapping.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self.refuse(name, f"is {str(value)[:80]!r}", f"write a whole number from {least} to {most}")
            return default
        return value

    def inner(self, name: str, known: Iterable[str]) -> "Fields":
        """A mapping inside this one; an absent one is empty."""
        value = self._mapping.get(name, {})
        if not isinstance(value, dict):
            self.refuse(name, "is not a map", f"write {name}: {{…}}")
            value = {}
        return Fields(self.path(name), value, self._problems, known)

    def names(self, name: str, pattern: str, remedy: str) -> tuple[str, ...]:
        """A list of distinct names; an absent one is empty."""
        value = self._mapping.get(name, [])
        if not isinstance(value, list):
            self.refuse(name, "is not a list", remedy)
            return ()
        found: list[str] = []
        for index, item in enumerate(value):
            if not isinstance(item, str) or re.fullmatch(pattern, item) is None:
                self.refuse(f"{name}[{index}]", f"is {str(item)[:80]!r}", remedy)
            elif item in found:
                self.refuse(f"{name}[{index}]", f"gives {item!r} a second time", "keep one of them")
            else:
                found.append(item)
        return tuple(found)
