"""The wake-up calls between the orchestrator's own processes."""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from plimsoll_orchestrator.domain.journal import decode_entry
from plimsoll_orchestrator.domain.speech import SpokenText
from plimsoll_orchestrator.ports.runs import Append, Committed, JournalEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """What was added to a run's journal after `after_seq`, in stored form. Without `encoded`, somebody says only that there is more."""

    run_id: str
    after_seq: int = 0
    at: datetime | None = None
    epoch: int = 0
    encoded: Sequence[str] = ()


def growths(batch: Sequence[Append], committed: Committed) -> list[Growth]:
    """What a batch added to journals."""
    return [
        Growth(
            run_id=append.run_id,
            after_seq=append.expected_seq,
            at=committed.appended[append.run_id].at,
            epoch=max(append.epoch, 0),
            encoded=append.encoded,
        )
        for append in batch
        if append.encoded and append.run_id in committed.appended
    ]


class Signals(Protocol):
    """Wake-up calls; any of them may be lost."""

    async def run_ready(self, run_id: str) -> None: ...

    async def run_interrupted(self, run_id: str) -> None:
        """Somebody took the run from its worker: stop what is in flight."""
        ...

    async def runs_readied(self, run_ids: Sequence[str]) -> None:
        """Runs may go on, or have letters to read."""
        ...

    async def journals_grew(self, grown: Sequence[Growth]) -> None: ...

    async def spoke(self, run_id: str, text: SpokenText) -> None:
        """A model says something in a step of the run."""
        ...


_HEARING_CAP = 1000


class Hearing:
    """What is said in a run, for one follower. One that is too slow misses stretches and gets the whole text again a second later."""

    def __init__(self, woken: asyncio.Event) -> None:
        self._woken = woken
        self._stretches: deque[SpokenText] = deque(maxlen=_HEARING_CAP)

    def take(self, stretch: SpokenText) -> None:
        self._stretches.append(stretch)
        self._woken.set()

    def heard(self) -> Iterator[SpokenText]:
        """What has come, oldest first."""
        while self._stretches:
            yield self._stretches.popleft()


_TAIL_CAP = 32


class Tail:
    """The end of a journal as one follower hears of it; `grew` is set when there is something to look at."""

    def __init__(self) -> None:
        self.grew = asyncio.Event()
        self._growths: deque[Growth] = deque(maxlen=_TAIL_CAP)

    def take(self, growth: Growth) -> None:
        self._growths.append(growth)
        self.grew.set()

    def after(self, seq: int) -> Sequence[JournalEntry] | None:
        """The entries that follow `seq` as far as they were heard without a gap; None when the journal has to be read."""
        entries: list[JournalEntry] = []
        while self._growths:
            growth = self._growths[0]
            if not growth.encoded or growth.at is None or growth.after_seq > seq:
                if entries:
                    self.grew.set()  # what comes next is read after these
                    return entries
                self._growths.clear()
                return None
            self._growths.popleft()
            for place, text in enumerate(growth.encoded, growth.after_seq + 1):
                if place > seq:
                    entry = decode_entry(text)
                    entries.append(
                        JournalEntry(run_id=growth.run_id, seq=place, at=growth.at, epoch=growth.epoch, entry=entry, size=len(text))
                    )
                    seq = place
        return entries


class Watch(Protocol):
    """Tells followers what was added to a journal."""

    def watching(self, run_id: str) -> AbstractAsyncContextManager[Tail]: ...


class Listening(Protocol):
    """Brings followers what models say in a run."""

    def hearing(self, run_id: str, woken: asyncio.Event) -> AbstractAsyncContextManager[Hearing]: ...
