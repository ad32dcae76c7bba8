"""Schemas: what is refused when a tool is declared, and what a value is told."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_tool_dispatcher.domain.schema import compile_schema
from plimsoll_tool_dispatcher.domain.schema_shape import MAX_NESTING, nesting, resolve_pointer
from tool_dispatcher_samples import schema

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def refused(document: JsonValue, root_type: str = "") -> list[tuple[str, str]]:
    compiled, problems = compile_schema(document, "arguments", root_type=root_type)
    assert compiled is None
    assert all(problem.remedy for problem in problems)
    return [(problem.field, problem.problem) for problem in problems]


def nested(value: JsonValue, levels: int) -> JsonValue:
    for _ in range(levels):
        value = {"inner": value}
    return value


@pytest.mark.parametrize(
    ("document", "field", "problem"),
    [
        ([], "arguments", "is not a JSON Schema"),
        ({"$ref": "https://canary.invalid/schema"}, "arguments.$ref", "outside of this schema"),
        ({"properties": {"a": {"$ref": "file:///etc/passwd"}}}, "arguments.properties.a.$ref", "outside of this schema"),
        ({"$ref": "#/$defs/nothing"}, "arguments.$ref", "where there is no schema"),
        ({"$id": "https://canary.invalid/"}, "arguments.$id", "is not supported"),
        ({"$dynamicRef": "#node"}, "arguments.$dynamicRef", "is not supported"),
        ({"$schema": "http://json-schema.org/draft-04/schema#"}, "arguments.$schema", "another dialect"),
        ({"$ref": "#"}, "arguments", "refers to itself without end"),
        ({"anyOf": [{"type": "null"}, {"$ref": "#"}]}, "arguments", "refers to itself without end"),
        ({"properties": {"a": {"type": "text"}}}, "arguments.properties.a.type", "is not valid JSON Schema"),
        ({"properties": {"a": {"pattern": "(?=b)a"}}}, "arguments.properties.a.pattern", "linear time"),
        ({"properties": {"a": {"pattern": r"(a)\1"}}}, "arguments.properties.a.pattern", "linear time"),
        ({"properties": {"a": {"type": "integer", "default": "x"}}}, "arguments.properties.a.default", "breaks its own schema"),
        ({"items": [{"type": "integer"}]}, "arguments.items", "is not valid JSON Schema"),
        ({"description": "x" * 200_000}, "arguments", "is longer than"),
        (nested({"type": "object"}, 100), "arguments", "is nested deeper than"),
        ({"properties": {f"p{n}": {} for n in range(3000)}}, "arguments", "has more than"),
    ],
)
def test_what_a_schema_must_not_be_is_told_with_its_place(document: JsonValue, field: str, problem: str) -> None:
    [(found_field, found_problem), *_] = refused(document)
    assert found_field == field
    assert problem in found_problem


def test_all_mistakes_are_told_at_once() -> None:
    document: JsonObject = {"properties": {"a": {"type": "text"}, "b": {"minimum": "low"}}, "required": "a"}
    assert sorted(field for field, _ in refused(document)) == [
        "arguments.properties.a.type",
        "arguments.properties.b.minimum",
        "arguments.required",
    ]


def test_arguments_must_be_an_object() -> None:
    assert refused({"type": "array"}, "object") == [("arguments.type", "is not 'object'")]
    assert refused({}, "object") == [("arguments.type", "is not 'object'")]


@pytest.mark.parametrize("levels", [16, 20, 60])
def test_alternatives_that_multiply_are_refused_in_no_time(levels: int) -> None:
    definitions: JsonObject = {f"a{n}": {"anyOf": [{"$ref": f"#/$defs/a{n + 1}"}, {"$ref": f"#/$defs/a{n + 1}"}]} for n in range(levels)}
    definitions[f"a{levels}"] = {"type": "integer"}
    before = time.process_time()
    assert refused({"$ref": "#/$defs/a0", "$defs": definitions}) == [("arguments", "has alternatives that multiply to too many checks")]
    assert time.process_time() - before < 1


def test_a_schema_that_doubles_with_each_level_takes_only_shallow_values() -> None:
    node: JsonObject = {"properties": {"next": {"$ref": "#"}}}
    doubling = schema({"type": "object", "allOf": [node, {"$ref": "#/$defs/same"}], "$defs": {"same": node}})
    assert 3 < doubling.max_nesting < 20
    before = time.process_time()
    assert [problem.problem for problem in doubling.problems(nested(1, 60), "arguments")] == [
        f"is nested deeper than {doubling.max_nesting} levels"
    ]
    doubling.problems(nested(1, doubling.max_nesting), "arguments")
    assert time.process_time() - before < 1


def test_a_schema_that_refers_to_itself_through_its_properties_works() -> None:
    tree = schema({"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}, "name": {"type": "string"}}})
    assert tree.max_nesting == MAX_NESTING
    assert tree.problems({"name": "a", "children": [{"name": "b", "children": []}]}, "arguments") == ()
    [problem] = tree.problems({"children": [{"name": 1}]}, "arguments")
    assert problem.field == "arguments.children[0].name"


def test_an_evil_pattern_is_harmless() -> None:
    evil = schema({"type": "string", "pattern": "^(a+)+$"})
    before = time.process_time()
    assert evil.problems("a" * 50_000 + "!", "text")
    assert time.process_time() - before < 0.5


def test_formats_are_checked() -> None:
    assert schema({"format": "email"}).problems("no address", "mail")
    assert not schema({"format": "date-time"}).problems("2026-01-01T00:00:00Z", "at")


def test_problems_never_quote_the_value() -> None:
    strict = schema({"type": "object", "properties": {"a": {"enum": [1]}, "b": {"pattern": "^x$"}, "c": {"maximum": 1}}})
    told = " ".join(map(str, strict.problems({"a": "hidden-1", "b": "hidden-2", "c": 99999}, "arguments")))
    assert "hidden" not in told
    assert "99999" not in told


def test_a_value_of_extreme_depth_costs_nothing() -> None:
    value: JsonValue = 1
    for _ in range(100_000):
        value = [value]
    [problem] = schema({"type": "array"}).problems(value, "arguments")
    assert "nested deeper" in problem.problem
    while isinstance(value, list):  # taken apart by hand: the interpreter would do it recursively
        value = value[0]


def test_what_looks_like_a_schema_in_an_enum_is_left_alone() -> None:
    assert schema({"enum": [{"$ref": "https://canary.invalid/"}], "properties": {"$ref": {"type": "string"}}})


@given(VALUES)
def test_nesting_counts_levels(value: JsonValue) -> None:
    def levels(item: JsonValue) -> int:
        match item:
            case dict():
                return 1 + max(map(levels, item.values()), default=0)
            case list():
                return 1 + max(map(levels, item), default=0)
            case _:
                return 0

    assert nesting(value, 100) == levels(value)


@given(VALUES)
def test_any_value_is_judged_without_an_error(value: JsonValue) -> None:
    open_schema = schema({"anyOf": [{"type": "object"}, {"type": "array", "items": {"type": "string"}}, {"type": "integer"}]})
    assert isinstance(open_schema.problems(value, "value"), tuple)


@given(VALUES)
def test_any_document_compiles_or_is_refused_with_reasons(document: JsonValue) -> None:
    compiled, problems = compile_schema(document, "arguments")
    assert (compiled is None) == bool(problems)


def test_pointers_unescape_their_steps() -> None:
    root: JsonObject = {"$defs": {"a/b": {"x~y": [{"type": "null"}]}}}
    assert resolve_pointer(root, "#/$defs/a~1b/x~0y/0") == {"type": "null"}
    assert resolve_pointer(root, "#/$defs/a~1b/x~0y/1") is None
    assert resolve_pointer(root, "elsewhere#/") is None
