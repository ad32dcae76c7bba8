"""The speaker: tells those who listen what models say in the steps of this worker, in stretches, never word by word."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from plimsoll_runtime.errors import PlimsollError

from plimsoll_orchestrator.domain.speech import Speech, SpokenText
from plimsoll_orchestrator.ports import Hear, Piece, Signals

_STRETCH_S = 0.05  # what is said within it is told in one go
_WHOLE_S = 1.0  # how late one who came late, or missed a stretch, may be
_WANTED_S = 10.0  # a follower says every few seconds that it is still there
_WANTED_CAP = 10_000


class Speaker:
    def __init__(self, signals: Signals) -> None:
        self._signals = signals
        self._speeches: dict[str, Speech] = {}
        self._wanted: dict[str, float] = {}

    def hear_follower(self, run_id: str) -> None:
        """Somebody follows the run."""
        if len(self._wanted) < _WANTED_CAP or run_id in self._wanted:
            self._wanted[run_id] = time.monotonic() + _WANTED_S

    def is_wanted(self, run_id: str) -> bool:
        """Whether somebody followed the run lately."""
        return self._wanted.get(run_id, 0.0) > time.monotonic()

    @asynccontextmanager
    async def speaking(self, run_id: str, node: str, seq: int) -> AsyncIterator[Hear]:
        """Tell what is heard inside the block. `seq` is the position of the run's last entry."""
        speech = self._speeches[run_id] = Speech(node=node, step_seq=seq)

        def hear(piece: Piece) -> None:
            speech.hear(piece.attempt, piece.text)

        try:
            yield hear
        finally:
            self._speeches.pop(run_id, None)
            await self._tell(run_id, speech.news())  # what was said since the last stretch; of a short answer, all of it

    async def run(self, stop: asyncio.Event) -> None:
        """Tell until `stop`."""
        whole_at = 0.0
        while not stop.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_STRETCH_S if self._speeches else _WHOLE_S / 4):
                    await stop.wait()
            now = time.monotonic()
            again = now >= whole_at
            if again:
                whole_at = now + _WHOLE_S
                self._wanted = {run_id: until for run_id, until in self._wanted.items() if until > now}
            for run_id, speech in list(self._speeches.items()):
                await self._tell(run_id, speech.whole() if again else speech.news())

    async def _tell(self, run_id: str, stretch: SpokenText | None) -> None:
        if stretch is not None:
            with suppress(PlimsollError):  # it is provisional: the journal has the truth
                await self._signals.spoke(run_id, stretch)
