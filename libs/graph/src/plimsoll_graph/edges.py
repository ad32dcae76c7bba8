"""The edges of a graph: where each node can lead, and where that is written."""

from collections.abc import Iterator
from dataclasses import dataclass

from plimsoll_graph.graph import (
    END,
    FAIL,
    JOIN,
    ApproveNode,
    Compensate,
    DecideNode,
    GoTo,
    Graph,
    HandleNode,
    Node,
    ParallelNode,
    SignalNode,
)
from plimsoll_graph.yaml_source import Path

RESERVED = (END, JOIN, FAIL)


@dataclass(frozen=True, slots=True)
class Edge:
    """`path` is where the edge is written, below its node. `branch` names the branch that begins with it."""

    path: Path
    target: str
    branch: str = ""

    @property
    def is_failure(self) -> bool:
        return self.path[0] == "on_failure"


def edges(node: Node) -> Iterator[Edge]:
    """Every edge out of a node; a `retry` is none, for it has a limit of its own."""
    kind = node.kind
    if not isinstance(kind, DecideNode | HandleNode):
        yield Edge(("next",), node.next)
    match kind:
        case DecideNode(branches=branches, default=default):
            yield from (Edge(("decide", "branches", index, "next"), branch.next) for index, branch in enumerate(branches))
            yield Edge(("decide", "default"), default)
        case HandleNode(cases=cases):
            for index, case in enumerate(cases):
                match case.remedy:
                    case GoTo(next=target):
                        yield Edge(("handle", index, "next"), target)
                    case Compensate(next=target) if target:
                        yield Edge(("handle", index, "compensate", "next"), target)
        case ParallelNode(branches=starts):
            yield from (Edge(("parallel", "branches", name), first, name) for name, first in starts.items())
        case ApproveNode(on_rejected=rejected, on_expired=expired):
            yield from (Edge(("approve", key), target) for key, target in (("on_rejected", rejected), ("on_expired", expired)) if target)
        case SignalNode(on_expired=expired) if expired:
            yield Edge(("wait", "on_expired"), expired)
    yield from (Edge(("on_failure", word), target) for word, target in node.on_failure.items())


def reached(graph: Graph, start: str = "") -> frozenset[str]:
    """The nodes that a run can come to, from the graph's start and failure routes or from `start`."""
    found: set[str] = set()
    waiting = [start] if start else [graph.start, *graph.on_failure.values()]
    while waiting:
        name = waiting.pop()
        if name in graph.nodes and name not in found:
            found.add(name)
            waiting += [edge.target for edge in edges(graph.nodes[name])]
    return frozenset(found)
