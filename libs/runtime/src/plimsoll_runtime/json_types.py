"""JSON as typed values, its canonical text and its digest."""

import hashlib
import math
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
    return "".join(_pieces(value))


def digest(value: JsonValue) -> str:
    """SHA-256 of the canonical text, hex."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


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
    """ECMAScript's shortest form, as RFC 8785 asks for."""
    if not math.isfinite(value):
        raise ValueError("JSON has no number that is not finite")
    if value == int(value) and abs(value) < 1e21:
        return str(int(value))
    mantissa, _, exponent = repr(value).partition("e")
    if not exponent:
        return mantissa
    power = int(exponent)
    if -7 <= power < 0:
        return f"{value:.{max(0, len(mantissa.replace('.', '').replace('-', '')) - 1 - power)}f}"
    return f"{mantissa.removesuffix('.0')}e{'+' if power > 0 else '-'}{abs(power)}"
