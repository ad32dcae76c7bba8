"""Following a run: its journal as it grows, and, for those who want it, what models say in between."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import TypeAlias

from plimsoll_orchestrator.domain.journal import RunFinished, StepFinished, StepProgressed
from plimsoll_orchestrator.domain.speech import Listener, Retracted, SpokenText
from plimsoll_orchestrator.errors import StepPruned
from plimsoll_orchestrator.ports import Hearing, JournalEntry, Listening, RunStore, RunSummary, Watch
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
        listener = Listener()
        async with AsyncExitStack() as stack:
            grew = await stack.enter_async_context(self.watch.watching(run_id))
            hearing = await stack.enter_async_context(self.listening.hearing(run_id, grew)) if tokens else None
            while True:
                grew.clear()
                for said in _heard(hearing, listener, after_seq):  # what was said before the entry that came of it
                    yield summary, said
                entries = await self.runs.journal(tenant, run_id, after_seq, PAGE)
                for entry in entries:
                    for retracted in listener.settle(came_true=isinstance(entry.entry, StepFinished | StepProgressed)):
                        yield summary, retracted
                    yield summary, entry
                    after_seq = entry.seq
                    if isinstance(entry.entry, RunFinished):
                        return
                if len(entries) == PAGE:
                    continue
                if not entries and (await summary_of(self.runs, tenant, run_id)).finished_at is not None:
                    return  # the cursor lies at the end already, or behind it
                for said in _heard(hearing, listener, after_seq):
                    yield summary, said
                with suppress(TimeoutError):
                    async with asyncio.timeout(_POLL_S):
                        await grew.wait()


def _heard(hearing: Hearing | None, listener: Listener, seq: int) -> Iterator[SpokenText | Retracted]:
    if hearing is not None:
        for stretch in hearing.heard():
            yield from listener.hear(stretch, seq)
