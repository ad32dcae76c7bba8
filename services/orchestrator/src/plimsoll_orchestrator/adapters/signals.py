"""Wake-up calls over NATS. None of them carries truth: a lost one costs a second, no more."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from plimsoll_runtime.bus import Bus, ConsumerSpec, StreamSpec

HINTS = StreamSpec(
    name="PLIMSOLL_ORCHESTRATOR_HINTS",
    subjects=("plimsoll.v1.orchestrator.run.readied.*",),
    durable=False,
    work_queue=True,
    max_age_s=60.0,
    max_bytes=64 * 1024 * 1024,
)
HINT_CONSUMER = ConsumerSpec(stream=HINTS, durable="orchestrator_workers", subjects=HINTS.subjects, batch=256)
_READIED = "plimsoll.v1.orchestrator.run.readied.default"
_INTERRUPTED = "plimsoll.v1.orchestrator.run.interrupted.now"
_GREW = "plimsoll.v1.orchestrator.journal.grew.now"
_LISTEN_S = 1.0


class BusSignals:
    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def run_ready(self, run_id: str) -> None:
        await self._bus.notify(_READIED, run_id.encode())

    async def run_interrupted(self, run_id: str) -> None:
        await self._bus.notify(_INTERRUPTED, run_id.encode())

    async def journals_grew(self, run_ids: Sequence[str]) -> None:
        await self._bus.notify(_GREW, "\n".join(run_ids).encode())

    async def hear_interruptions(self, stop: asyncio.Event, heard: Callable[[str], None]) -> None:
        """Call `heard` with the id of each run that was taken from its worker."""
        async with self._bus.listen(_INTERRUPTED) as listener:
            while not stop.is_set():
                payload = await listener.next(_LISTEN_S)
                if payload:
                    heard(payload.decode())


class JournalWatch:
    """Wakes those who follow a run when its journal grew; one subscription for the whole process."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._followers: dict[str, set[asyncio.Event]] = {}

    async def run(self, stop: asyncio.Event) -> None:
        async with self._bus.listen(_GREW, bound=10_000) as listener:
            while not stop.is_set():
                payload = await listener.next(_LISTEN_S)
                for run_id in payload.decode().split("\n") if payload else ():
                    for follower in self._followers.get(run_id, ()):
                        follower.set()

    @asynccontextmanager
    async def watching(self, run_id: str) -> AsyncIterator[asyncio.Event]:
        """An event that is set whenever the journal of `run_id` may have grown; the follower clears it."""
        event = asyncio.Event()
        self._followers.setdefault(run_id, set()).add(event)
        try:
            yield event
        finally:
            followers = self._followers[run_id]
            followers.discard(event)
            if not followers:
                del self._followers[run_id]
