"""Keeps the parts of a mesh alive: starts them in order, restarts what crashes, stops them in the reverse order."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

from plimsoll_runtime.errors import PlimsollError, unwrap
from plimsoll_runtime.logs import Log

from plimsoll_devstack.backoff import Backoff
from plimsoll_devstack.errors import NotWritable
from plimsoll_devstack.parts import Part, ending, last_words, until_ready
from plimsoll_devstack.processes import Child
from plimsoll_devstack.state import MeshFiles, MeshState, PartPhase, PartState, Phase

_LOOK_S = 2.0  # how often a running part is asked whether it is well


class Supervisor:
    """Supervises one data directory. The caller holds its lock.

    Every change is recorded in `mesh.json`, a new process before anything else happens to it, so that whoever comes after
    a supervisor that was killed knows what it left behind.
    """

    def __init__(self, files: MeshFiles, state: MeshState, parts: tuple[Part, ...], log: Log) -> None:
        self._files = files
        self._parts = parts
        self._log = log
        self._children: dict[str, Child] = {}
        self._recorded = True
        self._state = replace(state, parts=tuple(_waiting(part) for part in parts))

    async def run(self, stopping: asyncio.Event, on_ready: Callable[[MeshState], None]) -> None:
        """Start everything, call `on_ready`, keep it alive until `stopping`, stop everything. Raises what prevented the start."""
        problem = ""
        try:
            async with asyncio.TaskGroup() as group:
                life = group.create_task(self._live(on_ready))
                await stopping.wait()
                life.cancel()
        except BaseExceptionGroup as errors:
            error = unwrap(errors)
            problem = str(error)
            self._log.error("mesh.failed", {"problem": problem})
            raise error from errors
        finally:
            await self._stop_all(problem)

    async def _live(self, on_ready: Callable[[MeshState], None]) -> None:
        self._record(replace(self._state, phase=Phase.STARTING))
        for wave in ([part for part in self._parts if part.rank == 0], [part for part in self._parts if part.rank > 0]):
            async with asyncio.TaskGroup() as group:
                for part in wave:
                    group.create_task(self._start(part))
        self._record(replace(self._state, phase=Phase.READY))
        self._log.info("mesh.ready")
        on_ready(self._state)
        async with asyncio.TaskGroup() as group:
            for part in self._parts:
                group.create_task(self._watch(part))

    async def _start(self, part: Part) -> None:
        began = time.monotonic()
        child = Child(part.prepare())
        self._children[part.name] = child
        starting = replace(self._part(part), phase=PartPhase.STARTING, process=child.id, stop_signal=int(child.program.stop_signal))
        self._record(self._state.with_part(replace(starting, since=time.time())))
        await until_ready(part, child)
        self._change(replace(self._part(part), phase=PartPhase.READY))
        self._log.info("mesh.part_ready", {"part": part.name, "pid": child.pid, "after_s": round(time.monotonic() - began, 3)})

    async def _watch(self, part: Part) -> None:
        """Wait for the part to end, which it should not, and bring it back; forever."""
        backoff = Backoff()
        while True:
            ready_at = time.monotonic()
            child = self._children[part.name]
            problem = await self._trouble(part, child)
            backoff = backoff.after_crash(ran_s=time.monotonic() - ready_at)
            while not await self._revived(part, problem, backoff.wait_s):
                problem = self._part(part).problem
                backoff = backoff.after_crash(ran_s=0.0)

    async def _trouble(self, part: Part, child: Child) -> str:
        """Wait until the part ends, or end it because it runs and cannot serve any more; returns why."""
        while True:
            try:
                async with asyncio.timeout(_LOOK_S):
                    return ending(await child.wait()) + last_words(child.program.log)
            except TimeoutError:
                if not self._recorded:
                    self._note(self._state)
                if problem := part.sick(child.pid):
                    await child.stop()
                    return problem

    async def _revived(self, part: Part, problem: str, wait_s: float) -> bool:
        restarts = self._part(part).restarts + 1
        self._change(replace(self._part(part), phase=PartPhase.WAITING, process=None, restarts=restarts, problem=problem))
        self._log.warning("mesh.part_ended", {"part": part.name, "problem": problem, "again_in_s": wait_s, "restarts": restarts})
        await asyncio.sleep(wait_s)
        try:
            await self._start(part)
        except (PlimsollError, OSError) as error:
            await self._children[part.name].stop()
            self._change(replace(self._part(part), process=None, problem=str(error)))
            return False
        return True

    async def _stop_all(self, problem: str) -> None:
        self._note(replace(self._state, phase=Phase.STOPPING, problem=problem))
        for rank in sorted({part.rank for part in self._parts}, reverse=True):
            async with asyncio.TaskGroup() as group:
                for part in self._parts:
                    if part.rank == rank:
                        group.create_task(self._stop(part))
        self._note(replace(self._state, phase=Phase.FAILED if problem else Phase.STOPPED, supervisor=None))
        self._log.info("mesh.stopped")

    async def _stop(self, part: Part) -> None:
        if (child := self._children.get(part.name)) is not None:
            code = await child.stop()
            if code not in (0, -int(child.program.stop_signal)):
                self._log.warning("mesh.part_stopped_badly", {"part": part.name, "problem": ending(code)})
        self._change(replace(self._part(part), phase=PartPhase.STOPPED, process=None))

    def _part(self, part: Part) -> PartState:
        known = self._state.part(part.name)
        assert known is not None
        return known

    def _change(self, part: PartState) -> None:
        self._note(self._state.with_part(replace(part, since=time.time())))

    def _note(self, state: MeshState) -> None:
        """Record what may also be recorded later: a full disk must not end a mesh that runs."""
        try:
            self._record(state)
        except NotWritable as error:
            self._log.warning("mesh.not_recorded", {"problem": str(error)})

    def _record(self, state: MeshState) -> None:
        self._state, self._recorded = state, False
        self._files.write(state)
        self._recorded = True


def _waiting(part: Part) -> PartState:
    return PartState(name=part.name, rank=part.rank, phase=PartPhase.WAITING, address=part.address, since=time.time())
