"""Model calls and tool calls in turns on LangGraph with its Postgres checkpointer, the models behind an OpenAI-compatible proxy:
peer_langgraph_models.py DSN RUNS AT_ONCE PAIRS URL KEY; prints one JSON line."""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import TypedDict

import httpx
import uvloop
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import END, START, StateGraph
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

PAIRS, URL, KEY = int(sys.argv[4]), sys.argv[5], sys.argv[6]


class State(TypedDict, total=False):
    question: str
    said: str
    found: int


def asking(client: httpx.AsyncClient) -> Callable[[State], Awaitable[State]]:
    async def ask(state: State) -> State:
        asked = {"model": "fine", "max_tokens": 100, "messages": [{"role": "user", "content": state["question"]}]}
        answer = await client.post(f"{URL}/chat/completions", json=asked, headers={"authorization": f"Bearer {KEY}"})
        answer.raise_for_status()
        return {"said": answer.json()["choices"][0]["message"]["content"]}

    return ask


def looking(number: int) -> Callable[[State], Awaitable[State]]:
    async def look(_: State) -> State:
        return {"found": number}

    return look


async def main(dsn: str, runs: int, at_once: int) -> None:
    options = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    unbounded = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with (
        AsyncConnectionPool(dsn, min_size=2, max_size=20, kwargs=options) as pool,
        httpx.AsyncClient(limits=unbounded, timeout=60) as client,
    ):
        builder, before = StateGraph(State), START
        for number in range(PAIRS):
            builder.add_node(f"ask{number}", asking(client))
            builder.add_node(f"look{number}", looking(number))
            builder.add_edge(before, f"ask{number}")
            builder.add_edge(f"ask{number}", f"look{number}")
            before = f"look{number}"
        builder.add_edge(before, END)
        saver = AsyncPostgresSaver(pool)
        await saver.setup()
        graph, slots, tag = builder.compile(checkpointer=saver), asyncio.Semaphore(at_once), time.time_ns()

        async def one(number: int) -> None:
            async with slots:
                config = {"configurable": {"thread_id": f"{tag}-{number}"}}
                result = await graph.ainvoke({"question": f"Where is parcel {number}?"}, config, durability="sync")
                assert result["found"] == PAIRS - 1

        await asyncio.gather(*(one(-1 - number) for number in range(20)))
        started = time.perf_counter()
        await asyncio.gather(*(one(number) for number in range(runs)))
        elapsed = time.perf_counter() - started
    print(json.dumps({"runs_per_s": runs / elapsed}))


uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
