"""The worker: claims runs, holds their leases, and gives them back when it is told to stop."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from typing import TypeAlias

from plimsoll_runtime import logs
from plimsoll_runtime.bus import Message
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.errors import ErrorKind, PlimsollError

from plimsoll_orchestrator.engine import Engine, Hold
from plimsoll_orchestrator.ports import Claimed, ClaimStore

_SWEEP_S = 1.0  # how often a worker looks for ready runs without having been told
_RENEW_S = 4.0  # a lease is 15 s: three renewals may fail before it ends
_CLAIM_BATCH = 128
_ADDRESSED_CAP = 4096
_TRIAL_LOOK_S = 0.1  # how often a worker looks whether the suspects that it tries have got on


Beat: TypeAlias = Callable[[str, int, int, str], Awaitable[None]]


@dataclass(slots=True)
class _Held:
    tenant: str
    epoch: int
    task: "asyncio.Task[None]"
    hold: Hold | None = None


class Worker:
    """Advances up to `slots` runs at once; `beat` tells that it is there."""

    def __init__(
        self, name: str, store: ClaimStore, engine: Engine, log: logs.Log, *, slots: int, drain_s: float, beat: Beat | None = None
    ) -> None:
        self._name = name
        self._store = store
        self._engine = engine
        self._committer = engine.committer
        self._log = log
        self._slots = slots
        self._drain_s = drain_s
        self._beat = beat
        self._held: dict[str, _Held] = {}
        self._hinted = asyncio.Event()
        self._freed = asyncio.Event()
        self._on_trial: list[Claimed] = []
        self._drained = asyncio.Event()
        self._addressed: asyncio.Queue[str] = asyncio.Queue(_ADDRESSED_CAP)

    @property
    def held(self) -> int:
        return len(self._held)

    async def hear_hints(self, messages: Sequence[Message]) -> None:
        """Runs may be ready. Waits while there is no free slot, so that hints go to workers that have one."""
        self.hint()
        while len(self._held) >= self._slots:
            self._freed.clear()
            await self._freed.wait()

    def hint(self) -> None:
        """Look for ready runs now, not at the next sweep."""
        self._hinted.set()

    def hear_interruption(self, run_id: str) -> None:
        """Somebody took the run away: stop what is in flight for it."""
        held = self._held.get(run_id)
        if held is not None:
            held.task.cancel()

    def hear_letters(self, run_ids: Sequence[str]) -> None:
        """Runs have letters to read: those held here are told, for the others somebody has to look."""
        for run_id in run_ids:
            if run_id in self._held and not self._addressed.full():  # the next commit tells as well
                self._addressed.put_nowait(run_id)
        self.hint()

    async def run(self, stop: asyncio.Event) -> None:
        """Claim and advance until `stop`; then let every run come to its next boundary, and give back what does not."""
        async with self._committer.running(), asyncio.TaskGroup() as group:
            group.create_task(self._renew())
            group.create_task(self._fetch_letters())
            stopping = group.create_task(self._wake_at(stop))
            await self._claim(stop)
            stopping.cancel()
            self._drained.set()

    async def _wake_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._hinted.set()
        self._freed.set()

    async def _claim(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            trying = group.create_task(self._try_suspects(group, stop))
            while not stop.is_set():
                taken = await self._take()
                self._begin(group, taken)
                if len(taken) < _CLAIM_BATCH or len(self._held) >= self._slots:
                    await self._wait(stop)
            await asyncio.wait([trying])
            await self._drain()

    def _begin(self, group: asyncio.TaskGroup, taken: Sequence[Claimed]) -> None:
        for claimed in taken:
            before = self._held.get(claimed.run_id)
            task = group.create_task(self._advance(claimed, before.task if before else None))
            self._held[claimed.run_id] = _Held(claimed.tenant, claimed.epoch, task)

    async def _try_suspects(self, group: asyncio.TaskGroup, stop: asyncio.Event) -> None:
        """Runs that may end their workers: some at once, more when those have got on; beside one that is alone, none."""
        alone = False
        while not stop.is_set():
            self._on_trial = [claimed for claimed in self._on_trial if self._is_on_trial(claimed)]
            if not (alone and self._on_trial):
                taken: Sequence[Claimed] = ()
                with suppress(PlimsollError):  # the next look asks again
                    taken = await self._store.claim_suspects(self._name, [len(one.abandoned) for one in self._on_trial])
                alone = len(taken) == 1 and not self._on_trial
                self._on_trial += taken
                self._begin(group, taken)
            with suppress(TimeoutError):
                async with asyncio.timeout(_TRIAL_LOOK_S if self._on_trial else _SWEEP_S):
                    await stop.wait()

    def _is_on_trial(self, claimed: Claimed) -> bool:
        held = self._held.get(claimed.run_id)
        return held is not None and held.epoch == claimed.epoch and (held.hold is None or bool(held.hold.abandoned))

    async def _renew(self) -> None:
        """Keep the leases of all held runs, in one statement; drop at once what is no longer ours."""
        while not self._drained.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_RENEW_S):
                    await self._drained.wait()
            held = {run_id: one.epoch for run_id, one in self._held.items()}
            if self._beat is not None:
                with suppress(PlimsollError):  # it only tells people that this worker is there
                    await self._beat(self._name, self._slots, len(held), version("plimsoll-orchestrator"))
            if not held:
                continue
            try:
                ours = set(await self._store.renew(held))
            except PlimsollError as error:
                self._log.warning("lease.renewal_failed", {"reason": error.reason, "runs": len(held)})
                continue
            for run_id in held.keys() - ours:
                one = self._held.get(run_id)
                if one is not None and one.epoch == held[run_id]:
                    self._log.warning("run.lost", {"run_id": run_id, "epoch": one.epoch})
                    one.task.cancel()

    async def _fetch_letters(self) -> None:
        """Read the letters of runs in the middle of a step: one may tell it to stop."""
        async with asyncio.TaskGroup() as group:
            ended = group.create_task(self._drained.wait())
            while not ended.done():
                waits = group.create_task(self._addressed.get())
                await asyncio.wait([ended, waits], return_when=asyncio.FIRST_COMPLETED)
                if not waits.done():
                    waits.cancel()
                    return
                held = self._held.get(waits.result())
                if held is None or held.hold is None:
                    continue
                with suppress(PlimsollError):  # the next commit tells as well
                    held.hold.receive(await self._store.letters(held.hold.run.run_id, held.hold.mail))

    async def _take(self) -> Sequence[Claimed]:
        free = self._slots - (len(self._held) - len(self._on_trial))  # innocent ones do not keep suspects from their trial
        if free <= 0:
            return ()
        try:
            tenants = Counter(one.tenant for one in self._held.values())
            return await self._store.claim(self._name, min(free, _CLAIM_BATCH), tenants)
        except PlimsollError as error:
            self._log.warning("claim.failed", {"reason": error.reason})
            return ()

    async def _advance(self, claimed: Claimed, before: "asyncio.Task[None] | None") -> None:
        """`before` had the run until now: let go of a moment ago, or lost because our own lease on it ended. It ends first."""
        if before is not None:
            before.cancel()
            await asyncio.wait([before])
        try:
            with acting_for(claimed.tenant, service="orchestrator"), logs.bound({"run_id": claimed.run_id, "tenant": claimed.tenant}):
                hold = await self._engine.hold(claimed)
                self._held[claimed.run_id].hold = hold
                await self._engine.advance(hold)
        except asyncio.CancelledError:
            await self._give_back(claimed)
            raise
        except PlimsollError as error:
            self._log.warning("run.dropped", {"run_id": claimed.run_id, "reason": error.reason})
            if error.kind is ErrorKind.INTERNAL:
                await self._set_aside(claimed, f"{error.reason}: {error}")
            else:
                await self._give_back(claimed)
        except Exception as error:  # noqa: BLE001 - one broken run must not stop the others
            self._log.error("run.broken", {"run_id": claimed.run_id}, error=error)
            await self._set_aside(claimed, f"{type(error).__name__}: {error}")
        finally:
            held = self._held.get(claimed.run_id)
            if held is not None and held.epoch == claimed.epoch:
                del self._held[claimed.run_id]
            self._freed.set()

    async def _give_back(self, claimed: Claimed) -> None:
        """What was taken from us is another's by its epoch, and stays so. What is still ours, such as after a call to stop that came late,
        would lie until its lease ends, and then be counted as the end of this worker."""
        with suppress(PlimsollError):  # its lease ends then
            await self._store.release({claimed.run_id: claimed.epoch})

    async def _set_aside(self, claimed: Claimed, fault: str) -> None:
        """Try again after a pause; after three faults without getting on the run is quarantined, with what was said here as evidence."""
        with suppress(PlimsollError):  # its lease ends then, and another worker finds out
            await self._store.set_aside(claimed.run_id, claimed.epoch, fault)

    async def _wait(self, stop: asyncio.Event) -> None:
        """Until hinted, until a slot is free, until `stop`, or for the sweep's interval."""
        event = self._hinted if len(self._held) < self._slots else self._freed
        with suppress(TimeoutError):
            async with asyncio.timeout(random.uniform(0.5, 1.0) * _SWEEP_S):  # noqa: S311 - jitter, so that workers do not sweep in step
                if not stop.is_set():
                    await event.wait()
        event.clear()

    async def _drain(self) -> None:
        self._engine.draining.set()
        tasks = [one.task for one in self._held.values()]
        if not tasks:
            return
        self._log.info("worker.draining", {"runs": len(tasks)})
        _, late = await asyncio.wait(tasks, timeout=self._drain_s)
        rest = {run_id: one.epoch for run_id, one in self._held.items() if one.task in late}
        for task in late:
            task.cancel()
        if rest:
            with suppress(PlimsollError):
                await self._store.release(rest)
