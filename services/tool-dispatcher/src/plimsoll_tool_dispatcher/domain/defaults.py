"""Effective arguments: what was sent, completed by the defaults that the schema declares."""

import copy

from plimsoll_runtime.json_types import JsonObject, JsonValue

from plimsoll_tool_dispatcher.domain.schema_shape import resolve_pointer


def with_defaults(arguments: JsonObject, schema: JsonObject) -> JsonObject:
    """A copy of `arguments` in which every absent property that has a default carries it.

    Reaches into objects and arrays that are present, through local references and `allOf`. A default is taken as it is written and
    not completed further, so that a schema that refers to itself cannot grow a value without end.
    """
    completed = _complete(arguments, schema, schema)
    assert isinstance(completed, dict)
    return completed


def _complete(value: JsonValue, schema: JsonValue, root: JsonObject) -> JsonValue:
    if not isinstance(schema, dict):
        return value
    for part in _parts(schema, root):
        match value:
            case dict():
                value = _complete_object(value, part, root)
            case list():
                value = [_complete(item, part.get("items"), root) for item in value]
    return value


def _parts(schema: JsonObject, root: JsonObject, depth: int = 8) -> list[JsonObject]:
    """The schema itself and what applies to the same value for certain: references and `allOf`, not alternatives."""
    parts = [schema]
    if depth:
        ref, all_of = schema.get("$ref"), schema.get("allOf")
        others = ([resolve_pointer(root, ref)] if isinstance(ref, str) else []) + (all_of if isinstance(all_of, list) else [])
        for other in others:
            if isinstance(other, dict):
                parts += _parts(other, root, depth - 1)
    return parts


def _complete_object(value: JsonObject, schema: JsonObject, root: JsonObject) -> JsonObject:
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return value
    completed = dict(value)
    for name, inner in properties.items():
        if name in completed:
            completed[name] = _complete(completed[name], inner, root)
            continue
        for part in _parts(inner, root) if isinstance(inner, dict) else ():
            if "default" in part:
                completed[name] = copy.deepcopy(part["default"])
                break
    return completed
