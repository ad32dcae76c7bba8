"""Reading OpenAI's JSON: each field by its type, every problem at once, what would change the answer and is not served refused."""

from collections.abc import Mapping

import orjson
from plimsoll_runtime.errors import FieldProblem, Invalid
from plimsoll_runtime.json_types import JsonObject, JsonValue, parse_object

_SEND = {str: "a string", bool: "a boolean", int: "an integer", list: "a list", dict: "an object"}
_DEPTH_MOST = 100
_PROBLEMS_MOST = 20


class Fields:
    """One object of a request. `problems` is shared by all of them; whoever made the first raises them."""

    def __init__(self, value: JsonValue, path: str, problems: list[FieldProblem]) -> None:
        self._path = path
        self.problems = problems
        self._value: JsonObject = value if isinstance(value, dict) else {}
        self._read: set[str] = set()
        if not isinstance(value, dict):
            self.wrong("", "is not an object", "send an object")

    def wrong(self, name: str, problem: str, remedy: str) -> None:
        path = ".".join(filter(None, (self._path, name))) or "body"
        if len(self.problems) < _PROBLEMS_MOST:
            self.problems.append(FieldProblem(path, problem, remedy))

    def has(self, name: str) -> bool:
        """Whether it says anything under the name; null says nothing."""
        self._read.add(name)
        return self._value.get(name) is not None

    def raw(self, name: str) -> JsonValue:
        self._read.add(name)
        return self._value.get(name)

    def text(self, name: str, default: str = "") -> str:
        value = self._typed(name, str)
        return value if isinstance(value, str) else default

    def flag(self, name: str, *, default: bool = False) -> bool:
        value = self._typed(name, bool)
        return value if isinstance(value, bool) else default

    def whole(self, name: str, least: int, most: int, default: int = 0) -> int:
        value = self._typed(name, int)
        if not isinstance(value, int) or isinstance(value, bool):
            return default
        if not least <= value <= most:
            self.wrong(name, f"is {value}", f"send {least} to {most}")
            return default
        return value

    def real(self, name: str, least: float, most: float) -> float | None:
        value = self.raw(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            self.wrong(name, "is no number in its range", f"send {least:g} to {most:g}")
            return None
        return float(value)

    def sequence(self, name: str) -> list[JsonValue]:
        value = self._typed(name, list)
        return value if isinstance(value, list) else []

    def inner(self, name: str) -> "Fields":
        return Fields(self.raw(name), ".".join(filter(None, (self._path, name))), self.problems)

    def items(self, name: str) -> "list[Fields]":
        return [
            Fields(one, f"{self._path + '.' if self._path else ''}{name}[{index}]", self.problems)
            for index, one in enumerate(self.sequence(name))
        ]

    def done(self, ignored: frozenset[str] = frozenset(), neutral: Mapping[str, JsonValue] | None = None) -> None:
        """Refuse what was not read, except what changes nothing: names in `ignored`, and values of `neutral`."""
        for name in self._value.keys() - self._read - ignored:
            if self._value[name] is not None and (neutral is None or self._value[name] != neutral.get(name)):
                self.wrong(name, "is not served here", "leave it out")

    def _typed(self, name: str, kind: type) -> JsonValue:
        value = self.raw(name)
        if value is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
            self.wrong(name, "is of another type", f"send {_SEND[kind]}")
            return None
        return value


def body_fields(body: bytes) -> Fields:
    """The whole request. Raises Invalid when it is no JSON object."""
    try:
        value = parse_object(orjson.dumps(orjson.loads(body)), field="body")
    except (orjson.JSONDecodeError, TypeError, RecursionError) as error:
        raise Invalid(problems=(FieldProblem("body", "is not JSON", "send a JSON object in UTF-8"),), reason="MALFORMED_JSON") from error
    return Fields(value, "", [])


def checked(problems: list[FieldProblem]) -> None:
    """Raises Invalid when there are any."""
    if problems:
        raise Invalid(problems=problems, reason="INVALID_REQUEST")
