"""JSON Schemas of inputs, states and answers: offline, patterns in linear time, bounded in size and in the work they can cause."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import jsonschema_rs
from plimsoll_runtime.json_types import JsonObject, JsonValue, canonical

_DEPTH_CAP = 32
_SIZE_CAP = 128 * 1024
_WORK_CAP = 20_000  # checks of one value, a tenth of a second or so
_WORK_LEVELS = 24
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_FORBIDDEN = ("$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef")

_SAME_VALUE = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas")
_CHILDREN = (
    "properties",
    "patternProperties",
    "additionalProperties",
    "propertyNames",
    "items",
    "prefixItems",
    "contains",
    "unevaluatedItems",
    "unevaluatedProperties",
)
_UNUSED = ("$defs", "definitions")
_BY_NAME = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs", "definitions"})

Path: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class SchemaFault:
    """What is wrong with a schema, and where in it."""

    path: Path
    problem: str
    remedy: str


def compile_schema(schema: JsonObject) -> Any:
    """A validator that never leaves the process. Raises ValueError when the schema is not a JSON Schema.

    Messages never show the value that is wrong: it may be a secret or a person's.
    """
    try:
        return _validator(schema)
    except jsonschema_rs.ValidationError as error:
        raise ValueError(f"{path_text(error.instance_path) or 'the schema'}: {error.message}") from error
    except (jsonschema_rs.ReferencingError, TypeError, ValueError) as error:
        raise ValueError(str(error)) from error


def schema_faults(schema: JsonObject) -> list[SchemaFault]:
    """Everything that is wrong with a schema; what is found first can hide the rest."""
    if _deeper(schema, _DEPTH_CAP):
        return [SchemaFault((), f"is nested deeper than {_DEPTH_CAP}", "move inner parts to $defs")]
    if len(canonical(schema)) > _SIZE_CAP:
        return [SchemaFault((), f"is longer than {_SIZE_CAP // 1024} KiB", "shorten descriptions and enums")]
    found = [*_meta_faults(schema), *(fault for path, part in _subschemas(schema) for fault in _foreign(path, part, schema))]
    if found:
        return found
    if _Work(schema).of(schema, _WORK_LEVELS) > _WORK_CAP:
        return [
            SchemaFault((), "multiplies to too many checks of one value", "merge its alternatives, or let it refer to itself once only")
        ]
    try:
        _validator(schema)
    except jsonschema_rs.ValidationError as error:
        return [_schema_fault(error)]
    return [fault for path, part in _subschemas(schema) for fault in _idle(path, part, schema)]


def path_text(parts: list[str | int]) -> str:
    """`items[3].name`."""
    return "".join(f"[{part}]" if isinstance(part, int) else (f".{part}" if index else str(part)) for index, part in enumerate(parts))


def _validator(schema: JsonObject) -> Any:
    return jsonschema_rs.validator_for(schema, mask="the value", retriever=_refuse, pattern_options=jsonschema_rs.RegexOptions())


def _meta_faults(schema: JsonObject) -> list[SchemaFault]:
    validator = jsonschema_rs.validator_for({"$ref": _DIALECT}, mask="the value", retriever=_refuse)
    return list(dict.fromkeys(_schema_fault(error) for error in validator.iter_errors(schema)))


def _schema_fault(error: jsonschema_rs.ValidationError) -> SchemaFault:
    path = tuple(error.instance_path)
    if '"regex"' in error.message:
        return SchemaFault(path, "is not a pattern", "write a regular expression without look-around and back references")
    return SchemaFault(path, f"is not JSON Schema: {error.message}", "see json-schema.org, draft 2020-12")


def _foreign(path: Path, schema: JsonObject, root: JsonObject) -> Iterator[SchemaFault]:
    """References that lead out of the schema, or to nothing."""
    if not path and schema.get("$schema", _DIALECT) != _DIALECT:
        yield SchemaFault(("$schema",), "names another dialect", "use draft 2020-12, or leave it out")
    for word in _FORBIDDEN:
        if word in schema:
            yield SchemaFault((*path, word), "is not supported", "refer by path instead: $ref: '#/$defs/name'")
    reference = schema.get("$ref")
    if reference is None:
        return
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        remedy = "copy the definition under $defs and write '#/$defs/name': nothing is fetched"
        yield SchemaFault((*path, "$ref"), f"refers to {reference!r}, outside of this schema", remedy)
    elif not isinstance(referred(root, reference), dict | bool):
        yield SchemaFault((*path, "$ref"), f"refers to {reference!r}, where there is no schema", "define it under $defs")


def _idle(path: Path, schema: JsonObject, root: JsonObject) -> Iterator[SchemaFault]:
    """Defaults that break their own schema, and required fields that no value can have."""
    properties = schema.get("properties")
    required = schema.get("required")
    if schema.get("additionalProperties") is False and isinstance(required, list) and "patternProperties" not in schema:
        for index, name in enumerate(required):
            if not isinstance(properties, dict) or name not in properties:
                remedy = "declare it under properties, or take it out"
                yield SchemaFault((*path, "required", index), f"requires {name!r}, which no value may have", remedy)
    if "default" in schema:
        shared: JsonObject = {word: root[word] for word in _UNUSED if word in root}
        try:
            errors = list(compile_schema({"allOf": [schema], **shared}).iter_errors(schema["default"]))
        except ValueError:
            return  # refers to other parts of the whole, which are not at hand here
        if errors:
            yield SchemaFault((*path, "default"), f"breaks its own schema: {errors[0].message}", "mend the default, or the schema")


def _subschemas(schema: JsonValue, path: Path = ()) -> Iterator[tuple[Path, JsonObject]]:
    """A schema and every schema written inside of it."""
    if not isinstance(schema, dict):
        return
    yield path, schema
    for word in (*_SAME_VALUE, *_CHILDREN, *_UNUSED):
        inner = schema.get(word)
        match inner:
            case dict() if word in _BY_NAME:
                for name, item in inner.items():
                    yield from _subschemas(item, (*path, word, name))
            case dict():
                yield from _subschemas(inner, (*path, word))
            case list():
                for index, item in enumerate(inner):
                    yield from _subschemas(item, (*path, word, index))


def referred(root: JsonObject, reference: str) -> JsonValue:
    """What `#/…` points at; None when there is nothing."""
    found: JsonValue = root
    for part in reference.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        match found:
            case dict():
                found = found.get(name)
            case list() if name.isdecimal() and int(name) < len(found):
                found = found[int(name)]
            case _:
                return None
    return found


class _Work:
    """Counts the checks that one value can cause, level by level: alternatives multiply, and so do references back to the top."""

    def __init__(self, root: JsonObject) -> None:
        self._root = root
        self._known: dict[tuple[int, int], int] = {}

    def of(self, schema: JsonValue, levels: int) -> int:
        if not isinstance(schema, dict) or levels == 0:
            return 1
        key = (id(schema), levels)
        if key not in self._known:
            self._known[key] = _WORK_CAP + 1  # what it is while it is being counted: a schema that applies itself without end
            reference = schema.get("$ref")
            same = [referred(self._root, reference)] if isinstance(reference, str) else []
            same += [part for word in _SAME_VALUE for part in _parts(schema, word)]
            work = 1 + sum(self.of(part, levels) for part in same)
            work += max((self.of(part, levels - 1) for part in _parts(schema, "properties")), default=0)
            work += sum(self.of(part, levels - 1) for word in _CHILDREN if word != "properties" for part in _parts(schema, word))
            self._known[key] = min(work, _WORK_CAP + 1)
        return self._known[key]


def _parts(schema: JsonObject, word: str) -> list[JsonValue]:
    inner = schema.get(word)
    match inner:
        case dict() if word in _BY_NAME:
            return list(inner.values())
        case list():
            return inner
        case None:
            return []
        case _:
            return [inner]


def _deeper(value: JsonValue, levels: int) -> bool:
    if levels < 0:
        return True
    match value:
        case dict():
            return any(_deeper(item, levels - 1) for item in value.values())
        case list():
            return any(_deeper(item, levels - 1) for item in value)
        case _:
            return False


def _refuse(uri: str) -> Any:
    raise ValueError(f"{uri}: a schema may refer to itself only")
