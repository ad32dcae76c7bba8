"""A declared tool in neutral form: it knows nothing of a model, a loop or a provider's way of calling functions."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias

from plimsoll_runtime.json_types import JsonObject, JsonValue, digest
from plimsoll_runtime.limiter import Rate

from plimsoll_tool_dispatcher.domain.effects import EffectClass
from plimsoll_tool_dispatcher.domain.schema import Schema
from plimsoll_tool_dispatcher.domain.sources import PythonSource, Source

__all__ = [
    "CachedResult",
    "Fallback",
    "FixedAnswer",
    "OtherTool",
    "PythonSource",
    "Rates",
    "Retry",
    "Risk",
    "Source",
    "Tool",
    "canonical_form",
    "identified",
]


class Risk(StrEnum):
    LOW = "low"
    HIGH = "high"  # each call needs a grant


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often one call may be attempted, and the first pause; later pauses double, each is drawn at random below its bound."""

    attempts: int = 3
    backoff_s: float = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """How often the upstream may be called: by all tenants together, and by each of them."""

    all: Rate | None = None
    tenant: Rate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherTool:
    """When the tool fails, another is called with the same arguments; policy judges that call by itself."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedResult:
    """When the tool fails, its last result for the same tenant and arguments is given, marked with its age."""

    max_age_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedAnswer:
    """When the tool fails, this is answered, marked as degraded."""

    value: JsonValue


Fallback: TypeAlias = OtherTool | CachedResult | FixedAnswer


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One immutable definition, known by the digest of its canonical form.

    Attributes:
    tenant     whose tool it is; empty when all share it
    origin     what offered it, such as `file:accounts`
    upstream   what its calls burden: tools of one upstream share its breaker, rates and retry budget
    reconcile  the tool that says what became of a call with an unknown outcome; empty when there is none
    model      what its source calls the operation that a tenant registered anew: rules that name it concern this one, too
    labels     what a call does with data: reads:private, reads:untrusted, leaves:tenant, or words of the operator's own
    """

    name: str
    version: str
    category: str
    description: str
    arguments: Schema
    result: Schema
    effect: EffectClass
    risk: Risk
    timeout_s: float
    concurrency: int
    retry: Retry
    credentials: tuple[str, ...]
    source: Source
    digest: str
    tenant: str = ""
    origin: str = ""
    upstream: str = ""
    rates: Rates = Rates()
    fallback: Fallback | None = None
    reconcile: str = ""
    labels: tuple[str, ...] = ()
    model: str = ""

    @property
    def burdens(self) -> str:
        """The upstream, which is the category when nothing else is said."""
        return self.upstream or self.category


def canonical_form(tool: Tool) -> JsonObject:
    """What the digest is taken over: everything that changes what a call may do or how it is judged. What is not said is left out."""
    form: JsonObject = {
        "name": tool.name,
        "version": tool.version,
        "category": tool.category,
        "description": tool.description,
        "arguments": tool.arguments.document,
        "result": tool.result.document,
        "effect": tool.effect.value,
        "risk": tool.risk.value,
        "timeout_ms": round(tool.timeout_s * 1000),
        "concurrency": tool.concurrency,
        "retry": {"attempts": tool.retry.attempts, "backoff_ms": round(tool.retry.backoff_s * 1000)},
        "credentials": list(tool.credentials),
    }
    said: JsonObject = {
        "source": tool.source.identity(),
        "tenant": tool.tenant,
        "upstream": tool.upstream,
        "rates": _rates_form(tool.rates),
        "fallback": _fallback_form(tool.fallback),
        "reconcile": tool.reconcile,
        "labels": list(tool.labels),
    }
    return form | {name: value for name, value in said.items() if value}


def identified(tool: Tool) -> Tool:
    """The same tool, carrying the digest of its canonical form."""
    return replace(tool, digest=digest(canonical_form(tool)))


def _rates_form(rates: Rates) -> JsonObject:
    named = {"all": rates.all, "tenant": rates.tenant}
    return {
        name: {"count": rate.count, "per_ms": round(rate.per_s * 1000), "burst": rate.burst}
        for name, rate in named.items()
        if rate is not None
    }


def _fallback_form(fallback: Fallback | None) -> JsonObject:
    match fallback:
        case OtherTool(name=name):
            return {"tool": name}
        case CachedResult(max_age_s=age_s):
            return {"cached_ms": round(age_s * 1000)}
        case FixedAnswer(value=value):
            return {"answer": value}
        case None:
            return {}
