"""A mesh that stands: how long it takes to come up on a database that is there already, and what its idle services keep in memory."""

import tempfile
import time
from pathlib import Path

import psutil
from plimsoll_devstack.mesh import Mesh
from plimsoll_devstack.plan import Wanted
from plimsoll_devstack.servers import Servers
from results import Row

START_S, MOST_MIB = 8.0, 90.0
_SERVERS = ("postgres", "nats", "redis")


async def measure(_: Servers) -> list[Row]:
    """The mesh brings servers of its own, as `plimsoll up` does."""
    with tempfile.TemporaryDirectory(prefix="plimsoll-bench-") as folder:
        mesh = Mesh(Wanted(data=Path(folder)))
        await mesh.start()
        await mesh.stop()
        started = time.perf_counter()
        await mesh.start()
        took = time.perf_counter() - started
        try:
            resident = {part: psutil.Process(pid).memory_info().rss / 2**20 for part, pid in mesh.pids.items() if part not in _SERVERS}
        finally:
            await mesh.stop()
    print("resident MiB: " + ", ".join(f"{part} {mib:.0f}" for part, mib in resident.items()))
    largest = max(resident.values())
    return [
        Row(name="cold-start", value=took, unit="s", target=f"<= {START_S:g}", passed=took <= START_S),
        Row(name="idle-memory", value=largest, unit="MiB largest", target=f"<= {MOST_MIB:g}", passed=largest <= MOST_MIB),
    ]
