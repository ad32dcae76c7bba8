"""What a schema lets a value be: its type, its bounds, and what a named value means to it."""

from plimsoll_runtime.json_types import JsonValue

from plimsoll_model_router.domain.rehearsal import spans
from plimsoll_model_router.domain.rehearsal.facts import Scalar
from plimsoll_model_router.domain.rehearsal.schema import Schema
from plimsoll_model_router.domain.rehearsal.text import vocabulary

_TRUE = vocabulary("true yes y 1")
_FALSE = vocabulary("false no n 0")


def fits(value: JsonValue, schema: Schema) -> bool:
    """Whether a scalar keeps the schema's bounds on length and size."""
    match value:
        case None:
            return False
        case str():
            return schema.count("minLength", 0) <= len(value) <= schema.count("maxLength", len(value))
        case bool():
            return True
        case int() | float():
            low, high = schema.bound("minimum"), schema.bound("maximum")
            above, below = schema.bound("exclusiveMinimum"), schema.bound("exclusiveMaximum")
            return (
                (low is None or value >= low)
                and (high is None or value <= high)
                and (above is None or value > above)
                and (below is None or value < below)
                and (schema.types[:1] != ("integer",) or value == int(value))
            )
        case _:
            return True


def as_typed(value: Scalar, schema: Schema) -> Scalar | None:
    """The value in the schema's type, when it can be said in it without loss."""
    match schema.types[:1]:
        case ("integer",):
            return int(value) if isinstance(value, int | float) and value == int(value) else None
        case ("string",):
            return str(value)
        case _:
            return value


def coerced(value: Scalar, schema: Schema) -> Scalar | None:
    """What a named value means to a schema; None when it means nothing."""
    result: Scalar | None = None
    match schema.types[:1], value:
        case ("boolean",), bool():
            result = value
        case ("boolean",), str():
            lowered = value.strip().lower()
            result = True if lowered in _TRUE else False if lowered in _FALSE else None
        case ((("integer",) | ("number",)), bool()):
            result = None
        case ((("integer",) | ("number",)), int() | float()):
            result = as_typed(value, schema)
        case ((("integer",) | ("number",)), str()):
            found = spans.numbers(value)
            result = as_typed(found[0].value, schema) if found else None
        case ("string",), _:
            result = _coerced_text(str(value), schema)
        case (), _:
            result = value
    return result if result is not None and fits(result, schema) else None


def _coerced_text(text: str, schema: Schema) -> str | None:
    finder, pattern = spans.by_format(schema.text("format")), schema.text("pattern")
    if finder is None and not pattern:
        return text
    found = finder(text) if finder else spans.by_pattern(pattern, text)
    return str(found[0].value) if found else None
