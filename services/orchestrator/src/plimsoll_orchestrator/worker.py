"""The worker: claims runs, holds their leases, and gives them back when it is told to stop."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from plimsoll_runtime import logs
from plimsoll_runtime.bus import Message
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.errors import PlimsollError

from plimsoll_orchestrator.engine import Engine
from plimsoll_orchestrator.ports import Claimed, ClaimStore

_SWEEP_S = 1.0  # how often a worker looks for ready runs without having been told
_RENEW_S = 4.0  # a lease is 15 s: three renewals may fail before it ends
_CLAIM_BATCH = 128


@dataclass(slots=True)
class _Held:
    epoch: int
    task: "asyncio.Task[None]"


class Worker:
    """Advances up to `slots` runs at once."""

    def __init__(self, name: str, store: ClaimStore, engine: Engine, log: logs.Log, *, slots: int, drain_s: float) -> None:
        self._name = name
        self._store = store
        self._engine = engine
        self._committer = engine.committer
        self._log = log
        self._slots = slots
        self._drain_s = drain_s
        self._held: dict[str, _Held] = {}
        self._hinted = asyncio.Event()
        self._freed = asyncio.Event()
        self._drained = asyncio.Event()

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

    async def run(self, stop: asyncio.Event) -> None:
        """Claim and advance until `stop`; then let every run come to its next boundary, and give back what does not."""
        async with self._committer.running(), asyncio.TaskGroup() as group:
            group.create_task(self._renew())
            await self._claim(stop)
            self._drained.set()

    async def _claim(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            while not stop.is_set():
                taken = await self._take()
                for claimed in taken:
                    self._held[claimed.run_id] = _Held(claimed.epoch, group.create_task(self._advance(claimed)))
                if len(taken) < _CLAIM_BATCH or len(self._held) >= self._slots:
                    await self._wait(stop)
            await self._drain()

    async def _renew(self) -> None:
        """Keep the leases of all held runs, in one statement; drop at once what is no longer ours."""
        while not self._drained.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_RENEW_S):
                    await self._drained.wait()
            held = {run_id: one.epoch for run_id, one in self._held.items()}
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

    async def _take(self) -> Sequence[Claimed]:
        free = self._slots - len(self._held)
        if free <= 0:
            return ()
        try:
            taken = await self._store.claim(self._name, min(free, _CLAIM_BATCH))
        except PlimsollError as error:
            self._log.warning("claim.failed", {"reason": error.reason})
            return ()
        return [claimed for claimed in taken if not self._taken_back(claimed)]

    def _taken_back(self, claimed: Claimed) -> bool:
        """Our own lease on a run ended while its task lives: the task goes, the run waits for the next claim."""
        held = self._held.get(claimed.run_id)
        if held is None:
            return False
        held.task.cancel()
        return True

    async def _advance(self, claimed: Claimed) -> None:
        try:
            with acting_for(claimed.tenant, service="orchestrator"), logs.bound({"run_id": claimed.run_id, "tenant": claimed.tenant}):
                await self._engine.advance(claimed)
        except PlimsollError as error:
            self._log.warning("run.dropped", {"run_id": claimed.run_id, "reason": error.reason})
        except Exception as error:  # noqa: BLE001 - one broken run must not stop the others; its lease ends and shows it
            self._log.error("run.broken", {"run_id": claimed.run_id}, error=error)
        finally:
            self._held.pop(claimed.run_id, None)
            self._freed.set()

    async def _wait(self, stop: asyncio.Event) -> None:
        """Until hinted, until a slot is free, until `stop`, or for the sweep's interval."""
        event = self._hinted if len(self._held) < self._slots else self._freed
        with suppress(TimeoutError):
            async with asyncio.timeout(random.uniform(0.5, 1.0) * _SWEEP_S):  # noqa: S311 - jitter, so that workers do not sweep in step
                while not stop.is_set() and not event.is_set():
                    await _either(event, stop)
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


async def _either(first: asyncio.Event, second: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as group:
        waits = [group.create_task(event.wait()) for event in (first, second)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
