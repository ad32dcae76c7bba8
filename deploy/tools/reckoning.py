"""Numbers and dates, reckoned exactly."""

import ast
import calendar
import math
import operator
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from plimsoll_runtime.json_types import JsonValue
from plimsoll_tool_dispatcher.handler import ToolContext, ToolRejected

Arguments: TypeAlias = "dict[str, JsonValue]"

MAX_BITS = 20_000
"""Of a numerator or a denominator: more would take long, and nobody reads it."""

_MAX_POWER = 10_000
_MAX_EXPONENT = 5_000
_DIGITS = 34
_NUMBER = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE](?P<exponent>[+-]?[0-9]{1,6}))?")
_OPERATORS: Mapping[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: lambda a, b: Fraction(a // b),
    ast.Mod: lambda a, b: a % b,
}


async def calculate(arguments: Arguments, context: ToolContext) -> JsonValue:
    """The value of an expression, by rational numbers: 0.1 + 0.2 is 0.3."""
    expression = str(arguments["expression"]).strip()
    try:
        tree = ast.parse(expression, mode="eval")
        reckoner = _Reckoner(expression)
        value = reckoner.value(tree.body)
        text, whole = _decimal(value)
        return {"value": text, "exact": whole and reckoner.exact}
    except ZeroDivisionError as error:
        raise ToolRejected("DIVISION_BY_ZERO", "the expression divides by zero") from error
    except (SyntaxError, RecursionError, MemoryError, ValueError, OverflowError) as error:
        raise ToolRejected(
            "NOT_AN_EXPRESSION", "write numbers, + - * / // % **, brackets and the functions that the description names"
        ) from error


class _Reckoner:
    """Evaluates what it knows and refuses all else; nothing of Python runs."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.exact = True

    def value(self, node: ast.expr) -> Fraction:
        match node:
            case ast.Constant(value=bool()):
                raise ValueError
            case ast.Constant(value=int() | float()):
                return _bounded(_number(ast.get_source_segment(self._text, node) or ""))
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                return -self.value(inner)
            case ast.UnaryOp(op=ast.UAdd(), operand=inner):
                return self.value(inner)
            case ast.BinOp(op=ast.Pow(), left=left, right=right):
                return self._power(self.value(left), self.value(right))
            case ast.BinOp(op=op, left=left, right=right) if type(op) in _OPERATORS:
                return _bounded(_OPERATORS[type(op)](self.value(left), self.value(right)))
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
                return self._call(name, [self.value(arg) for arg in args])
        raise ValueError

    def _power(self, left: Fraction, right: Fraction) -> Fraction:
        if right.denominator == 1:
            power = abs(right.numerator)
            size = max(left.numerator.bit_length(), left.denominator.bit_length())
            if power > _MAX_POWER or size * power > MAX_BITS:
                raise OverflowError
            return left**right.numerator
        self.exact = False
        if left < 0:
            raise ValueError
        return Fraction(float(left) ** float(right))

    def _call(self, name: str, values: list[Fraction]) -> Fraction:
        match name, values:
            case "abs", [one]:
                return abs(one)
            case "floor", [one]:
                return Fraction(math.floor(one))
            case "ceil", [one]:
                return Fraction(math.ceil(one))
            case "round", [one]:
                return Fraction(_rounded(one, 0))
            case "round", [one, places] if places.denominator == 1 and 0 <= places <= 50:
                return _rounded(one, int(places))
            case "sqrt", [one] if one >= 0:
                return self._root(one)
            case "min", [_, *_]:
                return min(values)
            case "max", [_, *_]:
                return max(values)
            case "sum", [_, *_]:
                return _bounded(sum(values, Fraction(0)))
        raise ValueError

    def _root(self, one: Fraction) -> Fraction:
        root = Fraction(math.isqrt(one.numerator), math.isqrt(one.denominator))
        if root * root == one:
            return root
        self.exact = False
        scale = 10 ** (2 * _DIGITS)
        return Fraction(math.isqrt(one.numerator * scale // one.denominator), 10**_DIGITS)


def _number(text: str) -> Fraction:
    """As written, to the last digit; an exponent that would fill the memory is refused before it does."""
    written = _NUMBER.fullmatch(text.replace("_", ""))
    if written is None or abs(int(written["exponent"] or 0)) > _MAX_EXPONENT:
        raise ValueError
    return Fraction(written[0])


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise OverflowError
    return value


def _rounded(value: Fraction, places: int) -> Fraction:
    """As people round: a half goes away from zero."""
    scale = 10**places
    whole = math.floor(abs(value) * scale + Fraction(1, 2))
    return Fraction(whole if value >= 0 else -whole, scale)


def _decimal(value: Fraction) -> tuple[str, bool]:
    """Decimal notation, and whether it is the whole value."""
    rest, twos, fives = value.denominator, 0, 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    places = max(twos, fives)
    whole = rest == 1 and places <= 100
    if not whole:
        lead = max(0, len(str(value.denominator)) - len(str(abs(value.numerator))))
        places = _DIGITS + lead
    digits = str(abs(_rounded(value, places)) * 10**places).rjust(places + 1, "0")
    text = digits if not places else f"{digits[:-places]}.{digits[-places:]}".rstrip("0").rstrip(".")
    return ("-" if value < 0 and text.strip("0.") else "") + text, whole


async def current_time(arguments: Arguments, context: ToolContext) -> JsonValue:
    """Now, somewhere."""
    try:
        now = datetime.now(ZoneInfo(str(arguments["zone"])))
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ToolRejected("UNKNOWN_ZONE", "name a time zone such as Europe/Berlin or UTC") from error
    return {"at": now.isoformat(timespec="seconds"), "date": now.date().isoformat(), "weekday": calendar.day_name[now.weekday()]}


async def date_add(arguments: Arguments, context: ToolContext) -> JsonValue:
    """A date moved by calendar units, the large ones first."""
    amounts = {name: int(str(arguments[name])) for name in ("years", "months", "weeks", "days", "working_days")}
    try:
        moved = _plus_months(_date(arguments["date"]), amounts["years"] * 12 + amounts["months"])
        moved += timedelta(weeks=amounts["weeks"], days=amounts["days"])
        moved = _plus_working_days(moved, amounts["working_days"])
    except (ValueError, OverflowError) as error:
        raise ToolRejected("OUT_OF_RANGE", "the date has to lie in the years 1 to 9999") from error
    return {"date": moved.isoformat(), "weekday": calendar.day_name[moved.weekday()]}


async def date_between(arguments: Arguments, context: ToolContext) -> JsonValue:
    """From one date to another; negative when the second lies before the first."""
    start, end = _date(arguments["from"]), _date(arguments["to"])
    sign, (early, late) = (1, (start, end)) if start <= end else (-1, (end, start))
    months = (late.year - early.year) * 12 + late.month - early.month
    if _plus_months(early, months) > late:
        months -= 1
    return {
        "days": sign * (late - early).days,
        "working_days": sign * _working_days(early, late),
        "years": sign * (months // 12),
        "months": sign * (months % 12),
        "rest_days": sign * (late - _plus_months(early, months)).days,
    }


def _date(value: JsonValue) -> date:
    try:
        return date.fromisoformat(str(value))
    except ValueError as error:
        raise ToolRejected("NOT_A_DATE", "write a date such as 2026-03-31") from error


def _plus_months(start: date, months: int) -> date:
    years, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    if not 1 <= years <= 9999:
        raise OverflowError
    return date(years, month + 1, min(start.day, calendar.monthrange(years, month + 1)[1]))


def _plus_working_days(start: date, days: int) -> date:
    step = timedelta(days=1 if days > 0 else -1)
    weeks, rest = divmod(abs(days), 5)
    moved = start + step * 7 * weeks
    while rest:
        moved += step
        rest -= moved.weekday() < 5
    while days and moved.weekday() > 4:
        moved -= step  # whole weeks from a weekend: back to the last working day that was counted
    return moved


def _working_days(early: date, late: date) -> int:
    """Those after `early`, up to and with `late`."""
    weeks, rest = divmod((late - early).days, 7)
    return weeks * 5 + sum((early + timedelta(days=offset)).weekday() < 5 for offset in range(1, rest + 1))
