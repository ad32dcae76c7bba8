"""JSON, query parameters and pieces of a path to messages; every problem at once, each with its path."""

import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import msgspec
import orjson
from google.protobuf.message import Message
from plimsoll.common.v1 import json_pb2
from plimsoll_runtime.errors import FieldProblem, Invalid
from plimsoll_runtime.json_types import JsonValue

from plimsoll_gateway.transport.fields import Field, Kind, Shape
from plimsoll_gateway.transport.scalars import Scalar, Wrong, from_json, from_text, nearest, shown, type_name

_DEPTH = 100  # levels of nesting: every service behind can read and write that many
_PROBLEMS = 20  # more help nobody
_CONTAINERS = 100_000  # lists and objects in one text: more would stop everybody for the time it takes to build them
_ITEMS = 10_000  # in a list of the contract's own; a caller's JSON is carried as it is
_STRING = re.compile(rb'"(?:[^"\\]+|\\.)*+"')
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")

Value: TypeAlias = Scalar | json_pb2.JsonValue


class JsonReader:
    """Reads the messages that it has shapes of, without a state of its own."""

    def __init__(self, shapes: Mapping[str, Shape]) -> None:
        self._shapes = shapes

    def reading(self, message: Message) -> "Reading":
        """Start to fill a message."""
        return Reading(self._shapes, message)


class Reading:
    """One request's message while it is being filled. Call `done` at the end: it raises what was wrong."""

    def __init__(self, shapes: Mapping[str, Shape], message: Message) -> None:
        self._shapes = shapes
        self._message = message
        self._shape = shapes[message.DESCRIPTOR.full_name]
        self._problems: list[FieldProblem] = []
        self._bound: dict[str, str] = {}

    def path(self, variables: Mapping[str, str]) -> None:
        """Fill fields from the pieces of a path."""
        for name, text in variables.items():
            self._text(self._message, self._shape.by_key[name], text, self._shape.by_key[name].key)
        self._bound.update(variables)

    def query(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Fill fields from query parameters: camelCase or snake_case, dots into messages, repeated for lists."""
        seen: set[str] = set()
        for key, text in pairs:
            found = self._resolve(key)
            if found is None:
                continue
            message, field = found
            if field.kind is Kind.MESSAGE:
                self._wrong(key, "is an object", f"name one of its fields: {key}.…")
            elif key in self._bound or field.name in self._bound:
                self._wrong(key, "is a part of the path already", "leave the parameter out")
            elif not field.repeated and key in seen:
                self._wrong(key, "is given twice", "give it once")
            else:
                self._text(message, field, text, key)
            seen.add(key)

    def body(self, text: bytes, field_name: str) -> None:
        """Fill the field named, or the whole message for "*", from a JSON body."""
        if not self._sound(text, "body" if field_name == "*" else self._shape.by_key[field_name].key):
            return
        if field_name == "*":
            self._object(self._message, self._shape, text, "")
        else:
            field = self._shape.by_key[field_name]
            self._field(self._message, field, text, field.key)

    def no_query(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Refuse query parameters where the body is the whole request."""
        for key, _ in pairs:
            self._wrong(key[:200], "is not a parameter here", "send it in the body")

    def no_body(self, text: bytes) -> None:
        """Refuse a body where nothing takes it."""
        if text:
            self._wrong("body", "is not taken here", "send query parameters")

    def set(self, name: str, text: str, source: str) -> None:
        """Fill a text field from elsewhere, such as a header; what the body says must be the same."""
        there = getattr(self._message, name)
        if there and there != text:
            self._wrong(self._shape.by_key[name].key, f"differs from {source}", "give one of them")
        else:
            self._text(self._message, self._shape.by_key[name], text, source)

    def done(self) -> Message:
        """The message. Raises Invalid with every problem that was found."""
        if self._problems:
            raise Invalid(problems=self._problems, reason="INVALID_REQUEST")
        return self._message

    def _wrong(self, path: str, problem: str, remedy: str = "") -> None:
        self._problems.append(FieldProblem(path or "body", problem, remedy))
        if len(self._problems) >= _PROBLEMS:
            self.done()

    def _sound(self, text: bytes, path: str) -> bool:
        """Whether the text is JSON that every service behind can hold."""
        if _containers(text) > _CONTAINERS:
            self._wrong(path, f"holds more than {_CONTAINERS} lists and objects", "send it in parts, or as text")
            return False
        try:
            value: JsonValue = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            self._wrong(path, f"is not JSON: {error}", "send one JSON value in UTF-8")
            return False
        if _deeper(value, _DEPTH):
            self._wrong(path, f"is nested deeper than {_DEPTH} levels", "flatten it, or send it as text")
            return False
        if rb"\u0000" in text and _NUL.search(text):
            self._wrong(path, "holds the character U+0000", "leave it out: values are stored, and the store takes none")
            return False
        return True

    def _object(self, message: Message, shape: Shape, text: bytes, path: str) -> None:
        if not text.lstrip().startswith(b"{"):
            self._wrong(path, f"must be an object, not {type_name(orjson.loads(text))}")
            return
        seen: dict[str, str] = {}
        for key, raw in msgspec.json.decode(text, type=dict[str, msgspec.Raw]).items():
            at = f"{path}.{key}" if path else key
            field = shape.by_key.get(key)
            if field is None:
                self._wrong(at[:200], f"is not a field of {shape.name}", nearest(key, [one.key for one in shape.fields]))
            elif field.name in seen:
                self._wrong(at, f"is given twice, also as {seen[field.name]}", "give it once")
            else:
                self._member(message, field, bytes(raw), at, seen)
                seen[field.name] = key

    def _member(self, message: Message, field: Field, text: bytes, path: str, seen: Mapping[str, str]) -> None:
        if text == b"null" and field.kind is not Kind.JSON:
            return
        if message is self._message and field.name in self._bound:
            if orjson.loads(text) != self._bound[field.name]:
                self._wrong(path, f"differs from the path, which says {shown(self._bound[field.name])}", "leave it out of the body")
            return
        taken = message.WhichOneof(field.choice) if field.choice else None
        if taken is not None:
            self._wrong(path, f"excludes {seen.get(taken, taken)}", "give one of them")
            return
        self._field(message, field, text, path)

    def _field(self, message: Message, field: Field, text: bytes, path: str) -> None:
        if not field.repeated:
            self._one(message, field, text, path)
            return
        if not text.lstrip().startswith(b"["):
            self._wrong(path, f"must be a list, not {type_name(orjson.loads(text))}")
            return
        items = msgspec.json.decode(text, type=list[msgspec.Raw])
        if len(items) > _ITEMS:
            self._wrong(path, f"holds more than {_ITEMS} items", "send fewer")
            return
        for index, item in enumerate(items):
            self._one(message, field, bytes(item), f"{path}[{index}]")

    def _one(self, message: Message, field: Field, text: bytes, path: str) -> None:
        match field.kind:
            case Kind.MESSAGE:
                inner = getattr(message, field.name).add() if field.repeated else getattr(message, field.name)
                inner.SetInParent()
                self._object(inner, self._shapes[inner.DESCRIPTOR.full_name], text, path)
            case Kind.JSON:
                _assign(message, field, json_pb2.JsonValue(text=text.decode()))
            case _:
                try:
                    _assign(message, field, from_json(field, msgspec.json.decode(text)))
                except Wrong as wrong:
                    self._wrong(path, wrong.problem, wrong.remedy)

    def _text(self, message: Message, field: Field, text: str, path: str) -> None:
        if field.kind is Kind.JSON:
            if self._sound(text.encode(), path):
                _assign(message, field, json_pb2.JsonValue(text=text))
            return
        try:
            _assign(message, field, from_text(field, text))
        except Wrong as wrong:
            self._wrong(path, wrong.problem, wrong.remedy)

    def _resolve(self, key: str) -> tuple[Message, Field] | None:
        """The message and field that a query parameter means."""
        message, shape = self._message, self._shape
        *outer, last = key.split(".")
        for part in outer:
            field = shape.by_key.get(part)
            if field is None or field.kind is not Kind.MESSAGE or field.repeated:
                self._wrong(key[:200], f"is not a parameter of {self._shape.name}", nearest(part, [one.key for one in shape.fields]))
                return None
            message = getattr(message, field.name)
            shape = self._shapes[message.DESCRIPTOR.full_name]
        if last not in shape.by_key:
            self._wrong(key[:200], f"is not a parameter of {self._shape.name}", nearest(last, [one.key for one in shape.fields]))
            return None
        return message, shape.by_key[last]


def _assign(message: Message, field: Field, value: Value) -> None:
    if field.repeated:
        getattr(message, field.name).append(value)
    elif isinstance(value, Message):
        getattr(message, field.name).CopyFrom(value)
    else:
        setattr(message, field.name, value)


def _containers(text: bytes) -> int:
    """Lists and objects in the text, before it is parsed; exact where it matters."""
    count = text.count(b"[") + text.count(b"{")
    if count <= _CONTAINERS:
        return count
    bare = _STRING.sub(b"", text)
    return bare.count(b"[") + bare.count(b"{")


def _deeper(value: JsonValue, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer if isinstance(outer, list) else ())
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True
