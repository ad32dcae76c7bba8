"""Schedules in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime

import asyncpg
import msgspec
from plimsoll_runtime.json_types import dump_json, parse_object
from plimsoll_runtime.postgres import translating

from plimsoll_orchestrator.domain.options import RunOptions
from plimsoll_orchestrator.domain.schedule import MissedPolicy, Schedule
from plimsoll_orchestrator.errors import TooMany
from plimsoll_orchestrator.ports.schedules import Due, Fired, KeptSchedule

_MOST = 1000  # of a tenant
_DEFINITION = "name, agent, input, cron, time_zone, missed, paused, options"
_COLUMNS = f"{_DEFINITION}, next_at, last_at, last_run_id, last_problem"

# The same times as before keep their place: to put a schedule again, unchanged, never makes it miss one.
_PUT = f"""
insert into schedules as s (tenant, schedule_id, {_DEFINITION}, next_at, look_at)
select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11
where exists (select 1 from schedules where tenant = $1 and name = $3) or (select count(*) from schedules where tenant = $1) < {_MOST}
on conflict (tenant, name) do update
set agent = excluded.agent, input = excluded.input, cron = excluded.cron, time_zone = excluded.time_zone, missed = excluded.missed,
    paused = excluded.paused, options = excluded.options, updated_at = now(),
    revision = s.revision + case when {{same}} then 0 else 1 end,
    next_at = case when {{same}} then s.next_at else excluded.next_at end,
    look_at = case when {{same}} then s.look_at else excluded.look_at end
returning {_COLUMNS}
""".format(same="(s.cron, s.time_zone, s.paused) = (excluded.cron, excluded.time_zone, excluded.paused)")

_CLAIM = f"""
with due as (
    select tenant, name from schedules where look_at <= now() order by look_at limit $1 for update skip locked
)
update schedules s set look_at = now() + interval '30 seconds'
from due where s.tenant = due.tenant and s.name = due.name
returning s.tenant, s.schedule_id, s.revision, s.next_at, now() as at, {", ".join(f"s.{name}" for name in _DEFINITION.split(", "))}
"""

_ADVANCE = """
update schedules set
    last_at = coalesce($4, last_at), last_problem = case when $4::timestamptz is null then last_problem else $6 end, last_run_id = case when $5 = '' then last_run_id else $5 end,
    next_at = case when revision = $7 and next_at = $8 then $3 else next_at end,
    look_at = case when revision = $7 and next_at = $8 then $3 else look_at end
where tenant = $1 and schedule_id = $2
"""

_POSTPONE = """
update schedules set look_at = now() + make_interval(secs => $3), last_problem = $4
where tenant = $1 and schedule_id = $2 and revision = $5 and look_at is not null
"""


class PostgresScheduleStore:
    """The ScheduleStore and the DueSchedules."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def put(self, tenant: str, schedule_id: str, schedule: Schedule, next_at: datetime | None) -> KeptSchedule:
        with translating():
            row = await self._pool.fetchrow(
                _PUT,
                tenant,
                schedule_id,
                schedule.name,
                schedule.agent,
                dump_json(schedule.input),
                schedule.cron,
                schedule.time_zone,
                schedule.missed.value,
                schedule.paused,
                msgspec.json.encode(schedule.options).decode(),
                next_at,
            )
        if row is None:
            raise TooMany(f"there are {_MOST} schedules already", remedy="delete one that is not needed")
        return _kept(row)

    async def get(self, tenant: str, name: str) -> KeptSchedule | None:
        with translating():
            row = await self._pool.fetchrow(f"select {_COLUMNS} from schedules where tenant = $1 and name = $2", tenant, name)
        return _kept(row) if row else None

    async def page(self, tenant: str, after: str, limit: int) -> Sequence[KeptSchedule]:
        with translating():
            rows = await self._pool.fetch(
                f"select {_COLUMNS} from schedules where tenant = $1 and name > $2 order by name limit $3", tenant, after, limit
            )
        return [_kept(row) for row in rows]

    async def delete(self, tenant: str, name: str) -> bool:
        with translating():
            gone = await self._pool.fetchval("delete from schedules where tenant = $1 and name = $2 returning name", tenant, name)
        return gone is not None

    async def claim(self, limit: int) -> tuple[datetime, Sequence[Due]]:
        with translating():
            rows = await self._pool.fetch(_CLAIM, limit)
            at = rows[0]["at"] if rows else await self._pool.fetchval("select now()")
        due = [
            Due(
                tenant=row["tenant"],
                schedule_id=row["schedule_id"],
                revision=row["revision"],
                schedule=_schedule(row),
                at=row["next_at"],
            )
            for row in rows
        ]
        return at, due

    async def advance(self, due: Due, next_at: datetime, fired: Fired) -> None:
        with translating():
            await self._pool.execute(
                _ADVANCE, due.tenant, due.schedule_id, next_at, fired.at, fired.run_id, fired.problem, due.revision, due.at
            )

    async def postpone(self, due: Due, seconds: float, problem: str) -> None:
        with translating():
            await self._pool.execute(_POSTPONE, due.tenant, due.schedule_id, seconds, problem, due.revision)


def _schedule(row: asyncpg.Record) -> Schedule:
    return Schedule(
        name=row["name"],
        agent=row["agent"],
        input=parse_object(row["input"]),
        cron=row["cron"],
        time_zone=row["time_zone"],
        missed=MissedPolicy(row["missed"]),
        paused=row["paused"],
        options=msgspec.json.decode(row["options"], type=RunOptions),
    )


def _kept(row: asyncpg.Record) -> KeptSchedule:
    return KeptSchedule(
        schedule=_schedule(row),
        next_at=row["next_at"],
        last_at=row["last_at"],
        last_run_id=row["last_run_id"],
        last_problem=row["last_problem"],
    )
