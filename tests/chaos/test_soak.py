"""A soak: an hour, or as long as is asked, of mixed load with faults; nothing may grow with time alone."""

import asyncio
import sys
from collections.abc import Sequence

import pytest
from examine import examine
from plimsoll_devstack.mesh import Mesh
from soak import Sample, Soak, grown, slopes
from trouble import Trouble
from workload import Tenants, Workload

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.e2e, pytest.mark.crash, pytest.mark.soak]
SETTLE_S = 180.0  # without any progress
RUNS_A_SECOND = 2.0
LOOKS = 60
LONG_ENOUGH_S = 600.0  # what fills at first hides what grows for ever


async def test_nothing_grows_with_time_alone(chaotic: Mesh, keys: Tenants, pytestconfig: pytest.Config) -> None:
    seconds, seed = pytestconfig.getoption("--soak-seconds"), pytestconfig.getoption("--chaos-seed")
    runs, stop = int(seconds * RUNS_A_SECOND), asyncio.Event()
    workload, soak = Workload(chaotic, keys, seed, seconds / runs), Soak(chaotic, seconds / LOOKS)
    trouble = Trouble(chaotic, seed, only=("wires",))
    async with asyncio.TaskGroup() as group:
        group.create_task(workload.run(stop, runs))
        group.create_task(soak.run(stop))
        troubling = group.create_task(trouble.run(stop))
        await asyncio.wait([troubling], timeout=seconds)
        stop.set()
    found = await examine(chaotic, keys, workload.accepted, within_s=SETTLE_S)
    sys.stdout.write(grown(soak.samples))
    assert not found.violations
    assert seconds < LONG_ENOUGH_S or not _leaks(soak.samples)


def _leaks(samples: Sequence[Sample]) -> list[str]:
    """What certainly grew. Descriptors and connections have no reason to rise at all; memory gets room for caches that still fill."""
    most = {"MiB/h": 30.0, "per h": 30.0}
    return [f"{one.what}: {one.value:.1f} {one.unit}" for one in slopes(samples) if one.at_least > most.get(one.unit, float("inf"))]
