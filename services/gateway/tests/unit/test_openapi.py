"""The document of the interface is sound, complete, and true of what is written."""

import re

import jsonschema_rs
import orjson
import pytest
from gateway_messages import messages
from google.protobuf.descriptor import MethodDescriptor
from hypothesis import given, settings
from hypothesis import strategies as st
from plimsoll.gateway.v1 import gateway_service_pb2
from plimsoll.orchestrator.v1 import run_pb2
from plimsoll_gateway.transport.json_writer import JsonWriter
from plimsoll_gateway.transport.openapi import openapi
from plimsoll_gateway.transport.transcoder import Transcoder

SERVICE = gateway_service_pb2.DESCRIPTOR.services_by_name["GatewayService"]
TRANSCODER = Transcoder(SERVICE)
DOCUMENT = orjson.loads(openapi(TRANSCODER, "1.2.3"))
WRITER = JsonWriter(TRANSCODER.shapes)


def references(node: object):
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for inner in node.values():
            yield from references(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from references(inner)


def test_every_method_has_one_operation():
    operations = [operation["operationId"] for path in DOCUMENT["paths"].values() for operation in path.values()]
    assert sorted(operations) == sorted(method.name[0].lower() + method.name[1:] for method in SERVICE.methods)


def test_every_reference_leads_somewhere():
    names = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    assert set(references(DOCUMENT)) <= names


def test_every_variable_of_a_path_is_a_parameter_and_no_other():
    for path, operations in DOCUMENT["paths"].items():
        for operation in operations.values():
            named = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"}
            assert named == {piece.partition("}")[0] for piece in path.split("{")[1:]}


def test_headers_query_and_bodies_are_described():
    submit = DOCUMENT["paths"]["/v1/agents/{agent}/runs"]["post"]
    assert {parameter["name"] for parameter in submit["parameters"]} == {"agent", "Idempotency-Key"}
    assert set(submit["requestBody"]["content"]["application/json"]["schema"]["properties"]) == {"input", "idempotencyKey", "options"}
    signal = DOCUMENT["paths"]["/v1/runs/{runId}/signals"]["post"]
    assert signal["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/plimsoll.feedback.v1.Signal"}
    follow = DOCUMENT["paths"]["/v1/runs/{runId}/events"]["get"]
    assert list(follow["responses"]["200"]["content"]) == ["text/event-stream"]
    assert {parameter["name"] for parameter in follow["parameters"]} == {"runId", "afterSeq", "tokens", "Last-Event-ID"}


def test_every_operation_names_its_scope_and_every_field_of_the_contract_is_described():
    for path in DOCUMENT["paths"].values():
        for operation in path.values():
            assert re.match(r"Needs the scope [a-z]+:[a-z]+\.$|Needs a key or token, and no scope\.$", operation["description"])
    options = DOCUMENT["components"]["schemas"]["plimsoll.orchestrator.v1.RunOptions"]["properties"]
    assert set(options) == {field.json_name for field in run_pb2.RunOptions.DESCRIPTOR.fields}
    put = DOCUMENT["paths"]["/v1/webhooks/{name}"]["put"]
    assert {(parameter["name"], parameter["in"]) for parameter in put["parameters"]} == {("name", "path"), ("rotate", "query")}
    assert put["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/plimsoll.orchestrator.v1.Webhook"}
    fork = DOCUMENT["paths"]["/v1/runs/{runId}:fork"]["post"]
    assert {parameter["name"] for parameter in fork["parameters"]} == {"runId", "Idempotency-Key"}


@pytest.mark.parametrize("method", list(SERVICE.methods), ids=lambda method: method.name)
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_what_is_written_fits_the_document(method: MethodDescriptor, data: st.DataObject):
    schema = {"$ref": f"#/components/schemas/{method.output_type.full_name}", "components": DOCUMENT["components"]}
    text = WRITER.write(data.draw(messages(method.output_type)))
    if b"Infinity" not in text:  # numbers that JSON lacks are words, which the document leaves out
        jsonschema_rs.Draft202012Validator(schema).validate(orjson.loads(text))
