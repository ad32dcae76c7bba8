"""A PostgreSQL of a test's own with a standby, to kill the one and promote the other."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg
from plimsoll_devstack.account import give_tree, unprivileged_account
from plimsoll_devstack.files import private_directory
from plimsoll_devstack.names import LOOPBACK
from plimsoll_devstack.parts import Part, until_ready
from plimsoll_devstack.processes import Child, Program, run_to_end
from plimsoll_devstack.servers import configure
from plimsoll_devstack.servers.postgres import SUPERUSER, PostgresServer

_REPLICATES = ("wal_level=replica", "max_wal_senders=4", "hot_standby=on", "synchronous_commit=on")
_COPIED_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Node:
    """One of the two, which runs."""

    server: PostgresServer
    child: Child

    async def ask(self, *statements: str) -> None:
        """Each over a connection of its own accord, also where new transactions only read."""
        connection = await asyncpg.connect(self.server.dsn(SUPERUSER, database="postgres"), timeout=20)
        try:
            for statement in statements:
                await connection.execute(statement, timeout=60)
        finally:
            await connection.close()

    async def kill(self) -> None:
        self.child.send(signal.SIGKILL)
        await self.child.wait()


@dataclass(frozen=True, slots=True)
class Pair:
    """A primary, whose commits wait for the standby, and the standby."""

    primary: Node
    standby: Node

    @property
    def dsn(self) -> str:
        """Whichever of them takes writes."""
        first, second = self.primary.server, self.standby.server
        hosts = f"{LOOPBACK}:{first.port},{LOOPBACK}:{second.port}"
        return f"postgresql://{SUPERUSER}:{first.passwords[SUPERUSER]}@{hosts}/postgres?target_session_attrs=read-write"


@asynccontextmanager
async def replicated(directory: Path) -> AsyncIterator[Pair]:
    """Both, as from the first commit that the standby has."""
    first = configure(directory / "first", durable=False).postgres
    second = replace(configure(directory / "second", durable=False).postgres, passwords=first.passwords)
    async with AsyncExitStack() as stack:
        primary = await _started(stack, first)
        _copy(first, second)
        standby = await _started(stack, second)
        await primary.ask("alter system set synchronous_standby_names = '*'", "select pg_reload_conf()")
        yield Pair(primary, standby)


async def _started(stack: AsyncExitStack, server: PostgresServer) -> Node:
    program = server.prepare()
    with (server.cluster / "pg_hba.conf").open("a") as rules:
        rules.write(f"host replication all {LOOPBACK}/32 scram-sha-256\n")
    arguments = [part for setting in _REPLICATES for part in ("-c", setting)]
    child = Child(replace(program, argv=(*program.argv, *arguments), stop_signal=signal.SIGQUIT))
    stack.push_async_callback(child.stop)
    async with asyncio.timeout(120):
        await until_ready(Part(rank=0, name="postgres", prepare=server.prepare, ready=server.ping, address=server.address), child)
    return Node(server, child)


def _copy(first: PostgresServer, second: PostgresServer) -> None:
    """The second becomes a copy of the first, and its standby when it starts."""
    private_directory(second.directory)
    account = unprivileged_account(second.directory, first.programs / "postgres")
    give_tree(second.directory, account)
    origin = first.dsn(SUPERUSER, database="postgres")
    command = (
        str(first.programs / "pg_basebackup"),
        "-D",
        str(second.cluster),
        "-d",
        origin,
        "-R",
        "-X",
        "stream",
        "-c",
        "fast",
        "--no-sync",
    )
    copying = Program(name="copy", argv=command, env={"LC_ALL": "C"}, cwd=second.directory, log=second.log, account=account)
    assert run_to_end(copying, within_s=_COPIED_WITHIN_S) == 0, second.log.read_text()
