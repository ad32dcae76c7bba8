"""Leaving out what was not given, so that the declared form has the language's own defaults."""

from collections.abc import Mapping, Sequence

from plimsoll_runtime.json_types import JsonObject, JsonValue


def given(fields: Mapping[str, JsonValue | Mapping[str, JsonValue] | Sequence[str] | None]) -> JsonObject:
    """The fields that have a value, as plain JSON."""
    return {name: plain(value) for name, value in fields.items() if value is not None}


def plain(value: JsonValue | Mapping[str, JsonValue] | Sequence[str]) -> JsonValue:
    """The same value of dicts and lists only, and a copy, so that what was declared stays as it was."""
    match value:
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case str() | bool() | int() | float() | None:
            return value
        case _:
            return [plain(item) for item in value]
