"""Random messages of the contract, for property tests."""

import json
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import strategies as st
from plimsoll.common.v1 import json_pb2
from plimsoll_gateway.transport.fields import Field, Kind, Shape, shapes

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20)

_numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | _numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
json_texts = st.builds(lambda value, gap: json.dumps(value, ensure_ascii=False, indent=gap), json_values, st.sampled_from([None, 1]))

_timestamps = st.builds(
    lambda seconds, nanos: Timestamp(seconds=seconds, nanos=nanos), st.integers(-62135596800, 253402300799), st.integers(0, 999_999_999)
)
_durations = st.builds(
    lambda sign, seconds, nanos: Duration(seconds=sign * seconds, nanos=sign * nanos),
    st.sampled_from([-1, 1]),
    st.integers(0, 315_576_000_000 - 1),
    st.integers(0, 999_999_999),
)


_SIMPLE: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.STRING: texts,
    Kind.BYTES: st.binary(max_size=20),
    Kind.BOOL: st.booleans(),
    Kind.REAL: st.floats(allow_nan=False),
    Kind.TIMESTAMP: _timestamps,
    Kind.DURATION: _durations,
    Kind.JSON: st.builds(lambda text: json_pb2.JsonValue(text=text), json_texts),
}


def _one(field: Field) -> st.SearchStrategy[Any]:
    match field.kind:
        case Kind.INTEGER:
            return st.integers(*field.bounds)
        case Kind.ENUM:
            return st.sampled_from(sorted(field.values.values()))
        case Kind.MESSAGE if field.message is not None:
            return messages(field.message)
        case kind:
            return _SIMPLE[kind]


@st.composite
def messages(draw: st.DrawFn, descriptor: Descriptor) -> Message:
    """A message of this type with some of its fields."""
    shape: Shape = shapes([descriptor])[descriptor.full_name]
    values: dict[str, Any] = {}
    taken: set[str] = set()
    for field in shape.fields:
        if draw(st.booleans()) or field.choice in taken:
            continue
        if field.choice:
            taken.add(field.choice)
        values[field.name] = draw(st.lists(_one(field), max_size=3) if field.repeated else _one(field))
    message: Message = message_factory.GetMessageClass(descriptor)(**values)
    return message
