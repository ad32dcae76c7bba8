"""Single values from JSON or from the text of a query or a path."""

import base64
import binascii
import re
from difflib import get_close_matches
from typing import TypeAlias

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from plimsoll_runtime.json_types import JsonValue

from plimsoll_gateway.transport.fields import Field, Kind

Scalar: TypeAlias = bool | int | float | str | bytes | Timestamp | Duration

_INTEGER = re.compile(r"-?[0-9]{1,20}", re.ASCII)
_REAL = re.compile(r"-?[0-9]{1,400}(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,4})?", re.ASCII)
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)
_DURATION = re.compile(r"-?\d{1,12}(\.\d{1,9})?s", re.ASCII)
_BASE64 = re.compile(r"[A-Za-z0-9+/]*", re.ASCII)
_UNBOUNDED = frozenset({"NaN", "Infinity", "-Infinity"})
_WANTED = {
    Kind.STRING: "text",
    Kind.BOOL: "true or false",
    Kind.INTEGER: "a whole number",
    Kind.REAL: "a number",
    Kind.ENUM: "one of the names ",
    Kind.BYTES: "bytes in base64",
    Kind.TIMESTAMP: "a time such as 2026-01-31T12:00:00Z",
    Kind.DURATION: "a duration such as 1.5s",
    Kind.JSON: "a JSON value",
    Kind.MESSAGE: "an object",
}
_SHOWN = 60  # characters of a caller's own text that an error repeats


class Wrong(Exception):
    """A value that does not fit its field; the reader adds where."""

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy


def from_json(field: Field, value: JsonValue) -> Scalar:
    """A field's value from its JSON. Raises Wrong when it does not fit."""
    match field.kind, value:
        case Kind.STRING, str():
            return _text(value)
        case Kind.BOOL, bool():
            return value
        case Kind.INTEGER, (int() | float() | str()) if not isinstance(value, bool):
            return _integer(field, value)
        case Kind.REAL, (int() | float()) if not isinstance(value, bool):
            return _real(value)
        case Kind.REAL, str() if value in _UNBOUNDED or _REAL.fullmatch(value):
            return float(value)
        case Kind.ENUM, str():
            return _enum(field, value)
        case Kind.BYTES, str():
            return _bytes(value)
        case Kind.TIMESTAMP, str():
            return _timestamp(value)
        case Kind.DURATION, str():
            return _duration(value)
    raise Wrong(f"must be {wanted(field)}, not {type_name(value)}")


def from_text(field: Field, text: str) -> Scalar:
    """A field's value from a query parameter or a piece of a path. Raises Wrong when it does not fit."""
    if field.kind is not Kind.BOOL:
        return from_json(field, text)
    if text not in {"true", "false"}:
        raise Wrong(f"must be true or false, not {shown(text)}")
    return text == "true"


def shown(text: str) -> str:
    """A caller's text as an error may repeat it."""
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")


def nearest(word: str, known: list[str]) -> str:
    """A remedy for a word that is not among the known ones."""
    close = get_close_matches(word[:_SHOWN], known, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"known are: {', '.join(known)}" if known else "there are none"


def type_name(value: JsonValue) -> str:
    """The JSON type in words."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return f"the text {shown(value)}"
        case list():
            return "a list"
        case dict():
            return "an object"


def wanted(field: Field) -> str:
    """What a field takes, in words."""
    return _WANTED[field.kind] + (", ".join(field.values) if field.kind is Kind.ENUM else "")


def _text(value: str) -> str:
    if "\0" in value:
        raise Wrong("holds the character U+0000", "leave it out: text is stored, and the store takes none")
    return value


def _integer(field: Field, value: float | str) -> int:
    low, high = field.bounds
    if isinstance(value, str):
        if not _INTEGER.fullmatch(value):
            raise Wrong(f"must be a whole number, not the text {shown(value)}")
        value = int(value)
    if not low <= value <= high:
        raise Wrong(f"must lie between {low} and {high}")
    if value != int(value):
        raise Wrong("must be a whole number")
    return int(value)


def _real(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        raise Wrong("is too large for a number") from None


def _enum(field: Field, value: str) -> int:
    if value in field.values:
        return field.values[value]
    meant = [name for name in field.values if value and name.endswith("_" + value.upper())]
    raise Wrong(
        f"is none of its names: {shown(value)}", f"did you mean {meant[0]}?" if meant else nearest(value.upper(), list(field.values))
    )


def _bytes(value: str) -> bytes:
    standard = value.replace("-", "+").replace("_", "/").rstrip("=")
    if not _BASE64.fullmatch(standard):
        raise Wrong("must be bytes in base64", "without spaces and line breaks")
    try:
        return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except binascii.Error:
        raise Wrong("must be bytes in base64", "its length cannot be right: is the end missing?") from None


def _timestamp(value: str) -> Timestamp:
    at = Timestamp()
    if not _TIMESTAMP.fullmatch(value):
        raise Wrong(f"must be a time such as 2026-01-31T12:00:00Z, not {shown(value)}")
    try:
        at.FromJsonString(value)
    except (ValueError, OverflowError):
        raise Wrong(f"is no time that exists: {shown(value)}") from None
    return at


def _duration(value: str) -> Duration:
    length = Duration()
    if not _DURATION.fullmatch(value):
        raise Wrong(f"must be a duration such as 1.5s, not {shown(value)}")
    try:
        length.FromJsonString(value)
    except (ValueError, OverflowError):
        raise Wrong(f"is too long for a duration: {shown(value)}") from None
    return length
