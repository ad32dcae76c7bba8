"""OpenAPI documents as tools, and calls of their operations as requests."""

import copy
import string
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_tool_dispatcher.domain.effects import EffectClass
from plimsoll_tool_dispatcher.domain.openapi import Operation, read_operations
from plimsoll_tool_dispatcher.domain.openapi_request import OperationRequest, UnfitArgument, request_of
from plimsoll_tool_dispatcher.domain.schema import compile_schema

PET: JsonObject = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string"},
        "tag": {"type": "string", "nullable": True},
        "age": {"type": "integer", "minimum": 0, "exclusiveMinimum": True},
        "parent": {"$ref": "#/components/schemas/Pet"},
    },
}
ID: JsonObject = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
OK: JsonObject = {"200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}}}}


def document(**operations: JsonValue) -> JsonObject:
    """A document with one path per operation: get_pet → /pets/{id}."""
    return {
        "openapi": "3.0.3",
        "servers": [{"url": "https://evil.test"}],
        "components": {"schemas": {"Pet": PET}, "parameters": {"Id": ID}},
        "paths": {
            "/pets/{id}": {
                "parameters": [{"$ref": "#/components/parameters/Id"}],
                "get": {"operationId": "getPet", "summary": "One pet", "responses": OK},
                "put": {"operationId": "putPet", "requestBody": _body(required=True), "responses": OK},
                "delete": {"operationId": "dropPet", "responses": {"204": {}}},
            },
            "/pets": {
                "get": {
                    "operationId": "listPets",
                    "parameters": [
                        {"name": "tags", "in": "query", "schema": {"type": "array", "items": {"type": "string"}}},
                        {"name": "near", "in": "query", "explode": False, "schema": {"type": "array", "items": {"type": "number"}}},
                        {"name": "filter", "in": "query", "content": {"application/json": {"schema": {"type": "object"}}}},
                        {"name": "X-Trace", "in": "header", "schema": {"type": "string"}},
                        {"name": "session", "in": "cookie", "schema": {"type": "string"}},
                    ],
                    "responses": OK,
                },
                "post": {
                    "operationId": "addPet",
                    "parameters": [{"name": "Idempotency-Key", "in": "header", "required": True, "schema": {"type": "string"}}],
                    "requestBody": _body(),
                    "responses": {"default": {"content": {"text/plain": {}}}},
                },
                "patch": {"operationId": "patchPets", "responses": {}},
                **operations,
            },
        },
    }


def _body(*, required: bool = False) -> JsonObject:
    return {"required": required, "content": {"application/json; charset=utf-8": {"schema": {"$ref": "#/components/schemas/Pet"}}}}


def operation(name: str, doc: JsonValue = None, header: str = "") -> Operation:
    found, problems = read_operations(doc or document(), {name: header})
    assert name in found, problems
    return found[name]


def sent(name: str, arguments: JsonObject) -> OperationRequest:
    return request_of(operation(name), arguments, "key_1")


@pytest.mark.parametrize(
    ("name", "effect"),
    [
        ("getPet", EffectClass.READ_ONLY),
        ("putPet", EffectClass.IDEMPOTENT),
        ("dropPet", EffectClass.IDEMPOTENT),
        ("patchPets", EffectClass.NON_IDEMPOTENT),
        ("addPet", EffectClass.KEYED),
    ],
)
def test_the_method_says_what_an_operation_does_unless_a_key_is_declared(name: str, effect: EffectClass) -> None:
    assert operation(name).effect is effect


def test_only_listed_operations_are_offered() -> None:
    found, problems = read_operations(document(), {"getPet": "", "nobody": ""})
    assert list(found) == ["getPet"]
    assert [problem.field for problem in problems] == ["operations.nobody"]


def test_t02_a_schema_that_refers_to_itself_is_usable() -> None:
    for schema in (operation("getPet").result, operation("putPet").arguments):
        compiled, problems = compile_schema(schema, "schema")
        assert compiled is not None, problems
    compiled, _ = compile_schema(operation("getPet").result, "result")
    assert compiled is not None
    nested: JsonObject = {"status": 200, "body": {"name": "a", "tag": None, "age": 1, "parent": {"name": "b", "parent": {"name": "c"}}}}
    assert compiled.problems(nested, "result") == ()
    assert compiled.problems({"status": 200, "body": {"name": "a", "parent": {"name": 5}}}, "result")
    assert compiled.problems({"status": 200, "body": {"name": "a", "age": 0}}, "result")


def test_a_long_chain_of_references_is_followed_without_recursion() -> None:
    doc = document()
    schemas: JsonObject = {
        f"S{n}": {"type": "object", "properties": {"next": {"$ref": f"#/components/schemas/S{n + 1}"}}} for n in range(400)
    }
    doc["components"] = {"schemas": {**schemas, "S400": {}, "Pet": {"$ref": "#/components/schemas/S0"}}, "parameters": {"Id": ID}}
    assert len(operation("getPet", doc).result["$defs"]) == 402  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (
            {"operationId": "bad", "responses": {"200": {"content": {"application/json": {"schema": {"$ref": "https://evil.test/x"}}}}}},
            "outside",
        ),
        ({"operationId": "bad", "parameters": [{"$ref": "#/components/parameters/None"}], "responses": {}}, "there is nothing"),
        ({"operationId": "bad", "parameters": [{"name": "a", "in": "path", "schema": {}}], "responses": {}}, "path parameters"),
        ({"operationId": "bad", "parameters": [{"name": "a", "in": "cookie", "required": True}], "responses": {}}, "cannot set"),
        ({"operationId": "bad", "parameters": [{"name": "Host", "in": "header", "required": True}], "responses": {}}, "cannot set"),
        ({"operationId": "bad", "parameters": [{"name": "a\r\nb", "in": "header", "required": True}], "responses": {}}, "cannot set"),
        ({"operationId": "bad", "parameters": [{"name": "a", "in": "query", "style": "deepObject", "required": True}]}, "deepObject"),
        ({"operationId": "bad", "requestBody": {"required": True, "content": {"multipart/form-data": {}}}}, "neither JSON nor a form"),
        ({"operationId": "bad", "parameters": ["x"]}, "is not an object"),
    ],
)
def test_t07_an_operation_with_a_mistake_is_left_out_alone(broken: JsonValue, problem: str) -> None:
    found, problems = read_operations(document(head=broken), {"bad": "", "getPet": ""})
    assert list(found) == ["getPet"]
    assert problem in str(problems[0])


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ({"parameters": [{"name": "a", "in": "cookie"}]}, "cookie parameter 'a'"),
        ({"parameters": [{"name": "a", "in": "query", "style": "deepObject"}]}, "the query parameter 'a' in the style deepObject"),
        ({"parameters": [{"name": "a", "in": "query", "style": "pipeDelimited"}]}, "pipeDelimited"),
        ({"parameters": [{"name": "a", "in": "query", "content": {"application/xml": {}}}]}, "application/xml"),
        ({"parameters": [{"name": "Accept", "in": "header"}]}, "header parameter 'Accept'"),
        ({"requestBody": {"content": {"multipart/form-data": {}}}}, "a body of multipart/form-data"),
    ],
)
def test_an_optional_part_that_no_call_can_send_is_told_and_is_no_argument(part: JsonObject, told: str) -> None:
    found = operation("odd", document(head={"operationId": "odd", "responses": {}, **part}))
    [omitted] = found.omitted
    assert omitted.field == "operations.odd"
    assert "optional" in omitted.problem
    assert told in omitted.problem
    assert omitted.remedy
    assert found.arguments["properties"] == {}


def filtered(schema: JsonObject) -> JsonObject:
    return {
        "operationId": "filtered",
        "parameters": [{"name": "filter", "in": "query", "style": "deepObject", "explode": True, "schema": schema}],
        "responses": {},
    }


def test_a_deep_object_of_plain_values_travels_field_by_field_and_stays_in_its_place() -> None:
    fields: JsonObject = {"status": {"type": "string"}, "limit": {"type": "integer"}, "on": {"type": "boolean"}}
    found = operation("filtered", document(head=filtered({"type": "object", "properties": fields})))
    assert found.omitted == ()
    request = request_of(found, {"filter": {"status": "a&b]=c", "limit": 3, "on": True}}, "run:1")
    assert unquote(request.target.partition("?")[2].split("&")[0]) == "filter[status]=a&b]=c"
    assert request.target.partition("?")[2] == "filter%5Bstatus%5D=a%26b%5D%3Dc&filter%5Blimit%5D=3&filter%5Bon%5D=true"
    assert found.shape != operation("filtered", document(head=filtered({"type": "object"}))).shape
    with pytest.raises(UnfitArgument, match="nested deeper"):
        request_of(found, {"filter": {"status": ["a"]}}, "run:1")


@pytest.mark.parametrize("schema", [{}, {"type": "object"}, {"type": "object", "properties": {"a": {"type": "array"}}}, {"type": "string"}])
def test_a_deep_object_whose_fields_are_not_plain_is_left_out_and_told(schema: JsonObject) -> None:
    [omitted] = operation("filtered", document(head=filtered(schema))).omitted
    assert "not all plain values" in omitted.problem


def test_an_operation_that_is_whole_goes_without_nothing() -> None:
    assert [operation(name).omitted for name in ("getPet", "putPet", "dropPet", "addPet")] == [(), (), (), ()]


@pytest.mark.parametrize(
    "doc", [None, [], {}, {"openapi": "2.0"}, {"swagger": "2.0"}, {"openapi": "3.1.0"}, {"openapi": "3.0.0", "paths": 5}]
)
def test_what_is_no_openapi_document_offers_nothing(doc: JsonValue) -> None:
    found, problems = read_operations(doc, {"getPet": ""})
    assert not found
    assert problems


def test_t10_the_documents_servers_are_not_read() -> None:
    assert "evil" not in str(operation("getPet"))


def test_arguments_travel_in_their_places() -> None:
    request = sent("listPets", {"tags": ["a b", "c&d"], "near": [1.5, 2], "filter": {"a": 1}, "X-Trace": "t"})
    assert request.target == "/pets?tags=a%20b&tags=c%26d&near=1.5,2&filter=%7B%22a%22%3A1%7D"
    assert request.headers["X-Trace"] == "t"


def test_a_body_is_json_and_the_call_key_its_header() -> None:
    request = sent("addPet", {"body": {"name": "Rex"}})
    assert (request.target, request.body, request.headers["Idempotency-Key"]) == ("/pets", b'{"name":"Rex"}', "key_1")
    assert "Idempotency-Key" not in operation("addPet").arguments["properties"]  # type: ignore[operator]


def test_what_no_response_describes_may_be_anything() -> None:
    assert operation("patchPets").result["properties"] == {"status": {"type": "integer"}, "body": {}}
    assert operation("dropPet").result["properties"] == {"status": {"type": "integer"}, "body": {"type": "null"}}


def test_the_operator_can_name_the_header_of_the_key() -> None:
    request = request_of(operation("patchPets", header="X-Once"), {}, "key_1")
    assert request.headers["X-Once"] == "key_1"
    assert operation("patchPets", header="X-Once").effect is EffectClass.KEYED


@pytest.mark.parametrize("value", [".", "..", "", "%2e%2e"])
def test_t10_a_path_argument_does_not_climb(value: str) -> None:
    if value == "%2e%2e":
        assert sent("getPet", {"id": value}).target == "/pets/%252e%252e"
        return
    with pytest.raises(UnfitArgument):
        sent("getPet", {"id": value})


@pytest.mark.parametrize("value", ["a\r\nHost: evil", "a\nb", "\0", "é", " a"])
def test_t10_a_header_argument_forges_no_header(value: str) -> None:
    with pytest.raises(UnfitArgument):
        sent("listPets", {"X-Trace": value})


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: text not in {".", ".."}))
def test_t10_a_path_argument_stays_one_segment(value: str) -> None:
    target = sent("getPet", {"id": value}).target
    assert target.isascii()
    assert target.count("/") == 2
    assert not set(target) & set("?#\\ \r\n")
    assert unquote(target.removeprefix("/pets/")) == value


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_query_argument_stays_one_value(value: str) -> None:
    target = sent("listPets", {"tags": [value]}).target
    name, _, encoded = target.partition("?tags=")
    assert (name, unquote(encoded)) == ("/pets", value)
    assert not set(encoded) & set("&#? ")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(string.printable),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_whatever_a_document_holds_reading_it_ends_in_values(value: JsonValue) -> None:
    for place in ("get", "parameters"):
        doc = copy.deepcopy(document())
        doc["paths"]["/pets"][place] = value  # type: ignore[index,call-overload]
        found, _ = read_operations(doc, {"getPet": "", "addPet": ""})
        assert "getPet" in found
