"""The model-router beside LiteLLM's proxy, both on one core before the same scripted upstream, in the same run.

Ours has everything on: budgets reserved and settled in Postgres, limits and breakers in Redis, metrics, events through the outbox. LiteLLM
has its limits, a budget and metrics on, in the same Redis, and no database: no keys, no record of calls, so still less to do than ours.
Beside it stands what it does bare, with routing alone. Added latency is gateway minus direct. Throughput is told twice: calls a second as
the client saw them, and calls for each second of processor time of the gateway's process, which does not depend on what else runs here.
"""

import asyncio
import gc
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace

import aiohttp
import grpc
import orjson
from gateways import KEY, Process, litellm, router, upstream
from plimsoll.model_router.v1 import budget_pb2, message_pb2, routing_pb2
from plimsoll.model_router.v1 import model_router_service_pb2 as pb
from plimsoll.model_router.v1 import model_router_service_pb2_grpc as rpc
from plimsoll_devstack.servers import Servers
from plimsoll_devstack.servers.nats import OPERATOR
from plimsoll_runtime import names
from results import Row

ALONE, AT_ONCE = 400, 64
CALLS, PEER_CALLS = 6000, 600
STREAMS, PIECES = 256, 64
MEMORY_CALLS = 100_000
METADATA = ((names.TENANT_KEY, "bench"), (names.PRINCIPAL_KEY, "bench (key_1)"))
Call = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class Gaps:
    """What streams brought: the gaps between pieces in seconds, and how many streams came whole."""

    seconds: list[float] = field(default_factory=list)
    whole: int = 0

    def p99(self) -> float:
        return statistics.quantiles(self.seconds, n=100)[98] * 1e3


async def measure_latency(servers: Servers) -> list[Row]:
    rows = []
    async with upstream() as url, _direct(url) as direct:
        base = await _median(direct)
        async with router(servers, url) as process, _ours(process) as (call, _):
            ours = await _median(call) - base
        for name, redis_url in _peers(servers):
            async with litellm(url, redis_url) as peer:
                if peer is None:
                    return [Row(name="router-latency", value=ours, unit="ms added", target="<= 0.1")]
                async with _direct(peer.address, path="/chat/completions") as call:
                    theirs = await _median(call) - base
            target, passed = ("<= 0.1", ours <= 0.1 * theirs) if redis_url else ("", None)
            row = Row(name="router-latency", value=ours, unit="ms added", peer=name, peer_value=theirs, ratio=ours / theirs, target=target)
            rows.append(replace(row, passed=passed))
    return rows


async def measure_throughput(servers: Servers) -> list[Row]:
    rows = []
    async with upstream() as url:
        async with router(servers, url) as process, _ours(process) as (call, _):
            await _rate(call, process, 300)
            wall, core = await _rate(call, process, CALLS)
        for name, redis_url in _peers(servers):
            async with litellm(url, redis_url) as peer:
                if peer is None:
                    return [Row(name="router-throughput", value=core, unit="calls/core-s", target=">= 15")]
                async with _direct(peer.address, path="/chat/completions") as call:
                    await _rate(call, peer, 50)
                    peer_wall, peer_core = await _rate(call, peer, PEER_CALLS)
            for row, value, unit, other in (
                ("router-throughput", core, "calls/core-s", peer_core),
                ("router-throughput-wall", wall, "calls/s", peer_wall),
            ):
                target, passed = (">= 15", value >= 15 * other) if redis_url else ("", None)
                told = Row(name=row, value=value, unit=unit, peer=name, peer_value=other, ratio=value / other, target=target)
                rows.append(replace(told, passed=passed))
    return rows


def _peers(servers: Servers) -> tuple[tuple[str, str], ...]:
    """LiteLLM with its features on, which is what ours is held against, and bare; each with the Redis that it gets."""
    return ("LiteLLM proxy, features on", servers.redis.url(OPERATOR)), ("LiteLLM proxy, bare", "")


async def measure_streams(servers: Servers) -> list[Row]:
    async with upstream() as url, router(servers, url) as process, _ours(process) as (_, stub):
        with _unpaused():
            direct, ours = await _streams(url, STREAMS), Gaps()
            async with asyncio.TaskGroup() as group:
                for _ in range(STREAMS):
                    group.create_task(_our_stream(stub, ours))
    added = ours.p99() - direct.p99()
    print(f"streams: {ours.whole} of {STREAMS} whole; gap p99 direct {direct.p99():.1f} ms, through the router {ours.p99():.1f} ms")
    return [
        Row(name="router-streams", value=float(ours.whole), unit="whole", target=f">= {STREAMS}", passed=ours.whole >= STREAMS),
        Row(name="router-stream-gap", value=added, unit="ms p99", target="<= 5", passed=added <= 5),
    ]


@contextmanager
def _unpaused() -> Iterator[None]:
    """Without collections of garbage in this process: one of all that the benchmarks import holds up every stream for some 20 ms, in the
    middle of both measures or of one, and would be told as a gap of the router's."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


async def measure_memory(servers: Servers) -> list[Row]:
    async with upstream() as url, router(servers, url) as process, _ours(process) as (call, _):
        await _rate(call, process, 10_000)
        early = process.resident_mib()
        await _rate(call, process, MEMORY_CALLS)
        late = process.resident_mib()
    print(f"memory: {early:.1f} MiB after 10,000 calls, {late:.1f} MiB after {MEMORY_CALLS + 10_000:,}")
    flat = late - early <= 0.05 * early
    return [
        Row(name="router-memory", value=late, unit="MiB", target="<= 120", passed=late <= 120),
        Row(name="router-memory-slope", value=late - early, unit="MiB/100k", target="flat", passed=flat),
    ]


async def _median(call: Call) -> float:
    """Milliseconds of one call at a time."""
    times = []
    for number in range(ALONE + 20):
        started = time.perf_counter()
        await call()
        if number >= 20:
            times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e3


async def _rate(call: Call, process: Process, calls: int) -> tuple[float, float]:
    """Calls a second, and calls for each second of the process's processor time, `AT_ONCE` at a time."""
    left, cpu, started = iter(range(calls)), process.cpu_s(), time.perf_counter()

    async def client() -> None:
        for _ in left:
            await call()

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(client())
    return calls / (time.perf_counter() - started), calls / max(0.01, process.cpu_s() - cpu)


@asynccontextmanager
async def _direct(url: str, *, path: str = "/v1/chat/completions") -> AsyncIterator[Call]:
    """Calls over HTTP, of the upstream itself or of a gateway that speaks like it."""
    body = orjson.dumps({"model": "fine", "messages": [{"role": "user", "content": "Where is my parcel?"}]})
    headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=headers) as session:

        async def call() -> None:
            async with session.post(f"{url}{path}", data=body) as response:
                told = await response.read()
                assert response.status == 200, told[:300]

        yield call


@asynccontextmanager
async def _ours(process: Process) -> AsyncIterator[tuple[Call, "rpc.ModelRouterServiceAsyncStub"]]:
    """Calls over gRPC, each under a budget."""
    async with grpc.aio.insecure_channel(process.address) as channel:
        stub = rpc.ModelRouterServiceStub(channel)
        for scope, subject in ((budget_pb2.BUDGET_SCOPE_TENANT, ""), (budget_pb2.BUDGET_SCOPE_KEY, "key_1")):
            budget = budget_pb2.Budget(
                scope=scope, subject=subject, period=budget_pb2.BUDGET_PERIOD_DAY, max_tokens=10**12, max_cost_micros=10**14
            )
            await stub.SetBudget(pb.SetBudgetRequest(budget=budget), metadata=METADATA)
        price = routing_pb2.ModelPrice(input_micros=1_000_000, output_micros=2_000_000)
        paced = routing_pb2.ModelEntry(name="paced", provider="compatible", model="fine-paced", price=price)
        await stub.RegisterModel(pb.RegisterModelRequest(model=paced, labels=["production"]), metadata=METADATA)
        request = pb.GenerateRequest(generation=_generation("fine"))

        async def call() -> None:
            response = await stub.Generate(request, metadata=METADATA, timeout=60)
            assert response.WhichOneof("outcome") == "answer", response

        yield call, stub


def _generation(model: str) -> pb.Generation:
    spoken = message_pb2.Message(
        role=message_pb2.ROLE_USER, parts=[message_pb2.Part(text=message_pb2.TextPart(text="Where is my parcel?"))]
    )
    return pb.Generation(messages=[spoken], model=f"compatible/{model}", task="answering")


async def _our_stream(stub: "rpc.ModelRouterServiceAsyncStub", gaps: Gaps) -> None:
    request = pb.GenerateStreamRequest(generation=_generation("fine-paced"))
    last, text, answer = 0.0, "", ""
    async for event in stub.GenerateStream(request, metadata=METADATA, timeout=120):
        now = time.perf_counter()
        match event.WhichOneof("event"):
            case "text":
                if last:
                    gaps.seconds.append(now - last)
                last, text = now, text + event.text
            case "answer":
                answer = event.answer.message.parts[0].text.text
    gaps.whole += bool(answer) and text == answer


async def _streams(url: str, count: int) -> Gaps:
    """The same streams without anybody between."""
    gaps = Gaps()
    body = orjson.dumps({"model": "fine-paced", "stream": True, "messages": [{"role": "user", "content": "Where?"}]})
    headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=headers) as session:

        async def one() -> None:
            last = 0.0
            async with session.post(f"{url}/v1/chat/completions", data=body) as response:
                async for line in response.content:
                    if not line.startswith(b"data: {"):
                        continue
                    now = time.perf_counter()
                    if last:
                        gaps.seconds.append(now - last)
                    last = now
            gaps.whole += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(one())
    return gaps
