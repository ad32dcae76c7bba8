"""The engine: load → decide → act → append, one run at a time, until the run ends, parks or is taken away."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias, assert_never

from plimsoll_graph.graph import AgentNode, Graph, ModelNode, Node
from plimsoll_runtime import logs
from plimsoll_runtime.clock import Clock
from plimsoll_runtime.errors import Internal, Invalid
from plimsoll_runtime.failures import failure_from_error
from plimsoll_runtime.ids import Ids

from plimsoll_orchestrator.committer import Committer
from plimsoll_orchestrator.domain.actions import Action, Begin, Birth, Failed, JoinThread, Park, Perform, Rest, Write
from plimsoll_orchestrator.domain.approving import unused_grants
from plimsoll_orchestrator.domain.decide import cancelled, conclude, decide
from plimsoll_orchestrator.domain.fit import misfits
from plimsoll_orchestrator.domain.fold import fold
from plimsoll_orchestrator.domain.journal import (
    ApprovalAsked,
    Entry,
    RunFinished,
    RunQuarantined,
    RunStatus,
    StepProgressed,
    ThreadJoined,
    VersionChanged,
)
from plimsoll_orchestrator.domain.letters import Received, StopAsked, answer, stop_in
from plimsoll_orchestrator.domain.plan import Plan, Stretch, plan_of
from plimsoll_orchestrator.domain.poison import is_guilty
from plimsoll_orchestrator.domain.run import Run
from plimsoll_orchestrator.drafting import Draft, Footing, draft_of
from plimsoll_orchestrator.errors import JournalBroken
from plimsoll_orchestrator.ports import Append, Claimed, ClaimStore, Grants, Release
from plimsoll_orchestrator.speaker import Speaker
from plimsoll_orchestrator.steps.outcome import Ask, Outcome, Progressed
from plimsoll_orchestrator.steps.perform import Performer

_NAP_S = 2.0  # a pause shorter than this is sat out with the run held: parking and claiming again would cost more

FindGraph: TypeAlias = Callable[[str, str, str], Awaitable[Graph | None]]
FindNewest: TypeAlias = Callable[[str, str], Awaitable[Graph | None]]


class Hold:
    """A run in the hands of this worker.

    Attributes:
    letters   read and not answered
    mail      how many letters are known of
    footing   where the run stands
    acting    the step's calls, while they are under way
    following what comes next, where it was found out already
    planned   what comes of the next entries, where it was worked out while the last commit was under way
    drafted   and the commit of them
    beside    with how many suspects it was when that happened last
    is_over   nothing more is to be done here
    """

    def __init__(self, claimed: Claimed, graph: Graph) -> None:
        fresh = Run(run_id=claimed.run_id, tenant=claimed.tenant, agent=claimed.agent, agent_digest=claimed.agent_digest)
        start = claimed.snapshot.run if claimed.snapshot else fresh
        run = fold(start, ((entry.seq, entry.at, entry.entry) for entry in claimed.entries), graph.start)
        self.graph = graph
        self.footing = Footing(
            run=run,
            epoch=claimed.epoch,
            written=sum(entry.size for entry in claimed.entries),
            snapshot=claimed.snapshot.size if claimed.snapshot else 0,
            abandoned=tuple(claimed.abandoned),
        )
        self.letters: list[Received] = list(claimed.letters)
        self.mail = max([claimed.mail, *(one.number for one in claimed.letters)])  # some came between the claim and their reading
        self.acting: asyncio.Task[Outcome] | None = None
        self.following: Action | None = None
        self.planned: Plan | None = None
        self.drafted: Draft | None = None
        self.beside = claimed.beside
        self.is_over = False

    @property
    def run(self) -> Run:
        return self.footing.run

    @property
    def epoch(self) -> int:
        return self.footing.epoch

    @property
    def abandoned(self) -> tuple[str, ...]:
        return self.footing.abandoned

    def receive(self, letters: Sequence[Received]) -> None:
        """Take letters in; one that tells the run to stop ends the calls under way."""
        self.letters += [one for one in letters if one.number > self.mail]
        self.mail = max([self.mail, *(one.number for one in letters)])
        if self.acting is not None and stop_in(self.letters) is not None:
            self.acting.cancel()


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Attributes:
    find_graph   (tenant, agent, digest) → the compiled graph
    find_newest  (tenant, agent) → that of the newest version
    draining     set when the worker wants its runs back at the next boundary
    """

    performer: Performer
    grants: Grants
    committer: Committer
    store: ClaimStore
    speaker: Speaker
    find_graph: FindGraph
    find_newest: FindNewest
    clock: Clock
    ids: Ids
    log: logs.Log
    draining: asyncio.Event

    async def hold(self, claimed: Claimed) -> Hold:
        """The claimed run, as its journal says. Raises JournalBroken."""
        graph = await self.find_graph(claimed.tenant, claimed.agent, claimed.agent_digest)
        if graph is None:
            raise JournalBroken(f"{claimed.run_id}: its agent version {claimed.agent_digest} does not exist")
        hold = Hold(claimed, graph)
        if hold.run.options.follow_latest and not hold.run.is_final:
            await self._change_version(hold)
        return hold

    async def _change_version(self, hold: Hold) -> None:
        """Go on with the newest version of the agent, if the run fits it as it stands."""
        newest = await self.find_newest(hold.run.tenant, hold.run.agent)
        if newest is None or newest.digest == hold.run.agent_digest:
            return
        problems = list(misfits(hold.run, hold.graph, newest))
        if problems:
            self.log.warning("run.stays_on_its_version", {"run_id": hold.run.run_id, "problem": problems[0]})
            return
        hold.graph = newest
        await self._append(hold, (VersionChanged(agent_digest=newest.digest),))

    async def advance(self, hold: Hold) -> None:
        """Advance a run as far as it goes. Raises Unavailable when a commit's outcome is unknown: the run is then dropped,
        and whoever claims it next learns the truth from the journal."""
        if is_guilty(len(hold.abandoned), hold.beside) and not hold.run.is_final:
            await self._quarantine(hold)
        while not hold.is_over:
            await self._advance_once(hold)

    async def _quarantine(self, hold: Hold) -> None:
        times = len(hold.abandoned)
        self.log.error("run.quarantined", {"run_id": hold.run.run_id, "node": hold.run.node, "times": times})
        reason = f"it ended its worker or broke the engine {times} times at node {hold.run.node!r}"
        await self._append(hold, (RunQuarantined(reason=reason, evidence=hold.abandoned),))

    async def _advance_once(self, hold: Hold) -> None:
        """One commit further."""
        if self.draining.is_set() and not hold.run.is_final:
            await self._let_go(hold, Release(status=RunStatus.QUEUED, wake_at=self.clock.now()))
            return
        if hold.letters and await self._read(hold):
            return
        action, hold.following = hold.following or decide(hold.run, hold.graph, self.clock.now()), None
        match action:
            case Write(entries=entries):
                await self._append(hold, entries)
            case Begin(entry=entry, births=births):
                await self._append(hold, (entry,), births=births)
            case Perform(node=node):
                await self._step(hold, node)
            case JoinThread():
                kept = await self.store.kept(hold.run.tenant, hold.run.options.thread_id)
                fields = {name: kept.fields[name] for name in hold.graph.keep if name in kept.fields}
                await self._append(hold, (ThreadJoined(kept=fields, labels=kept.labels),))
            case Park() as park:
                await self._park(hold, park)
            case Rest():
                hold.is_over = True
            case unknown:
                assert_never(unknown)

    async def _read(self, hold: Hold) -> bool:
        """Answer the letters that can be answered now; true when that changed the run."""
        stop = stop_in(hold.letters)
        if stop is not None and not hold.run.is_final:
            await self._append(hold, cancelled(hold.run, self.clock.now(), stop.reason, stop.asked_by), stop=stop)
            return True
        hold.following = hold.following or decide(hold.run, hold.graph, self.clock.now())
        answered = answer(hold.run, hold.letters, failing=_fails(hold.following))
        if not answered.numbers:
            return False
        gone = set(answered.numbers)
        hold.letters = [one for one in hold.letters if one.number not in gone]
        await self._append(hold, answered.entries, answered=answered.numbers)
        return True

    async def _park(self, hold: Hold, park: Park) -> None:
        pause = None if park.at is None else (park.at - self.clock.now()).total_seconds()
        if pause is not None and pause < _NAP_S and park.status is RunStatus.QUEUED:
            await asyncio.sleep(max(0.0, pause))
            return
        await self._let_go(hold, Release(status=park.status, wake_at=park.at))

    async def _step(self, hold: Hold, node: Node) -> None:
        started = time.perf_counter()
        outcome = await self._perform(hold, node)
        if outcome is None:
            return
        try:
            await self._append(hold, self._entries(hold, node, outcome, time.perf_counter() - started))
        except (Invalid, Internal) as error:  # the store refuses what the step yields: a failure of the step, not a reason to try for ever
            self.log.error("step.unstorable", {"run_id": hold.run.run_id, "node": node.name, "reason": error.reason})
            failed = Failed(failure=failure_from_error(error, node.name), unsettled=True)
            await self._append(hold, conclude(hold.run, hold.graph, node, failed, 0.0, self.clock.now()))

    def _entries(self, hold: Hold, node: Node, outcome: Outcome, seconds: float) -> tuple[Entry, ...]:
        now = self.clock.now()
        match outcome:
            case Progressed(turn=turn, usage=usage, rehearsal=rehearsal, prompts=prompts):
                fresh = {name: digest for name, digest in prompts.items() if name not in hold.run.prompts}
                return (StepProgressed(node=node.name, turn=turn, usage=usage, rehearsal=rehearsal, prompts=fresh),)
            case Ask():
                asked = ApprovalAsked(
                    approval_id=self.ids.new("apr"),
                    node=node.name,
                    summary=outcome.summary,
                    details=outcome.details,
                    proposal=outcome.proposal,
                    expires_at=now + timedelta(seconds=outcome.expires_s),
                    call_key=outcome.call_key,
                    proposed_by=outcome.proposed_by,
                )
                return (asked,)
            case finished:
                return conclude(hold.run, hold.graph, node, finished, seconds, now)

    async def _perform(self, hold: Hold, node: Node) -> Outcome | None:
        """None when a letter told the run to stop meanwhile."""
        try:
            async with asyncio.TaskGroup() as group:
                hold.acting = group.create_task(self._act(hold, node))
            return hold.acting.result()
        except asyncio.CancelledError:
            if stop_in(hold.letters) is None:
                raise
            return None
        except Exception as error:  # noqa: BLE001 - a fault of ours in one step must not take the other runs of this worker with it
            self.log.error("step.broken", {"run_id": hold.run.run_id, "node": node.name}, error=error)
            return Failed(failure=failure_from_error(error, node.name), unsettled=True)
        finally:
            hold.acting = None

    async def _act(self, hold: Hold, node: Node) -> Outcome:
        run = hold.run
        assert run.step is not None
        cap_s = _time_left(run, hold.graph, self.clock.now())
        if isinstance(node.kind, ModelNode | AgentNode) and (run.options.stream_tokens or self.speaker.is_wanted(run.run_id)):
            async with self.speaker.speaking(run.run_id, node.name, run.seq) as hear:
                return await self.performer.perform(run, run.step, node, hold.epoch, hear, cap_s)
        return await self.performer.perform(run, run.step, node, hold.epoch, None, cap_s)

    async def _append(
        self,
        hold: Hold,
        entries: tuple[Entry, ...],
        *,
        births: tuple[Birth, ...] = (),
        answered: tuple[int, ...] = (),
        stop: StopAsked | None = None,
    ) -> None:
        """Commit the entries, and with them what follows at once: the start of the next step, the end of the run, or letting go of it."""
        plan, hold.planned = hold.planned, None
        if plan is None or plan.before is not hold.run or plan.alone.entries is not entries:
            plan = plan_of(hold.run, hold.graph, entries, self.clock.now())
        if plan.joined is not None and not births and not hold.letters:
            known = hold.mail
            if await self._commit(hold, plan.joined, births, answered, stop):
                return
            if not plan.joined.after.is_final or not await self._has_news(hold, known):
                self._drop(hold)
                return
        known = hold.mail
        if not await self._commit(hold, plan.alone, births, answered, stop) and not await self._has_news(hold, known):
            self._drop(hold)

    def _look_ahead(self, hold: Hold, draft: Draft) -> None:
        """Work out the next commit while this one is under way, where nothing has to be done for it but writing."""
        stretch = draft.stretch
        if isinstance(stretch.following, Write) and not hold.letters:
            with suppress(Exception):  # what is wrong is found out again when the turn comes, and said there
                plan = plan_of(stretch.after, hold.graph, stretch.following.entries, self.clock.now())
                hold.planned = plan
                hold.drafted = draft_of(draft.onward, hold.graph, plan.joined or plan.alone, mail=hold.mail)

    async def _commit(
        self,
        hold: Hold,
        stretch: Stretch,
        births: tuple[Birth, ...],
        answered: tuple[int, ...],
        stop: StopAsked | None,
    ) -> bool:
        """Append, and let go of the run when it ends or waits. False when the run is no longer ours, or was about to end with a letter unread."""
        if stretch.after.is_final and hold.run.step is not None:
            for grant_id in unused_grants(hold.run):  # first: whoever ends the run again after a crash finds them here still
                await self.grants.revoke(grant_id)
        draft, hold.drafted = hold.drafted, None
        if draft is None or draft.stretch is not stretch or draft.append.mail != hold.mail:
            unread = bool(hold.letters)
            draft = draft_of(hold.footing, hold.graph, stretch, mail=hold.mail, unread=unread, births=births, answered=answered, stop=stop)
        appended = await self.committer.append(draft.append, lambda: self._look_ahead(hold, draft))
        if appended is None:
            return False
        hold.footing, hold.following, hold.is_over = draft.onward, stretch.following, draft.append.release is not None
        if appended.mail > hold.mail and not hold.is_over:
            hold.receive(await self.store.letters(hold.run.run_id, hold.mail))
            hold.mail = max(hold.mail, appended.mail)
        return True

    async def _has_news(self, hold: Hold, known: int) -> bool:
        """Whether letters came beside the `known` ones, now or while the commit was under way: a run does not end with one unread."""
        hold.receive(await self.store.letters(hold.run.run_id, hold.mail))
        return hold.mail > known

    def _drop(self, hold: Hold) -> None:
        self.log.warning("run.fenced_off", {"run_id": hold.run.run_id, "epoch": hold.epoch, "seq": hold.run.seq})
        hold.is_over = True

    async def _let_go(self, hold: Hold, release: Release) -> None:
        run = hold.run
        append = Append(
            run_id=run.run_id,
            tenant=run.tenant,
            epoch=hold.epoch,
            expected_seq=run.seq,
            entries=(),
            encoded=(),
            run=run,
            release=release,
            mail=hold.mail,
        )
        hold.is_over = True
        await self.committer.append(append, lambda: None)


def _time_left(run: Run, graph: Graph, now: datetime) -> float | None:
    """Seconds until the run's deadline, or until its time in steps is used up; None when it has no such limit."""
    limits = [budget - run.busy_s for budget in (graph.budget.seconds, run.options.budget.seconds) if budget]
    if run.options.deadline is not None:
        limits.append((run.options.deadline - now).total_seconds())
    return min(limits, default=None)


def _fails(following: Action) -> bool:
    """Whether the run's next entries are its end, and no good one."""
    ends = (one for one in (following.entries if isinstance(following, Write) else ()) if isinstance(one, RunFinished))
    return any(end.status is not RunStatus.SUCCEEDED for end in ends)
