"""A dry run of a new version: what is wrong with the graph, and which unfinished runs could not go on with it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from plimsoll_graph.errors import InvalidGraph
from plimsoll_graph.graph import Graph
from plimsoll_graph.parse import parse_graph
from plimsoll_runtime.errors import FieldProblem

from plimsoll_orchestrator.domain.fit import misfits
from plimsoll_orchestrator.domain.fold import fold
from plimsoll_orchestrator.domain.journal import RunStatus, decode_entry
from plimsoll_orchestrator.domain.run import Run
from plimsoll_orchestrator.domain.snapshot import decode_run
from plimsoll_orchestrator.errors import JournalBroken
from plimsoll_orchestrator.ports import AgentStore
from plimsoll_orchestrator.ports.unfinished import Unfinished, UnfinishedRuns
from plimsoll_orchestrator.service.pinning import pin

BROKEN_MOST = 1000
_PAGE = 100
_SOURCE_CAP = 1024 * 1024  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenRun:
    """A run that could not go on, and why."""

    run_id: str
    status: RunStatus
    node: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """What registering a graph would come to. `digest` is empty when it has mistakes; `broken` holds a thousand at the most."""

    mistakes: Sequence[FieldProblem]
    digest: str = ""
    broken: Sequence[BrokenRun] = ()
    checked: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    agents: AgentStore
    runs: UnfinishedRuns

    async def check_agent(self, tenant: str, source: str, source_name: str) -> Prospect:
        """Check a graph without registering it, and every unfinished run of its agent against it."""
        if len(source) > _SOURCE_CAP:
            return Prospect(mistakes=(FieldProblem("source", f"is longer than {_SOURCE_CAP} characters", "split the agent"),))
        try:
            graph, _ = await pin(self.agents, tenant, await asyncio.to_thread(parse_graph, source, source_name), source)
        except InvalidGraph as error:
            return Prospect(mistakes=error.problems or (FieldProblem("source", error.message, error.remedy),))
        broken: list[BrokenRun] = []
        versions: dict[str, Graph | None] = {}
        checked, after = 0, ""
        while page := await self.runs.page(tenant, graph.agent, after, _PAGE):
            for run in page:
                if run.agent_digest not in versions:
                    version = await self.agents.by_digest(tenant, graph.agent, run.agent_digest)
                    versions[run.agent_digest] = version.graph if version else None
                problem = "; ".join(_problems(tenant, run, versions[run.agent_digest], graph))
                if problem and len(broken) < BROKEN_MOST:
                    broken.append(BrokenRun(run_id=run.run_id, status=run.status, node=run.node, problem=problem))
            checked, after = checked + len(page), page[-1].run_id
        return Prospect(mistakes=(), digest=graph.digest, broken=broken, checked=checked)


def _problems(tenant: str, unfinished: Unfinished, old: Graph | None, new: Graph) -> Sequence[str]:
    if old is None:
        return ("the version that it has does not exist",)
    if old.digest == new.digest:
        return ()
    try:
        run = _folded(tenant, unfinished, old)
    except JournalBroken as error:
        return (f"its journal cannot be read: {error.message}",)
    return list(misfits(run, old, new))


def _folded(tenant: str, unfinished: Unfinished, graph: Graph) -> Run:
    """Raises JournalBroken."""
    run = Run(run_id=unfinished.run_id, tenant=tenant, agent=graph.agent, agent_digest=graph.digest)
    if unfinished.snapshot:
        run = decode_run(unfinished.snapshot)
    return fold(run, ((seq, at, decode_entry(text)) for seq, at, text in unfinished.entries), graph.start)
