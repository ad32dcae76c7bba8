"""Cycles: a run must not be able to go round for ever.

A cycle is bounded when on every way round there is
- a `wait` or an `approve` node: the world outside sets the pace, and people see it;
- a `decide` node that can leave the cycle, on a condition over a field of the state that the cycle itself writes;
or when the graph declares `budget.steps`: then the author has said how far a run may go.
A `retry` of a handle node and the `retry` of a node are no edges: they have limits of their own.
"""

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import TypeAlias

from plimsoll_graph.branches import Frame, frames, written
from plimsoll_graph.edges import edges
from plimsoll_graph.graph import ANY, ApproveNode, DecideNode, Graph, HandleNode, SignalNode, TimerNode
from plimsoll_graph.syntax import fields_read
from plimsoll_graph.yaml_source import Mistake, Source

_PACED = (ApproveNode, TimerNode, SignalNode)
_Ways: TypeAlias = Mapping[str, tuple[str, ...]]


def cycle_mistakes(graph: Graph, source: Source) -> Iterator[Mistake]:
    """Every group of nodes in which a run can go round without a bound, named by one way round."""
    budget = graph.canonical.get("budget")
    if isinstance(budget, dict) and "steps" in budget:
        return
    ways = _ways(graph)
    unpaced = {name for name, node in graph.nodes.items() if not isinstance(node.kind, _PACED)}
    for group in _unbounded(graph, ways, _writes(graph), unpaced):
        first = next(name for name in graph.nodes if name in group)
        round_trip = " → ".join(_round(first, ways, group))
        remedy = "declare budget.steps, or let a decide node leave the cycle on a field that it writes, or wait in it"
        yield source.mistake(("nodes", first), f"can go round for ever: {round_trip}", remedy)


def _ways(graph: Graph) -> _Ways:
    """The nodes that each node leads to, in the order of its edges; by the graph's own failure routes too, where its own leave some open."""
    found = frames(graph)
    ways = {}
    for name, node in graph.nodes.items():
        targets = [edge.target for edge in edges(node) if not (edge.is_failure and edge.target == name)]
        on_main_path = frozenset[Frame]([()]) & found.get(name, frozenset())
        if ANY not in node.on_failure and on_main_path and not isinstance(node.kind, HandleNode):
            targets += [target for target in graph.on_failure.values() if target != name]
        ways[name] = tuple(dict.fromkeys(target for target in targets if target in graph.nodes))
    return ways


def _writes(graph: Graph) -> Mapping[str, frozenset[str]]:
    """The fields that each node writes; a parallel node writes what its branches write."""
    writes = {name: written(node) for name, node in graph.nodes.items()}
    for name, in_frames in frames(graph).items():
        for parallel, _ in {part for frame in in_frames for part in frame} if name in writes else ():
            writes[parallel] |= written(graph.nodes[name])
    return writes


def _unbounded(graph: Graph, ways: _Ways, writes: Mapping[str, frozenset[str]], names: AbstractSet[str]) -> Iterator[AbstractSet[str]]:
    """Groups that can be gone round without a bound: a node that bounds its group is taken out, and what is left is looked at again."""
    waiting = [names]
    while waiting:
        for group in _groups(ways, waiting.pop()):
            bounds = {name for name in group if _leaves(graph, writes, name, group)}
            if bounds:
                waiting.append(group - bounds)
            else:
                yield group


def _leaves(graph: Graph, writes: Mapping[str, frozenset[str]], name: str, group: AbstractSet[str]) -> bool:
    """Whether a node decides to leave its group, on something that the group itself changes."""
    kind = graph.nodes[name].kind
    if not isinstance(kind, DecideNode) or {kind.default, *(branch.next for branch in kind.branches)} <= group:
        return False
    changed = frozenset[str]().union(*(writes[member] for member in group))
    return any(fields is None or fields & changed for fields in (fields_read(branch.when) for branch in kind.branches))


def _groups(ways: _Ways, names: AbstractSet[str]) -> Iterator[set[str]]:
    """The groups of `names` whose nodes all lead to each other."""
    reach = {name: _reach(name, ways, names) for name in names}
    grouped: set[str] = set()
    for name in sorted(names):
        if name in reach[name] and name not in grouped:
            group = {other for other in reach[name] if name in reach[other]}
            grouped |= group
            yield group


def _reach(start: str, ways: _Ways, names: AbstractSet[str]) -> AbstractSet[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for target in ways[waiting.pop()]:
            if target in names and target not in found:
                found.add(target)
                waiting.append(target)
    return found


def _round(first: str, ways: _Ways, group: AbstractSet[str]) -> list[str]:
    """A shortest way from `first` through the group and back."""
    came_from: dict[str, str] = {}
    waiting = [first]
    while waiting:
        name = waiting.pop(0)
        for target in ways[name]:
            if target == first:
                way = [name]
                while way[-1] != first:
                    way.append(came_from[way[-1]])
                return [*reversed(way), first]
            if target in group and target not in came_from:
                came_from[target] = name
                waiting.append(target)
    return [first]
