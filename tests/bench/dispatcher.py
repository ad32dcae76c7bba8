"""The tool dispatcher: what it adds to a call, how many calls it carries, and what slow tools and a long ledger do to it.

The service runs as a process of its own, as it is deployed, on real servers; the calls come over gRPC from here. The tools do nothing, or
sleep. "On one core" is counted in processor time of the service's process: the tools' processes and this client have their own.
"""

import asyncio
import os
import socket
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO
from urllib.parse import urlsplit

import asyncpg
import orjson
import psutil
import yaml
from plimsoll.common.v1 import json_pb2, work_pb2
from plimsoll.tool_dispatcher.v1 import tool_dispatcher_service_pb2 as pb
from plimsoll.tool_dispatcher.v1 import tool_dispatcher_service_pb2_grpc as rpc
from plimsoll_devstack.servers import Servers
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.errors import PlimsollError
from plimsoll_runtime.rpc_client import call, open_channel
from plimsoll_runtime.settings import TlsSettings
from plimsoll_tool_dispatcher.domain.schema import compile_schema
from results import Row

SERVICE = "tool_dispatcher"
WARM, ALONE, AT_ONCE, MANY = 300, 1000, 64, 6000
SLOW, SLOW_S = 64, 2.0
ROWS = 1_000_000
ARGUMENTS = '{"account":"A-1042","include_history":true,"limit":20,"tags":["gold","eu"]}'
SCHEMA = (
    "{type: object, additionalProperties: false, required: [account], properties: {account: {type: string, pattern: '^A-[0-9]+$'}, "
    "include_history: {type: boolean}, limit: {type: integer, minimum: 1, maximum: 100, default: 10}, "
    "tags: {type: array, items: {type: string}}}}"
)
DECLARATION = f"""
category: bench
tools:
  - {{name: fast, version: "1", description: Does nothing, arguments: {SCHEMA},
      result: {{type: object, required: [ok], properties: {{ok: {{type: boolean}}}}}}, effect: read_only, risk: low, timeout: 10s,
      concurrency: 128}}
"""
SLOW_DECLARATION = f"""
category: slow
tools:
  - {{name: slow, version: "1", description: Takes its time, arguments: {SCHEMA}, result: {{}}, effect: read_only, risk: low, timeout: 30s,
      concurrency: 128}}
"""
GUARDED_DECLARATION = f"""
category: guarded
tools:
  - {{name: guarded, version: "1", description: Does nothing, arguments: {SCHEMA}, result: {{}}, effect: read_only, risk: low, timeout: 10s,
      concurrency: 4, limits: {{all: {{count: 1000000, per: 1s}}, tenant: {{count: 1000000, per: 1s}}}}}}
"""


@dataclass(frozen=True, slots=True)
class Running:
    """A dispatcher at work, and a client of it."""

    process: psutil.Process
    stub: "rpc.ToolDispatcherServiceAsyncStub"

    async def dispatch(self, tool: str, key: str, *, first: bool = True) -> float:
        """Seconds from here and back. `first` is what the orchestrator says of the calls of a run's first claim; others are looked up."""
        work = work_pb2.WorkContext(run_id=f"run_{key.partition(':')[0]}", step=1, node="n", agent="bench", agent_version="v", epoch=1)
        request = pb.DispatchRequest(call_key=key, tool=tool, arguments=json_pb2.JsonValue(text=ARGUMENTS), work=work, first=first)
        begun = time.perf_counter()
        with acting_for("bench"):
            response = await call(self.stub.Dispatch, request, cap_s=30)
        assert response.HasField("result"), response
        return time.perf_counter() - begun

    async def many(self, count: int, at_once: int, tag: str, *, tool: str = "fast", first: bool = True) -> list[float]:
        """So many calls of a tool, so many at a time."""
        numbers, times = iter(range(count)), []

        async def caller(lane: int) -> None:
            times.extend([await self.dispatch(tool, f"{tag}{lane}:{number}", first=first) for number in numbers])

        async with asyncio.TaskGroup() as group:
            for lane in range(at_once):
                group.create_task(caller(lane))
        return times


@asynccontextmanager
async def dispatcher(servers: Servers, *, redis_url: str = "") -> AsyncIterator[Running]:
    """The service as a process, with its tools; it finds Redis at another address where one is given."""
    with TemporaryDirectory(prefix="plimsoll-tools-") as folder, _written(Path(folder)) as log:
        address = _free_address()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "plimsoll_tool_dispatcher", env=_environment(servers, folder, address, redis_url), stdout=log, stderr=log
        )
        try:
            async with open_channel(address, TlsSettings(), "tool-dispatcher") as channel:
                running = Running(psutil.Process(process.pid), rpc.ToolDispatcherServiceStub(channel))
                await _ready(running)
                await running.many(WARM, 8, "warm")
                yield running
        finally:
            process.terminate()
            await process.wait()


def _written(folder: Path) -> IO[str]:
    """Writes the tools, and opens the log of the service beside them."""
    for category, declaration, name, body in (
        ("bench", DECLARATION, "fast", 'return {"ok": True}'),
        ("slow", SLOW_DECLARATION, "slow", f"await asyncio.sleep({SLOW_S})"),
        ("guarded", GUARDED_DECLARATION, "guarded", "pass"),
    ):
        (folder / f"{category}.yaml").write_text(declaration)
        (folder / f"{category}.py").write_text(f"import asyncio\nasync def {name}(arguments, context):\n    {body}\n")
    return (folder / "log").open("w")


def _free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def _environment(servers: Servers, folder: str, address: str, redis_url: str) -> dict[str, str]:
    own = {
        "POSTGRES_DSN": servers.postgres.dsn(SERVICE),
        "NATS_URL": servers.nats.url(SERVICE),
        "REDIS_URL": redis_url or servers.redis.url(SERVICE),
        "INSECURE": "true",
        "GRPC_LISTEN": address,
        "TOOL_DIRS": folder,
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PLIMSOLL_")}
    return environment | {f"PLIMSOLL_TOOL_DISPATCHER_{name}": value for name, value in own.items()} | {"GRPC_ENABLE_FORK_SUPPORT": "0"}


async def measure_latency(servers: Servers) -> list[Row]:
    """One call at a time: the tool's own time is some microseconds, so nearly all of it is ours."""
    async with dispatcher(servers) as running:
        times = await running.many(ALONE, 1, "alone")
        others = await running.many(ALONE, 1, "again", first=False)
    median_ms, p99_ms = statistics.median(times) * 1e3, _quantile(times, 0.99) * 1e3
    return [
        Row(name="dispatcher-latency", value=median_ms, unit="ms median", target="<= 2 ms", passed=median_ms <= 2),
        Row(name="dispatcher-latency-p99", value=p99_ms, unit="ms p99"),
        Row(name="dispatcher-latency-looked-up", value=statistics.median(others) * 1e3, unit="ms median"),
    ]


async def measure_throughput(servers: Servers) -> list[Row]:
    """Many at a time. Of one core: calls per second of the service's processor time."""
    async with dispatcher(servers) as running:
        before, begun = _cpu_s(running), time.perf_counter()
        await running.many(MANY, AT_ONCE, "many")
        wall_s, cpu_s = time.perf_counter() - begun, _cpu_s(running) - before
    per_core = MANY / cpu_s
    return [
        Row(name="dispatcher-per-core", value=per_core, unit="calls/s", target=">= 1500", passed=per_core >= 1500),
        Row(name="dispatcher-throughput", value=MANY / wall_s, unit="calls/s"),
    ]


async def measure_decisions(servers: Servers) -> list[Row]:
    """Round trips to Redis of a call whose tool has two rate limits, a bulkhead and a breaker: one call at a time, and many, who share them."""
    async with _counting(servers.redis.url(SERVICE)) as (redis_url, trips), dispatcher(servers, redis_url=redis_url) as running:
        await running.many(WARM, 8, "guardedwarm", tool="guarded")
        counts = [trips()]
        for at_once in (1, AT_ONCE):
            await running.many(ALONE, at_once, f"guarded{at_once}", tool="guarded")
            counts.append(trips())
    alone, shared = ((after - before) / ALONE for before, after in pairwise(counts))
    return [
        Row(name="dispatcher-decisions", value=alone, unit="trips/call", target="<= 1", passed=0 < alone <= 1),
        Row(name="dispatcher-decisions-at-once", value=shared, unit="trips/call", target="<= 1", passed=0 < shared <= 1),
    ]


async def measure_isolation(servers: Servers) -> list[Row]:
    """The slowest hundredth of the fast calls, alone and beside slow ones that do nothing but wait."""
    async with dispatcher(servers) as running:
        await asyncio.gather(*(running.dispatch("slow", f"warmslow:{number}") for number in range(4)))
        alone: list[float] = []
        beside: list[float] = []
        for turn in range(3):  # in turns, so that what else the machine does hits both
            alone += await running.many(ALONE, 4, f"quiet{turn}")
            async with asyncio.TaskGroup() as group:
                busy = group.create_task(_keep_slow(running, turn))
                beside += await running.many(ALONE, 4, f"busy{turn}")
                busy.cancel()
    ratio = _quantile(beside, 0.99) / _quantile(alone, 0.99)
    return [
        Row(
            name="dispatcher-isolation",
            value=_quantile(beside, 0.99) * 1e3,
            unit="ms p99",
            peer="without slow tools",
            peer_value=_quantile(alone, 0.99) * 1e3,
            ratio=ratio,
            target="<= 1.2",
            passed=ratio <= 1.2,
        )
    ]


async def measure_ledger(servers: Servers) -> list[Row]:
    """The same calls over an empty ledger and over one with a million rows, each looked up in it."""
    pool = await asyncpg.create_pool(servers.postgres.dsn(SERVICE), min_size=1, max_size=1, server_settings={"search_path": SERVICE})
    async with dispatcher(servers) as running:
        await pool.execute("truncate calls")
        empty = await running.many(ALONE, 1, "empty", first=False)
        await pool.execute(_FILL, ROWS)
        await pool.execute("analyze calls")
        full = await running.many(ALONE, 1, "full", first=False)
        await pool.execute("truncate calls")
    await pool.close()
    ratio = statistics.median(full) / statistics.median(empty)
    return [
        Row(
            name="dispatcher-ledger",
            value=statistics.median(full) * 1e3,
            unit="ms median",
            peer="empty ledger",
            peer_value=statistics.median(empty) * 1e3,
            ratio=ratio,
            target="<= 1.1",
            passed=ratio <= 1.1,
        )
    ]


async def measure_validation(_: Servers) -> list[Row]:
    """Checking the arguments of a typical call."""
    schema, problems = compile_schema(yaml.safe_load(SCHEMA), "arguments")
    assert schema is not None, problems
    arguments = orjson.loads(ARGUMENTS)
    begun = time.perf_counter()
    for _ in range(20_000):
        assert not schema.problems(arguments, "arguments")
    each_us = (time.perf_counter() - begun) / 20_000 * 1e6
    return [Row(name="dispatcher-validation", value=each_us, unit="us", target="<= 20 us", passed=each_us <= 20)]


_FILL = """
insert into calls (tenant, call_key, call_id, state, effect, tool, tool_digest, call_digest, request_digest, run_id, step, node, agent,
                   agent_version, epoch, lease_until, result, finished_at)
select 'bench', 'old:' || n, 'call_' || n, 'succeeded', 'read_only', 'fast', 'd', 'c', 'r', 'run_' || n % 10000, 1, 'n', 'bench', 'v', 1, now(),
       '{"ok":true}', now()
from generate_series(1, $1::int) n"""


async def _keep_slow(running: Running, turn: int) -> None:
    """So many slow calls are under way, until cancelled."""
    for round_number in range(1000):
        await asyncio.gather(*(running.dispatch("slow", f"slow{turn}:{round_number}:{number}") for number in range(SLOW)))


async def _ready(running: Running) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            await running.dispatch("fast", "ready:0")
        except PlimsollError:
            await asyncio.sleep(0.2)
        else:
            return
    raise TimeoutError("the dispatcher did not come up")


@asynccontextmanager
async def _counting(url: str) -> AsyncIterator[tuple[str, Callable[[], int]]]:
    """An address that leads to the server of the URL, and how many round trips were made by it so far: a request after an answer is one."""
    server, trips, asking = urlsplit(url), 0, set[asyncio.StreamWriter]()

    async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter, note: Callable[[], None]) -> None:
        while data := await source.read(1 << 16):
            note()
            sink.write(data)
            await sink.drain()
        sink.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def asked() -> None:
            nonlocal trips
            trips += writer not in asking
            asking.add(writer)

        from_server, to_server = await asyncio.open_connection(server.hostname, server.port)
        await asyncio.gather(pass_on(reader, to_server, asked), pass_on(from_server, writer, lambda: asking.discard(writer)))

    async with await asyncio.start_server(serve, "127.0.0.1") as door:
        port = door.sockets[0].getsockname()[1]
        yield url.replace(f":{server.port}/", f":{port}/"), lambda: trips


def _cpu_s(running: Running) -> float:
    times = running.process.cpu_times()
    return times.user + times.system


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[int(len(values) * share)]
