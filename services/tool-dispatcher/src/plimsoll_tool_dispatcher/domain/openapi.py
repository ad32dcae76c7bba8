"""An OpenAPI 3.x document becomes tools: one per operation that the operator listed, and nothing else of the document is believed.

Where to send requests, what they carry as credentials and what may be relaxed is for the operator to say; the document's `servers` are not read.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.json_types import JsonObject, JsonValue, digest

from plimsoll_tool_dispatcher.domain.effects import EffectClass
from plimsoll_tool_dispatcher.domain.openapi_schema import Schemas, UnusableReference, followed, is_json, media_of

METHODS: Mapping[str, EffectClass] = {
    "get": EffectClass.READ_ONLY,
    "head": EffectClass.READ_ONLY,
    "put": EffectClass.IDEMPOTENT,
    "delete": EffectClass.IDEMPOTENT,
    "post": EffectClass.NON_IDEMPOTENT,
    "patch": EffectClass.NON_IDEMPOTENT,
}
FORM = "application/x-www-form-urlencoded"
BODY = "body"

_DEEP = "deepObject"
_PLAIN = ("string", "integer", "number", "boolean")
_PLACES = ("path", "query", "header")
_IDEMPOTENCY = frozenset({"idempotency-key", "x-idempotency-key", "idempotency-token", "x-idempotency-token"})
_FORBIDDEN_HEADERS = frozenset(
    {"accept", "authorization", "connection", "content-length", "content-type", "cookie", "host", "transfer-encoding"}
)
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_TEMPLATE = re.compile(r"\{([^{}/]{1,100})\}")
_MAX_PARAMETERS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """Where an argument travels. `as_json` sends it as JSON text, `deep` an object as `name[field]=value` for each of its fields."""

    argument: str
    name: str
    place: str
    explode: bool = True
    as_json: bool = False
    deep: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation in the form that a request is made of."""

    id: str
    method: str
    path: str
    summary: str = field(compare=False)
    parameters: tuple[Parameter, ...]
    body_media: str
    idempotency_header: str
    arguments: JsonObject = field(compare=False, repr=False)
    result: JsonObject = field(compare=False, repr=False)
    omitted: tuple[FieldProblem, ...] = field(default=(), compare=False)
    """Optional parts that no call can send."""

    @property
    def effect(self) -> EffectClass:
        """What the method says, and whether the API deduplicates by a key."""
        by_method = METHODS[self.method]
        return EffectClass.KEYED if self.idempotency_header and by_method is EffectClass.NON_IDEMPOTENT else by_method

    @property
    def shape(self) -> str:
        """Tells whether a later document means the same request."""
        parameters: list[JsonValue] = [
            [one.argument, one.name, one.place, one.explode, one.as_json, *(["deep"] if one.deep else [])] for one in self.parameters
        ]
        return digest([self.method, self.path, parameters, self.body_media, self.idempotency_header])


class _Unusable(Exception):
    def __init__(self, problem: str, remedy: str = "leave the operation out") -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy

    def omitted(self, name: str) -> FieldProblem:
        """The same of an optional part, which the operation goes without."""
        return FieldProblem(
            f"operations.{name}",
            f"goes without an optional part: it {self.problem}",
            f"nothing, where calls can do without it; else {self.remedy}",
        )


def read_operations(document: JsonValue, wanted: Mapping[str, str]) -> tuple[Mapping[str, Operation], tuple[FieldProblem, ...]]:
    """The wanted operations by their operationId, each with the header that the operator names for its idempotency key ("": as declared).

    An operation with a mistake is left out and told; the others are there.
    """
    version = document.get("openapi") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(version, str) or not version.startswith("3."):
        return {}, (FieldProblem("document", "is not OpenAPI 3.x", "give a document that says openapi: 3.0.x or 3.1.x"),)
    listed: dict[str, tuple[str, str, JsonObject, JsonObject]] = {}
    problems: list[FieldProblem] = []
    for path, method, item, operation in _all(document):
        name = operation.get("operationId")
        if not isinstance(name, str) or name not in wanted:
            continue
        if name in listed:
            problems.append(
                FieldProblem(f"operations.{name}", "is there twice in the document", "give each operation an operationId of its own")
            )
        listed[name] = (path, method, item, operation)
    found: dict[str, Operation] = {}
    for name, header in wanted.items():
        if name not in listed:
            problems.append(FieldProblem(f"operations.{name}", "is not in the document", "use an operationId that is there"))
            continue
        try:
            found[name] = _operation(document, name, *listed[name], header)
        except UnusableReference as error:
            problems.append(FieldProblem(f"operations.{name}", str(error), "mend the document, or leave the operation out"))
        except _Unusable as error:
            problems.append(FieldProblem(f"operations.{name}", error.problem, error.remedy))
    return found, tuple(problems)


def _all(document: JsonObject) -> Iterator[tuple[str, str, JsonObject, JsonObject]]:
    paths = document.get("paths")
    for path, item in paths.items() if isinstance(paths, dict) else ():
        if not isinstance(item, dict):
            continue
        for method in METHODS:
            operation = item.get(method)
            if isinstance(operation, dict):
                yield path, method, item, operation


def _operation(document: JsonObject, name: str, path: str, method: str, item: JsonObject, operation: JsonObject, header: str) -> Operation:
    if not path.startswith("/") or not path.isascii() or not path.isprintable() or any(mark in path for mark in " ?#\\%"):
        raise _Unusable(f"has the path {path[:80]!r}", "write a plain path such as /pets/{id}")
    schemas = Schemas(document)
    declared = _parameters(document, item, operation)
    idempotency = header or next((one for place, one in declared if place == "header" and one.lower() in _IDEMPOTENCY), "")
    properties: JsonObject = {}
    required: list[JsonValue] = []
    parameters: list[Parameter] = []
    omitted: list[FieldProblem] = []
    for (place, own_name), described in declared.items():
        if place == "header" and own_name.lower() == idempotency.lower():
            continue
        if (obstacle := _obstacle(document, place, own_name, described)) is not None:
            if described.get("required") is True:
                raise obstacle
            omitted.append(obstacle.omitted(name))
            continue
        parameter, schema = _parameter(place, own_name, described, schemas, properties)
        parameters.append(parameter)
        properties[parameter.argument] = schema
        if described.get("required") is True or place == "path":
            required.append(parameter.argument)
    _require_all_in_template(path, parameters)
    media = _body(document, operation, schemas, properties, required)
    if not media and "requestBody" in operation:
        omitted.append(_body_obstacle(media_of(followed(document, operation["requestBody"]).get("content"))).omitted(name))
    arguments: JsonObject = {"type": "object", "additionalProperties": False, "required": required, "properties": properties}
    return Operation(
        id=name,
        method=method,
        path=path,
        summary=_summary(operation, method, path),
        parameters=tuple(parameters),
        body_media=media,
        idempotency_header=idempotency,
        arguments=schemas.with_definitions(arguments),
        result=_result(document, operation),
        omitted=tuple(omitted),
    )


def _parameters(document: JsonObject, item: JsonObject, operation: JsonObject) -> dict[tuple[str, str], JsonObject]:
    """Those of the path and of the operation, which win, by place and name."""
    found: dict[tuple[str, str], JsonObject] = {}
    for level in (item, operation):
        listed = level.get("parameters", [])
        for one in listed if isinstance(listed, list) else ():
            described = followed(document, one)
            name, place = described.get("name"), described.get("in")
            if not isinstance(name, str) or not name or not isinstance(place, str):
                raise _Unusable("has a parameter without a name or a place")
            found[place, name] = described
    if len(found) > _MAX_PARAMETERS:
        raise _Unusable(f"has more than {_MAX_PARAMETERS} parameters")
    return found


def _obstacle(document: JsonObject, place: str, name: str, described: JsonObject) -> _Unusable | None:
    """Why no call can send the parameter; None when one can."""
    told = f"the {place[:20]} parameter {name[:60]!r}"
    if place not in _PLACES or (place == "header" and (_HEADER.fullmatch(name) is None or name.lower() in _FORBIDDEN_HEADERS)):
        return _Unusable(f"has {told}, which tools cannot set", "where it is a secret, give it as a credential of the source")
    content = media_of(described.get("content"))
    if content:
        media = ", ".join(content)[:80]
        return None if any(is_json(one) for one in content) else _Unusable(f"sends {told} as {media}, which is not supported")
    usual = "form" if place == "query" else "simple"
    style = described.get("style", usual)
    if style == _DEEP and place == "query":
        plain = _has_plain_fields(document, described.get("schema", {}))
        return None if plain else _Unusable(f"sends {told} in the style deepObject, and its fields are not all plain values")
    return None if style == usual else _Unusable(f"sends {told} in the style {str(style)[:40]}, which is not supported")


def _has_plain_fields(document: JsonObject, schema: JsonValue) -> bool:
    """Whether it is of an object whose fields each travel as one value; how lists and objects in it would travel, OpenAPI leaves open."""
    form = followed(document, schema)
    properties, others = form.get("properties", {}), form.get("additionalProperties")
    fields = [*(properties.values() if isinstance(properties, dict) else ()), *([others] if isinstance(others, dict) else ())]
    return bool(fields) and all(followed(document, one).get("type") in _PLAIN for one in fields)


def _parameter(
    place: str, name: str, described: JsonObject, schemas: Schemas, taken: Mapping[str, JsonValue]
) -> tuple[Parameter, JsonValue]:
    """The parameter and its schema."""
    content = media_of(described.get("content"))
    media = next((one for one in content if is_json(one)), "")
    schema = schemas.translated(content[media].get("schema", {}) if media else described.get("schema", {}))
    description = described.get("description")
    if isinstance(schema, dict) and isinstance(description, str) and "description" not in schema:
        schema = {**schema, "description": description[:1000]}
    argument = name if name not in taken and name != BODY else f"{place}_{name}"
    if argument in taken:
        raise _Unusable(f"has two parameters that are both named {name[:60]!r}")
    explode = described.get("explode", place == "query") is True
    return Parameter(
        argument=argument, name=name, place=place, explode=explode, as_json=bool(media), deep=described.get("style") == _DEEP
    ), schema


def _require_all_in_template(path: str, parameters: list[Parameter]) -> None:
    needed = set(_TEMPLATE.findall(path))
    given = {one.name for one in parameters if one.place == "path"}
    if needed != given or "{" in _TEMPLATE.sub("", path) or "}" in _TEMPLATE.sub("", path):
        raise _Unusable("has a path whose {…} are not its path parameters", "declare each of them with in: path")


def _body_obstacle(content: Mapping[str, JsonObject]) -> _Unusable:
    told = f"takes a body of {', '.join(content)[:80] or 'no media type'}, which is neither JSON nor a form"
    return _Unusable(told, "send what it carries by a tool of your own")


def _body(document: JsonObject, operation: JsonObject, schemas: Schemas, properties: JsonObject, required: list[JsonValue]) -> str:
    """Adds the body to the arguments; its media type, empty when there is none."""
    if "requestBody" not in operation:
        return ""
    body = followed(document, operation["requestBody"])
    content = media_of(body.get("content"))
    media = next((one for one in content if is_json(one)), FORM if FORM in content else "")
    if not media:
        if body.get("required") is True:
            raise _body_obstacle(content)
        return ""
    properties[BODY] = schemas.translated(content[media].get("schema", {}))
    if body.get("required") is True:
        required.append(BODY)
    return media


def _result(document: JsonObject, operation: JsonObject) -> JsonObject:
    """What the tool returns: the status, and the body as one of the documented successes has it."""
    schemas = Schemas(document)
    declared = operation.get("responses")
    responses = declared if isinstance(declared, dict) else {}
    default = [responses["default"]] if "default" in responses else []
    successes = [one for status, one in responses.items() if status.startswith("2")] or default
    bodies: list[JsonValue] = []
    for one in successes:
        content = media_of(followed(document, one).get("content"))
        media = next((name for name in content if is_json(name)), "")
        if media:
            bodies.append(schemas.translated(content[media].get("schema", {})))
        else:
            bodies.append({"type": "string"} if content else {"type": "null"})
    body: JsonValue = {} if not bodies else bodies[0] if len(bodies) == 1 else {"anyOf": bodies}
    properties: JsonObject = {"status": {"type": "integer"}, "body": body}
    return schemas.with_definitions({"type": "object", "required": ["status", "body"], "properties": properties})


def _summary(operation: JsonObject, method: str, path: str) -> str:
    texts = [operation.get("summary"), operation.get("description")]
    told = "\n".join(text.strip() for text in texts if isinstance(text, str) and text.strip())
    return (told or f"{method.upper()} {path}")[:4000]
