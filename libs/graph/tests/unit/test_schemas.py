"""Schemas: offline, bounded, and no promise in them that cannot be kept."""

import pytest
from plimsoll_graph.check import check
from plimsoll_graph.schemas import schema_faults
from plimsoll_runtime.json_types import JsonObject


def _nested(levels: int) -> JsonObject:
    schema: JsonObject = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(
    ("schema", "path", "problem"),
    [
        ({"type": "objekt"}, ("type",), "is not JSON Schema"),
        ({"properties": {"a": {"minimum": "x"}}}, ("properties", "a", "minimum"), "is not JSON Schema"),
        ({"properties": {"a": 5}}, ("properties", "a"), "is not JSON Schema"),
        ({"properties": {"a": {"$ref": "https://x.example/y"}}}, ("properties", "a", "$ref"), "refers to 'https://x.example/y', outside"),
        ({"$ref": "other.json"}, ("$ref",), "refers to 'other.json', outside"),
        ({"properties": {"a": {"$ref": "#/$defs/b"}}}, ("properties", "a", "$ref"), "refers to '#/$defs/b', where there is no schema"),
        ({"$schema": "http://json-schema.org/draft-04/schema#"}, ("$schema",), "names another dialect"),
        ({"$id": "https://x.example/"}, ("$id",), "is not supported"),
        ({"pattern": "(?=x)"}, ("pattern",), "is not a pattern"),
        ({"pattern": "(a)\\1"}, ("pattern",), "is not a pattern"),
        ({"properties": {"a": {"type": "integer", "default": "x"}}}, ("properties", "a", "default"), "breaks its own schema"),
        (
            {"$defs": {"d": {"enum": [1]}}, "properties": {"a": {"$ref": "#/$defs/d", "default": 2}}},
            ("properties", "a", "default"),
            "breaks",
        ),
        ({"additionalProperties": False, "required": ["a"], "properties": {"b": {}}}, ("required", 0), "requires 'a', which no value"),
        (_nested(40), (), "is nested deeper than 32"),
        ({"description": "x" * 200_000}, (), "is longer than 128 KiB"),
        ({"$ref": "#"}, (), "multiplies to too many checks"),
        ({"properties": {"a": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}}}, (), "multiplies to too many checks"),
    ],
)
def test_a_schema_mistake_is_found_in_its_place(schema: JsonObject, path: tuple[str | int, ...], problem: str) -> None:
    [fault] = schema_faults(schema)
    assert fault.path == path
    assert fault.problem.startswith(problem)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"child": {"$ref": "#"}, "name": {"type": "string", "default": ""}}},
        {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}},
        {"$defs": {"a": {"type": "string"}}, "properties": {"x": {"$ref": "#/$defs/a", "default": "y"}}},
        {"oneOf": [{"const": "a", "description": "one"}, {"const": "b"}]},
        {"properties": {"default": {"type": "integer"}, "$ref": {"type": "string"}}},
        {"enum": [{"$ref": "https://x.example"}]},
        {"type": "string", "pattern": r"^[A-Z]{2,6}-\d{2,8}$", "format": "email"},
    ],
)
def test_a_schema_that_is_fine_has_no_faults(schema: JsonObject) -> None:
    assert schema_faults(schema) == []


def test_the_line_of_a_schema_mistake_is_its_own() -> None:
    text = """agent: s
input:
  type: object
  properties:
    a:
      $ref: https://x.example/a.json
state: {type: object, properties: {a: {type: string}}}
start: n
nodes: {n: {set: {a: state.a}, next: end}}
"""
    [mistake] = check(text, "s.yaml").mistakes
    assert mistake.path == "input.properties.a.$ref"
    assert mistake.place is not None
    assert (mistake.place.line, mistake.place.column) == (6, 7)


def test_a_state_that_says_nothing_is_a_warning() -> None:
    text = "{agent: s, input: {type: object}, state: STATE, start: n, nodes: {n: {set: {a: 1}, next: end}}}"
    for state, path in (("{type: object}", "state"), ("{type: object, properties: {a: {}}}", "state.properties.a")):
        found = check(text.replace("STATE", state), "s.yaml")
        assert not found.mistakes
        assert [warning.path for warning in found.warnings] == [path]
