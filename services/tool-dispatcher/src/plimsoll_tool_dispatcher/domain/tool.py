"""A declared tool in neutral form: it knows nothing of a model, a loop or a provider's way of calling functions."""

from dataclasses import dataclass, replace
from enum import StrEnum

from plimsoll_runtime.json_types import JsonObject, digest

from plimsoll_tool_dispatcher.domain.effects import EffectClass
from plimsoll_tool_dispatcher.domain.schema import Schema


class Risk(StrEnum):
    LOW = "low"
    HIGH = "high"  # each call needs a grant


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often one call may be attempted, and the first pause; later pauses double, each is drawn at random below its bound."""

    attempts: int = 3
    backoff_s: float = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonSource:
    """The tool is a function of the same name in a Python file."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One immutable definition, known by the digest of its canonical form.

    Where it runs (`source`) is not part of its identity: what a person approves is what a tool promises, not where its file lies.
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
    source: PythonSource
    digest: str


def canonical_form(tool: Tool) -> JsonObject:
    """What the digest is taken over: everything that changes what a call may do or how it is judged."""
    return {
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


def identified(tool: Tool) -> Tool:
    """The same tool, carrying the digest of its canonical form."""
    return replace(tool, digest=digest(canonical_form(tool)))
