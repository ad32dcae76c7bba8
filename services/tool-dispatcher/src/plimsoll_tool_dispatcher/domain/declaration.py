"""Tool declarations: one YAML file per category becomes tools, and every mistake in it is told at once."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass

from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_runtime.limiter import Rate

from plimsoll_tool_dispatcher.domain.effects import EffectClass
from plimsoll_tool_dispatcher.domain.fields import Fields
from plimsoll_tool_dispatcher.domain.schema import Schema, compile_schema
from plimsoll_tool_dispatcher.domain.sources import PythonSource, Source
from plimsoll_tool_dispatcher.domain.tool import CachedResult, Fallback, FixedAnswer, OtherTool, Rates, Retry, Risk, Tool, identified
from plimsoll_tool_dispatcher.domain.yaml_text import UnreadableYaml, read_yaml

_FILE_FIELDS = ("category", "credentials", "tools")
_TOOL_FIELDS = (
    "name",
    "version",
    "description",
    "arguments",
    "result",
    "effect",
    "risk",
    "timeout",
    "concurrency",
    "retry",
    "upstream",
    "limits",
    "fallback",
    "reconcile",
    "labels",
)
_NAME = r"[a-z][a-z0-9_]{0,63}"
_UPSTREAM = r"[a-z0-9][a-z0-9_.:-]{0,99}"
_LABEL = r"[a-z][a-z0-9_-]{0,30}(:[a-z][a-z0-9_-]{0,30})?"
_MAX_TOOLS = 200
_MAX_TIMEOUT_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What a file declares. Tools without a mistake are there although others of the file have one."""

    category: str
    credentials: tuple[str, ...]
    tools: tuple[Tool, ...]
    problems: tuple[FieldProblem, ...]


def parse_declaration(text: str, *, stem: str, code: str | None, code_path: str) -> Declaration:
    """Read a declaration file whose name is `stem` and whose handlers are in the Python text `code` (None: there is no such file)."""
    problems: list[FieldProblem] = []
    try:
        document = read_yaml(text)
    except UnreadableYaml as error:
        return Declaration(category=stem, credentials=(), tools=(), problems=(error.problem,))
    if not isinstance(document, dict):
        problem = FieldProblem("file", "is not a map", "write category: and tools: at the top level")
        return Declaration(category=stem, credentials=(), tools=(), problems=(problem,))
    fields = Fields("", document, problems, _FILE_FIELDS)
    category = fields.text("category", r"[a-z][a-z0-9_]{0,62}", "write a name such as accounts: small letters, digits, _")
    if category and category != stem:
        fields.refuse("category", f"is {category!r} in a file named {stem!r}", "give the file and its category the same name")
    credentials = fields.names("credentials", r"[a-z][a-z0-9_]{0,62}", "list names of secrets such as examples_database")
    functions = _functions(code, code_path, problems)
    tools = _tools(fields, stem, credentials, functions, code_path, problems)
    return Declaration(category=stem, credentials=credentials, tools=tools, problems=tuple(problems))


def _functions(code: str | None, code_path: str, problems: list[FieldProblem]) -> Mapping[str, ast.stmt] | None:
    """The functions at the top level of the code, by name; None when the code cannot be used at all."""
    if code is None:
        problems.append(FieldProblem(code_path, "does not exist", "put the tools' functions there, one async def per tool"))
        return None
    try:
        module = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError) as error:
        line = getattr(error, "lineno", None)
        problems.append(FieldProblem(f"{code_path}:{line or 1}", f"is not Python: {getattr(error, 'msg', error)}", "mend the syntax there"))
        return None
    return {node.name: node for node in module.body if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef)}


def _tools(
    fields: Fields,
    category: str,
    credentials: tuple[str, ...],
    functions: Mapping[str, ast.stmt] | None,
    code_path: str,
    problems: list[FieldProblem],
) -> tuple[Tool, ...]:
    entries = fields.value("tools")
    if not isinstance(entries, list) or not entries:
        fields.refuse("tools", "is not a list of tools", "declare at least one tool")
        return ()
    if len(entries) > _MAX_TOOLS:
        fields.refuse("tools", f"has more than {_MAX_TOOLS} entries", "split the file")
        return ()
    tools: dict[str, Tool] = {}
    for index, entry in enumerate(entries):
        found: list[FieldProblem] = []
        tool = read_tool(
            f"tools[{index}]", entry, Place(category=category, credentials=credentials, source=PythonSource(path=code_path)), found
        )
        if tool is not None and functions is not None:
            found += _function_problems(f"tools[{index}].name", tool.name, functions, code_path)
        if tool is not None and tool.name in tools:
            found.append(FieldProblem(f"tools[{index}].name", f"declares {tool.name!r} a second time", "rename one of them"))
        problems += found
        if tool is not None and functions is not None and not found:
            tools[tool.name] = tool
    return tuple(tools.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a tool has from where it is declared."""

    category: str
    credentials: tuple[str, ...]
    source: Source
    origin: str = ""
    tenant: str = ""


def read_tool(where: str, entry: JsonValue, place: Place, problems: list[FieldProblem]) -> Tool | None:
    """One tool in neutral form; None when something is wrong with it."""
    if not isinstance(entry, dict):
        problems.append(FieldProblem(where, "is not a map", "write name:, version:, description: …"))
        return None
    fields = Fields(where, entry, problems, _TOOL_FIELDS)
    name = fields.text("name", _NAME, "write a name such as find_account: small letters, digits, _")
    version = fields.text("version", r"[0-9A-Za-z][0-9A-Za-z.+_-]{0,31}", 'write a version such as "1"')
    description = fields.text("description", r".*\S.{0,4000}", "say what the tool does and when to use it, in at most 4,000 characters")
    arguments = _schema(fields, "arguments", problems, root_type="object")
    result = _schema(fields, "result", problems)
    effect = fields.choice("effect", EffectClass)
    risk = fields.choice("risk", Risk)
    timeout_s = fields.seconds("timeout", None, least=0.05, most=_MAX_TIMEOUT_S)
    concurrency = fields.count("concurrency", 16, least=1, most=1000)
    retry = _retry(fields.inner("retry", ("attempts", "backoff")))
    upstream = fields.text("upstream", _UPSTREAM, "write a name such as crm.example.com") if "upstream" in entry else ""
    rates = _rates(fields.inner("limits", ("all", "tenant")))
    fallback = _fallback(fields, entry, effect, result)
    reconcile = fields.text("reconcile", _NAME, "name a read_only tool that says what became of a call") if "reconcile" in entry else ""
    labels = fields.names("labels", _LABEL, "list labels such as reads:private, reads:untrusted, leaves:tenant")
    if problems or arguments is None or result is None:
        return None
    return identified(
        Tool(
            name=name,
            version=version,
            category=place.category,
            description=description,
            arguments=arguments,
            result=result,
            effect=effect,
            risk=risk,
            timeout_s=timeout_s,
            concurrency=concurrency,
            retry=retry,
            credentials=place.credentials,
            source=place.source,
            digest="",
            tenant=place.tenant,
            origin=place.origin or f"file:{place.category}",
            upstream=upstream,
            rates=rates,
            fallback=fallback,
            reconcile=reconcile,
            labels=labels,
        )
    )


def _rates(fields: Fields) -> Rates:
    return Rates(all=_rate(fields, "all"), tenant=_rate(fields, "tenant"))


def _rate(fields: Fields, name: str) -> Rate | None:
    if fields.value(name) is None:
        return None
    rate = fields.inner(name, ("count", "per", "burst"))
    count = rate.count("count", 1, least=1, most=1_000_000)
    return Rate(
        count=count,
        per_s=rate.seconds("per", 1.0, least=0.001, most=24 * 3600.0),
        burst=rate.count("burst", count, least=1, most=1_000_000),
    )


def _fallback(fields: Fields, entry: JsonObject, effect: EffectClass, result: Schema | None) -> Fallback | None:
    if "fallback" not in entry:
        return None
    fallback = fields.inner("fallback", ("tool", "cached", "answer"))
    given = [name for name in ("tool", "cached", "answer") if isinstance(entry["fallback"], dict) and name in entry["fallback"]]
    if len(given) != 1:
        fields.refuse("fallback", "does not say one thing", "write one of tool: NAME, cached: 10m or answer: VALUE")
        return None
    match given[0]:
        case "tool":
            return OtherTool(name=fallback.text("tool", _NAME, "name another tool"))
        case "cached":
            if effect is not EffectClass.READ_ONLY:
                fallback.refuse("cached", f"stands in a tool that is {effect}", "only what a read_only tool said may be said again")
            return CachedResult(max_age_s=fallback.seconds("cached", None, least=1.0, most=30 * 24 * 3600.0))
    answer = fallback.value("answer")
    if result is not None and (found := result.problems(answer, fallback.path("answer"))):
        fallback.refuse("answer", f"breaks the tool's result schema: {found[0].problem}", "write an answer that fits")
    return FixedAnswer(value=answer)


def _retry(fields: Fields) -> Retry:
    return Retry(attempts=fields.count("attempts", 3, least=1, most=10), backoff_s=fields.seconds("backoff", 0.2, least=0.01, most=60.0))


def _schema(fields: Fields, name: str, problems: list[FieldProblem], *, root_type: str = "") -> Schema | None:
    value = fields.value(name)
    if value is None:
        fields.refuse(name, "is missing", "write a JSON Schema")
        return None
    schema, found = compile_schema(value, fields.path(name), root_type=root_type)
    problems += found
    return schema


def _function_problems(where: str, name: str, functions: Mapping[str, ast.stmt], code_path: str) -> list[FieldProblem]:
    match functions.get(name):
        case None:
            return [FieldProblem(where, f"has no function {name} in {code_path}", f"write: async def {name}(arguments, context)")]
        case ast.AsyncFunctionDef():
            return []
    return [FieldProblem(where, f"names a function in {code_path} that is not async", f"write: async def {name}(arguments, context)")]
