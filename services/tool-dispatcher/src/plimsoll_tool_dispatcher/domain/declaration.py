"""Tool declarations: one YAML file per category becomes tools, and every mistake in it is told at once."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass

from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.json_types import JsonValue

from plimsoll_tool_dispatcher.domain.effects import EffectClass
from plimsoll_tool_dispatcher.domain.fields import Fields
from plimsoll_tool_dispatcher.domain.schema import Schema, compile_schema
from plimsoll_tool_dispatcher.domain.tool import PythonSource, Retry, Risk, Tool, identified
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
)
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
        tool = _tool(f"tools[{index}]", entry, category, credentials, PythonSource(path=code_path), found)
        if tool is not None and functions is not None:
            found += _function_problems(f"tools[{index}].name", tool.name, functions, code_path)
        if tool is not None and tool.name in tools:
            found.append(FieldProblem(f"tools[{index}].name", f"declares {tool.name!r} a second time", "rename one of them"))
        problems += found
        if tool is not None and functions is not None and not found:
            tools[tool.name] = tool
    return tuple(tools.values())


def _tool(
    where: str,
    entry: JsonValue,
    category: str,
    credentials: tuple[str, ...],
    source: PythonSource,
    problems: list[FieldProblem],
) -> Tool | None:
    if not isinstance(entry, dict):
        problems.append(FieldProblem(where, "is not a map", "write name:, version:, description: …"))
        return None
    fields = Fields(where, entry, problems, _TOOL_FIELDS)
    name = fields.text("name", r"[a-z][a-z0-9_]{0,63}", "write a name such as find_account: small letters, digits, _")
    version = fields.text("version", r"[0-9A-Za-z][0-9A-Za-z.+_-]{0,31}", 'write a version such as "1"')
    description = fields.text("description", r".*\S.{0,4000}", "say what the tool does and when to use it, in at most 4,000 characters")
    arguments = _schema(fields, "arguments", problems, root_type="object")
    result = _schema(fields, "result", problems)
    effect = fields.choice("effect", EffectClass)
    risk = fields.choice("risk", Risk)
    timeout_s = fields.seconds("timeout", None, least=0.05, most=_MAX_TIMEOUT_S)
    concurrency = fields.count("concurrency", 16, least=1, most=1000)
    retry = _retry(fields.inner("retry", ("attempts", "backoff")))
    if problems or arguments is None or result is None:
        return None
    return identified(
        Tool(
            name=name,
            version=version,
            category=category,
            description=description,
            arguments=arguments,
            result=result,
            effect=effect,
            risk=risk,
            timeout_s=timeout_s,
            concurrency=concurrency,
            retry=retry,
            credentials=credentials,
            source=source,
            digest="",
        )
    )


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
