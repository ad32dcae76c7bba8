"""Enumerations and times: a word that this version does not know must not break a client."""

from datetime import datetime
from enum import StrEnum
from typing import TypeVar

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from plimsoll_runtime.wire import timestamp_from_proto

Word = TypeVar("Word", bound=StrEnum)


def word(kind: type[Word], enum: EnumDescriptor, number: int, prefix: str) -> Word:
    """The member that `number` stands for; `UNKNOWN` for one of a newer mesh, and for none."""
    known = enum.values_by_number.get(number)
    return kind.__members__.get(known.name.removeprefix(prefix) if known else "", kind["UNKNOWN"])


def moment(message: Message, field: str, value: Timestamp) -> datetime | None:
    """None when the field is absent."""
    return timestamp_from_proto(value) if message.HasField(field) else None
