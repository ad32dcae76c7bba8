"""Harm: what trouble does to processes and servers from outside, and what it notes before it does."""

import os
import random
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime

import asyncpg
import nats
import psutil
from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError
from plimsoll_devstack.errors import NoSuchPart
from plimsoll_devstack.mesh import Mesh
from redis.asyncio import Redis
from redis.exceptions import RedisError

_HINTS = "PLIMSOLL_ORCHESTRATOR_HINTS"
_ROOM = 16 * 1024
_ROLES = ("gateway", "orchestrator", "tool_dispatcher", "model_router", "memory", "feedback")


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A run that a worker held when it was killed, and the epoch of its claim, which whoever goes on with it raises."""

    run_id: str
    epoch: int
    killed_at: datetime


@dataclass(frozen=True, slots=True)
class Holder:
    """A worker about to be killed, by the name under which it claims."""

    mesh: Mesh
    worker: str

    async def told(self) -> list[Held]:
        """What it holds, now that it is dead: its claims stay until their leases end. Nothing when the database cannot say."""
        query = "select run_id, epoch, now() as at from runs where worker = $1 and finished_at is null"
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            connection = await asyncpg.connect(self.mesh.servers.postgres.dsn("orchestrator"), timeout=2)
            try:
                rows = await connection.fetch(query, self.worker, timeout=2)
            finally:
                connection.terminate()
            return [Held(run_id=row["run_id"], epoch=row["epoch"], killed_at=row["at"]) for row in rows]
        return []


def held_by(mesh: Mesh, part: str) -> Holder | None:
    pid = mesh.pids.get(part)
    return None if pid is None else Holder(mesh, f"{socket.gethostname()}:{pid}")


def family(mesh: Mesh, part: str) -> list[psutil.Process]:
    """The process of a part, and all that it has started. Raises NoSuchPart when it does not run now."""
    pid = mesh.pids.get(part)
    try:
        process = psutil.Process(pid) if pid is not None else None
        found = [process, *process.children(recursive=True)] if process is not None else []
    except psutil.NoSuchProcess:
        found = []
    members = []
    for process in found:
        with suppress(psutil.NoSuchProcess):  # it may have ended since
            members.append(_Tolerant(process.pid))
    if not members:
        raise NoSuchPart(f"part {part} does not run now", remedy="Wait until it is ready again")
    return members


class _Tolerant(psutil.Process):
    """A process that may have ended meanwhile."""

    def suspend(self) -> None:
        with suppress(psutil.NoSuchProcess):
            super().suspend()

    def resume(self) -> None:
        with suppress(psutil.NoSuchProcess):
            super().resume()


@contextmanager
def without_room(mesh: Mesh, part: str) -> Iterator[bool]:
    """Within the block its files cannot grow, which it meets as it meets a full disk: a write that fails. Whether that worked.

    Its log, which is small, has room left, as the last block of a file has on a full disk.
    """
    log = mesh.files.logs / f"{part}.log"
    try:
        yield _limited(family(mesh, part), str(log.stat().st_size + _ROOM))
    finally:
        with suppress(NoSuchPart):  # it ended of it, and begins anew without a limit
            _limited(family(mesh, part)[:1], "unlimited")  # who starts others comes first, for they inherit
            _limited(family(mesh, part), "unlimited")


def _limited(processes: Sequence[psutil.Process], room: str) -> bool:
    """Only a process's own user may change its limits, unless one may do everything; so it is done as that user."""
    worked = [_told(process, (f"--pid={process.pid}", f"--fsize={room}:")) for process in processes]
    return any(worked)


def _told(process: psutil.Process, limits: Sequence[str]) -> bool:
    """By a program, not by `user=`: Python forks for that, and a fork of a process with gRPC's threads in it crashes."""
    try:
        user, group = process.uids().real, process.gids().real
        become = () if user == os.geteuid() else ("setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups")
        return subprocess.run((*become, "prlimit", *limits), check=False, capture_output=True).returncode == 0
    except (psutil.NoSuchProcess, OSError):
        return False


@dataclass(frozen=True, slots=True)
class Servers:
    """The servers as their operators reach them."""

    mesh: Mesh

    async def cut_connections(self, dice: random.Random) -> str:
        """Every connection of one service to PostgreSQL, or everybody's to Redis, in the middle of whatever goes over it."""
        if dice.random() < 0.3:
            with suppress(RedisError, OSError):
                async with Redis.from_url(self.mesh.servers.redis.url("operator")) as redis:
                    await redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                return "cut all connections to redis"
            return "could not cut connections"
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            connection = await asyncpg.connect(self.mesh.servers.postgres.dsn("postgres"), timeout=2)
            try:
                ends = "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = $1"
                await connection.fetchval(ends, dice.choice(_ROLES), timeout=2)
            finally:
                connection.terminate()
            return "cut a service's connections to postgres"
        return "could not cut connections"

    async def delete_hints(self, _: random.Random) -> str:
        with suppress(NatsError, JetStreamError, OSError, TimeoutError):
            client = await nats.connect(self.mesh.servers.nats.url("operator"), connect_timeout=2, allow_reconnect=False)
            try:
                await client.jetstream().delete_stream(_HINTS)
            finally:
                await client.close()
            return "deleted the stream of hints"
        return "could not delete the stream of hints"

    async def flush(self, _: random.Random) -> str:
        with suppress(RedisError, OSError):
            async with Redis.from_url(self.mesh.servers.redis.url("operator")) as redis:
                await redis.flushall()
            return "flushed Redis"
        return "could not flush Redis"
