"""A tool as JSON and back: how definitions are kept, so that an earlier one can run again."""

from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_runtime.limiter import Rate

from plimsoll_tool_dispatcher.domain.declaration import Place, read_tool
from plimsoll_tool_dispatcher.domain.sources import HostSource, HttpSource, McpSource, PythonSource, Source
from plimsoll_tool_dispatcher.domain.tool import CachedResult, Fallback, FixedAnswer, OtherTool, Tool


def definition_of(tool: Tool) -> JsonObject:
    """The declaration and where it stands. A Python tool's file is not part of it: an earlier definition runs on the present code."""
    return {
        "category": tool.category,
        "credentials": list(tool.credentials),
        "origin": tool.origin,
        "tenant": tool.tenant,
        "digest": tool.digest,
        "source": _source_form(tool.source),
        "tool": declaration_of(tool),
    }


def declaration_of(tool: Tool) -> JsonObject:
    """What a file would declare."""
    entry: JsonObject = {
        "name": tool.name,
        "version": tool.version,
        "description": tool.description,
        "arguments": tool.arguments.document,
        "result": tool.result.document,
        "effect": tool.effect.value,
        "risk": tool.risk.value,
        "timeout": _milliseconds(tool.timeout_s),
        "concurrency": tool.concurrency,
        "retry": {"attempts": tool.retry.attempts, "backoff": _milliseconds(tool.retry.backoff_s)},
        "labels": list(tool.labels),
    }
    if tool.upstream:
        entry["upstream"] = tool.upstream
    if tool.reconcile:
        entry["reconcile"] = tool.reconcile
    if tool.fallback is not None:
        entry["fallback"] = _fallback_form(tool.fallback)
    limits: JsonObject = {name: _rate_form(rate) for name, rate in (("all", tool.rates.all), ("tenant", tool.rates.tenant)) if rate}
    return entry | ({"limits": limits} if limits else {})


def tool_of(definition: JsonObject, present: Source | None) -> Tool | None:
    """The tool of a kept definition; `present` is the source that offers the name now, for those that run on present code."""
    category, credentials, kept = definition.get("category"), definition.get("credentials"), definition.get("source")
    problems: list[FieldProblem] = []
    source = _kept_source(kept) if kept is not None else present
    if source is None or not isinstance(category, str) or not isinstance(credentials, list):
        return None
    place = Place(
        category=category,
        credentials=tuple(str(name) for name in credentials),
        source=source,
        origin=str(definition.get("origin", "")),
        tenant=str(definition.get("tenant", "")),
    )
    return read_tool("tool", definition.get("tool"), place, problems)


def _source_form(source: Source) -> JsonObject | None:
    match source:
        case PythonSource():
            return None
        case HttpSource() | HostSource() | McpSource():
            return source.identity()


def _kept_source(form: JsonValue) -> Source | None:
    match form:
        case {"kind": "http", "source": str(name), "tool": str(tool), "shape": str(shape)}:
            return HttpSource(source=name, tool=tool, shape=shape)
        case {"kind": "host", "source": str(name), "tool": str(tool), "shape": str(shape)}:
            return HostSource(source=name, tool=tool, shape=shape)
        case {"kind": "mcp", "source": str(name), "tool": str(tool), "shape": str(shape)}:
            return McpSource(source=name, tool=tool, shape=shape)
    return None


def _fallback_form(fallback: Fallback) -> JsonObject:
    match fallback:
        case OtherTool(name=name):
            return {"tool": name}
        case CachedResult(max_age_s=age_s):
            return {"cached": _milliseconds(age_s)}
        case FixedAnswer(value=value):
            return {"answer": value}


def _rate_form(rate: Rate) -> JsonObject:
    return {"count": rate.count, "per": _milliseconds(rate.per_s), "burst": rate.burst or rate.count}


def _milliseconds(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"
