"""What the registry holds: offerings of sources, what operators decided about a tool, and what a name means for a tenant now."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from plimsoll_runtime.errors import FieldProblem

from plimsoll_tool_dispatcher.domain.effects import EffectClass
from plimsoll_tool_dispatcher.domain.sources import PythonSource
from plimsoll_tool_dispatcher.domain.tool import Risk, Tool

SHARED = ""
"""The tenant of tools that all share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offering:
    """All tools that one source has now. They replace those that the same origin offered before.

    `origin` is unique, such as `file:accounts` or `mcp:github`. `problems` are of tools that were left out,
    `notes` of parts that a tool goes without, by the name that its source has for it. A source that is not
    `trusted` may add tools, but a definition that it changes waits until an operator accepts it.
    """

    origin: str
    tools: tuple[Tool, ...]
    tenant: str = SHARED
    problems: tuple[FieldProblem, ...] = ()
    notes: Mapping[str, tuple[FieldProblem, ...]] = field(default_factory=dict)
    trusted: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What operators decided about a name, for one tenant or for all. `accepted` is the digest that may run of an untrusted source's tool."""

    disabled: bool = False
    pinned: str = ""
    accepted: str = ""


class Bar(StrEnum):
    """Why a tool that exists does not run."""

    DISABLED = "TOOL_DISABLED"
    QUARANTINED = "TOOL_QUARANTINED"
    PIN_MISSING = "TOOL_PIN_MISSING"
    LAXER = "TOOL_LAXER_THAN_SOURCE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Barred:
    """The tenant has such a tool, and it does not run."""

    tool: Tool
    bar: Bar

    @property
    def message(self) -> str:
        match self.bar:
            case Bar.DISABLED:
                return "the tool is disabled"
            case Bar.QUARANTINED:
                return "the definition changed since it was accepted; an operator has to accept it anew"
            case Bar.PIN_MISSING:
                return "the version that the tool is pinned to is not known here"
            case Bar.LAXER:
                return "it was registered with less risk, or a safer effect, than its source offers it with"


Resolved: TypeAlias = Tool | Barred | None
"""What a name means: None when the tenant has no such tool."""

Names: TypeAlias = tuple[str, str]
"""Tenant and name of a tool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Everything that is offered and decided, at one moment; finds are plain look-ups."""

    resolved: Mapping[Names, Tool | Barred] = field(default_factory=dict)

    def find(self, tenant: str, name: str) -> Resolved:
        """The tenant's own tool of that name, otherwise the shared one."""
        own = self.resolved.get((tenant, name)) if tenant != SHARED else None
        return own if own is not None else self.resolved.get((SHARED, name))

    def list(self, tenant: str) -> tuple[Tool | Barred, ...]:
        """What the tenant can see, by name."""
        names = sorted({name for owner, name in self.resolved if owner in {tenant, SHARED}})
        return tuple(found for name in names if (found := self.find(tenant, name)) is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptVersion:
    """A definition that was offered once."""

    tenant: str
    name: str
    digest: str
    version: str
    origin: str
    registered_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """A definition that a source has now."""

    tool: Tool
    trusted: bool = True


Versions: TypeAlias = Mapping[tuple[str, str, str], Tool]
"""Kept definitions that a pin may name, by tenant, name and digest."""

Operation: TypeAlias = tuple[str, str, str]
"""Kind, source, and the tool's name there."""

REGISTERED = "api"
"""The origin of tools that a tenant registered."""

_UNDECIDED = Standing()
_CAUTION = tuple(EffectClass)  # from what may always be repeated to what never may


def operation_of(tool: Tool) -> Operation | None:
    """Where a tool runs that is not ours."""
    if isinstance(tool.source, PythonSource):
        return None
    return str(tool.source.identity()["kind"]), tool.source.source, tool.source.tool


def laxer(tool: Tool, model: Tool) -> tuple[FieldProblem, ...]:
    """In what a tool promises less harm than the source of the same operation says it may do. Only an operator may relax that."""
    remedy = "say the same, or have the operator relax it in the source's file"
    problems = []
    if _CAUTION.index(tool.effect) < _CAUTION.index(model.effect):
        problems.append(FieldProblem("effect", f"is {tool.effect}, and {model.effect} at its source", remedy))
    if model.risk is Risk.HIGH and tool.risk is not Risk.HIGH:
        problems.append(FieldProblem("risk", f"is {tool.risk}, and {model.risk} at its source", remedy))
    return tuple(problems)


def resolve(
    offered: Mapping[Names, Offered],
    standings: Mapping[Names, Standing],
    versions: Versions,
    models: Mapping[Operation, Tool] | None = None,
) -> View:
    """The view of what is offered, under what was decided. A tenant's decision about a shared tool is its own.

    `models` are tools as their sources offer them. A registered one of the same operation has their labels beside its own, is concerned by
    the rules that name them, and does not run when it is laxer.
    """
    resolved = {names: _bounded(_resolved(one, standings.get(names, _UNDECIDED), versions), models or {}) for names, one in offered.items()}
    for (tenant, name), own in standings.items():
        shared = offered.get((SHARED, name))
        if tenant != SHARED and shared is not None and (tenant, name) not in offered:
            resolved[tenant, name] = _resolved(shared, _joined(standings.get((SHARED, name), _UNDECIDED), own), versions)
    return View(resolved=resolved)


def _joined(shared: Standing, own: Standing) -> Standing:
    return Standing(disabled=shared.disabled or own.disabled, pinned=own.pinned or shared.pinned, accepted=own.accepted or shared.accepted)


def _resolved(offered: Offered, standing: Standing, versions: Versions) -> Tool | Barred:
    tool = offered.tool
    if standing.disabled:
        return Barred(tool=tool, bar=Bar.DISABLED)
    if standing.pinned:
        pinned = tool if tool.digest == standing.pinned else versions.get((tool.tenant, tool.name, standing.pinned))
        return pinned if pinned is not None else Barred(tool=tool, bar=Bar.PIN_MISSING)
    if not offered.trusted and standing.accepted != tool.digest:
        return Barred(tool=tool, bar=Bar.QUARANTINED)
    return tool


def _bounded(found: Tool | Barred, models: Mapping[Operation, Tool]) -> Tool | Barred:
    """A registered tool within the bounds of the one that its source offers."""
    operation = operation_of(found) if isinstance(found, Tool) and found.origin == REGISTERED else None
    model = models.get(operation) if operation is not None else None
    if model is None or isinstance(found, Barred):
        return found
    if laxer(found, model):
        return Barred(tool=found, bar=Bar.LAXER)
    return replace(found, labels=tuple(dict.fromkeys((*found.labels, *model.labels))), model=model.name)
