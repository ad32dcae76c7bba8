"""Where a graph can go: every target exists, every node can be reached, the state has what is saved into it."""

from collections.abc import Iterator

from plimsoll_runtime.errors import FieldProblem

from plimsoll_graph.graph import END, ApproveNode, DecideNode, GoTo, Graph, HandleNode, Node, SetNode
from plimsoll_graph.yaml_source import Path, Source


def check_routes(graph: Graph, source: Source) -> list[FieldProblem]:
    """Every mistake in the edges and in the names of state fields."""
    problems = []
    if graph.start not in graph.nodes:
        problems.append(source.problem(("start",), f"names the unknown node {graph.start!r}", _known(graph)))
    for node in graph.nodes.values():
        for path, target in _targets(node):
            if target and target != END and target not in graph.nodes:  # an empty one was noted as missing
                problems.append(source.problem(("nodes", node.name, *path), f"names the unknown node {target!r}", _known(graph)))
    reached = _reached(graph)
    problems += [
        source.problem(("nodes", name), "cannot be reached from the start", "route to it or take it out")
        for name in graph.nodes
        if name not in reached
    ]
    problems += _unknown_fields(graph, source)
    return problems


def _targets(node: Node) -> Iterator[tuple[Path, str]]:
    """Every edge out of a node, with the place where it is written."""
    match node.kind:
        case DecideNode(branches=branches, default=default):
            yield from ((("decide", "branches", index, "next"), branch.next) for index, branch in enumerate(branches))
            yield ("decide", "default"), default
        case HandleNode(cases=cases):
            yield from ((("handle", index, "next"), case.remedy.next) for index, case in enumerate(cases) if isinstance(case.remedy, GoTo))
        case ApproveNode(on_rejected=rejected, on_expired=expired):
            yield ("next",), node.next
            yield from ((("approve", key), target) for key, target in (("on_rejected", rejected), ("on_expired", expired)) if target)
        case _:
            yield ("next",), node.next
    yield from ((("on_failure", word), target) for word, target in node.on_failure.items())


def _reached(graph: Graph) -> set[str]:
    reached: set[str] = set()
    waiting = [graph.start]
    while waiting:
        name = waiting.pop()
        if name in graph.nodes and name not in reached:
            reached.add(name)
            waiting += [target for _, target in _targets(graph.nodes[name])]
    return reached


def _unknown_fields(graph: Graph, source: Source) -> list[FieldProblem]:
    properties = graph.state_schema.get("properties")
    if not isinstance(properties, dict):
        return []
    places: list[tuple[Path, str]] = [(("nodes", node.name, "save", field), field) for node in graph.nodes.values() for field in node.save]
    places += [
        (("nodes", node.name, "set", field), field)
        for node in graph.nodes.values()
        if isinstance(node.kind, SetNode)
        for field in node.kind.fields
    ]
    inputs = graph.input_schema.get("properties")
    inputs = inputs if isinstance(inputs, dict) else {}
    places += [(("input", "properties", field), field) for field in inputs]  # an input's fields become the first state
    problems = [
        source.problem(path, "is not a field of the state", "declare it under state.properties")
        for path, field in places
        if field not in properties
    ]
    accepts = {"text": graph.accepts.text_field, "base64": graph.accepts.base64_field, "name": graph.accepts.name_field}
    problems += [
        source.problem(("accepts", key), f"names the unknown input field {field!r}", "declare it under input.properties")
        for key, field in accepts.items()
        if field and field not in inputs
    ]
    return problems


def _known(graph: Graph) -> str:
    return f"known: {', '.join([*graph.nodes, END])}"
