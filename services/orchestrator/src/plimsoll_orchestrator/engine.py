"""The engine: load → decide → act → append, one run at a time, until the run ends, parks or is taken away."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias, assert_never

from plimsoll_graph.graph import Graph, Node
from plimsoll_runtime import logs
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import Internal, Invalid
from plimsoll_runtime.failures import failure_from_error
from plimsoll_runtime.ids import Ids

from plimsoll_orchestrator.committer import Committer
from plimsoll_orchestrator.domain.decide import Failed, Park, Perform, Rest, Write, conclude, decide
from plimsoll_orchestrator.domain.journal import ApprovalAsked, Entry, RunFinished, RunStatus, StepProgressed, StepStarted
from plimsoll_orchestrator.domain.run import Run, fold
from plimsoll_orchestrator.errors import JournalBroken
from plimsoll_orchestrator.ports import Append, Claimed, Release
from plimsoll_orchestrator.steps.outcome import Ask, Outcome, Progressed
from plimsoll_orchestrator.steps.perform import Performer

_NAP_S = 2.0  # a pause shorter than this is sat out with the run held: parking and claiming again would cost more

FindGraph: TypeAlias = Callable[[str, str, str], Awaitable[Graph | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Attributes:
    find_graph  (tenant, agent, digest) → the compiled graph
    draining    set when the worker wants its runs back at the next boundary
    """

    performer: Performer
    committer: Committer
    find_graph: FindGraph
    clock: Clock
    ids: Ids
    log: logs.Log
    draining: asyncio.Event

    async def advance(self, claimed: Claimed) -> None:
        """Advance a claimed run as far as it goes. Raises Unavailable when a commit's outcome is unknown: the run is then dropped,
        and whoever claims it next learns the truth from the journal."""
        graph = await self.find_graph(claimed.tenant, claimed.agent, claimed.agent_digest)
        if graph is None:
            raise JournalBroken(f"{claimed.run_id}: its agent version {claimed.agent_digest} does not exist")
        fresh = Run(run_id=claimed.run_id, tenant=claimed.tenant, agent=claimed.agent, agent_digest=claimed.agent_digest)
        run: Run | None = fold(fresh, ((entry.seq, entry.at, entry.entry) for entry in claimed.entries), graph.start)
        while run is not None:
            run = await self._advance_once(run, graph, claimed.epoch)

    async def _advance_once(self, run: Run, graph: Graph, epoch: int) -> Run | None:
        """The run one commit further; None when there is nothing more to do here."""
        if self.draining.is_set() and not run.is_final:
            await self._let_go(run, epoch, Release(status=RunStatus.QUEUED, wake_at=self.clock.now()))
            return None
        match decide(run, graph, self.clock.now()):
            case Write(entries=entries):
                return await self._append(run, graph, epoch, entries)
            case Perform(node=node):
                return await self._step(run, graph, node, epoch)
            case Park(at=at):
                pause = (at - self.clock.now()).total_seconds()
                if run.pending is None and pause < _NAP_S:
                    await asyncio.sleep(max(0.0, pause))
                    return run
                status = RunStatus.WAITING if run.pending is not None else RunStatus.QUEUED
                await self._let_go(run, epoch, Release(status=status, wake_at=at))
                return None
            case Rest():
                return None
            case unknown:
                assert_never(unknown)

    async def _step(self, run: Run, graph: Graph, node: Node, epoch: int) -> Run | None:
        try:
            return await self._append(run, graph, epoch, await self._act(run, graph, node, epoch))
        except (Invalid, Internal) as error:  # the store refuses what the step yields: a failure of the step, not a reason to try for ever
            self.log.error("step.unstorable", {"run_id": run.run_id, "node": node.name, "reason": error.reason})
            failed = Failed(failure=failure_from_error(error, node.name), unsettled=True)
            return await self._append(run, graph, epoch, conclude(run, graph, node, failed, 0.0, self.clock.now()))

    async def _act(self, run: Run, graph: Graph, node: Node, epoch: int) -> tuple[Entry, ...]:
        assert run.step is not None
        started = time.perf_counter()
        outcome = await self._perform(run, node, epoch)
        now = self.clock.now()
        match outcome:
            case Progressed(turn=turn, usage=usage, rehearsal=rehearsal):
                return (StepProgressed(node=node.name, turn=turn, usage=usage, rehearsal=rehearsal),)
            case Ask():
                asked = ApprovalAsked(
                    approval_id=self.ids.new("apr"),
                    node=node.name,
                    summary=outcome.summary,
                    details=outcome.details,
                    proposal=outcome.proposal,
                    expires_at=now + timedelta(seconds=outcome.expires_s),
                )
                return (asked,)
            case finished:
                return conclude(run, graph, node, finished, time.perf_counter() - started, now)

    async def _perform(self, run: Run, node: Node, epoch: int) -> Outcome:
        assert run.step is not None
        try:
            return await self.performer.perform(run, run.step, node, epoch)
        except Exception as error:  # noqa: BLE001 - a fault of ours in one step must not take the other runs of this worker with it
            self.log.error("step.broken", {"run_id": run.run_id, "node": node.name}, error=error)
            return Failed(failure=failure_from_error(error, node.name), unsettled=True)

    async def _append(self, run: Run, graph: Graph, epoch: int, entries: tuple[Entry, ...]) -> Run | None:
        """Commit the entries, and with them what follows at once: the start of the next step, or the end of the run."""
        after = self._folded(run, graph, entries)
        following = decide(after, graph, self.clock.now())
        if isinstance(following, Write) and all(isinstance(entry, StepStarted | RunFinished) for entry in following.entries):
            entries += following.entries
            after = self._folded(after, graph, following.entries)
        release = None
        if after.is_final:
            release = Release(status=after.status, wake_at=None)
        elif after.pending is not None:
            release = Release(status=RunStatus.WAITING, wake_at=after.pending.expires_at)
        committed = await self.committer.append(
            Append(run_id=run.run_id, tenant=run.tenant, epoch=epoch, expected_seq=run.seq, entries=entries, run=after, release=release)
        )
        if committed is None:
            self.log.warning("run.fenced_off", {"run_id": run.run_id, "epoch": epoch, "seq": run.seq})
            return None
        return None if release is not None else after

    async def _let_go(self, run: Run, epoch: int, release: Release) -> None:
        append = Append(run_id=run.run_id, tenant=run.tenant, epoch=epoch, expected_seq=run.seq, entries=(), run=run, release=release)
        await self.committer.append(append)

    def _folded(self, run: Run, graph: Graph, entries: tuple[Entry, ...]) -> Run:
        now = self.clock.now()
        return fold(run, ((run.seq + place, now, entry) for place, entry in enumerate(entries, 1)), graph.start)
