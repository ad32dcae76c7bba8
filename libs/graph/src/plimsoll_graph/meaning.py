"""What a graph's expressions and schemas mean: names that exist, values that fit, conditions that are true or false."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from plimsoll_runtime.json_types import JsonValue

from plimsoll_graph.cost import GROWTH_CAP, growth
from plimsoll_graph.expression import Expression, Fault, Template
from plimsoll_graph.graph import Graph, MapNode, Node, Reducer
from plimsoll_graph.inference import infer
from plimsoll_graph.reader import FALSE
from plimsoll_graph.results import result_shape
from plimsoll_graph.schema_shapes import schema_shape
from plimsoll_graph.shapes import ANY_JSON, INT, JSON_KINDS, Kind, Shape, constant, fits, join, list_of, object_of
from plimsoll_graph.slots import ABSENT, Slot, Slots, of_body
from plimsoll_graph.syntax import Constant, parsed
from plimsoll_graph.yaml_source import Mistake, Path, Source

_UNKNOWN = object()


def meaning_mistakes(graph: Graph, source: Source) -> tuple[list[Mistake], list[Mistake]]:
    """Mistakes and warnings in expressions. What could be right is no mistake; what fails as a rule, or never does a thing, is a warning."""
    certain, usual = _Reading(graph, source, whole=False), _Reading(graph, source, whole=True)
    certain.read()
    usual.read()
    mistakes = list(dict.fromkeys([*certain.mistakes, *_misplaced_inputs(graph, source)]))
    warnings = [mistake for mistake in dict.fromkeys([*certain.warnings, *usual.mistakes]) if mistake not in mistakes]
    return mistakes, warnings


def _misplaced_inputs(graph: Graph, source: Source) -> Iterator[Mistake]:
    """Input fields become the first state, so a value of the one has to be able to stand in the other."""
    state, given = schema_shape(graph.state_schema), schema_shape(graph.input_schema)
    for name, shape in given.fields.items():
        why = fits(shape, state.fields[name]) if name in state.fields else ""
        if why:
            yield source.mistake(("input", "properties", name), f"{why} in the state", "declare it alike under state.properties")


def _declares(graph: Graph, field_name: str) -> bool:
    declared = graph.state_schema.get("properties")
    return isinstance(declared, dict) and field_name in declared


@dataclass(slots=True)
class _Reading:
    """One reading of all expressions; `whole` is how integers are read, see schema_shape."""

    graph: Graph
    source: Source
    whole: bool
    mistakes: list[Mistake] = field(default_factory=list)
    warnings: list[Mistake] = field(default_factory=list)

    def read(self) -> None:
        slots = Slots(self.graph, whole=self.whole)
        for slot in slots.of_graph():
            self._fill(slot)
        for node in self.graph.nodes.values():
            for slot in slots.before(node):
                self._fill(slot)
            result = self._result(node, slots)
            for slot in slots.after(node, result):
                self._fill(slot)

    def _result(self, node: Node, slots: Slots) -> Shape:
        names = slots.names(node)
        reduced = ANY_JSON
        fields: dict[str, Shape] = {}
        kind = node.kind
        if isinstance(kind, MapNode):
            over, _ = self._expression(kind.over, (), names, quiet=True)
            item = over.items if over.items is not None and Kind.MAP not in over.kinds else ANY_JSON
            inside = {**names, "item": item, "index": INT}
            for slot in of_body(kind, node.name, inside):
                fields[str(slot.path[-1])] = self._fill(slot)
            plain = result_shape(kind, lambda _: object_of(fields), reduced, whole=self.whole)
            if kind.reduce is not None:
                items = plain.fields["items"].items or ANY_JSON
                reduced = self._reduced(kind.reduce, ("nodes", node.name, "map", "reduce"), names, items)
        return result_shape(kind, lambda _: object_of(fields), reduced, whole=self.whole)

    def _reduced(self, reducer: Reducer, path: Path, names: Mapping[str, Shape], item: Shape) -> Shape:
        """The shape that a fold comes to: what it starts from, or what a step makes of that, or of what a step made."""
        first = self._fill(Slot(path=(*path, "initial"), template=reducer.initial, names=names))
        inside = {**names, "item": item, "index": INT}
        once, _ = self._expression(reducer.each, (), {**inside, "acc": first}, quiet=True)
        gathered = join([first, once])
        twice, _ = self._expression(reducer.each, (), {**inside, "acc": gathered}, quiet=True)
        if join([gathered, twice]) != gathered:
            gathered = ANY_JSON
        self._fill(Slot(path=(*path, "each"), template=reducer.each, names={**inside, "acc": gathered}))
        return gathered

    def _fill(self, slot: Slot) -> Shape:
        """The shape of what stands in a slot; notes what cannot be right about it."""
        shape, value = self._template(slot.template, slot.path, slot.names)
        why = fits(shape, slot.wants)
        if why:
            remedy = "write a condition, such as `state.x > 0`" if slot.wants.kinds == {Kind.BOOL} else ""
            self._note(slot.path, Fault(why, None, remedy), self.mistakes)
        elif slot.field and value is not _UNKNOWN and _declares(self.graph, slot.field):
            for _, problem in self.graph.delta_problems({slot.field: value}):  # type: ignore[dict-item]  # a constant is JSON
                self._note(slot.path, Fault(f"does not fit state.{slot.field}: {problem}", None, ""), self.mistakes)
        return shape

    def _template(self, template: Template, path: Path, names: Mapping[str, Shape]) -> tuple[Shape, object]:
        """The shape of a template, and its value when that is the same whatever the run."""
        match template:
            case Expression():
                return self._expression(template, path, names)
            case list():
                items = [self._template(item, (*path, index), names) for index, item in enumerate(template)]
                values = [value for _, value in items]
                return list_of(join(shape for shape, _ in items)), _UNKNOWN if any(value is _UNKNOWN for value in values) else values
            case dict():
                fields = {name: self._template(item, (*path, name), names) for name, item in template.items()}
                known = {name: value for name, (_, value) in fields.items()}
                shape = object_of({name: shape for name, (shape, _) in fields.items()})
                return shape, _UNKNOWN if any(value is _UNKNOWN for value in known.values()) else known
            case _:
                return constant(template), template

    def _expression(self, expression: Expression, path: Path, names: Mapping[str, Shape], *, quiet: bool = False) -> tuple[Shape, object]:
        if expression is FALSE:  # stands where none could be read, which was told
            return ANY_JSON, _UNKNOWN
        tree = parsed(expression)
        inferred = infer(tree, names, {name: why for name, why in ABSENT.items() if name not in names})
        if not quiet:
            for fault in inferred.faults:
                self._note(path, fault, self.mistakes)
            for doubt in inferred.doubts:
                self._note(path, doubt, self.warnings)
            if growth(tree) > GROWTH_CAP:
                self._note(
                    path, Fault("could make a value thousands of times as large as what it reads", None, "use a tool"), self.mistakes
                )
            if not inferred.shape.may_be(*JSON_KINDS):
                self._note(path, Fault(f"is {inferred.shape}, which is no JSON value", None, "use string(…)"), self.mistakes)
                return ANY_JSON, _UNKNOWN
        value: JsonValue | object = _UNKNOWN
        if isinstance(tree.root, Constant) and tree.root.kind in {"null", "bool", "int", "double", "string"}:
            value = tree.root.value
        return inferred.shape, value

    def _note(self, path: Path, fault: Fault, into: list[Mistake]) -> None:
        into.append(self.source.mistake(path, fault.message, fault.remedy, offset=fault.offset))
