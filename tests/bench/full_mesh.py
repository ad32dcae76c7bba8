"""A six-step agent through the whole mesh: three model calls and three tool calls a run, before an upstream that answers at once.

Ours goes from the client through gateway, orchestrator, model-router and tool-dispatcher, with feedback listening, everything durable,
limited, recorded and over mutual TLS. Beside it the same six steps on LangGraph with its Postgres saver, in one process whose tools are
plain functions, its models behind LiteLLM's bare proxy: no limits, no record of calls, no policy, no front door.
"""

import asyncio
import itertools
import tempfile
import time
from pathlib import Path

from gateways import KEY, litellm, upstream
from peers import models_figures
from plimsoll_client import connect
from plimsoll_client.mesh import Mesh as Client
from plimsoll_devstack.mesh import Mesh
from plimsoll_devstack.plan import Wanted
from plimsoll_devstack.servers import Servers
from plimsoll_runtime.json_types import dump_json
from results import Row

AGENT, PAIRS = "six-steps", 3
RUNS, AT_ONCE, WARM = 600, 48, 100
PEER_RUNS = 200
_HEAD = """
agent: six-steps
description: Asks and looks up, three times over
input: {type: object, additionalProperties: false, required: [question], properties: {question: {type: string}}}
state: {type: object, additionalProperties: false, properties: {question: {type: string}, said: {type: string}, found: {type: integer}}}
start: ask0
output: {said: state.said, found: state.found}
nodes:
"""
_PAIR = """
  ask{n}:
    model: {{prompt: six-steps-ask@production, variables: {{question: state.question}}, task: answering, max_tokens: 100}}
    save: {{said: result.text}}
    next: look{n}
  look{n}:
    tool: {{name: look_up, arguments: {{number: {n}}}}}
    save: {{found: result.number}}
    next: {after}
"""
_PROMPT = {
    "prompt": "six-steps-ask",
    "description": "Asks",
    "variables": ["question"],
    "user": "{{question}}",
    "labels": ["production"],
}
_TOOLS = """
category: desk
tools:
  - name: look_up
    version: "1"
    description: Finds a number
    arguments: {type: object, additionalProperties: false, required: [number], properties: {number: {type: integer}}}
    result: {type: object, additionalProperties: false, required: [number], properties: {number: {type: integer}}}
    effect: read_only
    risk: low
    timeout: 5s
"""
_HANDLER = "async def look_up(arguments, context):\n    return {'number': arguments['number']}\n"


async def measure(servers: Servers) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="plimsoll-bench-") as folder:
        async with upstream() as url:
            ours = await _ours(Path(folder), url)
            async with litellm(url) as proxy:
                dsn = servers.postgres.dsn("examples", database="examples")
                figures = await models_figures(dsn, PEER_RUNS, AT_ONCE, PAIRS, proxy.address, KEY) if proxy is not None else None
    if figures is None:
        return [Row(name="full-mesh", value=ours, unit="runs/s")]
    theirs = figures["runs_per_s"]
    ratio = ours / theirs
    return [
        Row(
            name="full-mesh",
            value=ours,
            unit="runs/s",
            peer="LangGraph, saver, LiteLLM",
            peer_value=theirs,
            ratio=ratio,
            target=">= 3",
            passed=ratio >= 3,
        )
    ]


async def _ours(folder: Path, upstream_url: str) -> float:
    """Runs a second from the first one's start to the last one's end, on a mesh as `plimsoll up` starts it."""
    _write(folder / "agents" / AGENT)
    environ = {
        "OPENAI_BASE_URL": f"{upstream_url}/v1",
        "OPENAI_API_KEY": KEY,
        "OPENAI_MODEL": "fine",
        "PLIMSOLL_MODEL_ROUTER_OPENAI_REQUESTS_PER_MINUTE": "100000000",
    }
    wanted = Wanted(data=folder / "data", agents=folder / "agents", log_level="WARNING", environ=environ)
    async with Mesh(wanted) as mesh, connect(address=mesh.grpc_address, api_key=mesh.api_key) as client:
        await _many(client, WARM)
        return await _many(client, RUNS)


async def _many(client: Client, runs: int) -> float:
    left, started = itertools.islice(itertools.count(), runs), time.perf_counter()

    async def one() -> None:
        for number in left:
            run = await client.runs.submit(AGENT, {"question": f"Where is parcel {number}?"})
            ended = await client.runs.wait(run.id)
            assert ended.output is not None, ended
            assert ended.output["found"] == PAIRS - 1, ended

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(one())
    return runs / (time.perf_counter() - started)


def _write(bundle: Path) -> None:
    """The agent with its prompt and its tool."""
    for part in ("prompts", "tools"):
        (bundle / part).mkdir(parents=True)
    names = [*(f"ask{n}" for n in range(1, PAIRS)), "end"]
    (bundle / "agent.yaml").write_text(_HEAD + "".join(_PAIR.format(n=n, after=after) for n, after in enumerate(names)))
    (bundle / "prompts" / "ask.yaml").write_text(dump_json(_PROMPT))
    (bundle / "tools" / "desk.yaml").write_text(_TOOLS)
    (bundle / "tools" / "desk.py").write_text(_HANDLER)
