"""The waiting work as metrics."""

import asyncio
import math

from plimsoll_orchestrator.adapters.load_metrics import OLDEST_WAIT, RUNS_WAITING, LoadMetrics
from plimsoll_orchestrator.ports.load import Load
from plimsoll_orchestrator.service.load import LoadWatch
from plimsoll_runtime.clock import SystemClock
from plimsoll_runtime.errors import Unavailable
from plimsoll_testkit import eventually
from prometheus_client import CollectorRegistry


class FakeLoadGauge:
    def __init__(self) -> None:
        self.away = False

    async def read(self) -> Load:
        if self.away:
            raise Unavailable
        return Load(waiting=7, oldest_wait_s=1.5, finished_per_s=2.0)


async def test_the_waiting_work_is_shown_and_is_not_made_up_while_the_database_is_away() -> None:
    gauge, registry, stop = FakeLoadGauge(), CollectorRegistry(), asyncio.Event()
    metrics = LoadMetrics(LoadWatch(gauge, SystemClock()), registry, every_s=0.01)
    async with asyncio.TaskGroup() as group:
        group.create_task(metrics.run(stop))
        await eventually(lambda: registry.get_sample_value(RUNS_WAITING) == 7)
        assert registry.get_sample_value(OLDEST_WAIT) == 1.5
        gauge.away = True
        await eventually(lambda: math.isnan(registry.get_sample_value(RUNS_WAITING) or 0))
        stop.set()
