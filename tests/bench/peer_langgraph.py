"""A no-op graph on LangGraph with its Postgres checkpointer: peer_langgraph.py DSN RUNS AT_ONCE STEPS; prints one JSON line."""

import asyncio
import json
import operator
import statistics
import sys
import time
from typing import Annotated, TypedDict

import uvloop
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import END, START, StateGraph
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

STEPS = int(sys.argv[4])


class State(TypedDict):
    n: Annotated[int, operator.add]


async def step(_: State) -> dict[str, int]:
    return {"n": 1}


async def main(dsn: str, runs: int, at_once: int) -> None:
    builder = StateGraph(State)
    names = [f"step{place}" for place in range(STEPS)]
    for before, name in zip([START, *names], names, strict=False):
        builder.add_node(name, step)
        builder.add_edge(before, name)
    builder.add_edge(names[-1], END)
    options = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    async with AsyncConnectionPool(dsn, min_size=2, max_size=20, kwargs=options) as pool:
        saver = AsyncPostgresSaver(pool)
        await saver.setup()
        graph = builder.compile(checkpointer=saver)
        slots, times, tag = asyncio.Semaphore(at_once), [], time.time_ns()

        async def one(number: int) -> None:
            async with slots:
                started = time.perf_counter()
                config = {"configurable": {"thread_id": f"{tag}-{number}"}}
                result = await graph.ainvoke({"n": 0}, config, durability="sync")
                assert result["n"] == STEPS
                times.append(time.perf_counter() - started)

        await one(-1)
        times.clear()
        started = time.perf_counter()
        await asyncio.gather(*(one(number) for number in range(runs)))
        elapsed = time.perf_counter() - started
    print(json.dumps({"steps_per_s": runs * STEPS / elapsed, "run_ms": statistics.median(times) * 1e3}))


uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
