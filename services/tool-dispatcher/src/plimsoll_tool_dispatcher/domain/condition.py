"""The condition of a rule: CEL, compiled once, over the facts of a call.

The engine is Google's (cel-expr-python): it refuses unknown names when it compiles, and it bounds the work of one evaluation.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

from cel_expr_python import cel
from cel_expr_python.ext import ext_math, ext_optional, ext_strings
from plimsoll_runtime.json_types import JsonObject

NAMES = ("tool", "arguments", "caller", "run")
Facts: TypeAlias = Mapping[str, JsonObject]
_MAX_CHARS = 4_000
_MAY_VARY = re.compile(r"\b(arguments|caller|run)\b")
_MAY_SEE_LABELS = re.compile(r"\brun\b(?!\.(id|agent|node)\b)")


class ConditionBroken(ValueError):
    """The text is not a well-formed condition."""


class ConditionFailed(ValueError):
    """The condition is neither true nor false of these facts. Says what kind of thing went wrong, and quotes no argument."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled condition; equal when the text is."""

    text: str
    _program: Any = field(repr=False, compare=False)

    @property
    def of_tool_alone(self) -> bool:
        """Whether every call of one definition gets the same answer. May be false of one that does, never true of one that does not."""
        return _MAY_VARY.search(self.text) is None

    @property
    def may_see_labels(self) -> bool:
        """Whether the run's labels may count; never false of one where they do."""
        return _MAY_SEE_LABELS.search(self.text) is not None

    def holds(self, facts: Facts) -> bool:
        """Raises ConditionFailed: a missing field, a wrong type, too much work, an answer that is not true or false."""
        try:
            value = self._program.eval(data=cast("dict[str, Any]", facts))
        except (RuntimeError, ValueError, TypeError, OverflowError) as error:
            raise ConditionFailed(type(error).__name__) from error
        kind = value.type()
        if kind == cel.Type.ERROR:
            raise ConditionFailed(_told(str(value.value())))
        if kind != cel.Type.BOOL:
            raise ConditionFailed("it is neither true nor false")
        return bool(value.value())


class Conditions:
    """Compiles conditions; one is enough."""

    def __init__(self) -> None:
        self._environment = cel.NewEnv(
            variables=dict.fromkeys(NAMES, cel.Type.DYN),
            extensions=[ext_strings.ExtStrings(), ext_math.ExtMath(), ext_optional.ExtOptional()],
        )

    def compiled(self, text: str) -> Condition:
        """Raises ConditionBroken with what is wrong and where."""
        if len(text) > _MAX_CHARS:
            raise ConditionBroken(f"is longer than {_MAX_CHARS} characters")
        try:
            return Condition(text, self._environment.compile(text))
        except RuntimeError as error:
            line = str(error).replace("INVALID_ARGUMENT: ", "").split("\n", 1)[0]
            raise ConditionBroken(line.removeprefix("ERROR: <input>:").strip() or "cannot be compiled") from error


def _told(message: str) -> str:
    """The engine's own words name missing fields; what stands behind a colon may be a value."""
    return message.removeprefix("INVALID_ARGUMENT: ").removeprefix("NOT_FOUND: ").split("\n", 1)[0][:120]
