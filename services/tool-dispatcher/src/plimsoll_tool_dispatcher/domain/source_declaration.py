"""Source declarations: one YAML file names an API, a tool host or an MCP server, and what of it is offered as tools."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import urlsplit

from plimsoll_runtime.egress import EgressRules
from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.json_types import JsonObject, JsonValue

from plimsoll_tool_dispatcher.domain.effects import EffectClass
from plimsoll_tool_dispatcher.domain.fields import Fields
from plimsoll_tool_dispatcher.domain.tool import Risk
from plimsoll_tool_dispatcher.domain.yaml_text import UnreadableYaml, read_yaml

_NAME = r"[a-z][a-z0-9_]{0,30}"
_TOOL_NAME = r"[a-z][a-z0-9_]{0,63}"
_COMMON = ("source", "kind", "credentials", "networks", "timeout", "concurrency", "poll", "trusted", "tenant", "labels", "answer_kib")
_OWN = {
    "openapi": ("document", "server", "operations"),
    "grpc": ("address", "server_name", "tools"),
    "mcp": ("url", "command", "environment", "memory_mib", "cpu_s", "tools"),
    "knowledge": ("tools",),
}
_LABELS: Mapping[str, tuple[str, ...]] = {"grpc": (), "knowledge": ("reads:private", "reads:untrusted")}
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_MAX_TOOLS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialUse:
    """How a credential travels: as a header of requests, or as a variable of a process; `form` has {} where its value goes."""

    name: str
    target: str
    form: str = "{}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxation:
    """What the operator says about one tool of a source; empty fields leave it as it is."""

    name: str = ""
    effect: EffectClass | None = None
    risk: Risk | None = None
    timeout_s: float | None = None
    idempotency_header: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSettings:
    """What sources of every kind have. A source that is not `trusted` may not change the definition of a tool by itself."""

    name: str
    credentials: tuple[CredentialUse, ...]
    rules: EgressRules = field(repr=False)
    timeout_s: float
    concurrency: int
    poll_s: float
    trusted: bool
    tenant: str
    labels: tuple[str, ...]
    answer_bytes: int
    tools: Mapping[str, Relaxation] | None
    """By their names at the source; None offers all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredApi:
    settings: SourceSettings
    document: str
    server: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredHost:
    settings: SourceSettings
    address: str
    server_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredMcpServer:
    settings: SourceSettings
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredMcpProcess:
    """`memory_mib` is what it may write to and has not shared; `cpu_s` all the processor time that it gets before it is started anew."""

    settings: SourceSettings
    command: tuple[str, ...]
    environment: Mapping[str, str]
    memory_mib: int = 1024
    cpu_s: int = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredKnowledge:
    """The mesh's own memory, searched as a tool."""

    settings: SourceSettings


DeclaredSource: TypeAlias = DeclaredApi | DeclaredHost | DeclaredMcpServer | DeclaredMcpProcess | DeclaredKnowledge


def parse_source(text: str, *, stem: str) -> tuple[DeclaredSource | None, tuple[FieldProblem, ...]]:
    """The source that a file named `stem` declares, or everything that is wrong with it."""
    try:
        document = read_yaml(text)
    except UnreadableYaml as error:
        return None, (error.problem,)
    if not isinstance(document, dict):
        return None, (FieldProblem("file", "is not a map", "write source: and kind: at the top level"),)
    kind = document.get("kind")
    if not isinstance(kind, str) or kind not in _OWN:
        return None, (FieldProblem("kind", f"is {str(kind)[:40]!r}", f"use one of {', '.join(_OWN)}"),)
    problems: list[FieldProblem] = []
    fields = Fields("", document, problems, (*_COMMON, *_OWN[kind]))
    source = _PARSERS[kind](fields, stem, problems)
    return (None if problems else source), tuple(problems)


def _openapi(fields: Fields, stem: str, problems: list[FieldProblem]) -> DeclaredSource:
    document = fields.text("document", r"https?://\S{1,2000}|[A-Za-z0-9_][A-Za-z0-9_.-]{0,120}", "name a file beside this one, or a URL")
    server = fields.text("server", r"https?://[^\s/?#@]+(/[^\s?#]*)?", "write the base URL of the API, such as https://api.example.com/v1")
    origins = [server, document] if document.startswith("http") else [server]
    return DeclaredApi(settings=_settings(fields, stem, "operations", origins, problems), document=document, server=server.rstrip("/"))


def _grpc(fields: Fields, stem: str, problems: list[FieldProblem]) -> DeclaredSource:
    address = fields.text("address", r"[A-Za-z0-9_.-]{1,253}:[0-9]{1,5}|\[[0-9a-f:]+\]:[0-9]{1,5}", "write host:port")
    server_name = fields.text("server_name", r"[A-Za-z0-9_.-]{1,253}", "write the name in the host's certificate")
    return DeclaredHost(settings=_settings(fields, stem, "tools", [], problems), address=address, server_name=server_name)


def _mcp(fields: Fields, stem: str, problems: list[FieldProblem]) -> DeclaredSource:
    if (fields.value("url") is None) == (fields.value("command") is None):
        fields.refuse("url", "and command are both given, or neither is", "write url: for streamable HTTP, or command: for a process")
    if fields.value("command") is None:
        url = fields.text("url", r"https?://[^\s/?#@]+(/[^\s?#]*)?", "write the URL of the server, such as https://mcp.example.com/mcp")
        return DeclaredMcpServer(settings=_settings(fields, stem, "tools", [url], problems), url=url)
    settings = _settings(fields, stem, "tools", [], problems)
    return DeclaredMcpProcess(
        settings=settings,
        command=_command(fields),
        environment=_environment(fields),
        memory_mib=fields.count("memory_mib", 1024, least=32, most=65536),
        cpu_s=fields.count("cpu_s", 3600, least=1, most=31_536_000),
    )


def _knowledge(fields: Fields, stem: str, problems: list[FieldProblem]) -> DeclaredSource:
    return DeclaredKnowledge(settings=_settings(fields, stem, "tools", [], problems))


_PARSERS = {"openapi": _openapi, "grpc": _grpc, "mcp": _mcp, "knowledge": _knowledge}


def _settings(fields: Fields, stem: str, tools: str, origins: list[str], problems: list[FieldProblem]) -> SourceSettings:
    name = fields.text("source", _NAME, "write a name such as petstore: small letters, digits, _, at most 31")
    if name and name != stem:
        fields.refuse("source", f"is {name!r} in a file named {stem!r}", "give the file and its source the same name")
    tenant = fields.value("tenant")
    return SourceSettings(
        name=name,
        credentials=_credentials(fields, problems),
        rules=_rules(fields, origins),
        timeout_s=fields.seconds("timeout", 30.0, least=0.05, most=3600.0),
        concurrency=fields.count("concurrency", 16, least=1, most=1000),
        poll_s=fields.seconds("poll", 60.0, least=0.1, most=86400.0),
        trusted=_flag(fields, "trusted", default=False),
        tenant=fields.text("tenant", r"[A-Za-z0-9_.-]{1,63}", "write the tenant that alone gets these tools") if tenant is not None else "",
        labels=_labels(fields),
        answer_bytes=fields.count("answer_kib", 1024, least=1, most=65536) * 1024,
        tools=_relaxations(fields, tools, problems),
    )


def _rules(fields: Fields, urls: list[str]) -> EgressRules:
    origins = []
    for url in urls:
        split = urlsplit(url)
        if split.netloc:
            origins.append(f"{split.scheme}://{split.netloc}")
    networks = fields.names("networks", r"[0-9a-fA-F:./]{2,50}", "list networks such as 10.1.0.0/16 whose addresses may be reached")
    try:
        return EgressRules.parse(origins, networks)
    except ValueError as error:
        fields.refuse("networks", f"or the URL is wrong: {error}", "write networks such as 10.1.0.0/16 and a plain URL")
        return EgressRules()


def _credentials(fields: Fields, problems: list[FieldProblem]) -> tuple[CredentialUse, ...]:
    listed = fields.value("credentials")
    if listed is None:
        return ()
    if not isinstance(listed, list):
        fields.refuse(
            "credentials", "is not a list", "list entries such as {name: petstore_token, header: Authorization, form: 'Bearer {}'}"
        )
        return ()
    found: list[CredentialUse] = []
    for index, entry in enumerate(listed):
        one = Fields(f"credentials[{index}]", entry if isinstance(entry, dict) else {}, problems, ("name", "header", "variable", "form"))
        name = one.text("name", r"[a-z][a-z0-9_]{0,62}", "name a secret such as petstore_token")
        variable = one.value("variable") is not None
        pattern = r"[A-Z][A-Z0-9_]{0,63}" if variable else _HEADER.pattern
        target = one.text("variable" if variable else "header", pattern, "name the header, or the variable of a process, that carries it")
        form = (
            one.text("form", r"[\x20-\x7e]{0,200}\{\}[\x20-\x7e]{0,200}", "write {} where the secret goes")
            if one.value("form") is not None
            else "{}"
        )
        found.append(CredentialUse(name=name, target=target, form=form))
    return tuple(found)


def _relaxations(fields: Fields, key: str, problems: list[FieldProblem]) -> Mapping[str, Relaxation] | None:
    listed = fields.value(key)
    if listed == "all" and key != "operations":
        return None
    if not isinstance(listed, dict) or not listed or len(listed) > _MAX_TOOLS:
        fields.refuse(key, f"is not a map of 1 to {_MAX_TOOLS} names", f"write {key}: {{listPets: {{}}, createPet: {{risk: low}}}}")
        return {}
    return {name: _relaxation(fields.path(f"{key}.{name[:80]}"), entry, problems) for name, entry in listed.items()}


def _relaxation(where: str, entry: JsonValue, problems: list[FieldProblem]) -> Relaxation:
    if entry is None:
        return Relaxation()
    document: JsonObject = entry if isinstance(entry, dict) else {}
    if not isinstance(entry, dict):
        problems.append(FieldProblem(where, "is not a map", "write {} or {effect: …, risk: …}"))
    one = Fields(where, document, problems, ("name", "effect", "risk", "timeout", "idempotency_header"))
    given = document.keys()
    return Relaxation(
        name=one.text("name", _TOOL_NAME, "write a name such as find_account") if "name" in given else "",
        effect=one.choice("effect", EffectClass) if "effect" in given else None,
        risk=one.choice("risk", Risk) if "risk" in given else None,
        timeout_s=one.seconds("timeout", 30.0, least=0.05, most=3600.0) if "timeout" in given else None,
        idempotency_header=one.text("idempotency_header", _HEADER.pattern, "name a header") if "idempotency_header" in given else "",
    )


def _command(fields: Fields) -> tuple[str, ...]:
    value = fields.value("command")
    words = tuple(word for word in value if isinstance(word, str) and word and "\0" not in word) if isinstance(value, list) else ()
    if not words or not isinstance(value, list) or len(words) != len(value) or not words[0].startswith("/"):
        fields.refuse("command", "is not a list of words whose first is an absolute path", "write [/usr/bin/server, --stdio]")
    return words


def _environment(fields: Fields) -> Mapping[str, str]:
    value = fields.value("environment") or {}
    if not isinstance(value, dict) or not all(re.fullmatch(r"[A-Z][A-Z0-9_]{0,63}", name) for name in value):
        fields.refuse("environment", "is not a map of variables", "write {LOG_LEVEL: info}; secrets go into credentials")
        return {}
    return {name: str(one) for name, one in value.items()}


def _labels(fields: Fields) -> tuple[str, ...]:
    """What is said, else what is true of most: an API and an MCP server are outside of the tenant, a team's own host is not."""
    if fields.value("labels") is None:
        return _LABELS.get(str(fields.value("kind")), ("leaves:tenant", "reads:untrusted"))
    return fields.names("labels", r"[a-z]+:[a-z_]+", "list labels such as leaves:tenant")


def _flag(fields: Fields, name: str, *, default: bool) -> bool:
    value = fields.value(name)
    if value is None or isinstance(value, bool):
        return default if value is None else value
    fields.refuse(name, f"is {str(value)[:40]!r}", "write true or false")
    return default
