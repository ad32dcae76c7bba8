"""Pinning subgraphs: a registered graph names the exact versions of the graphs that it runs."""

from collections.abc import Iterator, Mapping

from plimsoll_runtime.json_types import JsonObject

from plimsoll_graph.errors import InvalidGraph
from plimsoll_graph.graph import Graph, MapNode, SubgraphNode
from plimsoll_graph.yaml_source import Mistake, Path, Source


def subgraphs(graph: Graph) -> Iterator[tuple[Path, SubgraphNode]]:
    """Every subgraph that a graph runs, and where it is declared."""
    for node in graph.nodes.values():
        match node.kind:
            case SubgraphNode() as kind:
                yield ("nodes", node.name, "subgraph"), kind
            case MapNode(body=SubgraphNode() as body):
                yield ("nodes", node.name, "map", "do", "subgraph"), body


def unpinned(graph: Graph) -> frozenset[str]:
    """The agents whose versions have to be pinned before the graph can be registered."""
    return frozenset(kind.agent for _, kind in subgraphs(graph) if not kind.digest)


def unknown_agents(graph: Graph, source: Source, digests: Mapping[str, str]) -> list[Mistake]:
    """A mistake, with its line, for every subgraph whose agent is not among `digests`."""
    return [
        source.mistake((*path, "agent"), f"names the unknown agent {kind.agent!r}", "register it first")
        for path, kind in subgraphs(graph)
        if not kind.digest and kind.agent not in digests
    ]


def pinned(canonical: JsonObject, digests: Mapping[str, str]) -> JsonObject:
    """The canonical form with the digest of every subgraph that declares none. Raises InvalidGraph for an agent that is not in `digests`.

    What was pinned stays as it is, so pinning twice changes nothing.
    """
    nodes = canonical.get("nodes")
    if not isinstance(nodes, dict):
        return canonical
    return {**canonical, "nodes": {name: _pinned_node(node, digests) if isinstance(node, dict) else node for name, node in nodes.items()}}


def _pinned_node(node: JsonObject, digests: Mapping[str, str]) -> JsonObject:
    map_kind = node.get("map")
    if isinstance(map_kind, dict) and isinstance(map_kind.get("do"), dict):
        return {**node, "map": {**map_kind, "do": _pinned_kind(map_kind["do"], digests)}}  # type: ignore[arg-type]  # was asked just now
    return _pinned_kind(node, digests)


def _pinned_kind(owner: JsonObject, digests: Mapping[str, str]) -> JsonObject:
    subgraph = owner.get("subgraph")
    if not isinstance(subgraph, dict) or subgraph.get("digest"):
        return owner
    agent = str(subgraph.get("agent"))
    if agent not in digests:
        raise InvalidGraph(f"names the unknown agent {agent!r}", remedy="register it first")
    return {**owner, "subgraph": {**subgraph, "digest": digests[agent]}}
