"""Requests and answers whose words the contract takes over from the service behind."""

from collections.abc import Callable
from typing import Any, TypeVar

from google.protobuf.message import Message

Carried = TypeVar("Carried", bound=Message)


def carried(message: Message, make: "Callable[..., Carried]") -> Carried:
    """A message of another kind with the fields of this one, by their names; a field that `make` does not have is a fault of ours."""
    fields: dict[str, Any] = {field.name: value for field, value in message.ListFields()}  # protobuf's own constructor takes them so
    return make(**fields)
