"""The smallest value that a schema allows: what the rehearsal model says where its context says nothing."""

import math
import re

from plimsoll_runtime.json_types import JsonValue

from plimsoll_model_router.domain.rehearsal.schema import Schema
from plimsoll_model_router.domain.rehearsal.spans import matcher

_DEPTH_CAP = 16
_FORMATS = {
    "date": "1970-01-01",
    "date-time": "1970-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "email": "nobody@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-0000-0000-000000000000",
}
_CLASSES = {"d": "0", "w": "a", "s": " ", "D": "-", "W": "-", "S": "-", "n": "\n", "t": "\t"}
_QUANTIFIER = re.compile(r"[?*+]\??|\{(\d+)(?:,\d*)?\}\??")


def smallest(schema: Schema, depth: int = 0) -> JsonValue:
    """A value that satisfies the usual keywords; the validator has the last word."""
    if "default" in schema.node:
        return schema.node["default"]
    if schema.nullable or depth > _DEPTH_CAP:
        return None
    if schema.options:
        return schema.options[0].value
    if schema.variants:
        return smallest(schema.variants[0], depth + 1)
    match schema.types[:1]:
        case ("object",):
            return {name: smallest(inner, depth + 1) for name, inner in schema.properties.items() if name in schema.required}
        case ("array",):
            return [smallest(schema.items, depth + 1) for _ in range(schema.count("minItems", 0))]
        case ("string",):
            return smallest_text(schema)
        case ("number",) | ("integer",):
            return smallest_number(schema)
        case ("boolean",):
            return False
        case _:
            return None


def smallest_text(schema: Schema) -> str:
    pattern, form = schema.text("pattern"), schema.text("format")
    text = matching(pattern) if pattern else _FORMATS.get(form, "")
    return text + "-" * (schema.count("minLength", 0) - len(text))


def smallest_number(schema: Schema) -> float | int:
    """Zero, or the allowed number that is nearest to it."""
    whole = schema.types[:1] == ("integer",)
    low, above = schema.bound("minimum"), schema.bound("exclusiveMinimum")
    high, below = schema.bound("maximum"), schema.bound("exclusiveMaximum")
    step = schema.bound("multipleOf") or (1 if whole else 0)
    value: float = 0
    if above is not None and value <= above:
        value = above + (step or 1)
    if low is not None and value < low:
        value = low
    if below is not None and value >= below:
        value = below - (step or 1)
    if high is not None and value > high:
        value = high
    if step:
        value = math.ceil(value / step) * step if value >= 0 else math.floor(value / step) * step
    return int(value) if whole or value == int(value) else value


def matching(pattern: str) -> str:
    """A short text that matches the pattern; empty when the pattern is beyond this reader."""
    try:
        text, end = _alternatives(pattern, 0)
    except (IndexError, ValueError):
        return ""
    matches = matcher(pattern)
    return text if end == len(pattern) and matches is not None and matches(text) else ""


def _alternatives(pattern: str, at: int) -> tuple[str, int]:
    """The first alternative; the others are read over."""
    chosen, at = _sequence(pattern, at)
    while at < len(pattern) and pattern[at] == "|":
        _, at = _sequence(pattern, at + 1)
    return chosen, at


def _sequence(pattern: str, at: int) -> tuple[str, int]:
    out = ""
    while at < len(pattern) and pattern[at] not in "|)":
        piece, at = _atom(pattern, at)
        quantifier = _QUANTIFIER.match(pattern, at)
        if quantifier:
            at = quantifier.end()
            least = int(quantifier[1]) if quantifier[1] else int(quantifier[0][0] == "+")
            piece *= least
        out += piece
    return out, at


def _atom(pattern: str, at: int) -> tuple[str, int]:
    match pattern[at]:
        case "^" | "$":
            return "", at + 1
        case "(":
            start = at + (3 if pattern.startswith("(?:", at) else 1)
            if pattern[start] == "?":
                raise ValueError("look-around is beyond this reader")
            inner, end = _alternatives(pattern, start)
            if pattern[end] != ")":
                raise ValueError("a group is not closed")
            return inner, end + 1
        case "[":
            end = pattern.index("]", at + 2)
            return _member(pattern[at + 1 : end]), end + 1
        case "\\":
            escaped = pattern[at + 1]
            return ("" if escaped in "bB" else _CLASSES.get(escaped, escaped)), at + 2
        case ".":
            return "x", at + 1
        case plain:
            return plain, at + 1


def _member(inside: str) -> str:
    """A character of a class."""
    if inside.startswith("^"):
        return next(c for c in "x0-_ A" if not re.match(f"[{inside[1:]}]", c))
    return _CLASSES.get(inside[1], inside[1]) if inside[0] == "\\" else inside[0]
