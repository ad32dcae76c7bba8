"""When a schedule fires: a cron expression on the wall clock of a time zone, and what becomes of times that were missed.

A wall clock is not even: when summer time begins it skips an hour, when it ends an hour comes twice. Two rules, those of cron itself:

- A schedule that names its hours goes by the wall clock. A time that is skipped fires as the clock jumps, many skipped ones fire once;
  a time that comes twice fires the first time.
- A schedule with `*` as its hour goes by the time that passes. A time that is skipped is left out, one that comes twice fires twice.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.json_types import JsonObject

from plimsoll_orchestrator.domain.cron import Cron
from plimsoll_orchestrator.domain.options import RunOptions
from plimsoll_orchestrator.errors import InvalidSchedule

MISSED_MOST = 100  # runs that a schedule makes up for
ON_TIME = timedelta(seconds=60)  # a time that is looked at later than this was missed

_ZONE = re.compile(r"[A-Z][A-Za-z0-9_+/-]{0,63}")
_SOME_DAY = datetime(2000, 1, 1)  # noqa: DTZ001 - a wall clock, not a moment
_CRON_REMEDY = "write minute, hour, day of month, month, day of week, such as 30 8 * * mon-fri"


class MissedPolicy(StrEnum):
    """What becomes of times that passed while nothing could fire."""

    SKIP = "skip"  # they are left out
    ONCE = "once"  # one run for all of them
    ALL = "all"  # a run for each, of the latest hundred


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Starts runs of an agent with one input at the times of a timetable."""

    name: str
    agent: str
    input: JsonObject
    cron: str
    time_zone: str
    missed: MissedPolicy
    paused: bool
    options: RunOptions


@dataclass(frozen=True, slots=True)
class Timetable:
    """The moments that a cron expression names in a time zone, all of them UTC."""

    cron: Cron
    zone: ZoneInfo

    @classmethod
    def parse(cls, cron: str, time_zone: str) -> "Timetable":
        """Raises InvalidSchedule with everything that is wrong, also for an expression that never comes true."""
        problems = []
        parsed, problem = _cron(cron)
        if parsed is None:
            problems.append(FieldProblem("schedule.cron", *problem))
        zone = _zone(time_zone or "UTC")
        if zone is None:
            remedy = "use an IANA name such as Europe/Berlin, or leave it out for UTC"
            problems.append(FieldProblem("schedule.time_zone", f"is {time_zone[:64]!r}, which names no time zone", remedy))
        if parsed is None or zone is None:
            raise InvalidSchedule(problems=problems)
        return cls(parsed, zone)

    def next_after(self, moment: datetime) -> datetime:
        """The first moment after `moment`."""
        here = moment.astimezone(self.zone)
        wall = here.replace(tzinfo=None, fold=0)
        if self.cron.is_hourly:
            return self._next_by_time(moment, wall, again=here.fold == 1)
        while True:
            coming = self._after(wall)
            at = coming.jump if coming.is_skipped else coming.first
            if at > moment:
                return at
            wall = coming.at

    def due(self, first: datetime, now: datetime) -> tuple[datetime, ...]:
        """The moments from `first`, which is one of them, until `now`; the latest hundred when there are more."""
        at, wall = first, now.astimezone(self.zone).replace(tzinfo=None, fold=0)
        for _ in range(MISSED_MOST):
            earlier = self._before(wall)
            if earlier.first <= first:
                break
            wall = earlier.at
        else:
            at = self.next_after(earlier.first - timedelta(seconds=1))
        moments = []
        while at <= now:
            moments.append(at)
            at = self.next_after(at)
        return tuple(moments[-MISSED_MOST:])

    def _next_by_time(self, moment: datetime, wall: datetime, *, again: bool) -> datetime:
        """`again` says that the wall clock shows `wall` for the second time."""
        coming = self._after(wall)
        while coming.is_skipped:
            coming = self._after(coming.at)
        if coming.comes_twice:
            return coming.second if again or coming.first <= moment else coming.first
        if not again and _Wall(wall, self.zone).comes_twice:
            return self._first_repeated(coming.at, moment) or coming.first
        return coming.first

    def _first_repeated(self, behind: datetime, moment: datetime) -> datetime | None:
        """The first moment of the hour that begins again after `moment`; `behind` is the first time of the wall clock after that hour."""
        found = None
        while True:
            earlier = self._before(behind)
            if not earlier.comes_twice or earlier.second <= moment:
                return found
            found, behind = earlier.second, earlier.at

    def _after(self, wall: datetime) -> "_Wall":
        at = self.cron.after(wall)
        assert at is not None, "it was refused when it was parsed"
        return _Wall(at, self.zone)

    def _before(self, wall: datetime) -> "_Wall":
        at = self.cron.before(wall)
        assert at is not None, "it was refused when it was parsed"
        return _Wall(at, self.zone)


def firings(timetable: Timetable, missed: MissedPolicy, first: datetime, now: datetime) -> tuple[datetime, ...]:
    """The moments for which a run is started: `first` was the next one, and it is `now`."""
    due = timetable.due(first, now)
    match missed:
        case MissedPolicy.SKIP:
            return tuple(at for at in due if now - at <= ON_TIME)
        case MissedPolicy.ONCE:
            return due[-1:]
        case MissedPolicy.ALL:
            return due


@dataclass(frozen=True, slots=True)
class _Wall:
    """What a wall clock shows, and when it does."""

    at: datetime
    zone: ZoneInfo

    @property
    def first(self) -> datetime:
        return (self.at - self._offset(0)).replace(tzinfo=UTC)

    @property
    def second(self) -> datetime:
        """The later one of two, when it comes twice."""
        return (self.at - self._offset(1)).replace(tzinfo=UTC)

    @property
    def is_skipped(self) -> bool:
        return self._offset(0) < self._offset(1)

    @property
    def comes_twice(self) -> bool:
        return self._offset(0) > self._offset(1)

    @property
    def jump(self) -> datetime:
        """The moment at which the clock jumps over it."""
        before, after = self.second, self.first  # of a skipped time, the two offsets enclose the jump
        old = before.astimezone(self.zone).utcoffset()
        while after - before > timedelta(seconds=1):
            middle = before + timedelta(seconds=int((after - before).total_seconds()) // 2)
            if middle.astimezone(self.zone).utcoffset() == old:
                before = middle
            else:
                after = middle
        return after

    def _offset(self, fold: int) -> timedelta:
        return self.at.replace(tzinfo=self.zone, fold=fold).utcoffset() or timedelta()


def _cron(text: str) -> tuple[Cron | None, tuple[str, str]]:
    """The expression, or what is wrong with it and what to do."""
    try:
        cron = Cron.parse(text)
    except ValueError as error:
        return None, (str(error), _CRON_REMEDY)
    if cron.after(_SOME_DAY) is None:
        return None, (f"is {cron.text!r}, which never comes", "name a day that the month has")
    return cron, ("", "")


def _zone(name: str) -> ZoneInfo | None:
    if _ZONE.fullmatch(name) is None:  # IANA names begin with a capital; other files beside them differ from machine to machine
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None
