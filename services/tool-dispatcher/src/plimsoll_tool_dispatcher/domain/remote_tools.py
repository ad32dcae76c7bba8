"""What a remote source says it has, made into tools: named, bounded, classed by the operator, each judged by itself."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.json_types import JsonValue, digest

from plimsoll_tool_dispatcher.domain.effects import EffectClass
from plimsoll_tool_dispatcher.domain.schema import Schema, compile_schema
from plimsoll_tool_dispatcher.domain.source_declaration import Relaxation, SourceSettings
from plimsoll_tool_dispatcher.domain.sources import RemoteSource
from plimsoll_tool_dispatcher.domain.tool import Retry, Risk, Tool, identified

_NAME_CHARS = 64
_DESCRIPTION_CHARS = 4000
_MAX_TOOLS = 500
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+_-]{0,31}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteTool:
    """A tool as its source describes it. `risk` is what the source may say of it: None for what follows from the effect."""

    name: str
    description: str
    arguments: JsonValue = field(repr=False)
    result: JsonValue = field(repr=False)
    effect: EffectClass
    risk: Risk | None = None
    version: str = ""
    timeout_s: float | None = None
    source: RemoteSource
    notes: tuple[FieldProblem, ...] = field(default=(), compare=False)
    """What the tool goes without, as people should know."""


def tools_of(settings: SourceSettings, kind: str, found: Sequence[RemoteTool]) -> tuple[tuple[Tool, ...], tuple[FieldProblem, ...]]:
    """The tools that a source offers, and what is wrong with those that are left out: one bad tool never hides the others."""
    problems: list[FieldProblem] = []
    tools: dict[str, Tool] = {}
    wanted = settings.tools
    present = [one for one in found if wanted is None or one.name in wanted]
    if len(present) > _MAX_TOOLS:
        problems.append(FieldProblem(f"{settings.name}", f"offers more than {_MAX_TOOLS} tools", "list the wanted ones under tools:"))
    for one in present[:_MAX_TOOLS]:
        where = f"{settings.name}.{plain_text(one.name)[:80]}"
        relaxation = (wanted or {}).get(one.name, Relaxation())
        name = relaxation.name or tool_name(settings.name, one.name)
        if name in tools:
            problems.append(FieldProblem(where, f"becomes {name}, which another tool of the source is", "give it a name: under tools:"))
            continue
        tool, wrong = _tool(settings, kind, one, name, relaxation, where)
        problems += wrong
        if tool is not None:
            tools[name] = tool
    for name in wanted or () if kind != "http" else ():  # a document's reader has said it already, and why
        if all(one.name != name for one in found):
            problems.append(FieldProblem(f"{settings.name}.{name[:80]}", "is not there", "use a name that the source offers"))
    return tuple(tools.values()), tuple(problems)


def tool_name(source: str, name: str) -> str:
    """`petstore` and `listPets` make `petstore_list_pets`; whatever is no small letter, digit or _ is left out, and what is too long is cut."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    plain = re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_")
    made = f"{source}_{plain}".rstrip("_")
    changed = spaced.lower().replace("-", "_").replace(".", "_").replace("/", "_") != plain
    if len(made) > _NAME_CHARS or changed or not plain:  # two names must not become one by what was left out
        made = f"{made[: _NAME_CHARS - 9].rstrip('_')}_{digest(name)[:8]}"
    return made


def plain_text(text: str) -> str:
    """Without control, formatting and private characters, which people do not see and models do."""
    return "".join(one for one in text if one in "\n\t" or unicodedata.category(one)[0] != "C")


def _tool(
    settings: SourceSettings, kind: str, one: RemoteTool, name: str, relaxation: Relaxation, where: str
) -> tuple[Tool | None, Sequence[FieldProblem]]:
    arguments, wrong_arguments = compile_schema(one.arguments, f"{where}.arguments", root_type="object")
    result, wrong_result = compile_schema(one.result, f"{where}.result")
    if arguments is None or result is None:
        return None, (*wrong_arguments, *wrong_result)
    effect = relaxation.effect or one.effect
    risk = relaxation.risk or one.risk or (Risk.LOW if effect is EffectClass.READ_ONLY else Risk.HIGH)
    return _made(settings, kind, one, name, relaxation, (arguments, result), (effect, risk)), ()


def _made(
    settings: SourceSettings,
    kind: str,
    one: RemoteTool,
    name: str,
    relaxation: Relaxation,
    schemas: tuple[Schema, Schema],
    judged: tuple[EffectClass, Risk],
) -> Tool:
    origin = f"{kind}:{settings.name}"
    version = one.version if _VERSION.fullmatch(one.version) else one.source.shape[:12] or "1"
    return identified(
        Tool(
            name=name,
            version=version,
            category=settings.name,
            description=plain_text(one.description).strip()[:_DESCRIPTION_CHARS] or name,
            arguments=schemas[0],
            result=schemas[1],
            effect=judged[0],
            risk=judged[1],
            timeout_s=relaxation.timeout_s or one.timeout_s or settings.timeout_s,
            concurrency=settings.concurrency,
            retry=Retry(),
            credentials=tuple(use.name for use in settings.credentials),
            source=one.source,
            digest="",
            tenant=settings.tenant,
            origin=origin,
            upstream=origin,
            labels=settings.labels,
        )
    )
