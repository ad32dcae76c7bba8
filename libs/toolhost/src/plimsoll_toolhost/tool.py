"""What a team declares: a tool, the function that runs it, and the two failures that it may raise."""

import inspect
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from plimsoll_runtime.errors import FieldProblem, Invalid
from plimsoll_runtime.json_types import JsonObject, JsonValue, digest

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+_-]{0,31}")
_DESCRIPTION_CHARS = 4000
_MAX_TIMEOUT_S = 3600.0


class Effect(StrEnum):
    """What a tool does to the world; it decides what happens after a timeout."""

    READ_ONLY = "read_only"
    IDEMPOTENT = "idempotent"
    KEYED = "keyed"
    """Safe when repeated with the same call key: pass it on to what deduplicates."""
    NON_IDEMPOTENT = "non_idempotent"


class Risk(StrEnum):
    LOW = "low"
    HIGH = "high"
    """Each call needs the approval of a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """One attempt of one call, as its function sees it; the arguments fit the tool's schema."""

    arguments: JsonObject = field(repr=False)
    tenant: str
    call_key: str
    """The same for every attempt of one call."""
    run_id: str
    deadline_s: float
    """Seconds left when the function starts; it is cancelled when they are over."""


Run: TypeAlias = Callable[[ToolCall], Awaitable[JsonValue]]


class InvalidTool(Invalid):
    """A tool is declared wrongly."""

    reason = "INVALID_TOOL"


class ToolRejected(Exception):
    """The upstream understood the call and said no; nothing was done.

    `reason` is stable UPPER_SNAKE that graphs can branch on; `message` is for people and holds no secret and no argument.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message


class ToolUnavailable(Exception):
    """Nothing was done, certainly, and later may help: the call is repeated whatever its effect."""

    def __init__(self, reason: str, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedTool:
    """One tool: what it promises, and the async function that keeps the promise. Checked when it is made: raises InvalidTool."""

    name: str
    description: str
    arguments: JsonObject = field(repr=False)
    result: JsonObject = field(repr=False)
    effect: Effect
    risk: Risk
    run: Run = field(repr=False, compare=False)
    version: str = "1"
    timeout_s: float = 30.0

    def __post_init__(self) -> None:
        problems = [FieldProblem(field, problem, remedy) for wrong, field, problem, remedy in self._checks() if wrong]
        if problems:
            raise InvalidTool(problems=problems)

    def _checks(self) -> Sequence[tuple[bool, str, str, str]]:
        return (
            (
                _NAME.fullmatch(self.name) is None,
                "name",
                f"is {self.name[:80]!r}",
                "write a name such as find_invoice: small letters, digits, _",
            ),
            (_VERSION.fullmatch(self.version) is None, "version", f"is {self.version[:80]!r}", 'write a version such as "1"'),
            (not self.description.strip(), "description", "is empty", "say what the tool does and when to use it"),
            (len(self.description) > _DESCRIPTION_CHARS, "description", "is too long", f"use at most {_DESCRIPTION_CHARS} characters"),
            (not 0.05 <= self.timeout_s <= _MAX_TIMEOUT_S, "timeout_s", f"is {self.timeout_s:g}", f"use 0.05 to {_MAX_TIMEOUT_S:g}"),
            (self.arguments.get("type") != "object", "arguments.type", "is not 'object'", "write type: object"),
            (not inspect.iscoroutinefunction(self.run), "run", "is no async function", "write async def and take one ToolCall"),
        )

    @property
    def digest(self) -> str:
        """Over everything that the tool promises."""
        return digest(
            {
                "name": self.name,
                "version": self.version,
                "description": self.description,
                "arguments": self.arguments,
                "result": self.result,
                "effect": self.effect.value,
                "risk": self.risk.value,
                "timeout_ms": round(self.timeout_s * 1000),
            }
        )
