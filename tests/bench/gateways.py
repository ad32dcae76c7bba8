"""Model gateways as processes before one scripted upstream: ours with everything on, and LiteLLM's proxy, bare or with its features on."""

import asyncio
import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
from peers import ROOT, python_of
from plimsoll_devstack.servers import Servers

_START_CAP_S = 120.0
_LITELLM = ("litellm[proxy]>=1.80", "prometheus-client>=0.20", "uvloop>=0.21")
KEY = "sk-bench"


@dataclass(frozen=True, slots=True)
class Process:
    """A gateway that runs: where it listens, and its pid."""

    address: str
    pid: int

    def cpu_s(self) -> float:
        """Processor time that it has used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mib(self) -> float:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024


@asynccontextmanager
async def upstream() -> AsyncIterator[str]:
    """The scripted upstream in a process of its own; yields its address."""
    async with spawned([sys.executable, "-m", "plimsoll_testkit.upstream"], {}, pipe=True) as process:
        assert process.stdout is not None
        async with asyncio.timeout(_START_CAP_S):
            address = (await process.stdout.readline()).decode().strip()
        yield address


@asynccontextmanager
async def router(servers: Servers, upstream_url: str) -> AsyncIterator[Process]:
    """Ours on one core, with ledger, request limits, breakers and events: the whole service on real servers."""
    grpc_port, admin_port = free_port(), free_port()
    prefix = "PLIMSOLL_MODEL_ROUTER_"
    told = {
        "INSECURE": "true",
        "GRPC_LISTEN": f"127.0.0.1:{grpc_port}",
        "ADMIN_LISTEN": f"127.0.0.1:{admin_port}",
        "POSTGRES_DSN": servers.postgres.dsn("model_router"),
        "NATS_URL": servers.nats.url("model_router"),
        "REDIS_URL": servers.redis.url("model_router"),
        "COMPATIBLE_BASE_URL": f"{upstream_url}/v1",
        "COMPATIBLE_API_KEY": KEY,
        "COMPATIBLE_MODEL": "fine",
        "COMPATIBLE_INPUT_PRICE_MICROS": "1000000",
        "COMPATIBLE_OUTPUT_PRICE_MICROS": "2000000",
        "COMPATIBLE_REQUESTS_PER_MINUTE": "100000000",
        "LOG_LEVEL": "WARNING",
    }
    async with spawned(
        _pinned([sys.executable, "-m", "plimsoll_model_router"]), {prefix + name: value for name, value in told.items()}
    ) as process:
        await ready(f"http://127.0.0.1:{admin_port}/readyz", process)
        yield Process(f"127.0.0.1:{grpc_port}", process.pid)


@asynccontextmanager
async def litellm(upstream_url: str, redis_url: str = "") -> AsyncIterator[Process | None]:
    """LiteLLM's proxy on one core, one worker, without a database; None, with a line that says so, when it cannot be installed.

    With a Redis it has the features on that ours has and that it can have without a database: prices, limits of requests and tokens that
    hold for all replicas, a budget of the provider in money, Prometheus metrics of every call. Bare it has routing alone.
    """
    python = python_of("litellm", _LITELLM)
    if python is None:
        yield None
        return
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(_litellm_settings(upstream_url, redis_url))
        command = [
            str(python.with_name("litellm")),
            "--config",
            str(config),
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--num_workers",
            "1",
        ]
        environ = {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "DISABLE_ADMIN_UI": "True", "NO_PROXY": "127.0.0.1"}
        async with spawned(_pinned(command), environ, folder=folder) as process:
            await ready(f"http://127.0.0.1:{port}/health/liveliness", process)
            yield Process(f"http://127.0.0.1:{port}", process.pid)


def _litellm_settings(upstream_url: str, redis_url: str) -> str:
    """Limits and budget are far away, as ours are: what is measured is that they are kept."""
    limits = ", rpm: 100000000, tpm: 1000000000000, input_cost_per_token: 0.000001, output_cost_per_token: 0.000002" if redis_url else ""
    models = "".join(
        f"  - model_name: {name}\n    litellm_params: {{model: openai/{name}, api_base: {upstream_url}/v1, api_key: {KEY}{limits}}}\n"
        for name in ("fine", "fine-paced")
    )
    measured = ", callbacks: [prometheus]" if redis_url else ""
    settings = f"model_list:\n{models}general_settings: {{master_key: {KEY}}}\nlitellm_settings: {{telemetry: false{measured}}}\n"
    if not redis_url:
        return settings
    redis = urlsplit(redis_url)
    return (
        f"{settings}router_settings:\n  optional_pre_call_checks: [enforce_model_rate_limits]\n"
        f"  provider_budget_config: {{openai: {{budget_limit: 100000000, time_period: 1d}}}}\n"
        f"  redis_host: {redis.hostname}\n  redis_port: {redis.port}\n"
        f"  redis_username: {redis.username}\n  redis_password: {redis.password}\n"
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _pinned(command: Sequence[str]) -> list[str]:
    """On one core, where that can be said."""
    return ["taskset", "-c", "0", *command] if sys.platform == "linux" and (os.cpu_count() or 1) > 1 else [*command]


@asynccontextmanager
async def spawned(
    command: Sequence[str], environ: Mapping[str, str], *, pipe: bool = False, folder: str = ""
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *command,
        env={"PATH": os.environ["PATH"], "HOME": folder or str(ROOT), **environ},
        cwd=folder or ROOT,
        stdout=asyncio.subprocess.PIPE if pipe else None if os.environ.get("BENCH_VERBOSE") else asyncio.subprocess.DEVNULL,
        stderr=None if os.environ.get("BENCH_VERBOSE") else asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(15):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


async def ready(url: str, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(_START_CAP_S), aiohttp.ClientSession() as session:
        while True:
            if process.returncode is not None:
                raise RuntimeError(f"{url} ended before it was ready")
            try:
                async with session.get(url) as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)
