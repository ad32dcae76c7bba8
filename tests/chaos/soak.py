"""Soak: the same workload for a long time, and what grows: memory, connections, storage, latency. Slopes over the second half of the time."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import linear_regression, median

import asyncpg
import psutil
from plimsoll_client import connect
from plimsoll_devstack.mesh import Mesh
from plimsoll_runtime.errors import PlimsollError

_MIB = 2**20
_PROBES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One look. `resident` and `descriptors` are by part of the mesh, of processes that have not been restarted since."""

    at_s: float
    resident: dict[tuple[str, int], int]
    descriptors: dict[tuple[str, int], int]
    connections: int
    database_bytes: int
    runs: int
    submit_s: float


@dataclass(slots=True)
class Soak:
    mesh: Mesh
    every_s: float
    samples: list[Sample] = field(default_factory=list)

    async def run(self, stop: asyncio.Event) -> None:
        began = time.monotonic()
        while not stop.is_set():
            with suppress(PlimsollError, asyncpg.PostgresError, OSError):  # a look that trouble got in the way of is left out
                self.samples.append(await self._look(time.monotonic() - began))
            with suppress(TimeoutError):
                async with asyncio.timeout(self.every_s):
                    await stop.wait()

    async def _look(self, at_s: float) -> Sample:
        resident, descriptors = {}, {}
        for part, pid in self.mesh.pids.items():
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                family = [process, *process.children(recursive=True)] if part != "postgres" else [process]
                resident[part, pid] = sum(one.memory_info().rss for one in family)
                descriptors[part, pid] = process.num_fds()
        connection = await asyncpg.connect(self.mesh.servers.postgres.dsn("orchestrator"))
        try:
            connections = await connection.fetchval("select count(*) from pg_stat_activity where backend_type = 'client backend'")
            size = await connection.fetchval("select pg_database_size(current_database())")
            runs = await connection.fetchval("select count(*) from runs")
        finally:
            await connection.close()
        return Sample(
            at_s=at_s,
            resident=resident,
            descriptors=descriptors,
            connections=connections,
            database_bytes=size,
            runs=runs,
            submit_s=await self._submit_s(),
        )

    async def _submit_s(self) -> float:
        """How long it takes to have a question answered at the front door, median of a few."""
        times = []
        async with connect(address=self.mesh.grpc_address, api_key=self.mesh.api_key) as client:
            for _ in range(_PROBES):
                began = time.perf_counter()
                await client.runs.list(limit=10)
                times.append(time.perf_counter() - began)
        return median(times)


def slopes(samples: Sequence[Sample]) -> list[tuple[str, float, str]]:
    """What grew how fast over the second half: (what, slope, unit). Only processes that lived through that half count."""
    half = samples[len(samples) // 2 :]
    rows = []
    for what, scale, unit in (("resident", 3600 / _MIB, "MiB/h"), ("descriptors", 3600.0, "per h")):
        for key in sorted(set.intersection(*(set(getattr(one, what)) for one in half))):
            points = [(one.at_s, getattr(one, what)[key]) for one in half]
            rows += [(f"{what} {key[0]}", _slope(points) * scale, unit)]
    rows.append(("connections", _slope([(one.at_s, one.connections) for one in half]) * 3600, "per h"))
    rows.append(("storage per run", _slope([(one.runs, one.database_bytes) for one in half]) / 1024, "KiB"))
    rows.append(("latency of a list of runs", _slope([(one.at_s, one.submit_s * 1e3) for one in half]) * 3600, "ms/h"))
    return rows


def _slope(points: Sequence[tuple[float, float]]) -> float:
    xs, ys = zip(*points, strict=True)
    return linear_regression(xs, ys).slope if len(set(xs)) > 1 else 0.0


def grown(samples: Sequence[Sample]) -> str:
    """The slopes as text."""
    lines = [f"  {what:<32} {slope:>10.2f} {unit}" for what, slope, unit in slopes(samples)]
    last = samples[-1]
    return "\n".join([f"\n{len(samples)} looks over {last.at_s:.0f} s, {last.runs} runs", *lines, ""])
