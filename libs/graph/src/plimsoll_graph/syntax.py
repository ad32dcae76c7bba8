"""The syntax tree of an expression, as the engine that compiled it sees it.

The engine hands a compiled expression out as bytes of the public message cel.expr.CheckedExpr; what is read here is its tree and its positions.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from plimsoll_graph.expression import Expression, serialized

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class Constant:
    """`kind` is null, bool, int, uint, double, string, bytes or other."""

    id: int
    kind: str
    value: bool | int | float | str | None


@dataclass(frozen=True, slots=True)
class Name:
    id: int
    name: str


@dataclass(frozen=True, slots=True)
class Select:
    """`operand.field`, or `has(operand.field)` when it is a test."""

    id: int
    operand: "Syntax"
    field: str
    is_test: bool


@dataclass(frozen=True, slots=True)
class Call:
    """A function or an operator; what a method is called on is its first argument."""

    id: int
    function: str
    arguments: "tuple[Syntax, ...]"


@dataclass(frozen=True, slots=True)
class ListOf:
    """`optional` are the places of items that are left out when they have no value."""

    id: int
    items: "tuple[Syntax, ...]"
    optional: frozenset[int]


@dataclass(frozen=True, slots=True)
class Entry:
    key: "Syntax"
    value: "Syntax"
    is_optional: bool


@dataclass(frozen=True, slots=True)
class MapOf:
    id: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Loop:
    """What the macros map, filter, exists, all and exists_one stand for: a fold over a list, or over the keys of an object."""

    id: int
    variable: str
    over: "Syntax"
    accumulator: str
    initial: "Syntax"
    condition: "Syntax"
    step: "Syntax"
    result: "Syntax"


Syntax: TypeAlias = Constant | Name | Select | Call | ListOf | MapOf | Loop


@dataclass(frozen=True, slots=True)
class Tree:
    """`offsets` says at which character each part stands."""

    root: Syntax
    offsets: Mapping[int, int]


def parsed(expression: Expression) -> Tree:
    """The tree of a compiled expression."""
    checked = _message(_one(serialized(expression.text), 2))
    offsets = {}
    for entry in _messages(_message(_last(checked, 5)), 4):
        offsets[_number(entry, 1)] = _number(entry, 2)
    return Tree(_syntax(_last(checked, 4)), offsets)


def parts(root: Syntax) -> Iterator[Syntax]:
    """Every part of a tree, itself first."""
    waiting = [root]
    while waiting:
        part = waiting.pop()
        yield part
        waiting += children(part)


def children(part: Syntax) -> tuple[Syntax, ...]:
    match part:
        case Constant() | Name():
            return ()
        case Select(operand=operand):
            return (operand,)
        case Call(arguments=arguments):
            return arguments
        case ListOf(items=items):
            return items
        case MapOf(entries=entries):
            return tuple(side for entry in entries for side in (entry.key, entry.value))
        case Loop():
            return (part.over, part.initial, part.condition, part.step, part.result)


def fields_read(expression: Expression) -> frozenset[str] | None:
    """The fields of the state that an expression reads; None when it reads the state as a whole."""
    found = set()
    whole = 0
    for part in parts(parsed(expression).root):
        match part:
            case Name(name="state"):
                whole += 1
            case Select(operand=Name(name="state"), field=field):
                found.add(field)
                whole -= 1
            case Call(function="_[_]" | "_?._" | "_[?_]", arguments=(Name(name="state"), Constant(kind="string", value=str(field)))):
                found.add(field)
                whole -= 1
    return None if whole else frozenset(found)


_Fields: TypeAlias = list[tuple[int, int | bytes]]


def _message(data: bytes) -> _Fields:
    """The fields of a protobuf message: numbers as they are on the wire, everything else as bytes."""
    found: _Fields = []
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        match tag & 7:
            case 0:
                value, at = _varint(data, at)
                found.append((tag >> 3, value))
            case 1 | 5 as wire:
                size = 8 if wire == _FIXED64 else 4
                found.append((tag >> 3, data[at : at + size]))
                at += size
            case 2:
                size, at = _varint(data, at)
                found.append((tag >> 3, data[at : at + size]))
                at += size
            case wire:
                raise ValueError(f"wire type {wire} in a compiled expression")
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7


def _all(fields: _Fields, number: int) -> list[bytes]:
    return [value for key, value in fields if key == number and isinstance(value, bytes)]


def _last(fields: _Fields, number: int) -> bytes:
    found = _all(fields, number)
    return found[-1] if found else b""


def _one(data: bytes, number: int) -> bytes:
    return _last(_message(data), number)


def _messages(fields: _Fields, number: int) -> list[_Fields]:
    return [_message(data) for data in _all(fields, number)]


def _number(fields: _Fields, number: int) -> int:
    return next((value for key, value in reversed(fields) if key == number and isinstance(value, int)), 0)


def _text(fields: _Fields, number: int) -> str:
    return _last(fields, number).decode()


def _syntax(data: bytes) -> Syntax:
    fields = _message(data)
    node_id = _number(fields, 2)
    number, content = next(((key, value) for key, value in fields if key > 2), (3, b""))
    body = _message(content) if isinstance(content, bytes) else []
    match number:
        case 4:
            return Name(node_id, _text(body, 1))
        case 5:
            return Select(node_id, _syntax(_last(body, 1)), _text(body, 2), bool(_number(body, 3)))
        case 6:
            arguments = tuple(_syntax(argument) for argument in [*_all(body, 1), *_all(body, 3)])
            return Call(node_id, _text(body, 2), arguments)
        case 7:
            return ListOf(node_id, tuple(_syntax(item) for item in _all(body, 1)), frozenset(_packed(_all(body, 2))))
        case 8:
            return MapOf(node_id, tuple(_entry(entry) for entry in _messages(body, 2)))
        case 9:
            return _loop(node_id, body)
        case _:
            return _constant(node_id, body)


def _entry(fields: _Fields) -> Entry:
    return Entry(_syntax(_last(fields, 3)), _syntax(_last(fields, 4)), bool(_number(fields, 5)))


def _loop(node_id: int, body: _Fields) -> Loop:
    return Loop(
        id=node_id,
        variable=_text(body, 1),
        over=_syntax(_last(body, 2)),
        accumulator=_text(body, 3),
        initial=_syntax(_last(body, 4)),
        condition=_syntax(_last(body, 5)),
        step=_syntax(_last(body, 6)),
        result=_syntax(_last(body, 7)),
    )


def _constant(node_id: int, body: _Fields) -> Constant:
    number, value = body[0] if body else (1, 0)
    match number, value:
        case 1, _:
            return Constant(node_id, "null", None)
        case 2, int(flag):
            return Constant(node_id, "bool", bool(flag))
        case 3, int(whole):
            return Constant(node_id, "int", whole - 2**64 if whole >= 2**63 else whole)
        case 4, int(whole):
            return Constant(node_id, "uint", whole)
        case 5, bytes(packed):
            return Constant(node_id, "double", float(struct.unpack("<d", packed)[0]))
        case 6, bytes(text):
            return Constant(node_id, "string", text.decode())
        case 7, _:
            return Constant(node_id, "bytes", None)
        case _:
            return Constant(node_id, "other", None)


def _packed(chunks: list[bytes]) -> Iterator[int]:
    for chunk in chunks:
        at = 0
        while at < len(chunk):
            value, at = _varint(chunk, at)
            yield value
