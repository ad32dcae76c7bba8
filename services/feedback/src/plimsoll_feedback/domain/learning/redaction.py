"""Redaction: what must not be kept is replaced by its kind before an example is stored."""

import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, TypeAlias

import re2
from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.json_types import JsonValue

Holds: TypeAlias = Callable[[str], bool]

_OWN_CAP: Final = 32
_PATTERN_CAP_CHARACTERS: Final = 500
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,30}")
_DATE: Final = re.compile(
    r"(?:19|20)\d\d[-/.](?:0?[1-9]|1[0-2])[-/.](?:0?[1-9]|[12]\d|3[01])\b|(?:0?[1-9]|[12]\d|3[01])[-/.](?:0?[1-9]|1[0-2])[-/.](?:19|20)\d\d\b"
)
_IBAN_LETTERS: Final = {letter: str(number) for number, letter in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZ", start=10)}


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPattern:
    """A dataset's own pattern; `name` stands in the place of what it finds."""

    name: str
    pattern: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """What is replaced: every match of the expression for which `holds`."""

    name: str
    expression: str
    holds: Holds = bool


def redact(value: JsonValue, own: Sequence[OwnPattern] = ()) -> JsonValue:
    """The value with everything personal or secret in its texts replaced, keys of objects as well; numbers are read as texts."""
    replacements = [(f"[{kind.name}]", _compiled(kind.expression), kind.holds) for kind in _BUILT_IN]
    replacements += [(f"[{one.name}]", _compiled(one.pattern), bool) for one in own]
    return _walk(value, replacements)


def problems_of(own: Sequence[OwnPattern]) -> Iterator[FieldProblem]:
    """What forbids using the patterns."""
    if len(own) > _OWN_CAP:
        yield FieldProblem("dataset.redactions", f"has {len(own)} patterns", f"use at most {_OWN_CAP}")
    for at, one in enumerate(own):
        field = f"dataset.redactions[{at}]"
        if not _NAME.fullmatch(one.name):
            yield FieldProblem(f"{field}.name", f"is {one.name!r}", "use lower-case letters, digits and hyphens, 31 at most")
        if not one.pattern or len(one.pattern) > _PATTERN_CAP_CHARACTERS:
            yield FieldProblem(f"{field}.pattern", "is empty or too long", f"use 1 to {_PATTERN_CAP_CHARACTERS} characters")
            continue
        try:
            finds_nothing = _compiled(one.pattern).search("") is None
        except re2.error as error:
            said = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
            yield FieldProblem(f"{field}.pattern", f"is no such expression: {said}", "use RE2's syntax: no backreferences, no lookaround")
            continue
        if not finds_nothing:
            yield FieldProblem(f"{field}.pattern", "fits an empty text", "write one that needs at least one character")


class _Match(Protocol):
    def group(self) -> str: ...


class _Expression(Protocol):
    def search(self, text: str) -> _Match | None: ...

    def sub(self, replacement: Callable[[_Match], str], text: str) -> str: ...


_Replacement: TypeAlias = tuple[str, _Expression, Holds]


def _walk(value: JsonValue, replacements: Sequence[_Replacement]) -> JsonValue:
    if isinstance(value, str):
        return _clean(value, replacements)
    if isinstance(value, list):
        return [_walk(item, replacements) for item in value]
    if isinstance(value, dict):
        return {_clean(key, replacements): _walk(item, replacements) for key, item in value.items()}
    if isinstance(value, int) and not isinstance(value, bool):
        clean = _clean(str(value), replacements)
        return value if clean == str(value) else clean
    return value


def _clean(text: str, replacements: Sequence[_Replacement]) -> str:
    for placeholder, expression, holds in replacements:
        if expression.search(text) is not None:
            text = expression.sub(partial(_replaced, placeholder, holds), text)
    return text


def _replaced(placeholder: str, holds: Holds, match: _Match) -> str:
    return placeholder if holds(match.group()) else match.group()


def _compiled(expression: str) -> _Expression:
    options = re2.Options()
    options.log_errors = False
    compiled: _Expression = re2.compile(expression, options)
    return compiled


def _is_card(text: str) -> bool:
    """Luhn's check, from the right."""
    digits = [int(one) for one in text if one.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) if at % 2 else digit for at, digit in enumerate(reversed(digits))]
    return 13 <= len(digits) <= 19 and sum(doubled) % 10 == 0 and len(set(digits)) > 1


def _is_iban(text: str) -> bool:
    """The remainder by 97 of ISO 7064."""
    plain = "".join(one for one in text if one.isalnum()).upper()
    if not 15 <= len(plain) <= 34:
        return False
    number = "".join(_IBAN_LETTERS.get(one, one) for one in plain[4:] + plain[:4])
    return number.isascii() and number.isdigit() and int(number) % 97 == 1


def _is_phone(text: str) -> bool:
    digits = sum(one.isdigit() for one in text)
    if _DATE.match(text):
        return False
    return 8 <= digits <= 15 and (text.startswith(("+", "00", "(", "0")) or any(one in text for one in " -./"))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


# In this order: a longer kind before those that would take a piece of it.
_BUILT_IN: Final = (
    _Kind(name="key", expression=r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----"),
    _Kind(name="key", expression=r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"),
    _Kind(name="key", expression=r"\b(?:sk|pk|rk|ghp|gho|ghs|github_pat|glpat|xox[abprs]|plim)[-_][A-Za-z0-9_-]{16,}"),
    _Kind(name="key", expression=r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[0-9A-Za-z_-]{35}"),
    _Kind(name="key", expression=r"(?i)\bbearer\s+[A-Za-z0-9._~+/-]{16,}=*"),
    _Kind(name="email", expression=r"[\p{L}\p{N}._%+-]+@[\p{L}\p{N}-]+(?:\.[\p{L}\p{N}-]+)+"),
    _Kind(name="iban", expression=r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11,30}\b", holds=_is_iban),
    _Kind(name="card", expression=r"\b[0-9](?:[ -]?[0-9]){12,18}\b", holds=_is_card),
    _Kind(name="ip", expression=r"\b[0-9]{1,3}(?:\.[0-9]{1,3}){3}\b", holds=_is_address),
    _Kind(name="ip", expression=r"(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}", holds=_is_address),
    _Kind(name="phone", expression=r"(?:\+|\b00|\(|\b0|\b)[0-9](?:[ ()./-]{0,2}[0-9]){7,30}\b", holds=_is_phone),
)
