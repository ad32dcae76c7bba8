"""JSON as typed values, its canonical text and its digest."""

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import orjson

from plimsoll_runtime.errors import FieldProblem, Invalid

if TYPE_CHECKING:
    JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
    JsonObject: TypeAlias = "dict[str, JsonValue]"
else:  # libraries that read types at run time, such as msgspec, cannot follow an alias that names itself
    JsonValue = Any
    JsonObject = dict[str, Any]


_SORTED = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
# What orjson writes otherwise than RFC 8785 asks: floats, those that are not finite (as null), and the order of keys with characters that
# UTF-16 sorts otherwise than UTF-8. What looks like it inside a text goes the long way as well, to the same end.
_SPECIAL_FIRST = re.compile(r"-?[0-9]+[.e]|null")
_SPECIAL_INSIDE = re.compile(r"[:,\[](?:-?[0-9]+[.e]|null)")
_SPECIAL_LETTERS = re.compile(r"[\ue000-\U0010ffff]")


def parse_json(text: str | bytes, *, field: str = "json") -> JsonValue:
    """Read JSON text. Raises Invalid, naming `field`, when it is not JSON."""
    try:
        return cast("JsonValue", orjson.loads(text))
    except orjson.JSONDecodeError as error:
        raise Invalid(problems=(FieldProblem(field, f"is not JSON: {error}", "send one JSON value"),), reason="MALFORMED_JSON") from error


def parse_object(text: str | bytes, *, field: str = "json") -> JsonObject:
    """Read a JSON object. Raises Invalid, naming `field`, when it is anything else."""
    value = parse_json(text, field=field)
    if not isinstance(value, dict):
        raise Invalid(problems=(FieldProblem(field, "is not a JSON object", "send an object: {…}"),), reason="MALFORMED_JSON")
    return value


def dump_json(value: JsonValue) -> str:
    """Compact JSON text, keys in their own order."""
    return orjson.dumps(value).decode()


def canonical(value: JsonValue) -> str:
    """Canonical JSON text after RFC 8785: keys sorted by UTF-16 code units, shortest numbers, no white space.

    Integers keep every digit, also beyond 2**53, where RFC 8785 would make them doubles: a digest must tell them apart.
    Raises ValueError for numbers that are not finite.
    """
    try:
        text = orjson.dumps(value, option=_SORTED).decode()
    except TypeError:  # an integer beyond 64 bits, a mapping that is no dict, …
        return "".join(_pieces(value))
    return "".join(_pieces(value)) if _special(text) else text


def digest(value: JsonValue) -> str:
    """SHA-256 of the canonical text, hex."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def _special(text: str) -> bool:
    """Three patterns, each of which the engine can search for by its first character: as one they take four times as long."""
    return bool(_SPECIAL_INSIDE.search(text) or _SPECIAL_FIRST.match(text) or (not text.isascii() and _SPECIAL_LETTERS.search(text)))


def _pieces(value: JsonValue) -> list[str]:
    match value:
        case None | bool() | str():
            return [orjson.dumps(value).decode()]
        case int():
            return [str(value)]
        case float():
            return [_number(value)]
        case Mapping():
            inner = [[*_pieces(key), ":", *_pieces(value[key])] for key in sorted(value, key=_utf16)]
            return ["{", *_joined(inner), "}"]
        case Sequence():
            return ["[", *_joined([_pieces(item) for item in value]), "]"]
    raise TypeError(f"not a JSON value: {type(value).__name__}")


def _joined(parts: list[list[str]]) -> list[str]:
    return [piece for index, part in enumerate(parts) for piece in ([",", *part] if index else part)]


def _utf16(key: str) -> bytes:
    return key.encode("utf-16-be", "surrogatepass")


def _number(value: float) -> str:
    """ECMAScript's shortest form (its Number::toString), as RFC 8785 asks for; Python finds the same digits and sets them otherwise."""
    if not math.isfinite(value):
        raise ValueError("JSON has no number that is not finite")
    if value == 0:
        return "0"
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    written = whole + fraction
    point = len(whole) + int(exponent or 0) - (len(written) - len(written.lstrip("0")))  # where the point is, counted from the first digit
    return ("-" if value < 0 else "") + _placed(written.strip("0"), point)


def _placed(digits: str, point: int) -> str:
    if len(digits) <= point <= 21:
        return digits + "0" * (point - len(digits))
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"0.{'0' * -point}{digits}"
    mantissa = digits if len(digits) == 1 else f"{digits[0]}.{digits[1:]}"
    return f"{mantissa}e{point - 1:+d}"
