"""JSON Schemas out of an OpenAPI 3.x document: references become `$defs`, so that cycles stay cycles and nothing outside is read."""

import re
from collections.abc import Iterable, Mapping

from plimsoll_runtime.json_types import JsonObject, JsonValue

from plimsoll_tool_dispatcher.domain.schema_shape import MAX_NESTING, nesting, resolve_pointer

_MAX_HOPS = 20
_MAX_DEFINITIONS = 500
_DROPPED = frozenset({"discriminator", "example", "examples", "externalDocs", "xml", "deprecated", "readOnly", "writeOnly", "nullable"})
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_SINGLE = (
    "items",
    "not",
    "if",
    "then",
    "else",
    "contains",
    "additionalProperties",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
)
_MAPS = ("properties", "patternProperties", "dependentSchemas")


class UnusableReference(Exception):
    """A reference leads outside of the document, nowhere, or in a circle; the text says which."""


def followed(document: JsonObject, value: JsonValue) -> JsonObject:
    """The object behind `$ref`s of parameters, bodies and responses. Raises UnusableReference."""
    for _ in range(_MAX_HOPS):
        if not isinstance(value, dict):
            raise UnusableReference("is not an object")
        ref = value.get("$ref")
        if ref is None:
            return value
        if not isinstance(ref, str) or not ref.startswith("#/"):
            raise UnusableReference(f"refers to {str(ref)[:80]!r}, outside of the document")
        value = resolve_pointer(document, ref)
        if value is None:
            raise UnusableReference(f"refers to {ref[:80]!r}, where there is nothing")
    raise UnusableReference("refers to itself")


class Schemas:
    """Translates schemas of one document, and collects the definitions that they need."""

    def __init__(self, document: JsonObject) -> None:
        self._document = document
        self._names: dict[str, str] = {}  # by reference
        self._definitions: dict[str, JsonValue] = {}
        self._pending: list[tuple[str, JsonValue]] = []  # a list and no recursion: chains of references may be long

    def translated(self, schema: JsonValue) -> JsonValue:
        """The schema in JSON Schema 2020-12. Raises UnusableReference."""
        if nesting(schema, MAX_NESTING) > MAX_NESTING:
            raise UnusableReference(f"is nested deeper than {MAX_NESTING} levels")
        found = self._translated(schema)
        while self._pending:
            name, target = self._pending.pop()
            self._definitions[name] = self._translated(target)
        return found

    def with_definitions(self, schema: JsonObject) -> JsonObject:
        """The schema with everything that it refers to."""
        return {**schema, "$defs": dict(self._definitions)} if self._definitions else schema

    def _translated(self, schema: JsonValue) -> JsonValue:
        if not isinstance(schema, dict):
            return schema if isinstance(schema, bool) else {}
        found: JsonObject = {word: value for word, value in schema.items() if word not in _DROPPED and not word.startswith("x-")}
        if "$ref" in schema:
            found["$ref"] = self._defined(schema["$ref"])
        for word in _LISTS:
            inner = schema.get(word)
            if isinstance(inner, list):
                found[word] = [self._translated(item) for item in inner]
        for word in _SINGLE:
            if word in schema:
                found[word] = self._translated(schema[word])
        for word in _MAPS:
            named = schema.get(word)
            if isinstance(named, dict):
                found[word] = {name: self._translated(item) for name, item in named.items()}
        _exclusive(found)
        return _nullable(found) if schema.get("nullable") is True else found

    def _defined(self, ref: JsonValue) -> str:
        """The place of a referred schema under `$defs`; translated once, however often it is referred to, by itself too."""
        if not isinstance(ref, str) or not ref.startswith("#/"):
            raise UnusableReference(f"refers to {str(ref)[:80]!r}, outside of the document")
        if ref not in self._names:
            target = resolve_pointer(self._document, ref)
            if not isinstance(target, dict | bool):
                raise UnusableReference(f"refers to {ref[:80]!r}, where there is no schema")
            if len(self._names) >= _MAX_DEFINITIONS:
                raise UnusableReference(f"refers to more than {_MAX_DEFINITIONS} other schemas")
            if nesting(target, MAX_NESTING) > MAX_NESTING:
                raise UnusableReference(f"refers to {ref[:80]!r}, nested deeper than {MAX_NESTING} levels")
            name = _fresh(ref, self._names.values())
            self._names[ref] = name
            self._pending.append((name, target))
        return f"#/$defs/{self._names[ref]}"


def _fresh(ref: str, taken: Iterable[str]) -> str:
    plain = re.sub(r"[^A-Za-z0-9_]", "_", ref.rsplit("/", 1)[-1])[:60] or "schema"
    name, number = plain, 1
    while name in taken:
        number += 1
        name = f"{plain}_{number}"
    return name


def _exclusive(schema: JsonObject) -> None:
    """OpenAPI 3.0 says whether a bound is exclusive, JSON Schema which bound is."""
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(schema.get(exclusive), bool) and schema.pop(exclusive) and bound in schema:
            schema[exclusive] = schema.pop(bound)


def _nullable(schema: JsonObject) -> JsonObject:
    kind = schema.get("type")
    if isinstance(kind, str) and "$ref" not in schema and "enum" not in schema:
        return {**schema, "type": [kind, "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def media_of(content: JsonValue) -> Mapping[str, JsonObject]:
    """Media types in lower case and without parameters, with their description."""
    if not isinstance(content, dict):
        return {}
    return {name.partition(";")[0].strip().lower(): inner for name, inner in content.items() if isinstance(inner, dict)}


def is_json(media: str) -> bool:
    """`application/json` and whatever ends in `+json`."""
    return media == "application/json" or media.endswith("+json")
