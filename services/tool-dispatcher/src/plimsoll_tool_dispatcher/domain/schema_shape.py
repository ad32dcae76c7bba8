"""The shape of a JSON Schema: its parts, what they refer to, and how much work it may cause."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from plimsoll_runtime.json_types import JsonObject, JsonValue

MAX_NESTING = 64
"""Levels of objects and arrays that a schema or a value may have."""

_MAX_SUBSCHEMAS = 2_000
_MAX_CHECKS = 20_000  # of one value against all that applies to it; about a tenth of a second in the validator

_Words: TypeAlias = tuple[str, ...]
_SAME_VALUE_LISTS: _Words = ("allOf", "anyOf", "oneOf")
_SAME_VALUE: _Words = ("not", "if", "then", "else")
_SAME_VALUE_MAPS: _Words = ("dependentSchemas",)
_ANY_CHILD: _Words = ("items", "contains", "additionalProperties", "propertyNames", "unevaluatedItems", "unevaluatedProperties")
_ANY_CHILD_LISTS: _Words = ("prefixItems",)
_ANY_CHILD_MAPS: _Words = ("patternProperties",)
_PROPERTIES: _Words = ("properties",)
_UNUSED_MAPS: _Words = ("$defs", "definitions")
_FORBIDDEN = {
    "$id": "remove it: a tool's schema refers only to itself",
    "$anchor": "refer by path instead: #/$defs/name",
    "$dynamicRef": "use $ref with a path: #/$defs/name",
    "$dynamicAnchor": "use $ref with a path: #/$defs/name",
    "$recursiveRef": "use $ref with a path: #/$defs/name",
}

Path: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something that a schema must not contain, where, and what to do instead."""

    path: Path
    problem: str
    remedy: str


class Endless(Exception):
    """Part of the schema applies itself to the same value without end."""


def pointer(path: Path) -> str:
    """The path as people read it: `properties.tags.items`, empty for the whole."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def nesting(value: JsonValue, limit: int) -> int:
    """Levels of objects and arrays in `value`; counting stops just above `limit`. Never recurses, however deep the value is."""
    depth, level = 0, [value]
    while depth <= limit:
        inner: list[JsonValue] = []
        for item in level:
            if isinstance(item, dict):
                inner.extend(item.values())
            elif isinstance(item, list):
                inner.extend(item)
        if not inner and not any(isinstance(item, dict | list) for item in level):
            return depth
        depth, level = depth + 1, inner
    return depth


def resolve_pointer(root: JsonObject, ref: str) -> JsonValue:
    """What a local reference (`#` or `#/…`) points at; None when there is nothing or it is not local."""
    if not ref.startswith("#"):
        return None
    at: JsonValue = root
    for raw in ref[1:].split("/")[1:]:
        step = raw.replace("~1", "/").replace("~0", "~")
        match at:
            case dict():
                at = at.get(step)
            case list() if step.isdecimal() and int(step) < len(at):
                at = at[int(step)]
            case _:
                return None
    return at


def flaws(root: JsonObject) -> list[Flaw]:
    """Everything that keeps a schema from being compiled: foreign or dangling references, forbidden words, too much of it."""
    found: list[Flaw] = []
    if nesting(root, MAX_NESTING) > MAX_NESTING:
        return [Flaw((), f"is nested deeper than {MAX_NESTING} levels", "move inner parts to $defs")]
    dialect = root.get("$schema", "https://json-schema.org/draft/2020-12/schema")
    if dialect != "https://json-schema.org/draft/2020-12/schema":
        found.append(Flaw(("$schema",), "names another dialect", "use JSON Schema 2020-12, or leave it out"))
    for count, (path, schema) in enumerate(subschemas(root)):
        if count == _MAX_SUBSCHEMAS:
            found.append(Flaw((), f"has more than {_MAX_SUBSCHEMAS} parts", "split the tool, or ask for less structure"))
            break
        found += _flaws_of(path, schema, root)
    return found


def _flaws_of(path: Path, schema: JsonObject, root: JsonObject) -> Iterator[Flaw]:
    for word, remedy in _FORBIDDEN.items():
        if word in schema:
            yield Flaw((*path, word), "is not supported", remedy)
    ref = schema.get("$ref")
    if ref is None:
        return
    if not isinstance(ref, str) or not (ref == "#" or ref.startswith("#/")):
        yield Flaw((*path, "$ref"), f"refers to {ref!r}, outside of this schema", "copy the definition into $defs and write #/$defs/name")
    elif not isinstance(resolve_pointer(root, ref), dict | bool):
        yield Flaw((*path, "$ref"), f"refers to {ref!r}, where there is no schema", "define it under $defs")


def subschemas(schema: JsonValue, path: Path = ()) -> Iterator[tuple[Path, JsonObject]]:
    """The schema and every schema written inside it, with its path; what only looks like one (in `enum`, `const` …) is left out."""
    if not isinstance(schema, dict):
        return
    yield path, schema
    for word in _SAME_VALUE_LISTS + _ANY_CHILD_LISTS:
        inner = schema.get(word)
        for index, item in enumerate(inner if isinstance(inner, list) else ()):
            yield from subschemas(item, (*path, word, index))
    for word in _SAME_VALUE + _ANY_CHILD:
        yield from subschemas(schema.get(word), (*path, word))
    for word in _SAME_VALUE_MAPS + _ANY_CHILD_MAPS + _UNUSED_MAPS + _PROPERTIES:
        inner = schema.get(word)
        for name, item in inner.items() if isinstance(inner, dict) else ():
            yield from subschemas(item, (*path, word, name))


def safe_depth(root: JsonObject) -> int:
    """How deep a value may be so that no part of it is checked more than a bounded number of times; 0 when even a flat one is not safe.

    Nested alternatives multiply, and a schema that refers to itself from several places doubles the work with each level of the value.
    Raises Endless for one that never reaches the next level.
    """
    cost = _Cost(root)
    depth = 0
    while depth < MAX_NESTING and cost.of(root, depth + 1) <= _MAX_CHECKS:
        depth += 1
    return depth


class _Cost:
    """Counts the checks that one value can cause, along its worst path of `levels` levels."""

    def __init__(self, root: JsonObject) -> None:
        self._root = root
        self._known: dict[tuple[int, int], int] = {}
        self._open: set[tuple[int, int]] = set()

    def of(self, schema: JsonValue, levels: int) -> int:
        if not isinstance(schema, dict) or levels == 0:
            return 1
        key = (id(schema), levels)
        if key in self._known:
            return self._known[key]
        if key in self._open:
            raise Endless
        self._open.add(key)
        here = 1 + sum(self.of(part, levels) for part in _on_same_value(schema, self._root))
        shared, named = _on_children(schema)
        below = sum(self.of(part, levels - 1) for part in shared) + max((self.of(part, levels - 1) for part in named), default=0)
        self._open.discard(key)
        self._known[key] = min(here + below, _MAX_CHECKS + 1)  # enough to know that it is too much
        return self._known[key]


def _on_same_value(schema: JsonObject, root: JsonObject) -> Iterator[JsonValue]:
    ref = schema.get("$ref")
    if isinstance(ref, str):
        yield resolve_pointer(root, ref)
    for word in _SAME_VALUE_LISTS:
        inner = schema.get(word)
        yield from inner if isinstance(inner, list) else ()
    for word in _SAME_VALUE:
        yield schema.get(word)
    for word in _SAME_VALUE_MAPS:
        inner = schema.get(word)
        yield from inner.values() if isinstance(inner, dict) else ()


def _on_children(schema: JsonObject) -> tuple[list[JsonValue], list[JsonValue]]:
    """What may apply to any child, and what applies to one named child each."""
    shared = [schema[word] for word in _ANY_CHILD if word in schema]
    for word in _ANY_CHILD_LISTS:
        inner = schema.get(word)
        shared += inner if isinstance(inner, list) else []
    for word in _ANY_CHILD_MAPS:
        inner = schema.get(word)
        shared += inner.values() if isinstance(inner, dict) else []
    properties = schema.get("properties")
    return shared, list(properties.values()) if isinstance(properties, dict) else []
