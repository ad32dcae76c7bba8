"""Expressions: CEL, compiled once, evaluated over a scope of JSON values.

The engine is Google's (cel-expr-python), chosen over the Rust one for its type check at compile time; about 35 µs an evaluation,
whatever the size of the state, because it reads the scope lazily.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias, cast

from cel_expr_python import cel
from cel_expr_python.ext import ext_math, ext_optional, ext_strings
from plimsoll_runtime.json_types import JsonValue

from plimsoll_graph.complaints import in_words

NAMES = ("state", "input", "run", "result", "item", "index", "failure", "attempts", "signal", "acc")
Scope: TypeAlias = Mapping[str, JsonValue]

TEXT_CAP = 8192
_DEPTH_CAP = 64
_PRODUCT_CAP = 256 * 1024 * 1024  # characters
_PLACED = re.compile(r"\.(?:replace|join)\s*\(")
_LITERAL = r"""(?:'[^'\\]*'|"[^"\\]*")"""
_PLACED_LITERAL = re.compile(rf"\.replace\s*\([^,()]*,\s*{_LITERAL}\s*[,)]|\.join\s*\(\s*{_LITERAL}?\s*\)")
_ENGINE_ERRORS = (RuntimeError, ValueError, TypeError, OverflowError, SystemError)
_FAULT = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong inside an expression. `offset` is the character where it lies, from 0, when that is known."""

    message: str
    offset: int | None = None
    remedy: str = ""


class ExpressionBroken(ValueError):
    """The text is not a well-formed, well-typed expression; `faults` says where it breaks."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__(faults[0].message)
        self.faults = faults


class ExpressionFailed(ValueError):
    """The expression has no JSON value in this scope."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression; equal when the text is."""

    text: str

    def evaluate(self, scope: Scope) -> JsonValue:
        """The value in `scope`. Raises ExpressionFailed: missing key, wrong type, division by zero, too much work, not JSON."""
        if _multiplies(self.text) and _longest(scope) ** 2 > _PRODUCT_CAP:
            problem = (
                "could make a text too large for memory: what it puts in, or puts in between, is not written out, and what it reads is long"
            )
            raise ExpressionFailed(f"{self.text!r}: {problem}")
        try:
            value = _compiled(self.text).eval(data=cast("dict[str, Any]", {name: scope.get(name) for name in NAMES}))
        except _ENGINE_ERRORS as error:  # such as more than its 10,000 iterations
            raise ExpressionFailed(f"{self.text!r}: {in_words(_first_error(str(error)))}") from error
        try:
            plain, failed = value.plain_value(), value.type() == cel.Type.ERROR
        except _ENGINE_ERRORS as error:  # such as an optional value, which has no plain form
            raise ExpressionFailed(f"{self.text!r}: is not a JSON value; use .orValue(…) for what may be missing") from error
        if failed:
            raise ExpressionFailed(f"{self.text!r}: {in_words(str(plain))}")
        return _json(plain, self.text)

    def holds(self, scope: Scope) -> bool:
        """The value as a condition. Raises ExpressionFailed when it is not a boolean."""
        value = self.evaluate(scope)
        if not isinstance(value, bool):
            raise ExpressionFailed(f"{self.text!r} is {type(value).__name__}, not true or false")
        return value


def compile_expression(text: str) -> Expression:
    """Check and compile. Raises ExpressionBroken with what is wrong and where."""
    if len(text) > TEXT_CAP:
        raise ExpressionBroken((Fault(f"it has {len(text):,} characters", None, f"an expression may have {TEXT_CAP:,}; use a tool"),))
    try:
        _compiled(text)
    except RuntimeError as error:
        raise ExpressionBroken(_faults(text, str(error))) from error
    return Expression(text)


Template: TypeAlias = "Expression | bool | int | float | list[Template] | dict[str, Template] | None"


def compile_template(value: JsonValue) -> Template:
    """A JSON value whose string leaves are expressions. Raises ExpressionBroken."""
    match value:
        case str():
            return compile_expression(value)
        case list():
            return [compile_template(item) for item in value]
        case dict():
            return {key: compile_template(item) for key, item in value.items()}
        case _:
            return value


def fill(template: Template, scope: Scope) -> JsonValue:
    """The value of a template in `scope`. Raises ExpressionFailed."""
    match template:
        case Expression():
            return template.evaluate(scope)
        case list():
            return [fill(item, scope) for item in template]
        case dict():
            return {key: fill(item, scope) for key, item in template.items()}
        case _:
            return template


def template_source(template: Template) -> JsonValue:
    """The JSON value that the template was compiled from."""
    match template:
        case Expression():
            return template.text
        case list():
            return [template_source(item) for item in template]
        case dict():
            return {key: template_source(item) for key, item in template.items()}
        case _:
            return template


def serialized(text: str) -> bytes:
    """A text that compiles, as the engine's own message: google.protobuf.Any of cel.expr.CheckedExpr."""
    return cast("bytes", _compiled(text).serialize())


@lru_cache(maxsize=4096)
def _multiplies(text: str) -> bool:
    """Whether a text that is not written out is put into another, or between others, as often as that other is long."""
    return len(_PLACED.findall(text)) > len(_PLACED_LITERAL.findall(text))


def _longest(value: object) -> int:
    """The length of the longest text or list."""
    match value:
        case str():
            return len(value)
        case list():
            return max([len(value), *map(_longest, value)])
        case Mapping():
            return max(map(_longest, value.values()), default=0)
        case _:
            return 0


@lru_cache(maxsize=1)
def _environment() -> Any:
    return cel.NewEnv(
        variables=dict.fromkeys(NAMES, cel.Type.DYN),
        extensions=[ext_strings.ExtStrings(), ext_math.ExtMath(), ext_optional.ExtOptional()],
    )


@lru_cache(maxsize=4096)
def _compiled(text: str) -> Any:
    return _environment().compile(text)


def _faults(text: str, message: str) -> tuple[Fault, ...]:
    """`INVALID_ARGUMENT: ERROR: <input>:1:5: text\\n | …`, once for each fault."""
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    found = [
        Fault(match[3].removesuffix(" (in container '')"), starts[int(match[1]) - 1] + int(match[2]) - 1)
        for match in _FAULT.finditer(message)
        if 0 < int(match[1]) < len(starts)
    ]
    return tuple(found) or (Fault(_first_error(message)),)


def _first_error(message: str) -> str:
    """`INVALID_ARGUMENT: ERROR: <input>:1:5: text\\n | …` without its frame."""
    line = message.replace("INVALID_ARGUMENT: ", "").split("\n", 1)[0]
    return line.removeprefix("ERROR: <input>:").strip() or message


def _json(value: object, text: str, depth: int = 0) -> JsonValue:
    if depth > _DEPTH_CAP:
        raise ExpressionFailed(f"{text!r}: nested deeper than {_DEPTH_CAP}")
    match value:
        case None | bool() | int():
            return value
        case str():
            if "\0" in value:
                raise ExpressionFailed(f"{text!r}: holds the character U+0000, which no store takes")
            return value
        case float():
            if not math.isfinite(value):
                raise ExpressionFailed(f"{text!r}: {value} is not a JSON number")
            return value
        case list():
            return [_json(item, text, depth + 1) for item in value]
        case dict():
            # Sorted: the engine's maps have no order of their own, and the same run must say the same thing twice.
            return {key: _json(value[key], text, depth + 1) for key in sorted(_key(key, text) for key in value)}
        case _:
            raise ExpressionFailed(f"{text!r}: {type(value).__name__} is not a JSON value; use string(…)")


def _key(key: object, text: str) -> str:
    if not isinstance(key, str):
        raise ExpressionFailed(f"{text!r}: a key is {type(key).__name__}, not a string")
    if "\0" in key:
        raise ExpressionFailed(f"{text!r}: a key holds the character U+0000, which no store takes")
    return key
