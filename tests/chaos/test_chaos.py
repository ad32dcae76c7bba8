"""Chaos: whatever happens to the processes, the servers and the wires between them, every promise holds afterwards."""

import asyncio
import sys
import time

import pytest
from examine import examine
from plimsoll_devstack.mesh import Mesh
from report import Report, told
from trouble import Trouble
from workload import Tenants, Workload

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.e2e, pytest.mark.crash, pytest.mark.xdist_group("chaos")]
SETTLE_S = 180.0  # without any progress
BUSY = 0.8  # the share of the time within which all runs would be accepted if nothing happened
RECOVERED_S = 20.0  # a lease of 15 s, and a look a second; with nothing else in the way


async def test_every_promise_holds_after_trouble_of_every_kind(chaotic: Mesh, keys: Tenants, pytestconfig: pytest.Config) -> None:
    seconds, seed = pytestconfig.getoption("--chaos-seconds"), pytestconfig.getoption("--chaos-seed")
    runs, only = pytestconfig.getoption("--chaos-runs"), pytestconfig.getoption("--chaos-only")
    workload, stop = Workload(chaotic, keys, seed, seconds * BUSY / runs), asyncio.Event()
    trouble = Trouble(chaotic, seed, only=(only,)) if only else Trouble(chaotic, seed)
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        group.create_task(workload.run(stop, runs))
        troubling = group.create_task(trouble.run(stop))
        await asyncio.wait([troubling], timeout=seconds)
        stop.set()
    troubled_s = time.monotonic() - began
    found = await examine(chaotic, keys, workload.accepted, within_s=SETTLE_S, held=trouble.held)
    report = Report(seed=seed, seconds=troubled_s, workload=workload, trouble=trouble, found=found, logs=chaotic.files.logs)
    sys.stdout.write(told(report))
    assert not found.violations
    assert workload.accepted
    assert only != "workers" or report.recovery_s(0.99) <= RECOVERED_S
