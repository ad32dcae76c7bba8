"""What may be added to the runs that wait: the less, the more wait already; those of low priority are refused first.

The orchestrator tells how many runs wait, for how long, and how fast runs come to their end. Between two tellings the gateway counts
what it lets in. Without a telling it lets everything in: then the orchestrator is away, and says so itself.
"""

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

from plimsoll.orchestrator.v1 import orchestrator_service_pb2 as pb
from plimsoll_runtime import logs
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.wire import duration_from_proto

from plimsoll_gateway.errors import QueueFull
from plimsoll_gateway.ports import Orchestrator

_NOBODY = "-"  # the load is that of all tenants
_LOOK_S = 1.0
_GOOD_FOR_S = 10.0
_USUAL, _HIGHEST = 5, 9
_SOONEST_S, _LATEST_S = 1.0, 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What the orchestrator tells. `tenants` holds those with the most waiting runs."""

    runs: int
    oldest_s: float
    finished_per_s: float
    tenants: "dict[str, int]" = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """The load line: as many runs may wait, of all and of one tenant, and the oldest for so long."""

    runs: int
    tenant_runs: int
    oldest_s: float


def share_of(priority: int) -> float:
    """The part of the room that runs of a priority may fill: 1 for the highest, 5/9 for the lowest."""
    return 0.5 + 0.5 * (priority or _USUAL) / _HIGHEST


class Backlog:
    def __init__(self, orchestrator: Orchestrator, marks: Marks, clock: Clock, log: logs.Log) -> None:
        self._orchestrator = orchestrator
        self._marks = marks
        self._clock = clock
        self._log = log
        self._told: Waiting | None = None
        self._told_at = 0.0
        self._let_in: Counter[str] = Counter()

    def admit(self, tenant: str, priority: int) -> None:
        """Raises QueueFull, with the time in which there will be room at the speed of now."""
        told = self._told
        if told is None or self._clock.monotonic() - self._told_at > _GOOD_FOR_S:
            return
        share = share_of(priority)
        over_runs = told.runs + self._let_in.total() + 1 - self._marks.runs * share
        over_mine = told.tenants.get(tenant, 0) + self._let_in[tenant] + 1 - self._marks.tenant_runs * share
        over_age = told.oldest_s - self._marks.oldest_s * share
        if max(over_runs, over_mine, over_age) <= 0:
            self._let_in[tenant] += 1
            return
        whose = "of this tenant " if over_mine > max(over_runs, 0) else ""
        raise QueueFull(
            f"{told.tenants.get(tenant, 0) if whose else told.runs} runs {whose}wait, the oldest for {told.oldest_s:.0f} s",
            remedy=f"come again then; a priority above {priority or _USUAL} may find room now"
            if priority != _HIGHEST
            else "come again then",
            retry_after_s=self._room_in_s(told, max(over_runs, over_mine), over_age),
        )

    async def watch(self, stop: asyncio.Event) -> None:
        """Ask every second."""
        away = False
        while not stop.is_set():
            try:
                with acting_for(_NOBODY):
                    load = await self._orchestrator.get_load(pb.GetLoadRequest())
            except PlimsollError as error:
                if not away:
                    self._log.warning("backlog.unknown", {"reason": error.reason})
                away = True
            else:
                away = False
                self.hear(_waiting(load))
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await stop.wait()

    def hear(self, told: Waiting) -> None:
        """What counts from now on."""
        self._told, self._told_at = told, self._clock.monotonic()
        self._let_in.clear()

    def _room_in_s(self, told: Waiting, over: float, over_age_s: float) -> float:
        """Until as many runs as are too many came to their end, and those that wait too long were begun."""
        by_count = over / told.finished_per_s if over > 0 and told.finished_per_s > 0 else _LATEST_S if over > 0 else 0.0
        by_age = 0.0
        if over_age_s > 0:  # the queue moves on by a second of its age for each share of it that is done
            by_age = told.runs * over_age_s / told.oldest_s / told.finished_per_s if told.finished_per_s > 0 else _LATEST_S
        return min(_LATEST_S, max(_SOONEST_S, by_count, by_age))


def _waiting(load: pb.GetLoadResponse) -> Waiting:
    return Waiting(
        runs=load.waiting_runs,
        oldest_s=duration_from_proto(load.oldest_wait),
        finished_per_s=load.finished_per_second,
        tenants={one.tenant: one.waiting_runs for one in load.tenants},
    )
