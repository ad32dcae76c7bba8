"""The front door: runs accepted over REST, what REST costs over gRPC, idle streams, a noisy neighbour, and overload."""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import grpc
from gateways import Process, free_port, ready, spawned
from plimsoll.gateway.v1 import agents_pb2, gateway_service_pb2_grpc, runs_pb2
from plimsoll_devstack.servers import Servers
from results import Row

_GRAPH = """
agent: bench
input: {type: object, properties: {n: {type: integer}}}
state: {type: object, properties: {n: {type: integer}}}
start: wait
output: {n: state.n}
nodes:
  wait: {wait: {signal: go, expires: 24h}, next: end}
"""
_NOWHERE = "127.0.0.1:9"
_WIDE = dict.fromkeys(("LIMIT_KEY_REQUESTS", "LIMIT_TENANT_REQUESTS", "BACKLOG_RUNS", "BACKLOG_TENANT_RUNS"), "1000000")
_RUNS, _AT_ONCE = 6000, 64
_CALLS = 600
_STREAMS = 2000
_NEIGHBOUR_S = 6.0
_LIMIT = 100
_PATH = "/v1/agents/bench/runs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """A gateway with an orchestrator behind it, and keys of two tenants."""

    gateway: Process
    orchestrator: Process
    rpc: str
    keys: Mapping[str, str]


@asynccontextmanager
async def mesh(servers: Servers, **settings: str) -> AsyncIterator[Mesh]:
    """Both as processes of their own, before the real servers; with an agent whose runs wait at once."""
    api, api_admin, http, rpc, admin = (free_port() for _ in range(5))
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        orchestrator = await stack.enter_async_context(
            spawned(
                [sys.executable, "-m", "plimsoll_orchestrator"],
                _environ(
                    "PLIMSOLL_ORCHESTRATOR_",
                    servers,
                    GRPC_LISTEN=f"127.0.0.1:{api}",
                    ADMIN_LISTEN=f"127.0.0.1:{api_admin}",
                    NATS_URL=servers.nats.url("orchestrator"),
                    **{f"{peer}_ADDRESS": _NOWHERE for peer in ("MODEL_ROUTER", "TOOL_DISPATCHER", "MEMORY")},
                ),
            )
        )
        gateway = await stack.enter_async_context(
            spawned(
                [sys.executable, "-m", "plimsoll_gateway"],
                _environ(
                    "PLIMSOLL_GATEWAY_",
                    servers,
                    HTTP_LISTEN=f"127.0.0.1:{http}",
                    PUBLIC_GRPC_LISTEN=f"127.0.0.1:{rpc}",
                    ADMIN_LISTEN=f"127.0.0.1:{admin}",
                    REDIS_URL=servers.redis.url("gateway"),
                    BOOTSTRAP_KEY_FILE=str(folder / "key"),
                    **{**_WIDE, **settings},
                    ORCHESTRATOR_ADDRESS=f"127.0.0.1:{api}",
                    **{f"{peer}_ADDRESS": _NOWHERE for peer in ("MODEL_ROUTER", "TOOL_DISPATCHER", "MEMORY", "FEEDBACK")},
                ),
            )
        )
        await ready(f"http://127.0.0.1:{api_admin}/readyz", orchestrator)
        await ready(f"http://127.0.0.1:{admin}/readyz", gateway)
        keys = {tenant: await _key(servers, tenant) for tenant in ("acme", "other")}
        running = Mesh(
            gateway=Process(f"http://127.0.0.1:{http}", gateway.pid),
            orchestrator=Process(f"127.0.0.1:{api}", orchestrator.pid),
            rpc=f"127.0.0.1:{rpc}",
            keys=keys,
        )
        async with grpc.aio.insecure_channel(running.rpc) as channel:
            stub = gateway_service_pb2_grpc.GatewayServiceStub(channel)
            for key in keys.values():
                await stub.RegisterAgent(agents_pb2.RegisterAgentRequest(source=_GRAPH), metadata=_metadata(key))
        yield running


async def measure_submit(servers: Servers) -> list[Row]:
    """Runs accepted durably a second over REST; gateway, orchestrator with its worker, servers and clients on this machine."""
    async with mesh(servers) as running, _session(running) as session:
        await _many(lambda n: _submit(session, n), 500)
        busy = running.gateway.cpu_s(), running.orchestrator.cpu_s()
        started = time.perf_counter()
        await _many(lambda n: _submit(session, n), _RUNS)
        seconds = time.perf_counter() - started
        gateway, orchestrator = running.gateway.cpu_s() - busy[0], running.orchestrator.cpu_s() - busy[1]
    rate = _RUNS / seconds
    print(f"gateway {gateway / _RUNS * 1e3:.2f} ms, orchestrator {orchestrator / _RUNS * 1e3:.2f} ms of processor time a run")
    return [Row(name="submit-rate", value=rate, unit="runs/s", target="≥ 600", passed=rate >= 600)]


async def measure_overhead(servers: Servers) -> list[Row]:
    """What the same read costs over REST and over gRPC, one at a time, in turns."""
    async with mesh(servers) as running, _session(running) as session, grpc.aio.insecure_channel(running.rpc) as channel:
        stub, metadata = gateway_service_pb2_grpc.GatewayServiceStub(channel), _metadata(running.keys["acme"])
        run_id = (await _submit(session, 0))["run"]["runId"]
        rest, rpc = [], []
        for _ in range(_CALLS):
            started = time.perf_counter()
            async with session.get(f"/v1/runs/{run_id}") as response:
                await response.read()
            middle = time.perf_counter()
            await stub.GetRun(runs_pb2.GetRunRequest(run_id=run_id), metadata=metadata)
            rest.append(middle - started)
            rpc.append(time.perf_counter() - middle)
    over, under = statistics.median(rest[50:]) * 1e3, statistics.median(rpc[50:]) * 1e3
    return [
        Row(
            name="rest-overhead",
            value=over - under,
            unit="ms",
            peer="gRPC",
            peer_value=under,
            ratio=over / under,
            target="≤ 1.5 ms",
            passed=over - under <= 1.5,
        )
    ]


async def measure_streams(servers: Servers) -> list[Row]:
    """What so many idle event streams add to the gateway's memory."""
    settings = {"BOUND_TENANT_STREAMS": str(_STREAMS), "BOUND_STREAMS": str(_STREAMS)}
    async with mesh(servers, **settings) as running, _session(running) as session:
        run_id = (await _submit(session, 0))["run"]["runId"]
        before = running.gateway.resident_mib()
        async with AsyncExitStack() as stack:
            for _ in range(_STREAMS // 50):
                answers = await asyncio.gather(*(session.get(f"/v1/runs/{run_id}/events") for _ in range(50)))
                for answer in answers:
                    stack.callback(answer.close)
                    assert answer.status == 200, await answer.text()
            await asyncio.sleep(3)
            after = running.gateway.resident_mib()
    print(f"{before:.0f} MiB before, {after:.0f} MiB with {_STREAMS} streams")
    return [Row(name="idle-streams", value=after, unit="MiB", target="≤ 150", passed=after <= 150)]


async def measure_neighbour(servers: Servers) -> list[Row]:
    """What is left of a tenant's goodput while another asks ten times what it may."""
    async with mesh(servers, LIMIT_KEY_REQUESTS=str(_LIMIT), LIMIT_TENANT_REQUESTS=str(_LIMIT)) as running:
        alone = await _goodput(running, noisy=False)
        beside = await _goodput(running, noisy=True)
    lost = 1 - beside / alone
    return [Row(name="noisy-neighbour", value=lost * 100, unit="% lost", target="< 5", passed=lost < 0.05)]


async def measure_overload(servers: Servers) -> list[Row]:
    """The slowest hundredth of what is accepted at the limit, and at twice the limit."""
    async with mesh(servers, LIMIT_KEY_REQUESTS=str(_LIMIT), LIMIT_TENANT_REQUESTS=str(_LIMIT)) as running, _session(running) as session:
        at, twice = [], []
        await _paced(session, _LIMIT * 0.9, _NEIGHBOUR_S, at)
        await asyncio.sleep(1.5)
        await _paced(session, _LIMIT * 2.0, _NEIGHBOUR_S, twice)
    limit, over = _p99(at), _p99(twice)
    return [
        Row(
            name="overload-p99",
            value=over,
            unit="ms",
            peer="at the limit",
            peer_value=limit,
            ratio=over / limit,
            target="≤ 2 ×",
            passed=over <= 2 * limit,
        )
    ]


async def _goodput(running: Mesh, *, noisy: bool) -> float:
    """Runs a second that the quiet tenant gets accepted at nine tenths of its limit."""
    quiet: list[float] = []
    async with _session(running, "other") as session, _session(running, "acme") as loud, asyncio.TaskGroup() as group:
        if noisy:
            group.create_task(_paced(loud, _LIMIT * 10.0, _NEIGHBOUR_S, []))
        await _paced(session, _LIMIT * 0.9, _NEIGHBOUR_S, quiet)
    return len(quiet) / _NEIGHBOUR_S


async def _paced(session: aiohttp.ClientSession, rate: float, seconds: float, accepted: list[float]) -> None:
    """Ask at a rate, whatever the answers; the times of those accepted, in ms."""
    began = time.perf_counter()

    async def one(number: int) -> None:
        started = time.perf_counter()
        async with session.post(_PATH, json={"input": {"n": number}}) as response:
            await response.read()
            if response.status == 200:
                accepted.append((time.perf_counter() - started) * 1e3)

    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
            group.create_task(one(number))


async def _many(work: Callable[[int], Awaitable[object]], times: int) -> None:
    numbers = iter(range(times))

    async def some() -> None:
        for number in numbers:
            await work(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(some())


async def _submit(session: aiohttp.ClientSession, number: int) -> dict[str, dict[str, str]]:
    async with session.post(_PATH, json={"input": {"n": number}}) as response:
        document: dict[str, dict[str, str]] = await response.json(content_type=None)
        assert response.status == 200, document
        return document


@asynccontextmanager
async def _session(running: Mesh, tenant: str = "acme") -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0)
    headers = {"Authorization": f"Bearer {running.keys[tenant]}"}
    async with aiohttp.ClientSession(running.gateway.address, headers=headers, connector=connector) as session:
        yield session


async def _key(servers: Servers, tenant: str) -> str:
    command = [sys.executable, "-m", "plimsoll_gateway", "keys", "create", "--tenant", tenant, "--name", "bench", "--scopes", "admin"]
    made = await asyncio.create_subprocess_exec(
        *command,
        env={"PLIMSOLL_GATEWAY_POSTGRES_DSN": servers.postgres.dsn("gateway")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    text, _ = await made.communicate()
    return text.decode().strip()


def _environ(prefix: str, servers: Servers, **told: str) -> dict[str, str]:
    service = prefix.split("_")[1].lower()
    common = {"INSECURE": "true", "POSTGRES_DSN": servers.postgres.dsn(service), "LOG_LEVEL": "WARNING"}
    return {prefix + name: value for name, value in {**common, **told}.items()}


def _metadata(key: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {key}"),)


def _p99(times: list[float]) -> float:
    return statistics.quantiles(times, n=100)[98]
