"""Choosing tools: by what the request and the instructions say, and by whether their arguments can be filled."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from plimsoll_runtime.json_types import JsonObject, JsonValue, canonical

from plimsoll_model_router.domain.messages import ToolCall, ToolDefinition
from plimsoll_model_router.domain.rehearsal import spans, values
from plimsoll_model_router.domain.rehearsal.context import Context
from plimsoll_model_router.domain.rehearsal.fill import Filled, Filler
from plimsoll_model_router.domain.rehearsal.fits import Fits
from plimsoll_model_router.domain.rehearsal.schema import Schema
from plimsoll_model_router.domain.rehearsal.similarity import Index, TermSpace
from plimsoll_model_router.domain.rehearsal.text import content_words, vocabulary, words
from plimsoll_model_router.domain.schemas import compiled

_NEEDED = 0.30  # from here on the request is held to need the tool
_INSTRUCTED = 0.5  # how much the instructions count beside the request
_NAMED = 0.30  # the tool is called by its name
_TYPED = 0.18  # the text holds exactly what the tool asks for: an identifier, an address, a date
_CALLS_CAP = 8  # per request: then it is time to answer
_SIDE_BY_SIDE = 4
_LOOKING = vocabulary("check count describe fetch find get list load look lookup profile query read retrieve search show")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A tool with arguments, and how much the request needs it."""

    tool: str
    arguments: JsonObject
    need: float
    confidence: float


def next_calls(
    context: Context, tools: Sequence[ToolDefinition], fits: Fits, *, required: bool = False
) -> tuple[tuple[ToolCall, ...], float]:
    """The calls to make now, with how sure the choice is; none when it is time to answer.

    A tool is called when the request needs it, its required arguments are found, and it was not called with them before, so a
    conversation always comes to its end. When a call is `required`, the best tool is called even so.
    """
    if len(context.calls) >= _CALLS_CAP or not tools:
        return (), 0.0
    needs = _needs(context, tools)
    schemas = {tool.name: Schema.whole(tool.arguments_schema) for tool in tools}
    done = {_telling(call.tool, call.arguments, schemas.get(call.tool)) for call in context.calls}
    candidates = [one for tool in tools for one in _candidates(context, tool, needs[tool.name], fits)]
    fresh = [one for one in candidates if _telling(one.tool, one.arguments, schemas[one.tool]) not in done]
    wanted = sorted((one for one in fresh if one.need >= _NEEDED), key=lambda one: (not looks_up(one.tool), -one.need))
    if not wanted and required:
        wanted = [_forced(context, tools, needs, fits)]
    if not wanted:
        return (), 0.0
    chosen = [one for one in wanted if one.tool == wanted[0].tool][:_SIDE_BY_SIDE]
    first = len(context.calls) + 1
    calls = tuple(ToolCall(call_id=f"call_{at}", tool=one.tool, arguments=one.arguments) for at, one in enumerate(chosen, start=first))
    return calls, min(one.confidence for one in chosen)


def _needs(context: Context, tools: Sequence[ToolDefinition]) -> dict[str, float]:
    """How much the request, helped by the instructions, speaks of each tool."""
    space = TermSpace([_meaning(tool) for tool in tools])
    index = Index(vector.weights for vector in space.vectors)
    asked = index.scores(space.vector(" ".join(content_words(context.request))))
    told = index.scores(space.vector(" ".join(content_words(context.instructions))))
    said = f"{context.instructions} {context.request}"
    return {
        tool.name: request + _INSTRUCTED * instruction + (_NAMED if tool.name in said else 0.0)
        for tool, request, instruction in zip(tools, asked, told, strict=True)
    }


def _meaning(tool: ToolDefinition) -> str:
    arguments = Schema.whole(tool.arguments_schema).properties
    told = [tool.name, tool.description, *arguments, *(schema.description for schema in arguments.values())]
    return " ".join(content_words(" ".join(told)))


def _candidates(context: Context, tool: ToolDefinition, need: float, fits: Fits) -> list[Candidate]:
    """The ways to call a tool: one, or one for each of several identifiers that the request names."""
    filled = Filler(_for_arguments(context), fits).fill(tool.arguments_schema)
    if filled.made_up or not isinstance(filled.value, dict):
        return []
    if compiled(tool.arguments_schema, field=f"tools.{tool.name}.arguments_schema").problems(filled.value):
        return []
    schema = Schema.whole(tool.arguments_schema)
    typed = [name for name, inner in schema.properties.items() if name in schema.required and _is_typed(inner) and not inner.options]
    bonus = _TYPED * len(typed) / max(1, len(schema.required))
    ways = [filled.value]
    if len(typed) == 1:
        ways = _each(context, schema, typed[0], filled)
    return [Candidate(tool=tool.name, arguments=way, need=need + bonus, confidence=filled.confidence) for way in ways]


def _each(context: Context, schema: Schema, name: str, filled: Filled) -> list[JsonObject]:
    base = filled.value if isinstance(filled.value, dict) else {}
    mine = base[name]
    alike = {spans.shape(str(mine))}
    others = [s.value for s in spans.identifiers(context.request) if spans.shape(str(s.value)) in alike and str(s.value) != str(mine)]
    typed = [values.coerced(other, schema.properties[name]) for other in dict.fromkeys(others)]
    return [base, *({**base, name: other} for other in typed if other is not None)]


def _forced(context: Context, tools: Sequence[ToolDefinition], needs: dict[str, float], fits: Fits) -> Candidate:
    best = max(tools, key=lambda tool: needs[tool.name])
    filled = Filler(_for_arguments(context), fits).fill(best.arguments_schema)
    arguments = filled.value if isinstance(filled.value, dict) else {}
    return Candidate(tool=best.name, arguments=arguments, need=needs[best.name], confidence=filled.confidence)


def _for_arguments(context: Context) -> Context:
    """Arguments are the request's own words and named facts: neither quoted passages nor examples, which are about answers."""
    return replace(context, examples=(), passages=())


def _telling(tool: str, arguments: JsonValue, schema: Schema | None) -> tuple[str, str]:
    """What tells one call of a tool from another: its arguments without free text, which may be put in many ways."""
    if not isinstance(arguments, dict) or schema is None:
        return tool, canonical(arguments)
    fixed = {name: value for name, value in arguments.items() if not isinstance(value, str) or _is_typed(schema.properties.get(name))}
    return tool, canonical(fixed)


def looks_up(tool: str) -> bool:
    """Whether a tool's name says that it only looks: looking comes before acting."""
    return bool(_LOOKING.intersection(words(tool)[:1]))


def _is_typed(schema: Schema | None) -> bool:
    """Whether a value for it can be told from its looks: it has a pattern, a format, or is an identifier."""
    if schema is None:
        return False
    if schema.options:
        return True
    if schema.text("pattern") or schema.text("format"):
        return True
    return any(any(c.isdigit() for c in str(sample)) for sample in schema.samples) or bool(
        {"id", "number"} & set(words(schema.description))
    )
