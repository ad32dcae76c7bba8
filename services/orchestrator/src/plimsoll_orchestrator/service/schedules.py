"""The verbs of schedules: put, get, list, delete."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.ids import Ids
from plimsoll_runtime.json_types import dump_json

from plimsoll_orchestrator.domain.options import RunOptions
from plimsoll_orchestrator.domain.schedule import Schedule, Timetable
from plimsoll_orchestrator.errors import AgentNotFound, InvalidSchedule, ScheduleNotFound
from plimsoll_orchestrator.ports import AgentStore
from plimsoll_orchestrator.ports.schedules import KeptSchedule, ScheduleStore, Starting, StartRun
from plimsoll_orchestrator.service.runs import Orchestrator

_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
_INPUT_CAP_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedules:
    agents: AgentStore
    store: ScheduleStore
    clock: Clock
    ids: Ids

    async def put_schedule(self, tenant: str, schedule: Schedule) -> KeptSchedule:
        """Make a schedule, or change the one of this name. Raises InvalidSchedule, AgentNotFound, TooMany."""
        timetable = Timetable.parse(schedule.cron, schedule.time_zone)
        problems = [*_name_problems(schedule.name), *_option_problems(schedule.options), *await self._input_problems(tenant, schedule)]
        if problems:
            raise InvalidSchedule(problems=problems)
        settled = replace(schedule, cron=timetable.cron.text, time_zone=timetable.zone.key)
        next_at = None if schedule.paused else timetable.next_after(self.clock.now())
        return await self.store.put(tenant, self.ids.new("sch"), settled, next_at)

    async def get_schedule(self, tenant: str, name: str) -> KeptSchedule:
        """Raises ScheduleNotFound."""
        kept = await self.store.get(tenant, name)
        if kept is None:
            raise ScheduleNotFound(f"no schedule is named {name!r}", remedy="list the schedules to see their names")
        return kept

    async def list_schedules(self, tenant: str, after: str, limit: int) -> Sequence[KeptSchedule]:
        """By name."""
        return await self.store.page(tenant, after, limit)

    async def delete_schedule(self, tenant: str, name: str) -> None:
        """It fires no more; runs that it started go on. Raises ScheduleNotFound."""
        if not await self.store.delete(tenant, name):
            raise ScheduleNotFound(f"no schedule is named {name!r}", remedy="list the schedules to see their names")

    async def _input_problems(self, tenant: str, schedule: Schedule) -> list[FieldProblem]:
        """What the agent's present version would refuse."""
        version = await self.agents.newest(tenant, schedule.agent)
        if version is None:
            raise AgentNotFound(f"no agent is named {schedule.agent!r}", remedy="register it first, or list the agents to see their names")
        size = len(dump_json(schedule.input))
        if size > _INPUT_CAP_BYTES:
            return [FieldProblem("schedule.input", f"has {size} bytes; the limit is {_INPUT_CAP_BYTES}", "ingest it as a document")]
        return [
            FieldProblem(f"schedule.input.{path}" if path else "schedule.input", problem, f"see the input schema of agent {schedule.agent}")
            for path, problem in version.graph.input_problems(schedule.input)
        ]


def _name_problems(name: str) -> list[FieldProblem]:
    if _NAME.fullmatch(name):
        return []
    return [FieldProblem("schedule.name", f"is {name[:64]!r}", "use small letters, digits and hyphens, at most 63, a letter first")]


def _option_problems(options: RunOptions) -> list[FieldProblem]:
    again = "is one moment, and a schedule starts runs again and again"
    problems = []
    if options.not_before is not None:
        problems.append(FieldProblem("options.start_time", again, "leave it out; the cron expression says when"))
    if options.deadline is not None:
        problems.append(FieldProblem("options.deadline", again, "leave it out, or limit options.budget.time"))
    return problems


def starting_with(orchestrator: Orchestrator) -> StartRun:
    """How the scheduler starts runs: as any client does."""

    async def start(wanted: Starting) -> str:
        started = await orchestrator.start_run(
            wanted.tenant, wanted.agent, wanted.input, wanted.idempotency_key, wanted.options, wanted.origin
        )
        return started.view.summary.run_id

    return start
