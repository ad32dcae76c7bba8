"""How deep JSON may nest here: deep enough for any record, shallow enough for every recursion."""

from plimsoll_runtime.json_types import JsonValue

MOST_LEVELS = 64


def too_deep(value: JsonValue, *, levels: int = MOST_LEVELS) -> bool:
    """Whether the value nests deeper than `levels`."""
    if levels == 0:
        return True
    match value:
        case list():
            return any(too_deep(item, levels=levels - 1) for item in value)
        case dict():
            return any(too_deep(item, levels=levels - 1) for item in value.values())
    return False
