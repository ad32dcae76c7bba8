"""The OpenAPI 3.1 document of the REST interface, from the same descriptors and shapes that the transcoder runs on."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

import orjson
from plimsoll_runtime.json_types import JsonObject, JsonValue

from plimsoll_gateway.domain.scopes import NEEDED
from plimsoll_gateway.transport.fields import Field, Kind, Shape
from plimsoll_gateway.transport.routes import Route
from plimsoll_gateway.transport.transcoder import IDEMPOTENCY_FIELD, Transcoder

LINES: Final = "application/jsonl"
_REFERENCE: Final = "#/components/schemas/"
_PROBLEM: JsonObject = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "reason", "code", "retryable", "traceId"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "reason": {"type": "string", "description": "Stable word that programs may rely on."},
        "code": {"type": "string", "description": "The canonical code, as over gRPC."},
        "retryable": {"type": "boolean"},
        "retryAfter": {"type": "number", "description": "Seconds."},
        "remedy": {"type": "string"},
        "traceId": {"type": "string"},
        "violations": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "problem", "remedy"],
                "properties": {"field": {"type": "string"}, "problem": {"type": "string"}, "remedy": {"type": "string"}},
            },
        },
    },
}

_SIMPLE: Final[Mapping[Kind, JsonObject]] = MappingProxyType(
    {
        Kind.STRING: {"type": "string"},
        Kind.BOOL: {"type": "boolean"},
        Kind.REAL: {"type": "number"},
        Kind.BYTES: {"type": "string", "contentEncoding": "base64"},
        Kind.TIMESTAMP: {"type": "string", "format": "date-time"},
        Kind.DURATION: {"type": "string", "pattern": r"^-?\d{1,12}(\.\d{1,9})?s$"},
        Kind.JSON: {},
    }
)


def openapi(transcoder: Transcoder, version: str) -> bytes:
    """The document as JSON text."""
    paths: dict[str, JsonObject] = {}
    for route in transcoder.table.routes:
        paths.setdefault(_path(route, transcoder.shapes), {})[route.http.lower()] = _operation(route, transcoder.shapes)
    document: JsonObject = {
        "openapi": "3.1.0",
        "info": {
            "title": "Plimsoll",
            "version": version,
            "description": "Field names are camelCase; snake_case is read too. Integers of 64 bits are written as strings.",
        },
        "security": [{"apiKey": []}],
        "paths": dict(paths),
        "components": {
            "securitySchemes": {"apiKey": {"type": "http", "scheme": "bearer", "description": "An API key: plk_…"}},
            "schemas": {"Problem": _PROBLEM, **{name: _schema(shape, frozenset()) for name, shape in sorted(transcoder.shapes.items())}},
        },
    }
    return orjson.dumps(document)


def _path(route: Route, shapes: Mapping[str, Shape]) -> str:
    path = route.path
    for name in route.variables:
        path = path.replace(f"{{{name}}}", f"{{{shapes[route.request.full_name].by_key[name].key}}}")
    return path


def _operation(route: Route, shapes: Mapping[str, Shape]) -> JsonObject:
    shape = shapes[route.request.full_name]
    operation: JsonObject = {
        "operationId": route.method[0].lower() + route.method[1:],
        "description": f"Needs the scope {NEEDED[route.method]}." if route.method in NEEDED else "Needs a key or token, and no scope.",
        "parameters": [*_parameters(route, shape), *_headers(route)],
        "responses": {
            "200": _answer(route),
            "default": _content("What went wrong.", "application/problem+json", {"$ref": _REFERENCE + "Problem"}),
        },
    }
    if route.body == "*":
        operation["requestBody"] = _body(_schema(shape, frozenset(route.variables)))
    elif route.body:
        operation["requestBody"] = _body(_field(shape.by_key[route.body]))
    return operation


def _parameters(route: Route, shape: Shape) -> Iterable[JsonValue]:
    for name in route.variables:
        yield {"name": shape.by_key[name].key, "in": "path", "required": True, "schema": _field(shape.by_key[name])}
    if route.body == "*":
        return
    for field in shape.fields:
        if field.name not in {*route.variables, route.body}:
            yield {"name": field.key, "in": "query", "required": False, "schema": _field(field)}


def _headers(route: Route) -> Iterable[JsonValue]:
    if IDEMPOTENCY_FIELD in route.request.fields_by_name:
        yield {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"}}
    if route.events:
        yield {"name": "Last-Event-ID", "in": "header", "schema": {"type": "string", "pattern": "^[0-9]{1,18}$"}}


def _answer(route: Route) -> JsonObject:
    if route.streaming and not route.events:
        schema: JsonObject = {"$ref": _REFERENCE + route.response.full_name}
        return _content(f"One JSON object a line: {route.response.name}. An answer that breaks off ends the connection.", LINES, schema)
    if route.streaming:
        return _content(
            "Events: id, event and data; the last is `end`. Provisional text (tokensReceived, tokensRetracted) has no id.",
            "text/event-stream",
            {"type": "string"},
        )
    return _content("Done.", "application/json", {"$ref": _REFERENCE + route.response.full_name})


def _body(schema: JsonObject) -> JsonObject:
    return {"content": {"application/json": {"schema": schema}}}


def _content(description: str, media_type: str, schema: JsonObject) -> JsonObject:
    return {"description": description, "content": {media_type: {"schema": schema}}}


def _schema(shape: Shape, without: frozenset[str]) -> JsonObject:
    properties: JsonObject = {field.key: _field(field) for field in shape.fields if field.name not in without}
    return {"type": "object", "title": shape.name, "properties": properties}


def _field(field: Field) -> JsonObject:
    one = _value(field)
    return {"type": "array", "items": one} if field.repeated else one


def _value(field: Field) -> JsonObject:
    match field.kind:
        case Kind.INTEGER if field.wide:
            return {"type": ["string", "integer"], "format": "int64"}
        case Kind.INTEGER:
            return {"type": "integer", "minimum": field.bounds[0], "maximum": field.bounds[1]}
        case Kind.ENUM:
            return {"type": "string", "enum": list(field.values)}
        case Kind.MESSAGE if field.message is not None:
            return {"$ref": _REFERENCE + field.message.full_name}
        case kind:
            return _SIMPLE[kind]
