"""Following a run: its journal as it grows, and, for those who want it, what models say in between."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import TypeAlias

from plimsoll_orchestrator.domain.journal import RunFinished, StepFinished, StepProgressed
from plimsoll_orchestrator.domain.speech import Listener, Retracted, SpokenText
from plimsoll_orchestrator.errors import StepPruned
from plimsoll_orchestrator.ports import Hearing, JournalEntry, Listening, RunStore, RunSummary, Tail, Watch
from plimsoll_orchestrator.service.reading import PAGE, summary_of

_POLL_S = 2.0  # how late a follower may be when a wake-up call was lost

Followed: TypeAlias = JournalEntry | SpokenText | Retracted


@dataclass(frozen=True, slots=True, kw_only=True)
class Following:
    runs: RunStore
    watch: Watch
    listening: Listening

    async def follow_run(
        self, tenant: str, run_id: str, after_seq: int, *, tokens: bool = False
    ) -> AsyncIterator[tuple[RunSummary, Followed]]:
        """The journal after a position, as it grows, to its end. With `tokens`, also the text of steps under way: provisional, retracted
        when it is superseded, and never a part of the cursor. Raises RunNotFound, StepPruned."""
        summary = await summary_of(self.runs, tenant, run_id)
        if after_seq < summary.pruned_seq:
            raise StepPruned(f"the journal of {run_id} is kept from entry {summary.pruned_seq + 1} on", remedy="follow from there")
        async with AsyncExitStack() as stack:
            tail = await stack.enter_async_context(self.watch.watching(run_id))
            hearing = await stack.enter_async_context(self.listening.hearing(run_id, tail.grew)) if tokens else None
            async for followed in self._follow(tenant, run_id, after_seq, tail, hearing):
                yield summary, followed

    async def _follow(self, tenant: str, run_id: str, after_seq: int, tail: Tail, hearing: Hearing | None) -> AsyncIterator[Followed]:
        """What was added is taken from those who tell of it; where they told nothing, or left something out, it is read."""
        listener, told = Listener(), False
        while True:
            tail.grew.clear()
            for said in _heard(hearing, listener, after_seq):  # what was said before the entry that came of it
                yield said
            entries = tail.after(after_seq) if told else None
            read = entries is None
            if entries is None:
                entries = await self.runs.journal(tenant, run_id, after_seq, PAGE)
            for entry in entries:
                for retracted in listener.settle(came_true=isinstance(entry.entry, StepFinished | StepProgressed)):
                    yield retracted
                yield entry
                after_seq = entry.seq
                if isinstance(entry.entry, RunFinished):
                    return
            if read and len(entries) == PAGE:
                told = False
                continue
            if read and not entries and (await summary_of(self.runs, tenant, run_id)).finished_at is not None:
                return  # the cursor lies at the end already, or behind it
            for said in _heard(hearing, listener, after_seq):
                yield said
            told = await _woken(tail.grew)


async def _woken(event: asyncio.Event) -> bool:
    """Whether the event was set, and not only time passed."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_POLL_S):
            return await event.wait()
    return False


def _heard(hearing: Hearing | None, listener: Listener, seq: int) -> Iterator[SpokenText | Retracted]:
    if hearing is not None:
        for stretch in hearing.heard():
            yield from listener.hear(stretch, seq)
