"""Schedules on a real database: fired once per time, whoever dies and however many fire."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from orchestrator_fakes import TENANT, Bench, open_bench
from plimsoll.orchestrator.v1 import orchestrator_service_pb2 as pb
from plimsoll.orchestrator.v1 import schedule_pb2
from plimsoll_orchestrator.adapters.database_clock import DatabaseClock
from plimsoll_orchestrator.adapters.postgres_schedules import PostgresScheduleStore
from plimsoll_orchestrator.domain.options import USUAL, RunOptions
from plimsoll_orchestrator.domain.schedule import MissedPolicy, Schedule
from plimsoll_orchestrator.errors import AgentNotFound, InvalidSchedule, ScheduleNotFound, TooMany
from plimsoll_orchestrator.ports import RunFilter, RunSummary
from plimsoll_orchestrator.ports.schedules import Due, Fired, KeptSchedule, Starting
from plimsoll_orchestrator.scheduler import Scheduler
from plimsoll_orchestrator.service.schedules import Schedules, starting_with
from plimsoll_orchestrator.transport.schedule_rpcs import ScheduleRpcs
from plimsoll_runtime import logs
from plimsoll_runtime.clock import SystemClock
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.errors import Invalid, Unavailable
from plimsoll_runtime.ids import RandomIds
from plimsoll_runtime.wire import json_to_proto
from plimsoll_testkit.waiting import eventually

GREETS = """
agent: greets
input: {type: object, properties: {who: {type: string}}, required: [who], additionalProperties: false}
state: {type: object, properties: {who: {type: string}}}
start: a
output: {who: state.who}
nodes:
  a: {set: {who: "'dear ' + state.who"}, next: end}
"""

DAILY = Schedule(
    name="morning",
    agent="greets",
    input={"who": "all"},
    cron="0 8 * * *",
    time_zone="UTC",
    missed=MissedPolicy.ONCE,
    paused=False,
    options=USUAL,
)


@dataclass
class Desk:
    """Schedules on a bench, and as many schedulers as a test wants."""

    bench: Bench
    store: PostgresScheduleStore
    schedules: Schedules
    refused: list[Exception] = field(default_factory=list)

    def scheduler(self, store: PostgresScheduleStore | None = None) -> Scheduler:
        return Scheduler(store or self.store, self._start, logs.get("test"))

    async def _start(self, wanted: Starting) -> str:
        if self.refused:
            raise self.refused.pop()
        return await starting_with(self.bench.service)(wanted)

    async def put(self, schedule: Schedule = DAILY) -> KeptSchedule:
        return await self.schedules.put_schedule(TENANT, schedule)

    async def kept(self, name: str = "morning") -> KeptSchedule:
        return await self.schedules.get_schedule(TENANT, name)

    async def come(self, since: timedelta = timedelta(0), name: str = "morning") -> datetime:
        """As if the next time had come `since` ago, on the database's clock."""
        return await self.bench.pool.fetchval(
            "update schedules set next_at = date_trunc('minute', now()) - $1::interval, look_at = now() where name = $2 returning next_at",
            since,
            name,
        )

    async def let_go(self) -> None:
        """As if half a minute had passed since a process took a schedule and died."""
        await self.bench.pool.execute("update schedules set look_at = now() where look_at is not null")

    async def runs(self) -> list[RunSummary]:
        return list(await self.bench.service.list_runs(TENANT, RunFilter(), "", 500))


@pytest.fixture
async def desk(postgres_dsn: str) -> AsyncIterator[Desk]:
    async with open_bench(postgres_dsn) as bench:
        await bench.register(GREETS)
        clock = DatabaseClock(SystemClock())
        clock.set(await bench.pool.fetchval("select now()"))
        store = PostgresScheduleStore(bench.pool)
        yield Desk(bench, store, Schedules(agents=bench.agents, store=store, clock=clock, ids=RandomIds()))


async def test_a_schedule_is_kept_as_it_was_put_and_only_its_tenant_sees_it(desk: Desk) -> None:
    options = RunOptions(priority=7, concurrency_key="one", concurrency_limit=1)
    put = await desk.put(replace(DAILY, options=options, time_zone="", cron=" 0  8 * * *"))
    assert put.schedule == replace(DAILY, options=options)
    assert put.next_at is not None
    assert put.next_at > datetime.now(UTC)
    assert (put.next_at.hour, put.next_at.minute) == (8, 0)
    assert await desk.kept() == put
    assert await desk.schedules.list_schedules(TENANT, "", 10) == [put]
    assert await desk.schedules.list_schedules("other", "", 10) == []
    with pytest.raises(ScheduleNotFound):
        await desk.schedules.get_schedule("other", "morning")
    with pytest.raises(ScheduleNotFound):
        await desk.schedules.delete_schedule("other", "morning")
    await desk.schedules.delete_schedule(TENANT, "morning")
    with pytest.raises(ScheduleNotFound):
        await desk.kept()


async def test_a_time_that_came_starts_a_run_and_the_next_one_is_set(desk: Desk) -> None:
    await desk.put(replace(DAILY, options=RunOptions(priority=8)))
    at = await desk.come()
    assert await desk.scheduler().fire() == 1
    [run] = await desk.runs()
    kept = await desk.kept()
    assert (kept.last_at, kept.last_run_id, kept.last_problem) == (at, run.run_id, "")
    assert kept.next_at is not None
    assert kept.next_at > at
    started = (await desk.bench.service.get_run(TENANT, run.run_id)).run
    assert (started.input, started.origin.schedule, started.options.priority) == ({"who": "all"}, "morning", 8)
    assert await desk.scheduler().fire() == 0


async def test_the_loop_fires_what_is_due_and_ends_when_told(desk: Desk) -> None:
    await desk.put()
    await desk.come()
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(desk.scheduler().run(stop))
        await eventually(desk.runs)
        stop.set()


async def test_many_schedulers_side_by_side_fire_each_time_once(desk: Desk) -> None:
    for number in range(30):
        await desk.put(replace(DAILY, name=f"s{number}"))
    await desk.bench.pool.execute("update schedules set next_at = date_trunc('minute', now()), look_at = now()")
    fired = await asyncio.gather(*(desk.scheduler().fire() for _ in range(8)))
    assert sum(fired) == 30
    assert len(await desk.runs()) == 30
    listed = await desk.schedules.list_schedules(TENANT, "", 100)
    assert len({kept.last_run_id for kept in listed}) == 30


class _Dying(PostgresScheduleStore):
    """Its process dies between starting the run and moving the schedule on."""

    async def advance(self, due: Due, next_at: datetime, fired: Fired) -> None:
        raise Unavailable


async def test_a_crash_between_start_and_advance_never_starts_a_second_run(desk: Desk) -> None:
    await desk.put()
    at = await desk.come()
    await desk.scheduler(_Dying(desk.bench.pool)).fire()
    [run] = await desk.runs()
    assert await desk.scheduler().fire() == 0  # the dead process still holds it
    await desk.let_go()
    await desk.scheduler().fire()
    kept = await desk.kept()
    assert [one.run_id for one in await desk.runs()] == [run.run_id] == [kept.last_run_id]
    assert kept.last_at == at


async def test_a_crash_and_a_change_of_the_schedule_start_no_second_run_either(desk: Desk) -> None:
    await desk.put()
    at = await desk.come()
    await desk.scheduler(_Dying(desk.bench.pool)).fire()
    await desk.put(replace(DAILY, input={"who": "others"}))
    await desk.let_go()
    await desk.scheduler().fire()
    kept = await desk.kept()
    assert (len(await desk.runs()), kept.last_at, kept.last_problem) == (1, at, "")


async def test_a_schedule_that_is_made_anew_fires_for_a_time_that_its_predecessor_had(desk: Desk) -> None:
    for _ in range(2):
        await desk.put()
        await desk.come()
        await desk.scheduler().fire()
        await desk.schedules.delete_schedule(TENANT, "morning")
    assert len(await desk.runs()) == 2


@pytest.mark.parametrize(("missed", "runs"), [(MissedPolicy.SKIP, 0), (MissedPolicy.ONCE, 1), (MissedPolicy.ALL, 5)])
async def test_what_was_missed_is_left_out_or_made_up_for_as_the_schedule_says(desk: Desk, missed: MissedPolicy, runs: int) -> None:
    latest = await desk.bench.pool.fetchval("select date_trunc('minute', now() - interval '5 minutes')")
    await desk.put(replace(DAILY, cron=f"{latest.minute} * * * *", missed=missed))
    await desk.bench.pool.execute("update schedules set next_at = $1, look_at = now()", latest - timedelta(hours=4))
    await desk.scheduler().fire()
    assert len(await desk.runs()) == runs
    assert (await desk.kept()).next_at == latest + timedelta(hours=1)


async def test_after_a_long_time_away_a_hundred_runs_at_most_are_made_up_for(desk: Desk) -> None:
    await desk.put(replace(DAILY, cron="* * * * *", missed=MissedPolicy.ALL))
    await desk.come(timedelta(days=30))
    await desk.scheduler().fire()
    assert len(await desk.runs()) == 100


async def test_to_put_a_schedule_again_unchanged_misses_no_time(desk: Desk) -> None:
    await desk.put()
    at = await desk.come()
    again = await desk.put(replace(DAILY, input={"who": "others"}))
    assert again.next_at == at
    moved = await desk.put(replace(DAILY, cron="0 9 * * *"))
    assert moved.next_at is not None
    assert moved.next_at > at


async def test_a_paused_schedule_does_not_fire_and_goes_on_from_when_it_is_resumed(desk: Desk) -> None:
    await desk.put()
    await desk.come()
    paused = await desk.put(replace(DAILY, paused=True))
    assert paused.next_at is None
    assert await desk.scheduler().fire() == 0
    resumed = await desk.put()
    assert resumed.next_at is not None
    assert resumed.next_at > datetime.now(UTC)
    assert await desk.runs() == []


async def test_a_change_while_it_fires_is_not_undone_by_the_firing(desk: Desk) -> None:
    await desk.put()
    await desk.come()
    _, [due] = await desk.store.claim(1)
    moved = await desk.put(replace(DAILY, cron="0 9 * * *"))
    await desk.store.advance(due, due.at + timedelta(days=1), Fired(at=due.at, run_id="run_1"))
    kept = await desk.kept()
    assert (kept.next_at, kept.last_run_id) == (moved.next_at, "run_1")


async def test_a_start_that_is_refused_shows_on_the_schedule_and_the_next_time_is_set(desk: Desk) -> None:
    await desk.put()
    at = await desk.come()
    await desk.bench.register(GREETS.replace("{type: string}}, required", "{type: string, maxLength: 1}}, required"))
    await desk.scheduler().fire()
    kept = await desk.kept()
    assert await desk.runs() == []
    assert kept.last_problem.startswith("INVALID_INPUT: input.who")
    assert kept.last_at == at
    assert kept.next_at is not None
    assert kept.next_at > at


async def test_a_start_that_could_not_be_made_now_is_made_later_for_the_same_time(desk: Desk) -> None:
    await desk.put()
    at = await desk.come()
    desk.refused = [Unavailable("the database is away")]
    await desk.scheduler().fire()
    assert (await desk.kept()).last_problem == "UNAVAILABLE: the database is away"
    assert await desk.scheduler().fire() == 0
    await desk.let_go()
    await desk.scheduler().fire()
    kept = await desk.kept()
    assert (len(await desk.runs()), kept.last_at, kept.last_problem) == (1, at, "")


async def test_a_schedule_whose_times_cannot_be_told_any_more_says_so_and_holds_up_no_other(desk: Desk) -> None:
    await desk.put()
    await desk.put(replace(DAILY, name="other"))
    await desk.come()
    await desk.come(name="other")
    await desk.bench.pool.execute("update schedules set time_zone = 'Atlantis/Poseidonis' where name = 'morning'")
    await desk.scheduler().fire()
    assert "names no time zone" in (await desk.kept()).last_problem
    assert (await desk.kept("other")).last_run_id
    assert len(await desk.runs()) == 1


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"cron": "0 0 30 2 *"}, "schedule.cron"),
        ({"time_zone": "Nowhere"}, "schedule.time_zone"),
        ({"name": "Not A Name"}, "schedule.name"),
        ({"input": {"who": 5}}, "schedule.input.who"),
        ({"input": {"who": "x" * 2**20}}, "schedule.input"),
        ({"options": RunOptions(deadline=datetime(2030, 1, 1, tzinfo=UTC))}, "options.deadline"),
        ({"options": RunOptions(not_before=datetime(2030, 1, 1, tzinfo=UTC))}, "options.start_time"),
    ],
)
async def test_a_schedule_that_could_never_start_a_run_is_refused_with_the_field(desk: Desk, change: dict[str, object], place: str) -> None:
    with pytest.raises(InvalidSchedule) as refused:
        await desk.put(replace(DAILY, **change))
    [problem] = refused.value.problems
    assert problem.field == place
    assert problem.remedy


async def test_a_schedule_for_an_agent_that_does_not_exist_is_refused(desk: Desk) -> None:
    with pytest.raises(AgentNotFound):
        await desk.put(replace(DAILY, agent="nobody"))


async def test_a_tenant_has_a_thousand_schedules_at_most_and_may_still_change_them(desk: Desk) -> None:
    await desk.put()
    await desk.bench.pool.execute(
        "insert into schedules (tenant, schedule_id, name, agent, input, cron, time_zone, missed, paused, options)"
        " select tenant, schedule_id, 'x' || n, agent, input, cron, time_zone, missed, paused, options from schedules, generate_series(2, 1000) n"
    )
    with pytest.raises(TooMany):
        await desk.put(replace(DAILY, name="one-more"))
    await desk.put(replace(DAILY, cron="0 7 * * *"))


class _Rpcs(ScheduleRpcs):
    def __init__(self, schedules: Schedules) -> None:
        self._schedules = schedules


async def test_over_grpc_a_schedule_comes_back_as_it_was_sent_and_lists_go_page_by_page(desk: Desk) -> None:
    rpcs = _Rpcs(desk.schedules)
    with acting_for(TENANT):
        for name in ("a", "b", "c"):
            sent = schedule_pb2.Schedule(name=name, agent="greets", input=json_to_proto({"who": "all"}), cron="0 8 * * *")
            answer = await rpcs.PutSchedule(pb.PutScheduleRequest(schedule=sent), None)
        assert (answer.schedule.time_zone, answer.schedule.missed) == ("UTC", schedule_pb2.MISSED_POLICY_ONCE)
        assert answer.schedule.HasField("next_time")
        assert not answer.schedule.HasField("last_time")
        assert (await rpcs.GetSchedule(pb.GetScheduleRequest(name="c"), None)).schedule == answer.schedule
        first = await rpcs.ListSchedules(pb.ListSchedulesRequest(page_size=2), None)
        second = await rpcs.ListSchedules(pb.ListSchedulesRequest(page_size=2, page_token=first.next_page_token), None)
        assert [one.name for page in (first, second) for one in page.schedules] == ["a", "b", "c"]
        assert second.next_page_token == ""
        await rpcs.DeleteSchedule(pb.DeleteScheduleRequest(name="a"), None)
        unknown = schedule_pb2.Schedule(name="a", agent="greets", cron="0 8 * * *", missed=9)  # type: ignore[arg-type] # on purpose
        with pytest.raises(Invalid, match=r"schedule\.missed"):
            await rpcs.PutSchedule(pb.PutScheduleRequest(schedule=unknown), None)
