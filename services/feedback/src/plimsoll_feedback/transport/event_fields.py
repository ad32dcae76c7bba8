"""The fields of other services' events: mended where an event that happened is kept all the same, refused where nobody can know."""

import math
from datetime import datetime
from typing import Final, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp
from plimsoll.common.v1 import json_pb2
from plimsoll_runtime.errors import FieldProblem, Invalid
from plimsoll_runtime.json_types import JsonObject, JsonValue, parse_json
from plimsoll_runtime.wire import duration_from_proto, timestamp_from_proto

from plimsoll_feedback.errors import UnreadableEvent

ID_CAP_CHARACTERS: Final = 200
TEXT_CAP_CHARACTERS: Final = 2_000
_DURATION_CAP_S: Final = 10 * 366 * 86_400.0

M = TypeVar("M", bound=Message)


def json_field(message: json_pb2.JsonValue, field: str) -> JsonValue:
    """What an abridged event leaves out is None. Not wire's reader: an event that happened is mended and kept."""
    if not message.text:
        return None
    try:
        return storable(parse_json(message.text, field=field))
    except Invalid as error:
        raise UnreadableEvent(problems=error.problems) from error


def finite(number: float) -> float | None:
    """JSON has no word for the others."""
    return number if math.isfinite(number) else None


def parsed(message: M, payload: bytes) -> M:
    """Raises UnreadableEvent."""
    try:
        message.ParseFromString(payload)
    except DecodeError as error:
        raise UnreadableEvent(f"not a {message.DESCRIPTOR.full_name}: {len(payload)} bytes that cannot be decoded") from error
    return message


def time_field(stamp: Timestamp, field: str) -> datetime:
    """Raises UnreadableEvent for a time that is absent or that no calendar has."""
    if not stamp.seconds and not stamp.nanos:
        raise unreadable(field, "is absent", "an event says when it happened")
    try:
        return timestamp_from_proto(stamp)
    except OverflowError as error:
        raise unreadable(field, f"is {stamp.seconds} s after 1970", "use a time within the years 1 to 9999") from error


def duration_field(message: Duration, field: str) -> float:
    """Clocks of two machines can make a duration negative by a little; then nothing is known but that it was short."""
    seconds = duration_from_proto(message)
    if abs(seconds) > _DURATION_CAP_S:
        raise unreadable(field, f"is {seconds:g} s", "use at most ten years")
    return max(0.0, seconds)


def id_field(text: str, field: str, *, needed: bool = True) -> str:
    """Raises UnreadableEvent for one that is absent where it is needed, or that no id can look like."""
    if needed and not text:
        raise unreadable(field, "is empty", "every event names it")
    if len(text) > ID_CAP_CHARACTERS or "\x00" in text:
        raise unreadable(field, f"has {len(text)} characters or a NUL in it", f"use at most {ID_CAP_CHARACTERS}, none of them NUL")
    return text


def text_field(text: str) -> str:
    """Text for people: what Postgres cannot hold is replaced, what is too long is cut, both visibly."""
    storable = text.replace("\x00", "\ufffd")
    return storable if len(storable) <= TEXT_CAP_CHARACTERS else storable[: TEXT_CAP_CHARACTERS - 1] + "…"


def storable_object(value: JsonObject) -> JsonObject:
    """Without what no store takes."""
    return {key.replace("\x00", "\ufffd"): storable(inner) for key, inner in value.items()}


def storable(value: JsonValue) -> JsonValue:
    match value:
        case str():
            return value.replace("\x00", "\ufffd")
        case list():
            return [storable(inner) for inner in value]
        case dict():
            return storable_object(value)
        case _:
            return value


def unreadable(field: str, problem: str, remedy: str) -> UnreadableEvent:
    """To be raised."""
    return UnreadableEvent(problems=(FieldProblem(field, problem, remedy),))
