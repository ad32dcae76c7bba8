"""The branches of parallel nodes: which node belongs to which, that each comes to its join, and who writes what."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from plimsoll_graph.edges import Edge, edges
from plimsoll_graph.graph import END, JOIN, Graph, HandleNode, Merge, Node, ParallelNode, SetNode
from plimsoll_graph.schema_shapes import schema_shape
from plimsoll_graph.shapes import NUMBERS, Kind, field_of, of_kind
from plimsoll_graph.yaml_source import Mistake, Path, Source

# The branches that a node lies in, from the outermost: (parallel node, branch); empty on the main path.
Frame: TypeAlias = tuple[tuple[str, str], ...]

_MERGED: Mapping[Merge, frozenset[Kind]] = {
    Merge.APPEND: frozenset({Kind.LIST}),
    Merge.SUM: NUMBERS - {Kind.UINT},
    Merge.MERGE: frozenset({Kind.MAP}),
    Merge.LEAST: NUMBERS - {Kind.UINT} | {Kind.STRING},
    Merge.GREATEST: NUMBERS - {Kind.UINT} | {Kind.STRING},
}


@dataclass(frozen=True, slots=True)
class Arrival:
    """A node that was reached in a frame by an edge."""

    node: str
    frame: Frame
    path: Path


def frames(graph: Graph) -> Mapping[str, frozenset[Frame]]:
    """The frames in which each node can be reached."""
    found: dict[str, set[Frame]] = defaultdict(set)
    for arrival in _walk(graph):
        found[arrival.node].add(arrival.frame)
    return {name: frozenset(of_node) for name, of_node in found.items()}


def branch_mistakes(graph: Graph, source: Source) -> Iterator[Mistake]:
    """Branches that end the run or run into each other, joins outside of a branch, and fields that two branches write."""
    placed: dict[str, Frame] = {}
    for arrival in _walk(graph):
        if arrival.node == END and arrival.frame:
            remedy = "a branch ends with `next: join`; the run goes on behind the parallel node"
            yield source.mistake(arrival.path, f"leads to 'end' inside of {_named(arrival.frame)}", remedy)
        elif arrival.node == JOIN and not arrival.frame:
            yield source.mistake(arrival.path, "leads to 'join' on the main path", "only a branch of a parallel node joins: write end")
        elif arrival.node in graph.nodes and not _is_leaf(graph.nodes[arrival.node]):
            first = placed.setdefault(arrival.node, arrival.frame)
            if first != arrival.frame:
                problem = f"leads to {arrival.node!r}, which lies in {_named(first)}, from {_named(arrival.frame)}"
                yield source.mistake(arrival.path, problem, "give each branch nodes of its own; a branch ends with `next: join`")
    yield from _conflicts(graph, source, placed)
    yield from _unfit_merges(graph, source)


def _walk(graph: Graph) -> Iterator[Arrival]:
    """Every way to arrive at a node, `end` or `join`, each edge once per frame."""
    main: Frame = ()
    waiting = [Arrival(graph.start, main, ("start",))]
    waiting += [Arrival(target, main, ("on_failure", word)) for word, target in graph.on_failure.items()]
    seen: set[str] = set()
    while waiting:
        arrival = waiting.pop(0)
        yield arrival
        if arrival.node in seen or arrival.node not in graph.nodes:
            continue
        node = graph.nodes[arrival.node]
        if not _is_leaf(node):
            seen.add(node.name)
        for edge in edges(node):
            waiting.append(Arrival(edge.target, _frame(arrival.frame, node, edge), ("nodes", node.name, *edge.path)))


def _frame(frame: Frame, node: Node, edge: Edge) -> Frame:
    return (*frame, (node.name, edge.branch)) if edge.branch else frame


def _is_leaf(node: Node) -> bool:
    """A handle node without a way on may serve branches and the main path alike."""
    return isinstance(node.kind, HandleNode) and not list(edges(node))


def _conflicts(graph: Graph, source: Source, placed: Mapping[str, Frame]) -> Iterator[Mistake]:
    writers: dict[tuple[str, str], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))  # (parallel, field) → branch → nodes
    for name, frame in placed.items():
        for field in written(graph.nodes[name]):
            for parallel, branch in frame:
                writers[parallel, field][branch].add(name)
    for (parallel, field), by_branch in writers.items():
        kind = graph.nodes[parallel].kind
        if len(by_branch) > 1 and isinstance(kind, ParallelNode) and field not in kind.merge:
            who = " and ".join(f"{branch} ({', '.join(sorted(nodes))})" for branch, nodes in sorted(by_branch.items()))
            remedy = f"say how they become one, `merge: {{{field}: append}}` or so, or let each branch write a field of its own"
            yield source.mistake(("nodes", parallel, "parallel"), f"has branches that all write {field!r}: {who}", remedy)


def _unfit_merges(graph: Graph, source: Source) -> Iterator[Mistake]:
    """Merges of fields whose schema has nothing of the kind."""
    state = schema_shape(graph.state_schema)
    for node in graph.nodes.values():
        if isinstance(node.kind, ParallelNode):
            for field, merge in node.kind.merge.items():
                shape = field_of(state, field)
                if not shape.may_be(*_MERGED[merge]):
                    path = ("nodes", node.name, "parallel", "merge", field)
                    takes = " or ".join(sorted({str(of_kind(kind)) for kind in _MERGED[merge]}))
                    yield source.mistake(
                        path, f"is {merge.value!r}, which takes {takes}; state.{field} is {shape}", f"one of {', '.join(Merge)}"
                    )


def written(node: Node) -> frozenset[str]:
    """The state fields that a node writes."""
    return frozenset(node.kind.fields if isinstance(node.kind, SetNode) else node.save)


def _named(frame: Frame) -> str:
    return f"branch {frame[-1][1]!r} of {frame[-1][0]!r}" if frame else "the main path"
