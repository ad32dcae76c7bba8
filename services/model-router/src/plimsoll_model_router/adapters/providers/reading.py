"""Reading a provider's JSON, whatever it holds: a value of another type than expected reads as absent."""

from plimsoll_runtime.json_types import JsonObject, JsonValue


def an_object(value: JsonValue) -> JsonObject:
    return value if isinstance(value, dict) else {}


def objects(value: JsonValue) -> list[JsonObject]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text(value: JsonValue) -> str:
    return value if isinstance(value, str) else ""


def count(value: JsonValue) -> int:
    """A number of tokens or a position; never negative."""
    return max(0, int(value)) if isinstance(value, int | float) and not isinstance(value, bool) else 0


def texts(value: JsonValue) -> list[str]:
    """The strings in a list."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
