"""Reading a provider's JSON, whatever it holds: a value of another type than expected reads as absent."""

from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_runtime.usage import Usage

_COUNT_CAP = 10**9  # no answer has more tokens; what a provider says beyond that would break the sums of everybody else


def an_object(value: JsonValue) -> JsonObject:
    return value if isinstance(value, dict) else {}


def objects(value: JsonValue) -> list[JsonObject]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text(value: JsonValue) -> str:
    return value if isinstance(value, str) else ""


def count(value: JsonValue) -> int:
    """A number of tokens or a position; never negative, never absurd."""
    return min(max(0, int(value)), _COUNT_CAP) if isinstance(value, int | float) and not isinstance(value, bool) else 0


def usage_told(*, input_tokens: int, output_tokens: int, cached_input_tokens: int, reasoning_tokens: int) -> Usage:
    """What a provider told, all counted in; a part is never more than its whole, or the rest of it would cost less than nothing."""
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_input_tokens=min(cached_input_tokens, input_tokens),
        reasoning_tokens=min(reasoning_tokens, output_tokens),
    )


def texts(value: JsonValue) -> list[str]:
    """The strings in a list."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
