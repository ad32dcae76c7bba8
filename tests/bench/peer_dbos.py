"""No-op steps on DBOS Transact: `peer_dbos.py DSN RUNS AT_ONCE STEPS` prints steps_per_s and run_ms as JSON."""

import asyncio
import json
import statistics
import sys
import time

import uvloop
from dbos import DBOS

STEPS = int(sys.argv[4])

DBOS(config={"name": "bench", "system_database_url": sys.argv[1], "log_level": "ERROR", "run_admin_server": False})


@DBOS.step()
async def step(place: int) -> int:
    return place + 1


@DBOS.workflow()
async def flow() -> int:
    place = 0
    for _ in range(STEPS):
        place = await step(place)
    return place


async def main(runs: int, at_once: int) -> None:
    DBOS.launch()
    slots, times = asyncio.Semaphore(at_once), []

    async def one() -> None:
        async with slots:
            started = time.perf_counter()
            assert await flow() == STEPS
            times.append(time.perf_counter() - started)

    await one()
    times.clear()
    started = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(runs)))
    elapsed = time.perf_counter() - started
    print(json.dumps({"steps_per_s": runs * STEPS / elapsed, "run_ms": statistics.median(times) * 1e3}), flush=True)
    DBOS.destroy()


uvloop.run(main(int(sys.argv[2]), int(sys.argv[3])))
