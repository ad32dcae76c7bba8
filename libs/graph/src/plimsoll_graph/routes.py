"""Where a graph can go: every target exists, every node can be reached, every failure that is routed has a route for the rest."""

import difflib
from collections.abc import Iterator

from plimsoll_graph.edges import RESERVED, Edge, edges, reached
from plimsoll_graph.graph import ANY, END, FAIL, JOIN, Graph, Node, ParallelNode, SetNode
from plimsoll_graph.yaml_source import Mistake, Path, Source


def route_mistakes(graph: Graph, source: Source) -> Iterator[Mistake]:
    """Every mistake in the edges and in the names of state fields."""
    yield from _unknown_targets(graph, source)
    yield from _open_failures(graph, source)
    for name in _lost(graph):
        yield source.mistake(("nodes", name), "cannot be reached from the start", "route to it or take it out")
    yield from _unknown_fields(graph, source)


def _lost(graph: Graph) -> Iterator[str]:
    """Nodes that cannot be reached; of those that hang together, the one that leads to the others."""
    if graph.start not in graph.nodes:
        return
    covered = set(reached(graph))
    led_to = {edge.target for name, node in graph.nodes.items() if name not in covered for edge in edges(node) if edge.target != name}
    for name in sorted(graph.nodes, key=lambda name: name in led_to):  # roots first; what is left then goes round in circles
        if name not in covered:
            yield name
            covered |= reached(graph, name)


def _unknown_targets(graph: Graph, source: Source) -> Iterator[Mistake]:
    if graph.start and graph.start not in graph.nodes:
        yield source.mistake(("start",), f"names the unknown node {graph.start!r}", _known(graph, graph.start))
    for word, target in graph.on_failure.items():
        if target and target != FAIL and target not in graph.nodes:
            yield source.mistake(("on_failure", word), f"names the unknown node {target!r}", _known(graph, target, FAIL))
    for node in graph.nodes.values():
        for edge in edges(node):
            wrong = _wrong_target(graph, node, edge)
            if wrong is not None:
                yield source.mistake(("nodes", node.name, *edge.path), *wrong)


def _wrong_target(graph: Graph, node: Node, edge: Edge) -> tuple[str, str] | None:
    """What is wrong with where an edge leads, and the remedy. Branches look after `end` and `join`."""
    target = edge.target
    if edge.is_failure and target == node.name:
        return "leads back to the node that failed", "use `retry`, a handle node that retries, or `fail`"
    if not target or target in graph.nodes:  # an empty one was noted as missing
        return None
    if target not in RESERVED:
        return f"names the unknown node {target!r}", _known(graph, target, FAIL if edge.is_failure else END)
    if target == FAIL and not edge.is_failure:
        return "leads to 'fail'", "only failures do: route to a handle node, or write end"
    if edge.branch:
        return f"begins a branch with {target!r}", "name the branch's first node"
    return None


def _open_failures(graph: Graph, source: Source) -> Iterator[Mistake]:
    """A node that routes no failure at all is clear: the run fails. One that routes some has to say what becomes of the rest."""
    if graph.on_failure and ANY not in graph.on_failure:
        yield source.mistake(
            ("on_failure",), "has no route for `any` other failure", "add `any: NODE`, or `any: fail` for a run that fails"
        )
    for node in graph.nodes.values():
        if node.on_failure and ANY not in node.on_failure and not graph.on_failure:
            path: Path = ("nodes", node.name, "on_failure")
            yield source.mistake(path, "has no route for `any` other failure", "add `any: NODE`, or `any: fail` for a run that fails")


def _unknown_fields(graph: Graph, source: Source) -> Iterator[Mistake]:
    inputs = _properties(graph.input_schema.get("properties"))
    accepts = {"text": graph.accepts.text_field, "base64": graph.accepts.base64_field, "name": graph.accepts.name_field}
    for key, field in accepts.items():
        if field and field not in inputs:
            yield source.mistake(("accepts", key), f"names the unknown input field {field!r}", "declare it under input.properties")
    declared = graph.state_schema.get("properties")
    if not isinstance(declared, dict):
        return
    fields = list(declared)
    for path, field in _written(graph, inputs):
        if field not in declared:
            near = difflib.get_close_matches(field, fields, n=1)
            remedy = f"did you mean {near[0]!r}? Or declare it under state.properties" if near else "declare it under state.properties"
            yield source.mistake(path, "is not a field of the state", remedy)


def _written(graph: Graph, inputs: list[str]) -> Iterator[tuple[Path, str]]:
    """Every place that names a field of the state."""
    for node in graph.nodes.values():
        yield from ((("nodes", node.name, "save", field), field) for field in node.save)
        match node.kind:
            case SetNode(fields=fields):
                yield from ((("nodes", node.name, "set", field), field) for field in fields)
            case ParallelNode(merge=merge):
                yield from ((("nodes", node.name, "parallel", "merge", field), field) for field in merge)
    yield from ((("input", "properties", field), field) for field in inputs)  # an input's fields become the first state
    yield from ((("keep", index), field) for index, field in enumerate(graph.keep))


def _properties(value: object) -> list[str]:
    return list(value) if isinstance(value, dict) else []


def _known(graph: Graph, name: str, word: str = END) -> str:
    near = difflib.get_close_matches(name, graph.nodes, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join([*list(graph.nodes)[:20], word, JOIN])}"
