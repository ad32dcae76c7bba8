"""Changes of the state in the form in which they are stored: what grew is stored as what was added."""

from plimsoll_runtime.json_types import JsonObject, JsonValue

_TEXT_LEAST = 64  # shorter texts are stored whole: the saving would not pay for the comparison


def compacted(state: JsonObject, changed: JsonObject) -> tuple[JsonObject, JsonObject]:
    """(delta, appended): fields to set, and fields that only grew with what was added at their end.

    An agent's history would otherwise be stored again with every turn: bytes that grow with the square of the conversation.
    """
    delta: JsonObject = {}
    appended: JsonObject = {}
    for name, value in changed.items():
        more = _added(state.get(name), value)
        if more is None:
            delta[name] = value
        else:
            appended[name] = more
    return delta, appended


def _added(before: JsonValue, value: JsonValue) -> JsonValue:
    """What `value` has behind `before`; None when it is no longer form of it."""
    match before, value:
        case list(), list() if before and value[: len(before)] == before:
            return value[len(before) :]
        case str(), str() if len(before) >= _TEXT_LEAST and value.startswith(before):
            return value[len(before) :]
        case _:
            return None


def changes(first: JsonObject, last: JsonObject) -> JsonObject:
    """Fields that are new or have another value."""
    return {name: value for name, value in last.items() if name not in first or first[name] != value}
