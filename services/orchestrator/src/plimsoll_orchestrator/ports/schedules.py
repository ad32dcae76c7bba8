"""What is kept of schedules."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeAlias

from plimsoll_runtime.json_types import JsonObject

from plimsoll_orchestrator.domain.options import RunOptions, RunOrigin
from plimsoll_orchestrator.domain.schedule import Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSchedule:
    """A schedule and how it goes.

    Attributes:
    next_at       None while it is paused
    last_at       the time for which it fired last
    last_problem  why that started no run, or has not yet; empty when it did
    """

    schedule: Schedule
    next_at: datetime | None
    last_at: datetime | None
    last_run_id: str
    last_problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A schedule that is to fire, held for a while by the process that claimed it.

    Attributes:
    schedule_id  another one when a schedule is deleted and made again: the idempotency keys of its runs hang on it
    revision     counts up whenever its times change
    at           the first time that is due
    """

    tenant: str
    schedule_id: str
    revision: int
    schedule: Schedule
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Fired:
    """What firing came to: the last time for which it did, the last run that it started, and why one was not started."""

    at: datetime | None = None
    run_id: str = ""
    problem: str = ""


class ScheduleStore(Protocol):
    """What the API needs."""

    async def put(self, tenant: str, schedule_id: str, schedule: Schedule, next_at: datetime | None) -> KeptSchedule:
        """Make it or change it; `next_at` counts when its times changed or it is no longer paused. Raises TooMany."""
        ...

    async def get(self, tenant: str, name: str) -> KeptSchedule | None: ...

    async def page(self, tenant: str, after: str, limit: int) -> Sequence[KeptSchedule]:
        """By name, names after `after`."""
        ...

    async def delete(self, tenant: str, name: str) -> bool: ...


class DueSchedules(Protocol):
    """What the scheduler needs; the database's clock says what is due."""

    async def claim(self, limit: int) -> tuple[datetime, Sequence[Due]]:
        """The time, and schedules that nobody else holds; whoever lets go of one without a word loses it after half a minute."""
        ...

    async def advance(self, due: Due, next_at: datetime, fired: Fired) -> None:
        """Record what firing came to, and set the next time, unless the times were changed meanwhile."""
        ...

    async def postpone(self, due: Due, seconds: float, problem: str) -> None:
        """Nothing could fire: look again later."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Starting:
    """A run that a schedule wants; the same key is the same run."""

    tenant: str
    agent: str
    input: JsonObject
    idempotency_key: str
    options: RunOptions
    origin: RunOrigin


StartRun: TypeAlias = Callable[[Starting], Awaitable[str]]
"""Accepts a run and returns its id. Raises what the service refuses it for."""
