"""Fitting an output schema to what a provider can enforce: narrowed where that changes no meaning, relaxed where we check the rest."""

from dataclasses import dataclass
from typing import cast

from plimsoll_runtime.json_types import JsonObject, JsonValue

_SHAPE = frozenset({"type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf", "$ref", "$defs"})
_WORDS = frozenset({"description", "title", "default", "examples", "$schema", "$id", "$comment"})
_MAPS = ("properties", "$defs")  # keywords that hold schemas by name
_INNER = frozenset({"items", "anyOf", "prefixItems", "additionalProperties"})  # keywords that hold schemas
_TELLING = frozenset({"oneOf", "allOf", "not", "if", "patternProperties", "dependentSchemas", "$dynamicRef", "unevaluatedProperties"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaRules:
    """What a provider's strict mode understands.

    Attributes:
    constraints  keywords that it enforces, beside those of plain shape
    optional     properties may be optional
    closed       objects have to forbid further properties
    """

    constraints: frozenset[str]
    optional: bool
    closed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedSchema:
    """`relaxed` means that it allows more than the original: the answer has to be checked here all the more."""

    schema: JsonObject
    relaxed: bool


OPENAI_RULES = SchemaRules(
    constraints=frozenset({"pattern", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})
    | frozenset({"minItems", "maxItems"}),
    optional=False,
    closed=True,
)
ANTHROPIC_RULES = SchemaRules(constraints=frozenset({"format"}), optional=True, closed=True)
GEMINI_RULES = SchemaRules(
    constraints=frozenset({"format", "minimum", "maximum", "minItems", "maxItems", "prefixItems"}), optional=True, closed=False
)


class _Unfit(Exception):
    """The schema has no strict form."""


def fitted(schema: JsonObject, rules: SchemaRules) -> FittedSchema | None:
    """The schema in the provider's strict form; None when it has none, and only words can say it.

    Every value of the fitted form is one of the original's shape, and every value that the original is meant for stays possible.
    """
    if schema.get("type") != "object":
        return None
    relaxed: set[str] = set()
    try:
        return FittedSchema(schema=cast("JsonObject", _fit(schema, rules, relaxed)), relaxed=bool(relaxed))
    except _Unfit:
        return None


def _fit(schema: JsonValue, rules: SchemaRules, relaxed: set[str]) -> JsonValue:
    """Raises _Unfit. Adds to `relaxed` the keywords that were left out."""
    if not isinstance(schema, dict):
        raise _Unfit
    out: JsonObject = {}
    for key, value in schema.items():
        if key in _MAPS:
            if not isinstance(value, dict):
                raise _Unfit
            out[key] = {name: _fit(inner, rules, relaxed) for name, inner in value.items()}
        elif key in _INNER and not isinstance(value, bool):
            out[key] = [_fit(inner, rules, relaxed) for inner in value] if isinstance(value, list) else _fit(value, rules, relaxed)
        elif key in _SHAPE or key in rules.constraints:
            out[key] = value
        elif key in _WORDS:
            if key in {"description", "title"}:
                out[key] = value
        else:
            relaxed.add(key)
    if relaxed & _TELLING:
        raise _Unfit
    return _object(out, rules) if _may_be_object(out) else out


def _may_be_object(schema: JsonObject) -> bool:
    kind = schema.get("type")
    return kind == "object" or (isinstance(kind, list) and "object" in kind) or "properties" in schema


def _object(schema: JsonObject, rules: SchemaRules) -> JsonObject:
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, dict):
        raise _Unfit  # an object of any shape
    named = {str(name) for name in required} if isinstance(required, list) else set[str]()
    if not named <= set(properties) or (not rules.optional and named != set(properties)):
        raise _Unfit
    if not rules.closed:
        return schema
    if schema.get("additionalProperties", False) is not False:
        raise _Unfit  # it says that it holds more than its properties
    return {**schema, "additionalProperties": False}
