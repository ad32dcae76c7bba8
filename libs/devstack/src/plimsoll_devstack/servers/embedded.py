"""The three embedded servers of one data directory, started and stopped together."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from plimsoll_devstack.credentials import load_or_create
from plimsoll_devstack.files import private_directory
from plimsoll_devstack.loopback import PortBook
from plimsoll_devstack.names import SERVICES
from plimsoll_devstack.parts import Part, until_ready
from plimsoll_devstack.processes import Child
from plimsoll_devstack.servers.nats import OPERATOR, NatsServer
from plimsoll_devstack.servers.postgres import SUPERUSER, PostgresServer
from plimsoll_devstack.servers.provision import ROLES, provision
from plimsoll_devstack.servers.redis import RedisServer
from plimsoll_devstack.wheels import find_programs


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """The three servers as configured: where they listen and how each user connects."""

    postgres: PostgresServer
    nats: NatsServer
    redis: RedisServer


def configure(data: Path, *, durable: bool = True, guests: tuple[str, ...] = ()) -> Servers:
    """Choose ports and passwords for the servers of `data`; `guests` are more users, without limits, each alone in its NATS account."""
    private_directory(data)
    private_directory(data / "logs")
    return _compose(data, PortBook(data / "ports.json").port, durable=durable, guests=guests)


def recorded(data: Path) -> Servers:
    """The servers of `data` as they were last configured: for connecting to a mesh that runs, changing nothing."""
    return _compose(data, PortBook(data / "ports.json").recorded, durable=True, guests=())


def _compose(data: Path, port: Callable[[str], int], *, durable: bool, guests: tuple[str, ...]) -> Servers:
    programs = find_programs()
    users = load_or_create(
        data / "credentials.json",
        postgres=(SUPERUSER, *ROLES, *guests),
        nats=(*SERVICES, OPERATOR, *guests),
        redis=(*SERVICES, OPERATOR, *guests),
    )
    logs = data / "logs"
    return Servers(
        postgres=PostgresServer(
            programs=programs.postgres_bin,
            directory=data / "postgres",
            port=port("postgres"),
            passwords=users.postgres,
            log=logs / "postgres.log",
            durable=durable,
        ),
        nats=NatsServer(
            program=programs.nats_server, directory=data / "nats", port=port("nats"), passwords=users.nats, log=logs / "nats.log"
        ),
        redis=RedisServer(
            program=programs.redis_server,
            directory=data / "redis",
            port=port("redis"),
            passwords=users.redis,
            log=logs / "redis.log",
            durable=durable,
        ),
    )


def server_parts(servers: Servers) -> tuple[Part, ...]:
    """The three as parts; Postgres counts as ready once it holds what the services need."""
    return (
        Part(
            rank=0, name="nats", prepare=servers.nats.prepare, ready=servers.nats.ping, address=servers.nats.address, sick=servers.nats.sick
        ),
        Part(rank=0, name="redis", prepare=servers.redis.prepare, ready=servers.redis.ping, address=servers.redis.address),
        Part(
            rank=0,
            name="postgres",
            prepare=servers.postgres.prepare,
            ready=_ready_postgres(servers.postgres),
            address=servers.postgres.address,
        ),
    )


@asynccontextmanager
async def running(servers: Servers) -> AsyncIterator[None]:
    """Start all three side by side, ready and provisioned on entry, stopped on exit."""
    children: list[Child] = []
    try:
        async with asyncio.TaskGroup() as group:
            for part in server_parts(servers):
                child = Child(part.prepare())
                children.append(child)
                group.create_task(until_ready(part, child))
        yield
    finally:
        async with asyncio.TaskGroup() as group:
            for child in children:
                group.create_task(child.stop())


def _ready_postgres(server: PostgresServer) -> Callable[[], Awaitable[None]]:
    async def ready() -> None:
        await server.ping()
        await provision(server)

    return ready
