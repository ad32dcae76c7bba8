"""A compiled JSON Schema 2020-12: offline, linear-time patterns, formats checked, bounded in what it may cost."""

from dataclasses import dataclass, field
from itertools import islice

import jsonschema_rs
from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.json_types import JsonObject, JsonValue, canonical

from plimsoll_tool_dispatcher.domain.schema_shape import Endless, Path, flaws, nesting, pointer, safe_depth, subschemas

_MAX_SCHEMA_CHARS = 128 * 1024
_MAX_PROBLEMS = 20
_PATTERN_BYTES = 1024 * 1024
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_MASK = "the value"  # problems travel to logs and people: they never quote what was sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """A schema as it was written, ready to check values."""

    document: JsonObject
    max_nesting: int
    _validator: jsonschema_rs.Draft202012Validator = field(repr=False, compare=False)

    def problems(self, value: JsonValue, field_name: str) -> tuple[FieldProblem, ...]:
        """What is wrong with `value`, each with its path below `field_name`; empty when it fits. Quotes no part of the value."""
        if nesting(value, self.max_nesting) > self.max_nesting:
            return (FieldProblem(field_name, f"is nested deeper than {self.max_nesting} levels", "send a flatter value"),)
        if self._validator.is_valid(value):
            return ()
        errors = islice(self._validator.iter_errors(value), _MAX_PROBLEMS)
        return tuple(FieldProblem(_joined(field_name, tuple(error.instance_path)), error.message) for error in errors)


def compile_schema(document: JsonValue, field_name: str, *, root_type: str = "") -> tuple[Schema | None, tuple[FieldProblem, ...]]:
    """The schema, or everything that is wrong with it. With `root_type` the schema has to say that a value has this type."""
    if not isinstance(document, dict):
        return None, (FieldProblem(field_name, "is not a JSON Schema", "write an object such as {type: object, properties: {…}}"),)
    if root_type and document.get("type") != root_type:
        return None, (FieldProblem(_joined(field_name, ("type",)), f"is not {root_type!r}", f"write type: {root_type}"),)
    if problems := _shape_problems(document, field_name):
        return None, problems
    try:
        depth = safe_depth(document)
    except Endless:
        return None, (FieldProblem(field_name, "refers to itself without end", "let the reference pass through properties or items"),)
    if depth == 0:
        return None, (FieldProblem(field_name, "has alternatives that multiply to too many checks", "merge them, or nest fewer"),)
    try:
        schema = Schema(document=document, max_nesting=depth, _validator=_validator(document))
    except jsonschema_rs.ValidationError as error:  # what the meta-schema cannot see, such as a pattern that grows too large
        return None, (_meta_problem(field_name, error),)
    return (None, problems) if (problems := _default_problems(document, field_name)) else (schema, ())


def _shape_problems(document: JsonObject, field_name: str) -> tuple[FieldProblem, ...]:
    found = tuple(FieldProblem(_joined(field_name, flaw.path), flaw.problem, flaw.remedy) for flaw in flaws(document))
    if found:
        return found
    if len(canonical(document)) > _MAX_SCHEMA_CHARS:
        return (FieldProblem(field_name, f"is longer than {_MAX_SCHEMA_CHARS // 1024} KiB", "shorten descriptions and enums"),)
    errors = _validator({"$ref": _DIALECT}).iter_errors(document)
    return tuple(_meta_problem(field_name, error) for error in islice(errors, _MAX_PROBLEMS))


def _meta_problem(field_name: str, error: jsonschema_rs.ValidationError) -> FieldProblem:
    where = _joined(field_name, tuple(error.instance_path))
    if '"regex"' in error.message:
        return FieldProblem(where, "is not a pattern that runs in linear time", "remove look-around and back references")
    return FieldProblem(where, f"is not valid JSON Schema: {error.message}", "see JSON Schema 2020-12 for this keyword")


def _default_problems(document: JsonObject, field_name: str) -> tuple[FieldProblem, ...]:
    """Defaults that break the schema they stand in: every call that relies on one would fail."""
    registry = None
    found: list[FieldProblem] = []
    for path, schema in subschemas(document):
        if "default" not in schema:
            continue
        registry = registry or jsonschema_rs.Registry([("urn:tool", document)])
        location = "/".join(str(step).replace("~", "~0").replace("/", "~1") for step in path)
        validator = _validator({"$ref": f"urn:tool#{'/' + location if location else ''}"}, registry)
        found += [
            FieldProblem(_joined(field_name, (*path, "default")), f"breaks its own schema: {error.message}", "mend the default")
            for error in islice(validator.iter_errors(schema["default"]), 1)
        ]
    return tuple(found)


def _validator(document: JsonObject, registry: jsonschema_rs.Registry | None = None) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(
        document,
        validate_formats=True,
        offline=True,
        mask=_MASK,
        registry=registry,
        pattern_options=jsonschema_rs.RegexOptions(size_limit=_PATTERN_BYTES),
    )


def _joined(field_name: str, path: Path) -> str:
    inner = pointer(path)
    return field_name + ("" if not inner or inner.startswith("[") else ".") + inner
