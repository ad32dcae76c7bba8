"""Cron expressions of five fields, on a wall clock that is even.

Written here because the usual library reads `1-1` as every value, and lets `*/1` decide whether two days are joined by "and" or "or".
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

_MOST = 200  # characters
_FAR_DAYS = 8 * 366 + 1  # two leap days lie at most eight years apart
_DAY = timedelta(days=1)
_PART = re.compile(r"(?P<all>\*)?(?P<first>[a-z0-9]{1,4})?(?:-(?P<last>[a-z0-9]{1,4}))?(?:/(?P<step>[0-9]{1,4}))?")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


@dataclass(frozen=True, slots=True)
class _Field:
    title: str
    least: int
    most: int
    names: Sequence[str] = ()


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 7, _WEEKDAYS),  # Sunday is 0 and 7
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cron:
    """Attributes:
    text      the expression in one form: small letters, one space between fields
    either    days are given by month and by week: one of the two is enough
    """

    text: str
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either: bool

    @classmethod
    def parse(cls, text: str) -> "Cron":
        """Raises ValueError, saying what is wrong."""
        if len(text) > _MOST:
            raise ValueError(f"is longer than {_MOST} characters")
        parts = text.lower().split()
        if len(parts) != len(_FIELDS):
            raise ValueError(f"has {len(parts)} fields, not five")
        minutes, hours, days, months, weekdays = (_values(field, part) for field, part in zip(_FIELDS, parts, strict=True))
        return cls(
            text=" ".join(parts),
            minutes=tuple(sorted(minutes)),
            hours=tuple(sorted(hours)),
            days=frozenset(days),
            months=frozenset(months),
            weekdays=frozenset(number % 7 for number in weekdays),
            either=parts[2] != "*" and parts[4] != "*",
        )

    @property
    def is_hourly(self) -> bool:
        """It names no hours."""
        return self.text.split()[1] == "*"

    def after(self, wall: datetime) -> datetime | None:
        """The first time after `wall`; None when none ever comes."""
        least = wall.replace(second=0, microsecond=0) + timedelta(minutes=1)
        for day in self._days(least.date(), _DAY):
            clocks = (time(hour, minute) for hour in self.hours for minute in self.minutes)
            clock = next((clock for clock in clocks if day > least.date() or clock >= least.time()), None)
            if clock is not None:
                return datetime.combine(day, clock)
        return None

    def before(self, wall: datetime) -> datetime | None:
        """The last time before `wall`; None when none ever came."""
        for day in self._days(wall.date(), -_DAY):
            clocks = (time(hour, minute) for hour in reversed(self.hours) for minute in reversed(self.minutes))
            clock = next((clock for clock in clocks if day < wall.date() or clock < wall.time()), None)
            if clock is not None:
                return datetime.combine(day, clock)
        return None

    def _days(self, day: date, step: timedelta) -> Iterator[date]:
        """The days that fit, from `day` on, forwards or backwards."""
        end = day + step * _FAR_DAYS
        while day != end:
            by_month, by_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
            if day.month in self.months and ((by_month or by_week) if self.either else (by_month and by_week)):
                yield day
            day += step


def _values(field: _Field, text: str) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if match is None or bool(match["all"]) == bool(match["first"]) or (match["last"] and not match["first"]):
            raise ValueError(f"has {part[:40]!r} as {field.title}")
        found |= _range(field, match)
    return found


def _range(field: _Field, match: "re.Match[str]") -> set[int]:
    """The values of `*`, `5`, `1-5`, `*/10`, `0-30/10`, `20/5`; a range may go round, as `22-2` does."""
    step = int(match["step"]) if match["step"] else 1
    if step == 0:
        raise ValueError(f"has {match[0]!r} as {field.title}: the step is 0")
    highest = min(field.most, 6) if field.names is _WEEKDAYS else field.most  # Sunday counts once
    if match["all"]:
        return set(range(field.least, highest + 1, step))
    first = _number(field, match["first"])
    last = _number(field, match["last"]) if match["last"] else highest if match["step"] else first
    if first <= last:
        return set(range(first, last + 1, step))
    round_trip = [*range(first, highest + 1), *range(field.least, last + 1)]
    return set(round_trip[::step])


def _number(field: _Field, text: str) -> int:
    if text in field.names:
        return field.names.index(text) + field.least
    number = int(text) if text.isascii() and text.isdecimal() else -1
    if not field.least <= number <= field.most:
        raise ValueError(f"has {text!r} as {field.title}, which goes from {field.least} to {field.most}")
    return number
