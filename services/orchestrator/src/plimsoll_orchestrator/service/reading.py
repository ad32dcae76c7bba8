"""Reading runs back: their summary, and the fold of their journal."""

from dataclasses import dataclass

from plimsoll_graph.graph import Graph
from plimsoll_runtime.failures import Category, Failure

from plimsoll_orchestrator.domain.fold import fold
from plimsoll_orchestrator.domain.journal import Joined
from plimsoll_orchestrator.domain.letters import ChildFinished, Delivery, StopAsked
from plimsoll_orchestrator.domain.options import RunOptions, RunOrigin
from plimsoll_orchestrator.domain.run import Run
from plimsoll_orchestrator.errors import JournalBroken, RunNotFound, StepPruned
from plimsoll_orchestrator.ports import AgentStore, RunStore, RunSummary

PAGE = 500
_APPROVALS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """A run as far as it is known without its journal."""

    run: Run
    children: tuple[str, ...]

    def deliveries(self, after: Run) -> tuple[Delivery, ...]:
        """Whom its end concerns: its children are to stop, its parent learns of it."""
        reason = f"run {self.run.run_id} does not need it any more"
        stops = [Delivery(run_id=one, letter_id="stop", letter=StopAsked(reason=reason, asked_by=self.run.run_id)) for one in self.children]
        parent = self.run.origin.parent_run_id
        if not parent:
            return tuple(stops)
        joined = Joined(run_id=after.run_id, place="", status=after.status, failure=after.failure, usage=after.usage)
        told = ChildFinished(step=self.run.origin.parent_seq, joined=joined)
        return (*stops, Delivery(run_id=parent, letter_id=after.run_id, letter=told))


async def unread(runs: RunStore, tenant: str, run_id: str, why: Failure | None = None) -> Unread:
    """A run whose journal cannot be read, by what the tables say of it. Raises RunNotFound."""
    summary = await summary_of(runs, tenant, run_id)
    ties = await runs.ties(tenant, run_id)
    if ties is None:
        raise RunNotFound(f"no run has the id {run_id!r}")
    asked = await runs.list_approvals(tenant, None, run_id, "", _APPROVALS)
    above = run_id.rsplit(".", 2)  # a child is named after its parent's step: parent.step.number
    run = Run(
        run_id=run_id,
        tenant=tenant,
        agent=summary.agent,
        agent_digest=summary.agent_digest,
        seq=summary.seq,
        status=summary.status,
        node=summary.node,
        steps=summary.steps,
        usage=summary.usage,
        rehearsal=summary.rehearsal,
        started_at=summary.created_at,
        finished_at=summary.finished_at,
        options=RunOptions(thread_id=ties.thread_id, concurrency_key=ties.concurrency_key, concurrency_limit=1),
        origin=RunOrigin(parent_run_id=ties.parent_run_id, parent_seq=int(above[1]) if ties.parent_run_id else 0),
        approvals={view.approval.approval_id: view.approval for view in asked},
        failure=why,
    )
    return Unread(run=run, children=tuple(ties.children))


def unreadable(error: JournalBroken) -> Failure:
    """What a run shows in place of what its journal would say."""
    return Failure(category=Category.INTERNAL, reason=error.reason, message=str(error))


async def summary_of(runs: RunStore, tenant: str, run_id: str) -> RunSummary:
    """Raises RunNotFound."""
    summary = await runs.summary(tenant, run_id)
    if summary is None:
        raise RunNotFound(f"no run has the id {run_id!r}")
    return summary


async def graph_of(agents: AgentStore, tenant: str, summary: RunSummary) -> Graph:
    """The graph version that a run is on."""
    version = await agents.by_digest(tenant, summary.agent, summary.agent_digest)
    if version is None:
        raise JournalBroken(f"{summary.run_id}: its agent version does not exist")
    return version.graph


async def fold_of(runs: RunStore, tenant: str, summary: RunSummary, graph: Graph, upto: int | None = None) -> Run:
    """The run as its journal says, up to a position or whole. Raises StepPruned when that part of the journal is gone."""
    run = Run(run_id=summary.run_id, tenant=tenant, agent=summary.agent, agent_digest=summary.agent_digest)
    snapshot = await runs.snapshot(tenant, summary.run_id)
    if snapshot is not None and (upto is None or snapshot.run.seq <= upto):
        run = snapshot.run
    if run.seq < summary.pruned_seq:
        raise StepPruned(f"the journal of {summary.run_id} is kept from entry {summary.pruned_seq + 1} on", remedy="choose a later entry")
    while upto is None or run.seq < upto:
        entries = await runs.journal(tenant, summary.run_id, run.seq, PAGE)
        wanted = [entry for entry in entries if upto is None or entry.seq <= upto]
        run = fold(run, ((entry.seq, entry.at, entry.entry) for entry in wanted), graph.start)
        if len(entries) < PAGE:
            break
    return run
