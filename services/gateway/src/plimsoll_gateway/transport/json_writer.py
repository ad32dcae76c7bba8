"""Messages to JSON: the protobuf JSON mapping, fields in camelCase and always present unless their absence means something."""

import base64
import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import orjson
from google.protobuf.message import Message

from plimsoll_gateway.transport.fields import Field, Kind, Shape

Writable: TypeAlias = Any  # what orjson writes: JSON values, and fragments of JSON text


class JsonWriter:
    """Writes the messages that it has shapes of."""

    def __init__(self, shapes: Mapping[str, Shape]) -> None:
        self._shapes = shapes

    def write(self, message: Message) -> bytes:
        """The message as JSON text."""
        return orjson.dumps(self._object(message))

    def _object(self, message: Message) -> Writable:
        written: dict[str, Writable] = {}
        for field in self._shapes[message.DESCRIPTOR.full_name].fields:
            if field.presence and not message.HasField(field.name):
                continue
            value = getattr(message, field.name)
            written[field.key] = [self._value(field, item) for item in value] if field.repeated else self._value(field, value)
        return written

    def _value(self, field: Field, value: Any) -> Writable:
        match field.kind:
            case Kind.STRING | Kind.BOOL:
                return value
            case Kind.INTEGER:
                return str(value) if field.wide else value
            case Kind.ENUM:
                return next((name for name, number in field.values.items() if number == value), value)
            case Kind.MESSAGE:
                return self._object(value)
            case Kind.JSON:
                return orjson.Fragment(value.text or "null")  # the very text: no digit is lost
            case Kind.TIMESTAMP | Kind.DURATION:
                return value.ToJsonString()
            case Kind.REAL:
                return value if math.isfinite(value) else _unbounded(value)
            case Kind.BYTES:
                return base64.b64encode(value).decode()


def _unbounded(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
