"""Operations of HTTP APIs, against a server that tries everything."""

from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from plimsoll_runtime.clock import SystemClock
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.failures import Category
from plimsoll_runtime.json_types import JsonObject
from plimsoll_testkit.hostile_http import HostileHttp
from plimsoll_tool_dispatcher.adapters.sources.http_api import HttpApi
from plimsoll_tool_dispatcher.domain.effects import Mishap
from plimsoll_tool_dispatcher.domain.execution import Answered, Attempt, Invocation, Stopped
from plimsoll_tool_dispatcher.domain.remote_tools import tools_of
from plimsoll_tool_dispatcher.domain.source_declaration import DeclaredApi, parse_source
from plimsoll_tool_dispatcher.domain.sources import HttpSource
from plimsoll_tool_dispatcher.domain.tool import Tool

FOUND: JsonObject = {"type": "object", "required": ["found"], "properties": {"found": {"type": "boolean"}}}
FAULTS = (
    *("echo", "html", "wrong", "truncated", "deep", "bytes", "cut-headers", "cut-body", "dead", "hang", "drip", "endless", "huge"),
    *("gzip-bomb", "not-gzip", "many-headers", "not-http", "loop", "cookie"),
)
STATUSES = (400, 401, 404, 408, 409, 422, 429, 500, 502, 503)


def document(description: str = "Does it", method: str = "post") -> bytes:
    answers: JsonObject = {"200": {"content": {"application/json": {"schema": FOUND}}}}
    paths: JsonObject = {f"/{name}": {method: {"operationId": name, "summary": description, "responses": answers}} for name in FAULTS}
    for status in STATUSES:
        paths[f"/status/{status}"] = {method: {"operationId": f"status_{status}", "responses": answers}}
    parameters: list[JsonObject] = [{"name": "to", "in": "query", "schema": {"type": "string"}}]
    paths["/redirect"] = {"get": {"operationId": "redirect", "parameters": parameters, "responses": answers}}
    later = [{"name": "retry-after", "in": "query", "schema": {"type": "string"}}]
    paths["/status/503/later"] = {method: {"operationId": "later", "parameters": later, "responses": answers}}
    return orjson.dumps({"openapi": "3.1.0", "servers": [{"url": "https://evil.test"}], "paths": paths})


def declared(server: HostileHttp, where: str = "api.json", more: str = "") -> DeclaredApi:
    names = [*FAULTS, *(f"status_{status}" for status in STATUSES), "redirect", "later"]
    operations = "\n".join(f"  {name}: {{}}" for name in names)
    text = (
        f"source: city\nkind: openapi\ndocument: {where}\nserver: {server.url}\noperations:\n{operations}\n"
        f"networks: [127.0.0.1/32]\nanswer_kib: 64\ncredentials: [{{name: token, header: X-Key}}]\n{more}"
    )
    source, problems = parse_source(text, stem="city")
    assert isinstance(source, DeclaredApi), problems
    return source


@pytest.fixture
async def server() -> AsyncIterator[HostileHttp]:
    async with HostileHttp().serving() as server:
        yield server


@pytest.fixture
async def api(server: HostileHttp, tmp_path: Path) -> AsyncIterator[HttpApi]:
    (tmp_path / "api.json").write_bytes(document())
    async with HttpApi(declared(server), tmp_path, SystemClock()) as api:
        yield api


async def tools_in(api: HttpApi, server: HostileHttp) -> dict[str, Tool]:
    found, _ = await api.listing()
    tools, _ = tools_of(declared(server).settings, "http", found)
    return {tool.source.tool: tool for tool in tools if isinstance(tool.source, HttpSource)}


async def called(api: HttpApi, server: HostileHttp, name: str, arguments: JsonObject | None = None, timeout_s: float = 5.0) -> Attempt:
    tool = (await tools_in(api, server))[name]
    credentials = {"token": "t0p-secret"}
    return await api.execute(
        tool, Invocation(tenant="acme", call_key="key_1", arguments=arguments or {}, timeout_s=timeout_s, credentials=credentials)
    )


async def test_t10_a_call_is_a_request_to_the_declared_server_with_the_declared_credential(api: HttpApi, server: HostileHttp) -> None:
    attempt = await called(api, server, "echo")
    assert isinstance(attempt, Answered)
    assert isinstance(attempt.result, dict)
    body = attempt.result["body"]
    assert isinstance(body, dict)
    assert isinstance(body["headers"], dict)
    assert (attempt.result["status"], body["method"], body["target"]) == (200, "POST", "/echo")
    assert body["headers"]["x-key"] == "t0p-secret"


@pytest.mark.parametrize(
    ("name", "category", "mishap"),
    [
        ("truncated", Category.MALFORMED_RESULT, None),
        ("deep", Category.MALFORMED_RESULT, None),
        ("bytes", Category.MALFORMED_RESULT, None),
        ("huge", Category.MALFORMED_RESULT, None),
        ("endless", Category.MALFORMED_RESULT, None),
        ("gzip-bomb", Category.MALFORMED_RESULT, None),
        ("many-headers", Category.MALFORMED_RESULT, None),
        ("not-http", Category.MALFORMED_RESULT, None),
        ("cut-headers", Category.UPSTREAM_UNAVAILABLE, Mishap.LOST),
        ("cut-body", Category.UPSTREAM_UNAVAILABLE, Mishap.LOST),
        ("dead", Category.UPSTREAM_UNAVAILABLE, Mishap.LOST),
        ("not-gzip", Category.UPSTREAM_UNAVAILABLE, Mishap.LOST),
        ("loop", Category.UPSTREAM_UNAVAILABLE, Mishap.LOST),
        ("status_400", Category.UPSTREAM_REJECTED, None),
        ("status_401", Category.UPSTREAM_REJECTED, None),
        ("status_404", Category.UPSTREAM_REJECTED, None),
        ("status_409", Category.UPSTREAM_REJECTED, None),
        ("status_422", Category.UPSTREAM_REJECTED, None),
        ("status_408", Category.UPSTREAM_UNAVAILABLE, Mishap.NOT_ACTED),
        ("status_429", Category.RATE_LIMITED, Mishap.NOT_ACTED),
        ("status_500", Category.UPSTREAM_UNAVAILABLE, Mishap.LOST),
        ("status_502", Category.UPSTREAM_UNAVAILABLE, Mishap.LOST),
        ("status_503", Category.UPSTREAM_UNAVAILABLE, Mishap.LOST),
    ],
)
async def test_t12_whatever_comes_instead_of_an_answer_is_told_for_what_it_is(
    api: HttpApi, server: HostileHttp, name: str, category: Category, mishap: Mishap | None
) -> None:
    attempt = await called(api, server, name)
    assert isinstance(attempt, Stopped)
    assert (attempt.failure.category, attempt.mishap) == (category, mishap), attempt.failure


@pytest.mark.parametrize("name", ["hang", "drip"])
async def test_t12_an_answer_without_end_ends_in_time(api: HttpApi, server: HostileHttp, name: str) -> None:
    attempt = await called(api, server, name, timeout_s=0.2)
    assert isinstance(attempt, Stopped)
    assert (attempt.failure.category, attempt.mishap) == (Category.TIMEOUT, Mishap.LOST)


@pytest.mark.parametrize("name", ["html", "wrong"])
async def test_t12_an_answer_that_breaks_its_schema_does_not_pass_the_schema(api: HttpApi, server: HostileHttp, name: str) -> None:
    attempt = await called(api, server, name)
    assert isinstance(attempt, Answered)
    assert (await tools_in(api, server))[name].result.problems(attempt.result, "result")


async def test_a_time_to_come_back_means_that_nothing_was_done(api: HttpApi, server: HostileHttp) -> None:
    attempt = await called(api, server, "later", {"retry-after": "7"})
    assert isinstance(attempt, Stopped)
    assert (attempt.mishap, attempt.failure.retry_after_s) == (Mishap.NOT_ACTED, 7.0)


async def test_what_the_upstream_says_is_kept_and_its_secret_is_not(api: HttpApi, server: HostileHttp) -> None:
    server.pages["/echo"] = b""
    attempt = await called(api, server, "status_422")
    assert isinstance(attempt, Stopped)
    assert attempt.failure.reason == "HTTP_422"
    assert "the upstream says no" in attempt.failure.message


@pytest.mark.parametrize("to", ["http://10.0.0.1/", "http://169.254.169.254/latest", "file:///etc/passwd", "http://evil.test/"])
async def test_s03_a_redirect_elsewhere_is_refused_by_policy(api: HttpApi, server: HostileHttp, to: str) -> None:
    attempt = await called(api, server, "redirect", {"to": to})
    assert isinstance(attempt, Stopped)
    assert (attempt.failure.category, attempt.failure.reason) == (Category.POLICY_DENIED, "EGRESS_REFUSED")


async def test_a_server_at_an_address_that_is_not_public_needs_a_network(server: HostileHttp, tmp_path: Path) -> None:
    (tmp_path / "api.json").write_bytes(document())
    text = f"source: city\nkind: openapi\ndocument: api.json\nserver: {server.url}\noperations: {{echo: {{}}}}"
    source, _ = parse_source(text, stem="city")
    assert isinstance(source, DeclaredApi)
    async with HttpApi(source, tmp_path, SystemClock()) as api:
        attempt = await called(api, server, "echo")
    assert isinstance(attempt, Stopped)
    assert attempt.failure.category is Category.POLICY_DENIED
    assert server.received == []


async def test_a_dead_server_was_not_sent_anything(tmp_path: Path) -> None:
    (tmp_path / "api.json").write_bytes(document())
    async with HostileHttp().serving() as server:
        source = declared(server)
    async with HttpApi(source, tmp_path, SystemClock()) as api:
        attempt = await called(api, server, "echo")
    assert isinstance(attempt, Stopped)
    assert (attempt.failure.category, attempt.mishap) == (Category.UPSTREAM_UNAVAILABLE, Mishap.REFUSED)


async def test_an_operation_that_means_another_request_now_is_refused(api: HttpApi, server: HostileHttp, tmp_path: Path) -> None:
    tool = (await tools_in(api, server))["echo"]
    (tmp_path / "api.json").write_bytes(document(method="put"))
    await api.listing()
    attempt = await api.execute(tool, Invocation(tenant="acme", call_key="key_1", arguments={}, timeout_s=5.0))
    assert isinstance(attempt, Stopped)
    assert attempt.failure.reason == "DEFINITION_CHANGED"
    assert server.received == []


async def test_a_document_can_be_had_by_url(server: HostileHttp, tmp_path: Path) -> None:
    server.pages["/openapi.json"] = document()
    async with HttpApi(declared(server, f"{server.url}/openapi.json"), tmp_path, SystemClock()) as api:
        assert "echo" in await tools_in(api, server)
        server.pages.clear()
        with pytest.raises(PlimsollError):
            await api.listing()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"a: [", b"[" * 100_000, b'{"openapi": "3.0.0", "paths": {"/x": 5}}'])
async def test_a_document_that_is_none_offers_nothing_and_says_so(server: HostileHttp, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "api.json").write_bytes(content)
    async with HttpApi(declared(server), tmp_path, SystemClock()) as api:
        found, problems = await api.listing()
    assert found == ()
    assert problems
