"""Every place of a graph where expressions stand: what they may name there, and what their value has to be."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from plimsoll_graph.edges import edges
from plimsoll_graph.expression import Template
from plimsoll_graph.graph import (
    AgentNode,
    ApproveNode,
    DecideNode,
    Escalate,
    Graph,
    HandleNode,
    MapNode,
    ModelNode,
    Node,
    RecallNode,
    RememberNode,
    RetrieveNode,
    Retry,
    SetNode,
    SignalNode,
    SubgraphNode,
    TimerNode,
    ToolNode,
)
from plimsoll_graph.results import FAILURE, RUN, SIGNAL
from plimsoll_graph.schema_shapes import schema_shape
from plimsoll_graph.shapes import ANY_JSON, BOOL, INT, NULL, STRING, Kind, Shape, field_of, join, of_kind
from plimsoll_graph.yaml_source import Path

ABSENT: Mapping[str, str] = {
    "state": "runs queue up before they have a state: use input",
    "result": "a result exists in `ensure` and `save` of a node that has one",
    "item": "an item exists in the body of a map and in `reduce.each`",
    "index": "an index exists in the body of a map and in `reduce.each`",
    "failure": "a failure exists in handle nodes, and where a run can come after a failure",
    "attempts": "attempts are counted in handle nodes, and where a run can come after a failure",
    "signal": "a signal exists in `where` of a node that waits for one",
    "acc": "what is gathered so far exists in `reduce.each`",
}
_LIST = of_kind(Kind.LIST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """Attributes:
    names  what expressions see here, by name
    wants  what the value has to be
    field  the field of the state that the value goes to, if it does
    """

    path: Path
    template: Template
    names: Mapping[str, Shape]
    wants: Shape = ANY_JSON
    field: str = ""


class Slots:
    """The slots of one graph. `whole` takes schemas' integers at their word; see schema_shape."""

    def __init__(self, graph: Graph, *, whole: bool) -> None:
        self._graph = graph
        self._state = _declared(schema_shape(graph.state_schema, whole=whole))
        self._input = _declared(schema_shape(graph.input_schema, whole=whole))
        self._names = {"state": self._state, "input": self._input, "run": RUN}
        self._after_failure = after_failure(graph)

    def of_graph(self) -> Iterator[Slot]:
        """The slots outside of nodes."""
        if self._graph.concurrency is not None:
            yield Slot(path=("concurrency", "key"), template=self._graph.concurrency.key, names={"input": self._input})
        names = self._names | (_failure(sure=False) if self._after_failure else {})
        for name, template in self._graph.output.items():
            yield Slot(path=("output", name), template=template, names=names)

    def before(self, node: Node) -> Iterator[Slot]:
        """The slots that are filled before a node has a result."""
        path: Path = ("nodes", node.name)
        names = self.names(node)
        for index, text in enumerate(node.require):
            yield Slot(path=(*path, "require", index), template=text, names=names, wants=BOOL)
        for slot in _of_kind(node, names):
            yield replace(slot, path=(*path, *slot.path), wants=self._field(slot.field) if slot.field else slot.wants)
        if node.undo is not None:
            for name, template in node.undo.arguments.items():
                yield Slot(path=(*path, "undo", "arguments", name), template=template, names=names)

    def after(self, node: Node, result: Shape) -> Iterator[Slot]:
        """The slots that are filled from a node's result."""
        path: Path = ("nodes", node.name)
        names = self.names(node)
        if not isinstance(node.kind, SetNode):
            names = {**names, "result": result}
        for index, text in enumerate(node.ensure):
            yield Slot(path=(*path, "ensure", index), template=text, names=names, wants=BOOL)
        for name, template in node.save.items():
            yield Slot(path=(*path, "save", name), template=template, names=names, wants=self._field(name), field=name)

    def names(self, node: Node) -> Mapping[str, Shape]:
        """What every expression of a node sees."""
        if isinstance(node.kind, HandleNode):
            return self._names | _failure(sure=True)
        return self._names | (_failure(sure=False) if node.name in self._after_failure else {})

    def _field(self, name: str) -> Shape:
        return field_of(self._state, name)


def _declared(shape: Shape) -> Shape:
    """Inputs and states are objects; where fields are declared, there are no others."""
    return replace(shape, kinds=frozenset({Kind.MAP}), closed=shape.closed or bool(shape.fields), sure=frozenset())


def _failure(*, sure: bool) -> dict[str, Shape]:
    return {"failure": FAILURE if sure else join([FAILURE, NULL]), "attempts": INT}


def after_failure(graph: Graph) -> frozenset[str]:
    """The nodes that a run can come to, or come back to, after something failed; what failed last is seen until the run ends."""
    waiting = list(graph.on_failure.values())
    for node in graph.nodes.values():
        waiting += node.on_failure.values()
        if node.retry.attempts > 1 or any(
            _tries_again(graph, target) for target in (*node.on_failure.values(), *graph.on_failure.values())
        ):
            waiting.append(node.name)
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in graph.nodes and name not in found:
            found.add(name)
            waiting += [edge.target for edge in edges(graph.nodes[name])]
    return frozenset(found)


def _tries_again(graph: Graph, name: str) -> bool:
    kind = graph.nodes[name].kind if name in graph.nodes else None
    return isinstance(kind, HandleNode) and any(isinstance(case.remedy, Retry | Escalate) for case in kind.cases)


def _of_kind(node: Node, names: Mapping[str, Shape]) -> Iterator[Slot]:  # noqa: C901, PLR0912 - a case for each kind reads best in one place
    """The slots of a kind, below its node."""
    match node.kind:
        case DecideNode(branches=branches):
            for index, branch in enumerate(branches):
                yield Slot(path=("decide", "branches", index, "when"), template=branch.when, names=names, wants=BOOL)
        case SetNode(fields=fields):
            for name, template in fields.items():
                yield Slot(path=("set", name), template=template, names=names, field=name)
        case HandleNode(cases=cases):
            for index, case in enumerate(cases):
                if case.when is not None:
                    yield Slot(path=("handle", index, "when"), template=case.when, names=names, wants=BOOL)
                if isinstance(case.remedy, Escalate):
                    yield Slot(path=("handle", index, "escalate"), template=case.remedy.summary, names=names, wants=STRING)
        case ApproveNode(summary=summary, details=details):
            yield Slot(path=("approve", "summary"), template=summary, names=names, wants=STRING)
            yield from _each(("approve", "details"), details, names)
        case TimerNode(until=until) if until is not None:
            yield Slot(path=("wait", "until"), template=until, names=names, wants=STRING)
        case SignalNode(where=where) if where is not None:
            yield Slot(path=("wait", "where"), template=where, names={**names, "signal": SIGNAL}, wants=BOOL)
        case RecallNode(query=query) if query is not None:
            yield Slot(path=("retrieve", "query"), template=query, names=names, wants=STRING)
        case RememberNode():
            yield from _remembered(node.kind, names)
        case MapNode():
            yield Slot(path=("map", "over"), template=node.kind.over, names=names, wants=_LIST)
        case ModelNode() | AgentNode() | ToolNode() | RetrieveNode() | SubgraphNode():
            yield from _of_call(node.kind, (node.kind_name,), names)


def of_body(kind: MapNode, name: str, names: Mapping[str, Shape]) -> Iterator[Slot]:
    """The slots of a map's body, whose names have the item too."""
    path: Path = ("nodes", name, "map", "do")
    match kind.body:
        case SetNode(fields=fields):
            yield from _each((*path, "set"), fields, names)
        case ModelNode():
            yield from _of_call(kind.body, (*path, "model"), names)
        case ToolNode():
            yield from _of_call(kind.body, (*path, "tool"), names)
        case RetrieveNode():
            yield from _of_call(kind.body, (*path, "retrieve"), names)
        case SubgraphNode():
            yield from _of_call(kind.body, (*path, "subgraph"), names)


def _of_call(
    kind: ModelNode | AgentNode | ToolNode | RetrieveNode | SubgraphNode, path: Path, names: Mapping[str, Shape]
) -> Iterator[Slot]:
    match kind:
        case ModelNode(variables=variables) | AgentNode(variables=variables):
            yield from _each((*path, "variables"), variables, names)
        case ToolNode(arguments=arguments):
            yield from _each((*path, "arguments"), arguments, names)
        case RetrieveNode(query=query, filter=filters):
            yield Slot(path=(*path, "query"), template=query, names=names, wants=STRING)
            yield from _each((*path, "filter"), filters, names)
        case SubgraphNode(input=fields):
            yield from _each((*path, "input"), fields, names)


def _remembered(kind: RememberNode, names: Mapping[str, Shape]) -> Iterator[Slot]:
    for index, turn in enumerate(kind.turns):
        yield Slot(path=("remember", "turns", index, turn.origin), template=turn.text, names=names, wants=STRING)
    for index, fact in enumerate(kind.facts):
        if fact.subject is not None:
            yield Slot(path=("remember", "facts", index, "subject"), template=fact.subject, names=names, wants=STRING)
        yield Slot(path=("remember", "facts", index, "text"), template=fact.text, names=names, wants=STRING)


def _each(path: Path, templates: Mapping[str, Template], names: Mapping[str, Shape]) -> Iterator[Slot]:
    for name, template in templates.items():
        yield Slot(path=(*path, name), template=template, names=names)
