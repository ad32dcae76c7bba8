"""Trouble: what happens to a mesh under chaos, at random from a seed."""

import asyncio
import json
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias

from harm import Held, Servers, family, held_by, without_room
from plimsoll_devstack.chaos import packaged_plans
from plimsoll_devstack.errors import NoSuchPart
from plimsoll_devstack.files import write_private
from plimsoll_devstack.mesh import Mesh

WORKERS = ("orchestrator-worker-1", "orchestrator-worker-2")
APART = ("gateway", "orchestrator-api", "tool-dispatcher", "model-router", "memory", "feedback")
SERVICES = (*APART, *WORKERS)
SERVERS = ("postgres", "nats", "redis")
_BACK_WITHIN_S = 180.0  # there is other trouble meanwhile
_CALM_S = 31.0  # a part that ran for so long is brought back at once when it ends again
_WORKER_CALM_S = 45.0  # three deaths under a run set it aside, which is to be rare
_CALLED = ("orchestrator", "tool_dispatcher", "model_router", "memory", "feedback")
_CALLING = ("gateway", "orchestrator", "tool-dispatcher", "model-router", "memory", "feedback")
Act: TypeAlias = Callable[[random.Random], Awaitable[str]]


@dataclass(slots=True)
class Trouble:
    """Five streams of it side by side: services killed, workers killed, servers harmed, pauses, and the wires between them all.

    Attributes:
    plan_s   seconds that a fault plan is in force, or that a server stands still
    pause_s  seconds that a worker stands still: longer than its lease
    only     the streams that there are
    done     how often each was done
    held     the runs that a killed worker held, for how soon they go on elsewhere
    """

    mesh: Mesh
    seed: int
    plan_s: float = 4.0
    pause_s: float = 17.0
    only: tuple[str, ...] = ("services", "workers", "servers", "pauses", "wires")
    done: Counter[str] = field(default_factory=Counter)
    held: list[Held] = field(default_factory=list)
    _ready_at: dict[str, float] = field(default_factory=dict)

    async def run(self, stop: asyncio.Event) -> None:
        """One trouble after the other in each stream until `stop`; then everything is whole again."""
        streams: dict[str, Sequence[tuple[int, Act]]] = {
            "services": [(1, lambda dice: self._kill(APART, dice, stop))],
            "workers": [(1, lambda dice: self._kill(WORKERS, dice, stop))],
            "servers": self._servers(stop),
            "pauses": self._pauses(),
            "wires": [(3, self._plan), (1, self._cut)],
        }
        async with asyncio.TaskGroup() as group:
            for name in self.only:
                group.create_task(self._one_after_the_other(streams[name], random.Random(f"{self.seed} {name}"), stop))
        await self.end()

    def _servers(self, stop: asyncio.Event) -> Sequence[tuple[int, Act]]:
        servers = Servers(self.mesh)
        return [
            (6, lambda dice: self._kill(SERVERS, dice, stop)),
            (2, lambda dice: self._pause(dice.choice(SERVERS), self.plan_s)),
            (2, lambda dice: self._fill(dice.choice(("postgres", "nats")))),
            (2, servers.cut_connections),
            (2, servers.delete_hints),
            (2, servers.flush),
        ]

    def _pauses(self) -> Sequence[tuple[int, Act]]:
        return [
            (3, lambda dice: self._pause(dice.choice(APART), self.plan_s)),
            (1, lambda dice: self._pause(dice.choice(WORKERS), self.pause_s)),
            (1, lambda dice: self._restart(dice.choice(SERVICES))),
        ]

    async def _one_after_the_other(self, kinds: Sequence[tuple[int, Act]], dice: random.Random, stop: asyncio.Event) -> None:
        while not stop.is_set():
            act = dice.choices([act for _, act in kinds], [weight for weight, _ in kinds])[0]
            with suppress(NoSuchPart):  # it is just being restarted: trouble enough
                self.done[await act(dice)] += 1
            await _until(stop, dice.uniform(0.0, 0.5))

    async def end(self) -> None:
        """No fault plan in force, everything up."""
        write_private(self.mesh.files.faults, "")
        for part in (*SERVERS, *SERVICES):
            with suppress(NoSuchPart):
                self.mesh.signal(part, signal.SIGCONT)
            await self.mesh.ready(part, within_s=_BACK_WITHIN_S)

    async def _kill(self, parts: Sequence[str], dice: random.Random, stop: asyncio.Event) -> str:
        """One that has been well for a while, so that it is brought back at once; what is killed over and over is waited for ever longer."""
        part = min(dice.sample(parts, len(parts)), key=lambda name: self._ready_at.get(name, 0.0))
        calm_s = _WORKER_CALM_S if part in WORKERS else _CALM_S
        await _until(stop, self._ready_at.get(part, 0.0) + calm_s - time.monotonic())
        if stop.is_set():
            return "left alone at the end"
        held = held_by(self.mesh, part) if part in WORKERS else None
        await self.mesh.kill(part)
        if held is not None:
            self.held += await held.told()
        await self._back(part)
        return f"killed {part}"

    async def _restart(self, part: str) -> str:
        self.mesh.signal(part, signal.SIGTERM)
        await asyncio.sleep(self.plan_s)  # whoever is at work lets go meanwhile
        await self._back(part)
        return f"restarted {part}"

    async def _back(self, part: str) -> None:
        await self.mesh.ready(part, within_s=_BACK_WITHIN_S)
        self._ready_at[part] = time.monotonic()

    async def _pause(self, part: str, seconds: float) -> str:
        """Longer than a lease for a worker: it must not commit when it goes on. A server stands still with all its processes."""
        stopped = family(self.mesh, part)
        for process in stopped:
            process.suspend()
        try:
            await asyncio.sleep(seconds)
        finally:
            for process in stopped:
                process.resume()
        return f"stopped {part} for a while"

    async def _fill(self, part: str) -> str:
        """As on a full disk: nothing can be written any more. Whoever ends of it is brought back, and then it can."""
        with without_room(self.mesh, part) as happened:
            await asyncio.sleep(1.0)
        await self._back(part)
        return f"no room for {part} to write" if happened else f"could not take room from {part}"

    async def _plan(self, dice: random.Random) -> str:
        plan = dice.choice(list(packaged_plans().values()))
        await self._in_force(plan.read_text())
        return f"plan {plan.stem}"

    async def _cut(self, dice: random.Random) -> str:
        """No way between a service and another one or a server, in the middle of what goes on."""
        service, other = dice.choice(_CALLING), dice.choice((*_CALLED, "postgres", "nats", "redis"))
        edges = {"postgres": ["postgres"], "redis": ["redis"], "nats": ["nats_publish", "nats_consume"]}.get(other, ["rpc_client"])
        operation = "*" if other in SERVERS else f"plimsoll.{other}.*"
        kind = dice.choice(("error", "cut"))
        rules = [{"edge": edge, "kind": kind, "service": service, "operation": operation} for edge in edges]
        await self._in_force(json.dumps({"name": "cut", "seed": self.seed, "rules": rules}))
        return "cut one from another"

    async def _in_force(self, plan: str) -> None:
        write_private(self.mesh.files.faults, plan)
        try:
            await asyncio.sleep(self.plan_s)
        finally:
            write_private(self.mesh.files.faults, "")


async def _until(stop: asyncio.Event, seconds: float) -> None:
    """So many seconds, or until `stop`."""
    if seconds > 0:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await stop.wait()
