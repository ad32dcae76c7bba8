"""When schedules fire: the wall clock of any time zone, its skipped and repeated hours, and what was missed."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_orchestrator.domain.schedule import MISSED_MOST, MissedPolicy, Timetable, firings
from plimsoll_orchestrator.errors import InvalidSchedule

MINUTE = timedelta(minutes=1)

# Days on which clocks change: at ordinary hours, at midnight, by half an hour, in the south; and a zone in which they never do.
CHANGES = [
    ("Europe/Berlin", "2026-03-29"),
    ("Europe/Berlin", "2026-10-25"),
    ("America/New_York", "2026-03-08"),
    ("America/New_York", "2026-11-01"),
    ("America/Havana", "2026-03-08"),
    ("America/Havana", "2026-11-01"),
    ("Africa/Cairo", "2026-04-24"),
    ("Africa/Cairo", "2026-10-29"),
    ("Australia/Lord_Howe", "2026-04-04"),
    ("Australia/Lord_Howe", "2026-10-03"),
    ("America/Santiago", "2026-04-05"),
    ("America/Santiago", "2026-09-06"),
    ("Asia/Kolkata", "2026-02-28"),
]


def times(cron: str, zone: str, after: str, count: int) -> list[str]:
    """The next times as the wall clock shows them, with its offset."""
    table, at = Timetable.parse(cron, zone), datetime.fromisoformat(after)
    found = []
    for _ in range(count):
        at = table.next_after(at)
        found.append(at.astimezone(ZoneInfo(zone)).strftime("%m-%d %H:%M%z"))
    return found


def test_a_daily_time_that_is_skipped_fires_as_the_clock_jumps() -> None:
    assert times("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00Z", 3) == ["03-28 02:30+0100", "03-29 03:00+0200", "03-30 02:30+0200"]


@pytest.mark.parametrize(
    ("cron", "like"),
    [
        ("0 8 * * MON-FRI", "0 8 * * 1-5"),
        ("0 8 * * sat-sun", "0 8 * * 0,6"),
        ("0 8 * * 5-7", "0 8 * * 0,5,6"),
        ("0 22-2 * * *", "0 0,1,2,22,23 * * *"),
        ("5-5 * 1-1 jan-jan *", "5 * 1 1 *"),
        ("10/20 0 * * *", "10,30,50 0 * * *"),
        ("0-20/10,59 0 * * *", "0,10,20,59 0 * * *"),
        ("  0\t0  1 * *  ", "0 0 1 * *"),
    ],
)
def test_what_an_expression_means(cron: str, like: str) -> None:
    assert times(cron, "UTC", "2026-01-01T00:00Z", 40) == times(like, "UTC", "2026-01-01T00:00Z", 40)


def test_when_days_are_given_by_month_and_by_week_one_is_enough() -> None:
    assert times("0 0 13 * fri", "UTC", "2026-01-01T00:00Z", 4) == [
        "01-02 00:00+0000",
        "01-09 00:00+0000",
        "01-13 00:00+0000",
        "01-16 00:00+0000",
    ]
    assert times("0 0 13 * *", "UTC", "2026-01-01T00:00Z", 2) == ["01-13 00:00+0000", "02-13 00:00+0000"]


def test_many_skipped_times_fire_once() -> None:
    assert times("*/10 2,3 * * *", "Europe/Berlin", "2026-03-29T00:00Z", 3) == ["03-29 03:00+0200", "03-29 03:10+0200", "03-29 03:20+0200"]


def test_a_daily_time_that_comes_twice_fires_the_first_time() -> None:
    assert times("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00Z", 2) == ["10-25 02:30+0200", "10-26 02:30+0100"]


def test_an_hourly_schedule_goes_by_the_time_that_passes() -> None:
    assert times("15 * * * *", "Europe/Berlin", "2026-03-29T00:00Z", 3) == ["03-29 01:15+0100", "03-29 03:15+0200", "03-29 04:15+0200"]
    assert times("15 * * * *", "Europe/Berlin", "2026-10-24T23:00Z", 4) == [
        "10-25 01:15+0200",
        "10-25 02:15+0200",
        "10-25 02:15+0100",
        "10-25 03:15+0100",
    ]


def test_an_hour_that_comes_twice_before_midnight_belongs_to_its_day() -> None:
    """In Cairo the hour before midnight is repeated on the last Thursday of October; the schedule is for that day only."""
    assert times("30 * 29 10 *", "Africa/Cairo", "2026-10-29T19:00Z", 3) == ["10-29 22:30+0300", "10-29 23:30+0300", "10-29 23:30+0200"]


def test_a_day_that_a_country_skipped_fires_as_it_moved_its_clocks() -> None:
    assert times("0 9 * * *", "Pacific/Apia", "2011-12-29T00:00Z", 3) == ["12-29 09:00-1000", "12-31 00:00+1400", "12-31 09:00+1400"]


def test_a_leap_day_is_waited_for() -> None:
    assert Timetable.parse("0 0 29 2 *", "UTC").next_after(datetime(2026, 1, 1, tzinfo=UTC)) == datetime(2028, 2, 29, tzinfo=UTC)


@pytest.mark.parametrize("cron", ["0 0 30 2 *", "0 0 31 2,4,6,9,11 *"])
def test_a_cron_that_never_comes_is_refused(cron: str) -> None:
    with pytest.raises(InvalidSchedule) as refused:
        Timetable.parse(cron, "UTC")
    [problem] = refused.value.problems
    assert (problem.field, "never comes" in problem.problem, problem.remedy) == ("schedule.cron", True, "name a day that the month has")


@pytest.mark.parametrize(
    "cron",
    [
        "",
        "* * * *",
        "* * * * * *",
        "@daily",
        "60 * * * *",
        "* 24 * * *",
        "0 0 0 * *",
        "0 0 * 13 *",
        "0 0 * * 8",
        "*/0 * * * *",
        "R * * * *",
        "H * * * *",
        "mon * * * *",
        "0 0 * * monday",
        "1,,2 * * * *",
        "-1 * * * *",
        "* " * 200,
        "１ * * * *",
        "*5 * * * *",
        "5- * * * *",
        "*-5 * * * *",
        "1-2-3 * * * *",
        "0 0 L * *",
        "0 0 * * 5#2",
        "0 0 ? * *",
        "/5 * * * *",
        "5/ * * * *",
    ],
)
def test_what_is_no_cron_is_refused_with_the_form_of_one(cron: str) -> None:
    with pytest.raises(InvalidSchedule) as refused:
        Timetable.parse(cron, "UTC")
    [problem] = refused.value.problems
    assert problem.field == "schedule.cron"
    assert "such as 30 8 * * mon-fri" in problem.remedy


@pytest.mark.parametrize(
    "zone", ["Mars/Base", "../etc/passwd", "/etc/localtime", "America", "localtime", "posixrules", "E\0", "Europe/" + "x" * 300]
)
def test_what_is_no_time_zone_is_refused(zone: str) -> None:
    with pytest.raises(InvalidSchedule) as refused:
        Timetable.parse("0 0 * * *", zone)
    assert [problem.field for problem in refused.value.problems] == ["schedule.time_zone"]


def test_every_mistake_is_told_at_once() -> None:
    with pytest.raises(InvalidSchedule) as refused:
        Timetable.parse("never", "Nowhere")
    assert [problem.field for problem in refused.value.problems] == ["schedule.cron", "schedule.time_zone"]


def _some(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    span = st.tuples(number, number).map(sorted).map(lambda pair: f"{pair[0]}-{pair[1]}")
    return st.just("*") | st.lists(number.map(str) | span, min_size=1, max_size=3).map(",".join)


def _stepped(low: int, high: int) -> st.SearchStrategy[str]:
    return _some(low, high) | st.integers(1, high).map(lambda step: f"*/{step}")


crons = st.tuples(_stepped(0, 59), _stepped(0, 23), _stepped(1, 28), _stepped(1, 12), _stepped(0, 6)).map(" ".join)
near_a_change = st.builds(
    lambda change, minutes: (change[0], datetime.fromisoformat(f"{change[1]}T00:00Z") + timedelta(minutes=minutes)),
    st.sampled_from(CHANGES),
    st.integers(-600, 600),
)


def _values(field: str, low: int, high: int) -> set[int]:
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = (f"{low}-{high}" if span == "*" else span).partition("-")
        found |= set(range(int(first), int(last or first) + 1, int(step or 1)))
    return found


class _Watcher:
    """Someone who looks at the clock on the wall once a minute, and knows what it skips and repeats."""

    def __init__(self, cron: str, zone: str) -> None:
        fields = cron.split()
        self._zone = ZoneInfo(zone)
        self._hourly = fields[1] == "*"
        self._either = fields[2] != "*" and fields[4] != "*"  # when both days are given, one of them is enough
        bounds = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
        self._minutes, self._hours, self._days, self._months, self._weekdays = (
            _values(field, *bound) for field, bound in zip(fields, bounds, strict=True)
        )

    def sees(self, after: datetime, minutes: int) -> Iterator[datetime]:
        shown = after.astimezone(self._zone).replace(tzinfo=None, fold=0)
        for number in range(1, minutes + 1):
            at = after + number * MINUTE
            here = at.astimezone(self._zone)
            wall = here.replace(tzinfo=None, fold=0)
            skipped = [] if self._hourly else [shown + step * MINUTE for step in range(1, int((wall - shown) / MINUTE))]
            if (self._fits(wall) and (self._hourly or not here.fold)) or any(map(self._fits, skipped)):
                yield at
            shown = wall

    def _fits(self, wall: datetime) -> bool:
        if wall.minute not in self._minutes or wall.hour not in self._hours or wall.month not in self._months:
            return False
        day, weekday = wall.day in self._days, wall.isoweekday() % 7 in self._weekdays
        return (day or weekday) if self._either else (day and weekday)


@given(cron=crons, start=near_a_change)
def test_the_times_are_those_that_someone_sees_who_watches_the_clock(cron: str, start: tuple[str, datetime]) -> None:
    zone, after = start
    table, minutes = Timetable.parse(cron, zone), 1200
    found, at = [], table.next_after(after)
    while at <= after + minutes * MINUTE:
        found.append(at)
        at = table.next_after(at)
    assert found == list(_Watcher(cron, zone).sees(after, minutes))


@given(cron=crons, start=near_a_change, seconds=st.floats(0, 60, exclude_max=True))
def test_the_next_time_is_a_whole_minute_after_now_and_the_same_until_it_comes(
    cron: str, start: tuple[str, datetime], seconds: float
) -> None:
    table, now = Timetable.parse(cron, start[0]), start[1] + timedelta(seconds=seconds)
    following = table.next_after(now)
    assert following > now
    assert following.second == following.microsecond == 0
    assert table.next_after(now + (following - now) / 2) == following


@given(cron=crons, start=near_a_change, late=st.timedeltas(timedelta(0), timedelta(days=2000)))
def test_what_is_due_is_what_came_since_and_never_more_than_a_hundred(cron: str, start: tuple[str, datetime], late: timedelta) -> None:
    table = Timetable.parse(cron, start[0])
    first = table.next_after(start[1])
    now = first + late
    due = table.due(first, now)
    assert 1 <= len(due) <= MISSED_MOST
    assert list(due) == sorted(set(due))
    assert first <= due[0] <= due[-1] <= now < table.next_after(due[-1])
    assert all(table.next_after(one) == other for one, other in pairwise(due))
    if len(due) < MISSED_MOST // 2:
        assert due[0] == first


FIRST = datetime(2026, 1, 1, tzinfo=UTC)


def test_each_policy_for_what_was_missed() -> None:
    table = Timetable.parse("0 * * * *", "UTC")
    now = FIRST + timedelta(hours=3, seconds=20)
    hours = tuple(FIRST + timedelta(hours=number) for number in range(4))
    assert firings(table, MissedPolicy.ALL, FIRST, now) == hours
    assert firings(table, MissedPolicy.ONCE, FIRST, now) == hours[-1:]
    assert firings(table, MissedPolicy.SKIP, FIRST, now) == hours[-1:]
    later = now + timedelta(minutes=10)
    assert firings(table, MissedPolicy.SKIP, FIRST, later) == ()
    assert firings(table, MissedPolicy.ONCE, FIRST, later) == hours[-1:]


def test_after_a_year_a_hundred_runs_make_up_for_every_minute_of_it() -> None:
    table = Timetable.parse("* * * * *", "UTC")
    now = FIRST + timedelta(days=365)
    assert firings(table, MissedPolicy.ALL, FIRST, now) == tuple(now - number * MINUTE for number in reversed(range(MISSED_MOST)))
