"""Source declarations."""

import pytest
from plimsoll_tool_dispatcher.domain.effects import EffectClass
from plimsoll_tool_dispatcher.domain.remote_tools import RemoteTool, plain_text, tool_name, tools_of
from plimsoll_tool_dispatcher.domain.source_declaration import (
    CredentialUse,
    DeclaredApi,
    DeclaredHost,
    DeclaredMcpProcess,
    DeclaredMcpServer,
    parse_source,
)
from plimsoll_tool_dispatcher.domain.sources import McpSource
from plimsoll_tool_dispatcher.domain.tool import Risk

API = """
source: petstore
kind: openapi
document: petstore.json
server: https://api.example.com/v1/
operations: {listPets: {}, addPet: {name: add_pet, effect: keyed, risk: low, timeout: 5s, idempotency_header: X-Key}}
credentials: [{name: petstore_token, header: Authorization, form: "Bearer {}"}]
networks: [10.1.0.0/16]
timeout: 10s
tenant: acme
labels: [leaves:tenant]
"""
HOST = "source: billing\nkind: grpc\naddress: billing.internal:7443\nserver_name: billing-tools\ntools: all"
MCP = "source: city\nkind: mcp\nurl: https://mcp.example.com/mcp\ntools: {search: }"
PROCESS = "source: files\nkind: mcp\ncommand: [/usr/bin/files-mcp, --stdio]\nenvironment: {LEVEL: 3}\ntools: all"


def test_an_api_is_read_whole() -> None:
    source, problems = parse_source(API, stem="petstore")
    assert problems == ()
    assert isinstance(source, DeclaredApi)
    settings = source.settings
    assert source.server == "https://api.example.com/v1"
    assert settings.credentials == (CredentialUse(name="petstore_token", target="Authorization", form="Bearer {}"),)
    assert settings.tools is not None
    relaxed = settings.tools["addPet"]
    assert (relaxed.name, relaxed.effect, relaxed.risk, relaxed.timeout_s) == ("add_pet", EffectClass.KEYED, Risk.LOW, 5.0)
    assert (settings.tenant, settings.labels, settings.timeout_s, settings.trusted) == ("acme", ("leaves:tenant",), 10.0, False)


@pytest.mark.parametrize(
    ("text", "stem", "kind"), [(HOST, "billing", DeclaredHost), (MCP, "city", DeclaredMcpServer), (PROCESS, "files", DeclaredMcpProcess)]
)
def test_every_kind_is_read(text: str, stem: str, kind: type[object]) -> None:
    source, problems = parse_source(text, stem=stem)
    assert isinstance(source, kind), problems


def test_what_leaves_the_tenant_is_labelled_so_unless_the_operator_knows_better() -> None:
    labels = [parse_source(text, stem=stem)[0] for text, stem in ((MCP, "city"), (HOST, "billing"))]
    assert [one.settings.labels for one in labels if one] == [("leaves:tenant", "reads:untrusted"), ()]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        *(("", "file"), ("[]", "file"), ("kind: soap", "kind"), ("a: [", "line")),
        (API.replace("source: petstore", "source: other"), "source"),
        (API.replace("petstore.json", "../../etc/passwd"), "document"),
        (API.replace("https://api.example.com/v1/", "file:///etc"), "server"),
        (API.replace("https://api.example.com/v1/", "https://user:pw@api.example.com"), "server"),
        (API.replace("10.1.0.0/16", "10.1"), "networks"),
        (API.replace("Authorization", "Bad Header"), "credentials[0].header"),
        (API.replace("Bearer {}", "Bearer"), "credentials[0].form"),
        (API.replace("effect: keyed", "effect: harmless"), "operations.addPet.effect"),
        (API.replace("operations:", "operatons:"), "operations"),
        (API + "password: secret", "password"),
        (HOST.replace(":7443", ""), "address"),
        (MCP.replace("url:", "uri:"), "url"),
        (MCP + "\ncommand: [/bin/x]", "url"),
        (PROCESS.replace("/usr/bin/files-mcp", "files-mcp"), "command"),
        (PROCESS.replace("LEVEL", "level"), "environment"),
    ],
)
def test_a_mistake_is_told_with_its_field_and_a_remedy(text: str, field: str) -> None:
    source, problems = parse_source(
        text, stem="files" if "files" in text else "city" if "city" in text else "billing" if "billing" in text else "petstore"
    )
    assert source is None
    assert any(problem.field.startswith(field) and problem.remedy for problem in problems), problems


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("listPets", "city_list_pets"),
        ("get-weather", "city_get_weather"),
        ("find.one", "city_find_one"),
        ("a", "city_a"),
        ("HTTPServer", "city_httpserver"),
    ],
)
def test_names_are_made_plain(name: str, made: str) -> None:
    assert tool_name("city", name) == made


def test_names_that_lose_something_stay_apart() -> None:
    names = [tool_name("city", name) for name in ("s\u0435arch", "s\u0454arch", "\u4e2d", "\u6587", "a" * 200, "a" * 201, "x y", "x  y")]
    assert len(set(names)) == len(names)
    assert all(name.isascii() and len(name) <= 64 for name in names)


def test_what_people_do_not_see_is_taken_out_of_texts() -> None:
    assert plain_text("a\u200bb\u202ec\x1b[31m\nd\U000e0041") == "abc[31m\nd"


def test_t05_t01_a_schema_that_cannot_be_used_leaves_its_tool_out_with_the_reason() -> None:
    bomb: dict[str, object] = {"type": "string"}
    for _ in range(20):
        bomb = {"anyOf": [bomb, bomb]}
    source, _ = parse_source(MCP.replace("{search: }", "all"), stem="city")
    assert source is not None
    tools, problems = tools_of(
        source.settings, "mcp", [remote("good"), remote("bomb", bomb), remote("far", {"$ref": "http://canary.test/x"})]
    )
    assert [tool.name for tool in tools] == ["city_good"]
    assert {problem.field.split(".")[1] for problem in problems} == {"bomb", "far"}


def test_a_wanted_tool_that_is_not_there_is_told() -> None:
    source, _ = parse_source(MCP, stem="city")
    assert source is not None
    tools, problems = tools_of(source.settings, "mcp", [remote("other")])
    assert not tools
    assert "search" in problems[0].field


def test_an_operation_that_its_document_lacks_is_told_once_and_by_the_reader_of_the_document() -> None:
    source, _ = parse_source(MCP, stem="city")
    assert source is not None
    assert tools_of(source.settings, "http", [remote("other")]) == ((), ())


def remote(name: str, inner: object = None) -> RemoteTool:
    return RemoteTool(
        name=name,
        description="x",
        arguments={"type": "object", "properties": {"a": inner or {"type": "string"}}},  # type: ignore[dict-item]
        result={},
        effect=EffectClass.NON_IDEMPOTENT,
        source=McpSource(source="city", tool=name, shape="s" * 64),
    )
