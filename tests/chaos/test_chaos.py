"""Chaos: whatever happens to the processes, the servers and the wires between them, every promise holds afterwards."""

import asyncio
import sys
import time

import pytest
from examine import examine
from plimsoll_devstack.mesh import Mesh
from report import Report, told
from trouble import Trouble
from workload import AT_ONCE, Workload

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.e2e, pytest.mark.crash, pytest.mark.xdist_group("chaos")]
SETTLE_S = 240.0


async def test_every_promise_holds_after_trouble_of_every_kind(chaotic: Mesh, pytestconfig: pytest.Config) -> None:
    seconds, seed = pytestconfig.getoption("--chaos-seconds"), pytestconfig.getoption("--chaos-seed")
    runs = pytestconfig.getoption("--chaos-runs")
    workload, trouble, stop = Workload(chaotic, seed, seconds * AT_ONCE / runs), Trouble(chaotic, seed), asyncio.Event()
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        group.create_task(workload.run(stop, runs))
        troubling = group.create_task(trouble.run(stop))
        await asyncio.wait([troubling], timeout=seconds)
        stop.set()
    found = await examine(chaotic, workload.accepted, within_s=SETTLE_S)
    report = Report(seed=seed, seconds=time.monotonic() - began, workload=workload, trouble=trouble, found=found, logs=chaotic.files.logs)
    sys.stdout.write(told(report))
    assert not found.violations
    assert workload.accepted
