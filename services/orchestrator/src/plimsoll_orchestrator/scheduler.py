"""The scheduler: fires schedules when they are due, each time once, however many processes do so side by side.

A run's idempotency key is made of the schedule and the time. So a process that dies between starting a run and moving its schedule on
does no harm: whoever fires that time again finds the run that was started.
"""

import asyncio
import random
from datetime import UTC, datetime

from plimsoll_runtime import logs
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.retry import Backoff, pause

from plimsoll_orchestrator.domain.options import RunOrigin
from plimsoll_orchestrator.domain.schedule import Timetable, firings
from plimsoll_orchestrator.errors import IdempotencyKeyReused, InvalidSchedule
from plimsoll_orchestrator.ports.schedules import Due, DueSchedules, Fired, Starting, StartRun

_POLL_S = 1.0
_BATCH = 16
_LATER_S = 5.0  # until a start is tried again that could not be made
_LATER_MOST_S = 60.0
_UNREADABLE_S = 3600.0  # until a schedule is looked at again whose times cannot be told
_PROBLEM_CAP = 1000  # characters


class Scheduler:
    def __init__(self, store: DueSchedules, start: StartRun, log: logs.Log) -> None:
        self._store = store
        self._start = start
        self._log = log

    async def run(self, stop: asyncio.Event) -> None:
        """Fire what is due until `stop`, whatever happens to the database meanwhile."""
        backoff = Backoff(_POLL_S, 30.0)
        while not stop.is_set():
            try:
                fired = await self.fire()
                backoff.reset()
            except PlimsollError as error:
                self._log.warning("schedules.waiting", {"reason": error.reason})
                await backoff.pause(stop)
                continue
            if fired < _BATCH:
                await pause(random.uniform(0.5, 1.0) * _POLL_S, stop)  # noqa: S311 - jitter, so that processes do not look in step

    async def fire(self) -> int:
        """Fire the schedules that are due now, a batch at the most; returns how many there were."""
        now, batch = await self._store.claim(_BATCH)
        async with asyncio.TaskGroup() as group:
            for due in batch:
                group.create_task(self._fire_one(due, now))
        return len(batch)

    async def _fire_one(self, due: Due, now: datetime) -> None:
        fields: dict[str, logs.Field] = {"tenant": due.tenant, "schedule": due.schedule.name}
        with acting_for(due.tenant, service="orchestrator"), logs.bound(fields):
            try:
                await self._advance(due, now)
            except PlimsollError as error:  # of the store: its hold ends, and it is fired again
                self._log.warning("schedule.dropped", {"reason": error.reason})
            except Exception as error:  # noqa: BLE001 - one broken schedule must not stop the others; its hold ends and shows it
                self._log.error("schedule.broken", error=error)

    async def _advance(self, due: Due, now: datetime) -> None:
        try:
            timetable = Timetable.parse(due.schedule.cron, due.schedule.time_zone)
        except InvalidSchedule as error:  # such as a time zone that this machine does not know
            await self._store.postpone(due, _UNREADABLE_S, error.message[:_PROBLEM_CAP])
            return
        fired = Fired()
        for at in firings(timetable, due.schedule.missed, due.at, now):
            try:
                run_id = await self._start(_starting(due, at))
                self._log.info("schedule.fired", {"run_id": run_id, "late_s": round((now - at).total_seconds(), 3)})
                fired = Fired(at=at, run_id=run_id)
            except IdempotencyKeyReused:  # fired before, by a process that died, and the schedule was changed since
                fired = Fired(at=at)
            except PlimsollError as error:
                problem = f"{error.reason}: {error.message}"[:_PROBLEM_CAP]
                self._log.warning("schedule.refused", {"reason": error.reason, "again": error.retryable})
                if error.retryable:
                    await self._store.postpone(due, min(error.retry_after_s or _LATER_S, _LATER_MOST_S), problem)
                    return
                fired = Fired(at=at, run_id=fired.run_id, problem=problem)
        await self._store.advance(due, timetable.next_after(now), fired)


def _starting(due: Due, at: datetime) -> Starting:
    moment = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Starting(
        tenant=due.tenant,
        agent=due.schedule.agent,
        input=due.schedule.input,
        idempotency_key=f"{due.schedule_id}:{moment}",
        options=due.schedule.options,
        origin=RunOrigin(schedule=due.schedule.name),
    )
