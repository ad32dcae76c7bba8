"""The route table follows the contract, and refuses what has no route."""

import pytest
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, struct_pb2
from plimsoll.gateway.v1 import gateway_service_pb2
from plimsoll_gateway.errors import MethodNotAllowed, NoSuchPath
from plimsoll_gateway.transport.fields import ContractError, shapes
from plimsoll_gateway.transport.routes import RouteTable

SERVICE = gateway_service_pb2.DESCRIPTOR.services_by_name["GatewayService"]
TABLE = RouteTable(SERVICE)


def contract(rules: dict[str, dict[str, str]]):
    """A service `T` with one method per rule, each taking a request with the fields `id` and `tags`."""
    file = descriptor_pb2.FileDescriptorProto(name="t.proto", package="t", syntax="proto3", dependency=["google/api/annotations.proto"])
    request = file.message_type.add(name="Request")
    request.field.add(name="id", number=1, type=9, label=1)
    request.field.add(name="tags", number=2, type=9, label=3)
    service = file.service.add(name="T")
    for name, rule in rules.items():
        method = service.method.add(name=name, input_type=".t.Request", output_type=".t.Request")
        for word, value in rule.items():
            setattr(method.options.Extensions[annotations_pb2.http], word, value)
    pool = descriptor_pool.DescriptorPool()
    for dependency in ("google/protobuf/descriptor.proto", "google/api/http.proto", "google/api/annotations.proto"):
        pool.AddSerializedFile(descriptor_pool.Default().FindFileByName(dependency).serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return pool.FindServiceByName("t.T")


def test_every_method_of_the_contract_has_a_route_that_leads_to_it():
    assert {route.method for route in TABLE.routes} == {method.name for method in SERVICE.methods}
    for route in TABLE.routes:
        match = TABLE.match(route.http, route.path.replace("{", "").replace("}", ""))
        assert match.route is route
        assert dict(match.variables) == {name: name for name in route.variables}


@pytest.mark.parametrize(
    ("http", "path", "method", "variables"),
    [
        ("GET", "/v1/runs/run_1", "GetRun", {"run_id": "run_1"}),
        ("POST", "/v1/runs/run_1:cancel", "CancelRun", {"run_id": "run_1"}),
        ("GET", "/v1/runs/a:b", "GetRun", {"run_id": "a:b"}),
        ("GET", "/v1/runs/run_1%3Acancel", "GetRun", {"run_id": "run_1:cancel"}),
        ("POST", "/v1/runs/a:b:cancel", "CancelRun", {"run_id": "a:b"}),
        ("GET", "/v1/failures:count", "CountFailures", {}),
        ("DELETE", "/v1/collections/a/documents/b%2Fc", "DeleteDocument", {"collection": "a", "document_id": "b/c"}),
    ],
)
def test_a_path_finds_its_method_and_fills_its_variables(http: str, path: str, method: str, variables: dict[str, str]):
    match = TABLE.match(http, path)
    assert (match.route.method, dict(match.variables)) == (method, variables)


@pytest.mark.parametrize(
    "path", ["", "/", "/v1", "/v1/", "/v1/runs/", "/v1//runs", "/v2/runs", "/v1/failures", "/v1/runs/x/y", "/v1/runs/%FF", "*"]
)
def test_a_path_that_no_method_has_is_refused(path: str):
    with pytest.raises(NoSuchPath):
        TABLE.match("GET", path)


def test_another_http_method_is_refused_with_those_that_are_allowed():
    with pytest.raises(MethodNotAllowed) as caught:
        TABLE.match("PUT", "/v1/agents")
    assert caught.value.allowed == ("GET", "POST")
    with pytest.raises(MethodNotAllowed):
        TABLE.match("GET", "/v1/runs/run_1:cancel")


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ({"A": {}}, "has no route"),
        ({"A": {"get": "v1/x"}}, "a path is"),
        ({"A": {"get": "/v1/{id=**}"}}, "a path is"),
        ({"A": {"get": "/v1/{name}"}}, "names name, which Request lacks"),
        ({"A": {"post": "/v1/x", "body": "thing"}}, "names thing, which Request lacks"),
        ({"A": {"get": "/v1/{tags}"}}, "is no single value"),
        ({"A": {"get": "/v1/{id}"}, "B": {"get": "/v1/{id}"}}, "share GET"),
        ({"A": {"post": "/v1/x", "body": "*", "response_body": "id"}}, "have no REST form"),
    ],
)
def test_a_contract_that_cannot_be_routed_is_found_at_the_start(rules: dict[str, dict[str, str]], says: str):
    with pytest.raises(ContractError, match=says.replace("{", r"\{")):
        RouteTable(contract(rules))


def test_a_contract_without_a_json_form_is_found_at_the_start():
    with pytest.raises(ContractError, match="no JSON form"):
        shapes([struct_pb2.Struct.DESCRIPTOR])
