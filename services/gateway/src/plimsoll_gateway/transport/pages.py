"""What anybody may read without a key: the OpenAPI document, and the same for people, as one page without scripts."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape

from plimsoll_gateway.domain.scopes import NEEDED, ROLES
from plimsoll_gateway.transport.fields import Field, Kind, Shape
from plimsoll_gateway.transport.openapi import openapi
from plimsoll_gateway.transport.routes import Route
from plimsoll_gateway.transport.transcoder import Transcoder

OPENAPI_PATH, DOCS_PATH = "/openapi.json", "/docs"

_DEEPEST = 2
_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1b1f24;background:#fff}
code,pre{font:14px ui-monospace,monospace;background:#f3f4f6;border-radius:4px;padding:.1em .3em}
h2{margin-top:2.5rem;border-bottom:1px solid #d0d7de} h3{margin:1.6rem 0 .2rem} table{border-collapse:collapse;margin:.4rem 0}
td{padding:.1rem .9rem .1rem 0;vertical-align:top} .verb{font-weight:700} .soft{color:#57606a} a{color:#0b5cad}
@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}code,pre{background:#21262d}.soft{color:#8b949e}a{color:#6cb6ff}}
"""
_INTRO = """
<p>Send <code>Authorization: Bearer plk_…</code>. Bodies are JSON; names are camelCase, integers of 64 bits are strings.
A request that changes something may carry an <code>Idempotency-Key</code> and be repeated for a day. Errors are problem details
(<code>application/problem+json</code>) with a stable <code>reason</code>. Event streams resume with <code>Last-Event-ID</code>.
The same over gRPC: <code>plimsoll.gateway.v1.GatewayService</code>. For programs: <a href="/openapi.json">/openapi.json</a>.
Clients of OpenAI find chat completions, embeddings and models under <code>/openai/v1</code>.</p>
"""


@dataclass(frozen=True, slots=True)
class Page:
    """What anybody may read, without a key."""

    media_type: str
    body: bytes

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Content-Type": self.media_type, "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}


def pages(transcoder: Transcoder, version: str) -> Mapping[str, Page]:
    """Every page by its path."""
    document = openapi(transcoder, version)
    return {
        OPENAPI_PATH: Page("application/json", document),
        DOCS_PATH: Page("text/html; charset=utf-8", _page(transcoder, version).encode()),
    }


def _page(transcoder: Transcoder, version: str) -> str:
    groups: dict[str, list[Route]] = {}
    for route in transcoder.table.routes:
        groups.setdefault(route.path.removeprefix("/v1/").partition("/")[0].partition(":")[0], []).append(route)
    index = " · ".join(f'<a href="#{name}">{name}</a>' for name in groups)
    body = "".join(
        f'<h2 id="{name}">{name}</h2>' + "".join(_method(route, transcoder.shapes) for route in routes) for name, routes in groups.items()
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Plimsoll API {escape(version)}</title><style>{_STYLE}</style><h1>Plimsoll API</h1>{_INTRO}<p>{index}</p>{body}</html>"
    )


def _method(route: Route, shapes: Mapping[str, Shape]) -> str:
    scope = NEEDED.get(route.method)
    roles = ", ".join(name for name, scopes in ROLES.items() if scope in scopes)
    needs = f"Needs <code>{scope}</code> ({roles})." if scope else "Needs no scope."
    answer = "a stream of events" if route.events else _fields(shapes[route.response.full_name], shapes)
    return (
        f'<h3 id="{route.method}"><span class="verb">{route.http}</span> <code>{escape(route.path)}</code></h3>'
        f'<div>{_words(route.method)}. <span class="soft">{needs} gRPC: <code>{route.method}</code>.</span></div>'
        f"<details><summary>request</summary>{_fields(shapes[route.request.full_name], shapes)}</details>"
        f"<details><summary>answer</summary>{answer}</details>"
    )


def _fields(shape: Shape, shapes: Mapping[str, Shape]) -> str:
    rows = "".join(_rows(shape, "", shapes))
    return f"<table>{rows}</table>" if rows else "<p class='soft'>nothing</p>"


def _rows(shape: Shape, before: str, shapes: Mapping[str, Shape]) -> Iterable[str]:
    """The fields, and those of messages inside, three levels deep: what is below shows in the document for programs."""
    for field in shape.fields:
        name = before + field.key + ("[]" if field.repeated else "")
        yield f"<tr><td><code>{escape(name)}</code></td><td class='soft'>{escape(_kind(field))}</td></tr>"
        if field.message is not None and name.count(".") < _DEEPEST:
            yield from _rows(shapes[field.message.full_name], f"{name}.", shapes)


def _kind(field: Field) -> str:
    match field.kind:
        case Kind.ENUM:
            return " | ".join(field.values)
        case Kind.MESSAGE:
            return "object"
        case Kind.JSON:
            return "any JSON"
        case kind:
            return kind.name.lower()


def _words(method: str) -> str:
    """SubmitRun as people say it."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", method).capitalize()
