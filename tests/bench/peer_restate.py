"""No-op steps as a Restate handler, served on 127.0.0.1: `peer_restate.py PORT`. The server that calls it is started by peers.py."""

import asyncio
import sys

import restate
from hypercorn.asyncio import serve
from hypercorn.config import Config

flow = restate.Service("flow")


def step(place: int) -> int:
    return place + 1


@flow.handler()
async def run(context: restate.Context, steps: int) -> int:
    place = 0
    for number in range(steps):
        place = await context.run_typed(f"step-{number}", step, place=place)
    return place


config = Config()
config.bind = [f"127.0.0.1:{sys.argv[1]}"]
config.loglevel = "ERROR"
asyncio.run(serve(restate.app([flow]), config))
