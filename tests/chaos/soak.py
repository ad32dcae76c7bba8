"""Soak: the same workload for a long time, and what grows: memory, connections, storage, latency. Slopes over the second half of the time."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import sqrt
from statistics import fmean, linear_regression, median

import asyncpg
import psutil
from plimsoll_client import connect
from plimsoll_devstack.mesh import Mesh
from plimsoll_runtime.errors import PlimsollError

_MIB = 2**20
_PROBES = 5
_FEWEST = 3  # points, for a line that has an error


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One look. `resident` and `descriptors` are by part of the mesh and process; `answer_s` is None where trouble kept the front door shut."""

    at_s: float
    resident: dict[tuple[str, int], int]
    descriptors: dict[tuple[str, int], int]
    connections: int
    database_bytes: int
    runs: int
    answer_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Slope:
    """How fast something grew: a least-squares line, and twice its standard error, within which 95 of 100 such lines would lie."""

    what: str
    value: float
    error: float
    unit: str

    @property
    def at_least(self) -> float:
        return self.value - self.error


@dataclass(slots=True)
class Soak:
    mesh: Mesh
    every_s: float
    samples: list[Sample] = field(default_factory=list)

    async def run(self, stop: asyncio.Event) -> None:
        began = time.monotonic()
        while not stop.is_set():
            with suppress(asyncpg.PostgresError, OSError):  # a look that trouble got in the way of is left out
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
            answer_s=await self._answer_s(),
        )

    async def _answer_s(self) -> float | None:
        """How long it takes to have a question answered at the front door, median of a few."""
        times = []
        async with connect(address=self.mesh.grpc_address, api_key=self.mesh.api_key) as client:
            for _ in range(_PROBES):
                began = time.perf_counter()
                with suppress(PlimsollError):
                    await client.runs.list(limit=10)
                    times.append(time.perf_counter() - began)
        return median(times) if times else None


def slopes(samples: Sequence[Sample]) -> list[Slope]:
    """What grew how fast over the second half: the first is what fills once. Only processes that lived through all of that half count."""
    half = samples[len(samples) // 2 :]
    rows = []
    for what, scale, unit in (("resident", 3600 / _MIB, "MiB/h"), ("descriptors", 3600.0, "per h")):
        lasting = sorted(set.intersection(*(set(getattr(one, what)) for one in half)))
        rows += [_slope(f"{what} {key[0]}", [(one.at_s, getattr(one, what)[key]) for one in half], scale, unit) for key in lasting]
    answers = [(one.at_s, one.answer_s) for one in half if one.answer_s is not None]
    return [
        *rows,
        _slope("connections", [(one.at_s, one.connections) for one in half], 3600.0, "per h"),
        _slope("storage per run", [(one.runs, one.database_bytes) for one in half], 1 / 1024, "KiB"),
        _slope("latency of a list of runs", answers, 3600e3, "ms/h"),
    ]


def _slope(what: str, points: Sequence[tuple[float, float]], scale: float, unit: str) -> Slope:
    """The line through the points. Its error is that of the slope of a simple regression: sqrt(residuals² / (n - 2) / spread of x)."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    spread = sum((x - fmean(xs)) ** 2 for x in xs) if xs else 0.0
    if len(points) < _FEWEST or not spread:
        return Slope(what=what, value=0.0, error=float("inf"), unit=unit)
    line = linear_regression(xs, ys)
    residuals = sum((y - line.intercept - line.slope * x) ** 2 for x, y in points)
    return Slope(what=what, value=line.slope * scale, error=2 * sqrt(residuals / (len(points) - 2) / spread) * scale, unit=unit)


def grown(samples: Sequence[Sample]) -> str:
    """The slopes as text, and what each process holds at the end."""
    last = samples[-1]
    ends = {f"resident {part}": f"  of {size / _MIB:.0f} MiB" for (part, _), size in last.resident.items()}
    lines = [f"  {one.what:<32} {one.value:>10.2f} ± {one.error:<8.2f} {one.unit}{ends.get(one.what, '')}" for one in slopes(samples)]
    return "\n".join([f"\n{len(samples)} looks over {last.at_s:.0f} s, {last.runs} runs; slopes of the second half", *lines, ""])
