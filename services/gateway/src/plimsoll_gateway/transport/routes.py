"""Which method answers which HTTP request: the table built from the contract's google.api.http annotations."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

from google.api import annotations_pb2, http_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor, ServiceDescriptor

from plimsoll_gateway.errors import MethodNotAllowed, NoSuchPath
from plimsoll_gateway.transport.fields import ContractError

_VERBS = ("get", "put", "post", "delete", "patch")
_PIECE = re.compile(r"\{(?P<variable>[a-z][a-z0-9_]*)\}|(?P<literal>[a-z][a-z0-9_-]*)", re.ASCII)
_CUSTOM = re.compile(r"(?P<piece>.*?)(?::(?P<verb>[a-zA-Z]+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One way to one method.

    method     name of the method in the contract
    http       GET, POST …
    path       as annotated: /v1/runs/{run_id}:cancel
    body       "" for none, "*" for the whole request, or the field that it fills
    variables  fields that the path fills, in order
    streaming  whether the answer is a stream
    """

    method: str
    http: str
    path: str
    body: str
    variables: tuple[str, ...]
    request: Descriptor
    response: Descriptor
    streaming: bool

    @property
    def events(self) -> bool:
        """Whether the answer is a stream of events that is resumed by a cursor; another stream is lines of JSON, once."""
        return self.streaming and "after_seq" in self.request.fields_by_name


@dataclass(frozen=True, slots=True)
class Match:
    """A route, and what the path says."""

    route: Route
    variables: Mapping[str, str]


@dataclass(slots=True)
class _Node:
    """The pieces of path that may follow, and the routes that end here by custom verb and HTTP method."""

    literals: "dict[str, _Node]" = field(default_factory=dict)
    variable: "_Node | None" = None
    ends: dict[str, dict[str, Route]] = field(default_factory=dict)


class RouteTable:
    """Every route of a service."""

    def __init__(self, service: ServiceDescriptor) -> None:
        """Raises ContractError when an annotation is missing, malformed, or clashes with another."""
        self.routes = tuple(route for method in service.methods for route in _routes(method))
        self._root = _Node()
        for route in self.routes:
            self._add(route)

    def match(self, http: str, raw_path: str) -> Match:
        """The route of a request by its method and percent-encoded path. Raises NoSuchPath, or MethodNotAllowed naming those that are."""
        if not raw_path.startswith("/") or not raw_path.isascii():
            raise NoSuchPath
        *pieces, last = raw_path[1:].split("/")
        for by_method, texts in _ends(self._root, [*pieces, last], ()):
            route = by_method.get(http)
            if route is None:
                raise MethodNotAllowed(http, sorted(by_method))
            return Match(route, dict(zip(route.variables, map(_decoded, texts), strict=True)))
        raise NoSuchPath

    def _add(self, route: Route) -> None:
        node = self._root
        pieces, verb = _pieces(route.path)
        for piece in pieces:
            if piece.startswith("{"):
                node.variable = node.variable or _Node()
                node = node.variable
            else:
                node = node.literals.setdefault(piece, _Node())
        by_method = node.ends.setdefault(verb, {})
        if route.http in by_method:
            raise ContractError(f"{route.method} and {by_method[route.http].method} share {route.http} {route.path}")
        by_method[route.http] = route


def _ends(node: _Node, pieces: Sequence[str], texts: tuple[str, ...]) -> Iterator[tuple[dict[str, Route], tuple[str, ...]]]:
    """The ends that a path reaches, most specific first: literals before variables, custom verbs before none."""
    piece, *rest = pieces
    if rest:
        if piece in node.literals:
            yield from _ends(node.literals[piece], rest, texts)
        if node.variable is not None and piece:
            yield from _ends(node.variable, rest, (*texts, piece))
        return
    name, colon, verb = piece.rpartition(":")
    for text, ending in ((name, verb), (piece, "")) if colon else ((piece, ""),):
        if text in node.literals and ending in node.literals[text].ends:
            yield node.literals[text].ends[ending], texts
        if node.variable is not None and text and ending in node.variable.ends:
            yield node.variable.ends[ending], (*texts, text)


def _decoded(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise NoSuchPath("the path is not UTF-8", remedy="percent-encode the bytes of UTF-8") from None


def _routes(method: MethodDescriptor) -> Iterator[Route]:
    rule: http_pb2.HttpRule = method.GetOptions().Extensions[annotations_pb2.http]
    for one in (rule, *rule.additional_bindings):
        yield _route(method, one)


def _route(method: MethodDescriptor, rule: http_pb2.HttpRule) -> Route:
    http = rule.WhichOneof("pattern")
    if http not in _VERBS:
        raise ContractError(f"{method.full_name} has no route: annotate it with google.api.http")
    if method.client_streaming or rule.response_body:
        raise ContractError(f"{method.full_name}: client streams and response_body have no REST form here")
    path = str(getattr(rule, http))
    pieces, _ = _pieces(path)
    variables = tuple(piece[1:-1] for piece in pieces if piece.startswith("{"))
    known = method.input_type.fields_by_name
    for name in (*variables, *((rule.body,) if rule.body not in {"", "*"} else ())):
        if name not in known:
            raise ContractError(f"{method.full_name}: {path} names {name}, which {method.input_type.name} lacks")
    for name in variables:
        if known[name].type == FieldDescriptor.TYPE_MESSAGE or known[name].is_repeated:
            raise ContractError(f"{method.full_name}: {name} in {path} is no single value")
    return Route(
        method=method.name,
        http=http.upper(),
        path=path,
        body=rule.body,
        variables=variables,
        request=method.input_type,
        response=method.output_type,
        streaming=method.server_streaming,
    )


def _pieces(path: str) -> tuple[list[str], str]:
    """The pieces between the slashes, and the custom verb after them."""
    *first, last = path.removeprefix("/").split("/")
    custom = _CUSTOM.fullmatch(last)
    assert custom is not None, "the expression matches every text"
    pieces = [*first, custom["piece"]]
    if not path.startswith("/") or not all(_PIECE.fullmatch(piece) for piece in pieces):
        raise ContractError(f"{path}: a path is /literal/{{field}} with an optional :verb at its end")
    return pieces, custom["verb"] or ""
