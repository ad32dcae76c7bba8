"""Reading runs back: their summary, and the fold of their journal."""

from plimsoll_graph.graph import Graph

from plimsoll_orchestrator.domain.fold import fold
from plimsoll_orchestrator.domain.run import Run
from plimsoll_orchestrator.errors import JournalBroken, RunNotFound, StepPruned
from plimsoll_orchestrator.ports import AgentStore, RunStore, RunSummary

PAGE = 500


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
