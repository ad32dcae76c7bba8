"""Small values on the wire: JSON, time stamps and durations, both ways."""

import re
from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from plimsoll.common.v1 import json_pb2

from plimsoll_runtime.errors import FieldProblem, Invalid
from plimsoll_runtime.json_types import JsonObject, JsonValue, dump_json, parse_json

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_DEPTH_CAP = 100  # far below what any reader on the way takes


def json_to_proto(value: JsonValue) -> json_pb2.JsonValue:
    return json_pb2.JsonValue(text=dump_json(value))


def json_from_proto(message: json_pb2.JsonValue, field: str) -> JsonValue:
    """Raises Invalid, naming `field`, when the text is not JSON that every service can hold; an empty text is null."""
    if not message.text:
        return None
    value = parse_json(message.text, field=field)
    if "\\u0000" in message.text and _NUL.search(message.text):
        raise _unfit(field, "holds the character U+0000", "leave it out: values are stored, and the store takes none")
    if message.text.count("[") + message.text.count("{") > _DEPTH_CAP and _deeper(value, _DEPTH_CAP):
        raise _unfit(field, f"is nested deeper than {_DEPTH_CAP} levels", "flatten it, or send it as text")
    return value


def object_from_proto(message: json_pb2.JsonValue, field: str) -> JsonObject:
    """Like json_from_proto for an object; an empty text is an empty object."""
    value = json_from_proto(message, field)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Invalid(problems=(FieldProblem(field, "is not a JSON object", "send an object: {…}"),), reason="MALFORMED_JSON")
    return value


def timestamp_to_proto(at: datetime) -> Timestamp:
    message = Timestamp()
    write_timestamp(message, at)
    return message


def write_timestamp(message: Timestamp, at: datetime) -> None:
    """Into a message in its place inside another: one that is made apart and handed over is encoded and read again on the way."""
    delta = at - _EPOCH
    message.seconds, message.nanos = delta.days * 86400 + delta.seconds, delta.microseconds * 1000


def timestamp_from_proto(message: Timestamp) -> datetime:
    return _EPOCH + timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)


def duration_to_proto(seconds: float) -> Duration:
    """In whole microseconds, as moments are: so a moment less a duration is the same wherever it is worked out."""
    message = Duration()
    write_duration(message, seconds)
    return message


def write_duration(message: Duration, seconds: float) -> None:
    """The same into a message in its place."""
    micros = round(seconds * 1e6)
    sign = -1 if micros < 0 else 1
    whole, rest = divmod(abs(micros), 1_000_000)
    message.seconds, message.nanos = sign * whole, sign * rest * 1000


def duration_from_proto(message: Duration) -> float:
    return message.seconds + message.nanos / 1e9


def _deeper(value: JsonValue, levels: int) -> bool:
    inner = value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else None
    return inner is not None and (levels == 0 or any(_deeper(item, levels - 1) for item in inner))


def _unfit(field: str, problem: str, remedy: str) -> Invalid:
    return Invalid(problems=(FieldProblem(field, problem, remedy),), reason="UNFIT_JSON")
