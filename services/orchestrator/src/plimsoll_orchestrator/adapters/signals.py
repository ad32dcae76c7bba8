"""Wake-up calls over NATS. None of them carries truth: a lost one costs a second, no more."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress

import msgspec
from plimsoll_runtime.bus import Bus, ConsumerSpec, StreamSpec
from plimsoll_runtime.errors import PlimsollError

from plimsoll_orchestrator.domain.speech import SpokenText
from plimsoll_orchestrator.ports import Growth, Hearing, Tail

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
_LETTERS = "plimsoll.v1.orchestrator.run.addressed.now"
_GREW = "plimsoll.v1.orchestrator.journal.grew.now"
_SPOKE = "plimsoll.v1.orchestrator.run.spoke.now"
_FOLLOWED = "plimsoll.v1.orchestrator.run.followed.now"
_LISTEN_S = 1.0
_ASK_S = 3.0

_encoder = msgspec.json.Encoder()
_spoken = msgspec.json.Decoder(tuple[str, SpokenText])
_packer = msgspec.msgpack.Encoder()
_grown = msgspec.msgpack.Decoder(list[Growth])
_TOLD_LENGTH = 8 * 1024  # characters of one growth
_MESSAGE_LENGTH = 64 * 1024
_MESSAGE_RUNS = 1000
_MESSAGES_KEPT = 256


class BusSignals:
    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def run_ready(self, run_id: str) -> None:
        await self._bus.notify(_READIED, run_id.encode())

    async def run_interrupted(self, run_id: str) -> None:
        await self._bus.notify(_INTERRUPTED, run_id.encode())

    async def runs_readied(self, run_ids: Sequence[str]) -> None:
        await self._bus.notify(_READIED, run_ids[0].encode())
        await self._bus.notify(_LETTERS, "\n".join(run_ids).encode())

    async def hear_letters(self, stop: asyncio.Event, heard: Callable[[Sequence[str]], None]) -> None:
        """Call `heard` with the ids of runs that have letters to read."""
        async with self._bus.listen(_LETTERS, bound=10_000) as listener:
            while not stop.is_set():
                payload = await listener.next(_LISTEN_S)
                if payload:
                    heard(payload.decode().split("\n"))

    async def spoke(self, run_id: str, text: SpokenText) -> None:
        await self._bus.notify(_SPOKE, _encoder.encode((run_id, text)))

    async def hear_followers(self, stop: asyncio.Event, heard: Callable[[str], None]) -> None:
        """Call `heard` with the id of each run whose speech somebody follows."""
        async with self._bus.listen(_FOLLOWED, bound=1000) as listener:
            while not stop.is_set():
                payload = await listener.next(_LISTEN_S)
                for run_id in payload.decode().split("\n") if payload else ():
                    heard(run_id)

    async def journals_grew(self, grown: Sequence[Growth]) -> None:
        for message in _messages(grown):
            await self._bus.notify(_GREW, message)

    async def hear_interruptions(self, stop: asyncio.Event, heard: Callable[[str], None]) -> None:
        """Call `heard` with the id of each run that was taken from its worker."""
        async with self._bus.listen(_INTERRUPTED) as listener:
            while not stop.is_set():
                payload = await listener.next(_LISTEN_S)
                if payload:
                    heard(payload.decode())


class SpeechWatch:
    """Brings what models say to those who follow their runs; one subscription for the whole process."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._followers: dict[str, set[Hearing]] = {}

    async def run(self, stop: asyncio.Event) -> None:
        asked_at = 0.0
        async with self._bus.listen(_SPOKE, bound=10_000) as listener:
            while not stop.is_set():
                payload = await listener.next(_LISTEN_S)
                if payload:
                    run_id, stretch = _spoken.decode(payload)
                    for hearing in self._followers.get(run_id, ()):
                        hearing.take(stretch)
                if self._followers and time.monotonic() - asked_at > _ASK_S:
                    asked_at = time.monotonic()
                    with suppress(PlimsollError):
                        await self._bus.notify(_FOLLOWED, "\n".join(self._followers).encode())

    @asynccontextmanager
    async def hearing(self, run_id: str, woken: asyncio.Event) -> AsyncIterator[Hearing]:
        """What is said in the run while the block lasts; `woken` is set when there is some."""
        hearing = Hearing(woken)
        self._followers.setdefault(run_id, set()).add(hearing)
        try:
            await self._bus.notify(_FOLLOWED, run_id.encode())
            yield hearing
        finally:
            followers = self._followers[run_id]
            followers.discard(hearing)
            if not followers:
                del self._followers[run_id]


class JournalWatch:
    """Brings those who follow a run what was added to its journal; one subscription for the whole process."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._followers: dict[str, set[Tail]] = {}

    async def run(self, stop: asyncio.Event) -> None:
        async with self._bus.listen(_GREW, bound=_MESSAGES_KEPT) as listener:
            while not stop.is_set():
                payload = await listener.next(_LISTEN_S)
                for growth in _grown.decode(payload) if payload else ():
                    for follower in self._followers.get(growth.run_id, ()):
                        follower.take(growth)

    @asynccontextmanager
    async def watching(self, run_id: str) -> AsyncIterator[Tail]:
        """What is added to the journal of `run_id` while the block lasts."""
        tail = Tail()
        self._followers.setdefault(run_id, set()).add(tail)
        try:
            yield tail
        finally:
            followers = self._followers[run_id]
            followers.discard(tail)
            if not followers:
                del self._followers[run_id]


def _messages(grown: Sequence[Growth]) -> Iterator[bytes]:
    """The growths in messages of a bounded size. What is long is only mentioned: its followers read it."""
    told: list[Growth] = []
    size = 0
    for growth in grown:
        length = sum(map(len, growth.encoded))
        brief = growth if length <= _TOLD_LENGTH else Growth(run_id=growth.run_id)
        told.append(brief)
        size += length if brief is growth else 0
        if size > _MESSAGE_LENGTH or len(told) >= _MESSAGE_RUNS:
            yield _packer.encode(told)
            told, size = [], 0
    if told:
        yield _packer.encode(told)
