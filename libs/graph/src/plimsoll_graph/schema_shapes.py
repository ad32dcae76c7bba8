"""The shape of what a JSON Schema allows. What is not understood allows anything."""

from collections.abc import Mapping
from dataclasses import replace

from plimsoll_runtime.json_types import JsonObject, JsonValue

from plimsoll_graph.schemas import referred
from plimsoll_graph.shapes import ANY_JSON, JSON_KINDS, Kind, Shape, constant, join

_DEPTH = 12  # schemas that name themselves go on for ever; below this, anything may come


def schema_shape(schema: JsonValue, *, whole: bool = False) -> Shape:
    """The shape of a schema's values. `whole` takes `integer` at its word; otherwise 3.0, which JSON Schema calls an integer too, may come."""
    root = schema if isinstance(schema, dict) else {}
    return _Reading(root, whole).shape(schema, _DEPTH)


class _Reading:
    def __init__(self, root: JsonObject, whole: bool) -> None:
        self._root = root
        integer = frozenset({Kind.INT}) if whole else frozenset({Kind.INT, Kind.DOUBLE})
        self._kinds: Mapping[str, frozenset[Kind]] = {
            "null": frozenset({Kind.NULL}),
            "boolean": frozenset({Kind.BOOL}),
            "integer": integer,
            "number": frozenset({Kind.INT, Kind.DOUBLE}),
            "string": frozenset({Kind.STRING}),
            "array": frozenset({Kind.LIST}),
            "object": frozenset({Kind.MAP}),
        }

    def shape(self, schema: JsonValue, depth: int) -> Shape:
        if not isinstance(schema, dict) or depth == 0:
            return ANY_JSON
        if "$ref" in schema:
            return self._referred(schema["$ref"], depth)
        values = schema.get("enum")
        if "const" in schema:
            values = [schema["const"]]
        if isinstance(values, list) and values:
            shape = join(constant(value) for value in values)
            return replace(shape, kinds=shape.kinds | self._kinds["integer"]) if Kind.INT in shape.kinds else shape
        for word in ("anyOf", "oneOf"):
            options = schema.get(word)
            if isinstance(options, list) and options and "type" not in schema and "properties" not in schema:
                return join(self.shape(option, depth - 1) for option in options)
        return self._plain(schema, depth)

    def _plain(self, schema: JsonObject, depth: int) -> Shape:
        kinds = self._types(schema.get("type"))
        items = schema.get("items") if "prefixItems" not in schema else None
        properties = schema.get("properties")
        others = schema.get("additionalProperties")
        open_names = bool({"patternProperties", "allOf", "anyOf", "oneOf", "if", "$dynamicRef"} & schema.keys())
        required = schema.get("required")
        return Shape(
            kinds=kinds,
            items=self.shape(items, depth - 1) if items is not None and Kind.LIST in kinds else None,
            fields={name: self.shape(field, depth - 1) for name, field in properties.items()} if isinstance(properties, dict) else {},
            sure=frozenset(name for name in required if isinstance(name, str)) if isinstance(required, list) else frozenset(),
            closed=others is False and "patternProperties" not in schema,
            rest=self.shape(others, depth - 1) if isinstance(others, dict) and not open_names else None,
        )

    def _types(self, types: JsonValue) -> frozenset[Kind]:
        match types:
            case str():
                return self._kinds.get(types, JSON_KINDS)
            case list():
                return frozenset[Kind]().union(*(self._types(one) for one in types)) or JSON_KINDS
            case _:
                return JSON_KINDS

    def _referred(self, reference: JsonValue, depth: int) -> Shape:
        if not isinstance(reference, str) or not reference.startswith("#/"):
            return self.shape(self._root, depth - 1) if reference == "#" else ANY_JSON
        return self.shape(referred(self._root, reference), depth - 1)
