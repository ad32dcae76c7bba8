"""A dispatcher as a process of its own, for tests that kill it."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import psutil
from plimsoll_runtime.errors import PlimsollError
from plimsoll_testkit.ports import free_port
from plimsoll_testkit.waiting import eventually
from tool_dispatcher_running import Client, connect


class Process:
    """A dispatcher as it is run in production, and a client of it."""

    def __init__(self, process: asyncio.subprocess.Process, client: Client) -> None:
        self._process = process
        self.client = client

    @property
    def pid(self) -> int:
        return self._process.pid

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.pid).children(recursive=True)

    async def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        await self._process.wait()


@asynccontextmanager
async def dispatcher(postgres_dsn: str, nats_url: str, redis_url: str, tools: Path, lease_s: float = 0.5) -> AsyncIterator[Process]:
    address = f"127.0.0.1:{free_port()}"
    own = {
        "POSTGRES_DSN": postgres_dsn,
        "NATS_URL": nats_url,
        "REDIS_URL": redis_url,
        "INSECURE": "true",
        "GRPC_LISTEN": address,
        "TOOL_DIRS": str(tools),
        "LEASE_S": str(lease_s),
        "LOG_LEVEL": "WARNING",
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PLIMSOLL_")}
    environment |= {f"PLIMSOLL_TOOL_DISPATCHER_{name}": value for name, value in own.items()}
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "plimsoll_tool_dispatcher", env=environment)
    try:
        async with AsyncExitStack() as stack:
            client = Client(stub=await connect(stack, address))
            await eventually(lambda: _answers(client), within_s=60)
            yield Process(process, client)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _answers(client: Client) -> bool:
    try:
        return (await client.dispatch("nothing", {}, key="probe", run_id="probe", cap_s=1)).HasField("failure")
    except PlimsollError:
        return False
