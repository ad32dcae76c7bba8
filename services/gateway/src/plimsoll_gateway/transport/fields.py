"""What the transcoder knows of each message: its fields, read once from the descriptors."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from google.protobuf.descriptor import Descriptor, FieldDescriptor

_INT32 = (-(2**31), 2**31 - 1)
_UINT32 = (0, 2**32 - 1)
_INT64 = (-(2**63), 2**63 - 1)
_UINT64 = (0, 2**64 - 1)


class ContractError(Exception):
    """The contract uses something that the gateway cannot show over REST; found when the gateway starts, and by its tests."""


class Kind(Enum):
    """How a field's value looks in JSON."""

    STRING = auto()
    BYTES = auto()  # base64
    BOOL = auto()
    INTEGER = auto()  # a number; a string when it has 64 bits
    REAL = auto()
    ENUM = auto()  # the name
    TIMESTAMP = auto()  # RFC 3339
    DURATION = auto()  # seconds and "s"
    JSON = auto()  # the JSON value itself
    MESSAGE = auto()  # an object


_NONE = (0, 0)
_SCALARS = {
    FieldDescriptor.TYPE_STRING: (Kind.STRING, _NONE),
    FieldDescriptor.TYPE_BYTES: (Kind.BYTES, _NONE),
    FieldDescriptor.TYPE_BOOL: (Kind.BOOL, _NONE),
    FieldDescriptor.TYPE_DOUBLE: (Kind.REAL, _NONE),
    FieldDescriptor.TYPE_FLOAT: (Kind.REAL, _NONE),
    FieldDescriptor.TYPE_ENUM: (Kind.ENUM, _NONE),
    FieldDescriptor.TYPE_INT32: (Kind.INTEGER, _INT32),
    FieldDescriptor.TYPE_SINT32: (Kind.INTEGER, _INT32),
    FieldDescriptor.TYPE_SFIXED32: (Kind.INTEGER, _INT32),
    FieldDescriptor.TYPE_UINT32: (Kind.INTEGER, _UINT32),
    FieldDescriptor.TYPE_FIXED32: (Kind.INTEGER, _UINT32),
    FieldDescriptor.TYPE_INT64: (Kind.INTEGER, _INT64),
    FieldDescriptor.TYPE_SINT64: (Kind.INTEGER, _INT64),
    FieldDescriptor.TYPE_SFIXED64: (Kind.INTEGER, _INT64),
    FieldDescriptor.TYPE_UINT64: (Kind.INTEGER, _UINT64),
    FieldDescriptor.TYPE_FIXED64: (Kind.INTEGER, _UINT64),
}
_WELL_KNOWN = {
    "google.protobuf.Timestamp": Kind.TIMESTAMP,
    "google.protobuf.Duration": Kind.DURATION,
    "plimsoll.common.v1.JsonValue": Kind.JSON,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field.

    name      as in the contract, snake_case
    key       as in JSON, camelCase
    choice    the oneof it belongs to; empty for none
    presence  whether absent differs from the default
    bounds    of an integer
    wide      whether an integer is written as a string
    values    of an enum, by name
    message   of a message field
    """

    name: str
    key: str
    kind: Kind
    repeated: bool
    presence: bool
    choice: str = ""
    bounds: tuple[int, int] = _NONE
    wide: bool = False
    values: Mapping[str, int]
    message: Descriptor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One message.

    fields  in the order of the contract
    by_key  the same by both of their names
    """

    name: str
    full_name: str
    fields: tuple[Field, ...]
    by_key: Mapping[str, Field]


def shapes(roots: Iterable[Descriptor]) -> Mapping[str, Shape]:
    """The messages reachable from `roots`, by full name. Raises ContractError for what has no JSON form here."""
    found: dict[str, Shape] = {}
    waiting = list(roots)
    while waiting:
        descriptor = waiting.pop()
        if descriptor.full_name in found:
            continue
        fields = tuple(_field(one) for one in descriptor.fields)
        keys = {field.key: field for field in fields} | {field.name: field for field in fields}
        found[descriptor.full_name] = Shape(name=descriptor.name, full_name=descriptor.full_name, fields=fields, by_key=keys)
        waiting += [field.message for field in fields if field.message is not None]
    return found


def _field(descriptor: FieldDescriptor) -> Field:
    kind, bounds = _kind(descriptor)
    values = {value.name: value.number for value in descriptor.enum_type.values} if descriptor.enum_type else {}
    return Field(
        name=descriptor.name,
        key=descriptor.json_name,
        kind=kind,
        repeated=descriptor.is_repeated,
        presence=descriptor.has_presence,
        choice=descriptor.containing_oneof.name if descriptor.containing_oneof else "",
        bounds=bounds,
        wide=bounds in {_INT64, _UINT64},
        values=values,
        message=descriptor.message_type if kind is Kind.MESSAGE else None,
    )


def _kind(field: FieldDescriptor) -> tuple[Kind, tuple[int, int]]:
    message = field.message_type
    if message is None:
        return _SCALARS[field.type]
    if message.full_name in _WELL_KNOWN:
        return _WELL_KNOWN[message.full_name], _NONE
    if message.GetOptions().map_entry or message.full_name.startswith("google.protobuf.") or field.type == FieldDescriptor.TYPE_GROUP:
        raise ContractError(f"{field.full_name}: the gateway has no JSON form for maps, groups and {message.full_name}")
    return Kind.MESSAGE, _NONE
