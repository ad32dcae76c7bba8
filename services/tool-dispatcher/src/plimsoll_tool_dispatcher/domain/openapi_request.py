"""A call of an operation as an HTTP request: every argument encoded so that it stays in its place."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from plimsoll_runtime.json_types import JsonObject, JsonValue, dump_json

from plimsoll_tool_dispatcher.domain.openapi import BODY, FORM, Operation, Parameter

_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]{0,8000}")


class UnfitArgument(Exception):
    """An argument cannot travel in its place; names the argument and says why."""

    def __init__(self, argument: str, problem: str) -> None:
        super().__init__(f"arguments.{argument}: {problem}")


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationRequest:
    """`target` is path and query, encoded; header names are as the API declares them."""

    target: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


def request_of(operation: Operation, arguments: JsonObject, call_key: str) -> OperationRequest:
    """The request that carries the arguments. Raises UnfitArgument."""
    path, query = operation.path, list[str]()
    headers = {"accept": "application/json, text/plain;q=0.8, */*;q=0.5"}
    for parameter in operation.parameters:
        value = arguments.get(parameter.argument)
        if value is None:
            if parameter.place == "path":
                raise UnfitArgument(parameter.argument, "is null, and part of the path")
            continue
        match parameter.place:
            case "path":
                path = path.replace("{" + parameter.name + "}", _in_path(parameter, value))
            case "query":
                query += _in_query(parameter, value)
            case _:
                headers[parameter.name] = _in_header(parameter, value)
    _require_plain(path, operation)
    if operation.idempotency_header:
        headers[operation.idempotency_header] = call_key
    body = b""
    if operation.body_media and BODY in arguments:
        headers["content-type"] = operation.body_media
        body = _form(arguments[BODY]) if operation.body_media == FORM else dump_json(arguments[BODY]).encode()
    return OperationRequest(target=path + ("?" + "&".join(query) if query else ""), headers=headers, body=body)


def _require_plain(path: str, operation: Operation) -> None:
    """No argument makes a segment that climbs: some servers decode before they resolve."""
    if any(unquote(segment) in {".", ".."} for segment in path.split("/")):
        names = ", ".join(one.argument for one in operation.parameters if one.place == "path")
        raise UnfitArgument(names or "path", "makes a path segment . or ..")


def _in_path(parameter: Parameter, value: JsonValue) -> str:
    text = quote(_simple(parameter, value), safe="")
    if not text:
        raise UnfitArgument(parameter.argument, "is empty, and part of the path")
    return text


def _in_header(parameter: Parameter, value: JsonValue) -> str:
    text = _simple(parameter, value)
    if _HEADER_VALUE.fullmatch(text) is None or text != text.strip():
        raise UnfitArgument(parameter.argument, "travels as a header, where only printable ASCII characters can")
    return text


def _in_query(parameter: Parameter, value: JsonValue) -> Iterator[str]:
    name = quote(parameter.name, safe="")
    match value:
        case _ if parameter.as_json:
            yield f"{name}={quote(dump_json(value), safe='')}"
        case dict() if parameter.deep:
            yield from (f"{name}{quote(f'[{key}]', safe='')}={quote(_scalar(parameter, item), safe='')}" for key, item in value.items())
        case list() if parameter.explode:
            yield from (f"{name}={quote(_scalar(parameter, item), safe='')}" for item in value)
        case dict() if parameter.explode:
            yield from (f"{quote(key, safe='')}={quote(_scalar(parameter, item), safe='')}" for key, item in value.items())
        case _:
            yield f"{name}={quote(_simple(parameter, value), safe=',')}"


def _simple(parameter: Parameter, value: JsonValue) -> str:
    """Lists and maps as OpenAPI's simple style writes them."""
    match value:
        case _ if parameter.as_json:
            return dump_json(value)
        case list():
            return ",".join(_scalar(parameter, item) for item in value)
        case dict() if parameter.explode:
            return ",".join(f"{key}={_scalar(parameter, item)}" for key, item in value.items())
        case dict():
            return ",".join(f"{key},{_scalar(parameter, item)}" for key, item in value.items())
    return _scalar(parameter, value)


def _scalar(parameter: Parameter, value: JsonValue) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case None:
            return ""
        case int() | float() | str():
            return str(value)
    raise UnfitArgument(parameter.argument, "is nested deeper than its place can carry")


def _form(body: JsonValue) -> bytes:
    if not isinstance(body, dict):
        raise UnfitArgument(BODY, "is not an object, which a form is made of")
    pieces: list[str] = []
    for name, value in body.items():
        for item in value if isinstance(value, list) else [value]:
            parameter = Parameter(argument=f"{BODY}.{name}", name=name, place="query")
            text = dump_json(item) if isinstance(item, dict | list) else _scalar(parameter, item)
            pieces.append(f"{quote(name, safe='')}={quote(text, safe='')}")
    return "&".join(pieces).encode()
