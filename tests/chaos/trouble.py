"""Trouble: what happens to a mesh under chaos, at random from a seed."""

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias

import nats
from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError
from plimsoll_devstack.chaos import packaged_plans
from plimsoll_devstack.errors import NoSuchPart
from plimsoll_devstack.files import write_private
from plimsoll_devstack.mesh import Mesh
from redis.asyncio import Redis
from redis.exceptions import RedisError

WORKERS = ("orchestrator-worker-1", "orchestrator-worker-2")
SERVICES = (
    "gateway",
    "orchestrator-api",
    *WORKERS,
    "tool-dispatcher",
    "model-router",
    "memory",
    "feedback",
)
SERVERS = ("postgres", "nats", "redis")
_BACK_WITHIN_S = 90.0
_HINTS = "PLIMSOLL_ORCHESTRATOR_HINTS"
Act: TypeAlias = Callable[[random.Random], Awaitable[str]]


@dataclass(slots=True)
class Trouble:
    """Two streams of it side by side: with processes and servers, and with the wires between them.

    Attributes:
    plan_s   seconds that a fault plan is in force
    pause_s  seconds that a worker stands still: longer than its lease
    processes  whether processes are troubled too, or only the wires
    done     how often each was done
    """

    mesh: Mesh
    seed: int
    plan_s: float = 4.0
    pause_s: float = 17.0
    processes: bool = True
    done: Counter[str] = field(default_factory=Counter)

    async def run(self, stop: asyncio.Event) -> None:
        """One trouble after the other in both streams until `stop`; then everything is whole again."""
        processes: Sequence[tuple[int, Act]] = [
            (10, lambda dice: self._kill(dice.choice(SERVICES))),
            (6, lambda dice: self._kill(dice.choice(WORKERS))),
            (2, lambda dice: self._kill(dice.choice(SERVERS))),
            (1, lambda dice: self._pause(dice.choice(SERVICES))),
            (1, lambda _: self._delete_hints()),
            (1, lambda _: self._flush()),
        ]
        wires: Sequence[tuple[int, Act]] = [(1, self._plan)]
        async with asyncio.TaskGroup() as group:
            for number, kinds in enumerate((processes, wires) if self.processes else (wires,)):
                group.create_task(self._one_after_the_other(kinds, random.Random(f"{self.seed} {number}"), stop))
        await self.end()

    async def _one_after_the_other(self, kinds: Sequence[tuple[int, Act]], dice: random.Random, stop: asyncio.Event) -> None:
        while not stop.is_set():
            act = dice.choices([act for _, act in kinds], [weight for weight, _ in kinds])[0]
            with suppress(NoSuchPart):  # it is just being restarted: trouble enough
                self.done[await act(dice)] += 1
            with suppress(TimeoutError):
                async with asyncio.timeout(dice.uniform(0.0, 0.5)):
                    await stop.wait()

    async def end(self) -> None:
        """No fault plan in force, everything up."""
        write_private(self.mesh.files.faults, "")
        for part in (*SERVERS, *SERVICES):
            with suppress(NoSuchPart):
                self.mesh.signal(part, signal.SIGCONT)
            await self.mesh.ready(part, within_s=_BACK_WITHIN_S)

    async def _kill(self, part: str) -> str:
        await self.mesh.kill(part)
        await self.mesh.ready(part, within_s=_BACK_WITHIN_S)
        return f"killed {part}"

    async def _pause(self, part: str) -> str:
        """Longer than a lease for a worker: it must not commit when it goes on."""
        self.mesh.signal(part, signal.SIGSTOP)
        try:
            await asyncio.sleep(self.pause_s if part in WORKERS else self.plan_s)
        finally:
            with suppress(NoSuchPart):  # whoever looked after it has ended it meanwhile
                self.mesh.signal(part, signal.SIGCONT)
        return f"stopped {part} for a while"

    async def _plan(self, dice: random.Random) -> str:
        plan = dice.choice(list(packaged_plans().values()))
        write_private(self.mesh.files.faults, plan.read_text())
        try:
            await asyncio.sleep(self.plan_s)
        finally:
            write_private(self.mesh.files.faults, "")
        return f"plan {plan.stem}"

    async def _delete_hints(self) -> str:
        with suppress(NatsError, JetStreamError, OSError, TimeoutError):
            client = await nats.connect(self.mesh.servers.nats.url("operator"), connect_timeout=2, allow_reconnect=False)
            try:
                await client.jetstream().delete_stream(_HINTS)
            finally:
                await client.close()
            return "deleted the stream of hints"
        return "could not delete the stream of hints"

    async def _flush(self) -> str:
        with suppress(RedisError, OSError):
            async with Redis.from_url(self.mesh.servers.redis.url("operator")) as redis:
                await redis.flushall()
            return "flushed Redis"
        return "could not flush Redis"
