"""Three NATS servers: without one of them everything goes on, without two it waits, and nothing is lost or doubled."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import nats
import pytest
from plimsoll_devstack.loopback import PortBook
from plimsoll_devstack.processes import Child, Program
from plimsoll_devstack.wheels import find_programs
from plimsoll_runtime import logs
from plimsoll_runtime.bus import Bus, open_bus, service_stream
from plimsoll_runtime.errors import Unavailable
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.outbox import OUTBOX_MIGRATIONS, OutboxEvent, OutboxRelay, add_events
from plimsoll_runtime.postgres import migrate, open_pool
from plimsoll_runtime.settings import NatsSettings, PostgresSettings, Secret
from plimsoll_testkit import eventually

pytestmark = [pytest.mark.crash, pytest.mark.soak]  # half a minute, for which the servers vote: not in every run of the suite
STREAM = service_stream("harbour")
ARRIVED = "plimsoll.v1.harbour.ship.arrived"
SERVERS = ("north", "south", "west")
SOON = 90.0  # those that are left vote anew after seconds


@dataclass(slots=True)
class Cluster:
    """Servers by name, of which some run."""

    programs: dict[str, Program]
    urls: dict[str, str]
    running: dict[str, Child]

    def start(self, *names: str) -> None:
        for name in names:
            self.running[name] = Child(self.programs[name])

    async def kill(self, name: str) -> None:
        child = self.running.pop(name)
        child.send(signal.SIGKILL)
        await child.wait()


@asynccontextmanager
async def clustered(directory: Path) -> AsyncIterator[Cluster]:
    """All three run, or are about to."""
    ports = PortBook(directory / "ports.json").port
    routes = [f"nats://127.0.0.1:{ports(f'{name}-routes')}" for name in SERVERS]
    programs, urls = {}, {}
    for name in SERVERS:
        configuration = directory / f"{name}.json"
        cluster = {"name": "harbours", "listen": f"127.0.0.1:{ports(f'{name}-routes')}", "routes": routes}
        listen = {"server_name": name, "listen": f"127.0.0.1:{ports(name)}"}
        configuration.write_text(json.dumps({**listen, "cluster": cluster, "jetstream": {"store_dir": str(directory / name)}}))
        argv = (str(find_programs().nats_server), "-c", str(configuration))
        programs[name] = Program(name=name, argv=argv, env={}, cwd=directory, log=directory / f"{name}.log")
        urls[name] = f"nats://127.0.0.1:{ports(name)}"
    made = Cluster(programs, urls, {})
    made.start(*SERVERS)
    try:
        yield made
    finally:
        for child in made.running.values():
            await child.stop()


async def the_leader(cluster: Cluster) -> str:
    """Who leads the stream, as whoever runs says."""
    client = await nats.connect([cluster.urls[name] for name in cluster.running], allow_reconnect=False)
    try:
        state = await client.jetstream(timeout=5).stream_info(STREAM.name)
    finally:
        await client.close()
    assert state.cluster is not None
    return state.cluster.leader or ""


async def published(cluster: Cluster) -> list[int]:
    """What is in the stream, in its order."""
    client = await nats.connect(list(cluster.urls.values()))
    try:
        streams = client.jetstream(timeout=5)
        last = (await streams.stream_info(STREAM.name)).state.last_seq
        return [int((await streams.get_msg(STREAM.name, seq)).data or b"") for seq in range(1, last + 1)]
    finally:
        await client.close()


async def is_made(bus: Bus) -> bool:
    """Servers that have only just begun vote first."""
    with suppress(Unavailable):
        await bus.ensure_stream(STREAM)
        return True
    return False


async def commit(pool: asyncpg.Pool, numbers: Sequence[int]) -> None:
    events = [OutboxEvent(event_id=f"evt-{number}", subject=ARRIVED, tenant="acme", payload=str(number).encode()) for number in numbers]
    async with pool.acquire() as connection, connection.transaction():
        await add_events(connection, events)


async def drained(pool: asyncpg.Pool) -> None:
    async def is_empty() -> bool:
        return not await pool.fetchval("select count(*) from outbox")

    await eventually(is_empty, within_s=SOON)


async def test_a_cluster_that_loses_its_leader_and_then_its_majority_loses_and_doubles_nothing(postgres_dsn: str, tmp_path: Path):
    async with clustered(tmp_path) as cluster, AsyncExitStack() as stack:
        pool = await stack.enter_async_context(open_pool(PostgresSettings(dsn=Secret(postgres_dsn)), "harbour"))
        await migrate(pool, "harbour", [OUTBOX_MIGRATIONS])
        settings = NatsSettings(url=Secret(",".join(cluster.urls.values())), copies=len(SERVERS))
        bus = await stack.enter_async_context(open_bus(settings, "probe", Metrics()))
        await eventually(lambda: is_made(bus), within_s=SOON)
        stop, group = asyncio.Event(), await stack.enter_async_context(asyncio.TaskGroup())
        stack.callback(stop.set)
        group.create_task(OutboxRelay(pool, bus, STREAM, logs.get("probe")).run(stop))

        await commit(pool, range(300))
        first = await the_leader(cluster)
        await cluster.kill(first)
        await commit(pool, range(300, 600))
        await drained(pool)

        second = await the_leader(cluster)
        await cluster.kill(second)
        await commit(pool, range(600, 900))
        with pytest.raises(Unavailable):
            await bus.ping()
        cluster.start(first, second)
        await drained(pool)
        assert await published(cluster) == list(range(900))
