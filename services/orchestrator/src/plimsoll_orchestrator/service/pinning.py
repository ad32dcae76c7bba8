"""Pinning: a registered graph names the exact versions of the graphs that it runs."""

from plimsoll_graph.errors import InvalidGraph
from plimsoll_graph.graph import Graph, ParallelNode
from plimsoll_graph.parse import parse_graph
from plimsoll_graph.pin import pinned, subgraphs, unpinned
from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.json_types import dump_json

from plimsoll_orchestrator.ports import AgentStore


async def pin(agents: AgentStore, tenant: str, graph: Graph, source: str) -> tuple[Graph, str]:
    """The graph as it is registered, and its source. Raises InvalidGraph when it runs a graph that does not exist."""
    digests, problems = dict[str, str](), []
    for name in sorted(unpinned(graph)):
        version = await agents.newest(tenant, name)
        if version is not None:
            digests[name] = version.graph.digest
    for path, kind in subgraphs(graph):
        place = ".".join(map(str, path))
        if not kind.digest and kind.agent not in digests:
            problems.append(FieldProblem(f"{place}.agent", f"names the unknown agent {kind.agent!r}", "register it first"))
        elif kind.digest and await agents.by_digest(tenant, kind.agent, kind.digest) is None:
            remedy = "register it, or leave out `digest`"
            problems.append(FieldProblem(f"{place}.digest", f"names a version of {kind.agent} that does not exist", remedy))
    if problems:
        raise InvalidGraph(problems=problems)
    canonical = pinned(graph.canonical, digests)
    text = dump_json(canonical)
    if canonical != graph.canonical:
        return parse_graph(text, graph.agent), text
    orders = any(isinstance(node.kind, ParallelNode) for node in graph.nodes.values())
    return graph, text if orders else source  # the canonical form states the order of branches, which the source may only imply
