"""Which values an expression can have, and where it fails for certain.

Every part gets the shape of all it may be. A part is at fault only when nothing that its arguments may be can be right, so an expression that
could be right is never refused; one that is of the right kind and still doubtful, such as a comparison that never holds, is a doubt.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field

from plimsoll_graph.expression import Fault
from plimsoll_graph.operators import FUNCTIONS, spoken
from plimsoll_graph.shapes import (
    ANY,
    BOOL,
    BYTES,
    DOUBLE,
    INT,
    NULL,
    STRING,
    UINT,
    Kind,
    Shape,
    can_equal,
    field_of,
    join,
    list_of,
    object_of,
    optional_of,
    word,
)
from plimsoll_graph.syntax import Call, Constant, ListOf, Loop, MapOf, Name, Select, Syntax, Tree

_CONSTANTS: Mapping[str, Shape] = {
    "null": NULL,
    "bool": BOOL,
    "int": INT,
    "uint": UINT,
    "double": DOUBLE,
    "string": STRING,
    "bytes": BYTES,
}
_ITERABLE = (Kind.LIST, Kind.MAP)


@dataclass(frozen=True, slots=True)
class Inferred:
    """The shape of an expression, what fails in it for certain, and what is doubtful."""

    shape: Shape
    faults: tuple[Fault, ...]
    doubts: tuple[Fault, ...]


def infer(tree: Tree, names: Mapping[str, Shape], absent: Mapping[str, str]) -> Inferred:
    """Follow an expression over the shapes of its names. `absent` says of each name that does not exist here where it does."""
    inference = _Inference(tree, absent)
    shape = inference.shape(tree.root, names)
    return Inferred(shape, tuple(inference.faults.values()), tuple(inference.doubts.values()))


@dataclass(slots=True)
class _Inference:
    tree: Tree
    absent: Mapping[str, str]
    faults: dict[tuple[int, str], Fault] = field(default_factory=dict)
    doubts: dict[tuple[int, str], Fault] = field(default_factory=dict)

    def shape(self, part: Syntax, names: Mapping[str, Shape]) -> Shape:
        match part:
            case Constant(kind="string", value=str(text)):
                return word(text)
            case Constant(kind=kind):
                return _CONSTANTS.get(kind, ANY)
            case Name(name=name):
                return self._name(part, name, names)
            case Select():
                return self._select(part, names)
            case ListOf(items=items, optional=optional):
                shapes = [self.shape(item, names) for item in items]
                return list_of(join(_inner(shape) if place in optional else shape for place, shape in enumerate(shapes)))
            case MapOf():
                return self._map(part, names)
            case Loop():
                return self._loop(part, names)
            case Call():
                return self._call(part, [self.shape(argument, names) for argument in part.arguments])

    def _name(self, part: Name, name: str, names: Mapping[str, Shape]) -> Shape:
        found = names.get(name)
        if found is not None:
            return found
        if name in self.absent:
            self._fault(part, f"{name!r} does not exist here", self.absent[name])
        return ANY

    def _select(self, part: Select, names: Mapping[str, Shape]) -> Shape:
        operand = self.shape(part.operand, names)
        if not operand.may_be(Kind.MAP, Kind.OPTIONAL):
            self._fault(part, f"{written(part.operand)} is {operand} and has no field {part.field!r}", "", shift=1)
            return ANY
        if operand.kinds == {Kind.OPTIONAL}:
            inner = operand.items or ANY
            self._known_field(part, inner, part.operand, part.field)
            return BOOL if part.is_test else optional_of(field_of(inner, part.field))
        self._known_field(part, operand, part.operand, part.field)
        return BOOL if part.is_test else field_of(operand, part.field) if Kind.OPTIONAL not in operand.kinds else ANY

    def _known_field(self, part: Syntax, owner: Shape, operand: Syntax, name: str) -> None:
        if owner.closed and owner.kinds <= {Kind.MAP, Kind.NULL} and name not in owner.fields:
            near = difflib.get_close_matches(name, owner.fields, n=1)
            known = f"known: {', '.join(sorted(owner.fields)[:20])}" if owner.fields else "it has no fields"
            self._fault(part, f"{written(operand)} has no field {name!r}", f"did you mean {near[0]!r}?" if near else known, shift=1)

    def _map(self, part: MapOf, names: Mapping[str, Shape]) -> Shape:
        fields: dict[str, Shape] = {}
        sure = set()
        known = True
        for entry in part.entries:
            value = self.shape(entry.value, names)
            value = _inner(value) if entry.is_optional else value
            match entry.key:
                case Constant(kind="string", value=str(key)):
                    fields[key] = value
                    if not entry.is_optional:
                        sure.add(key)
                case _:
                    known = False
                    if not self.shape(entry.key, names).may_be(Kind.STRING):
                        self._fault(entry.key, "a key is not a text", "JSON has no other keys: use string(…)")
        return object_of(fields, sure=sure) if known else Shape(kinds=frozenset({Kind.MAP}))

    def _loop(self, part: Loop, names: Mapping[str, Shape]) -> Shape:
        over = self.shape(part.over, names)
        if not over.may_be(*_ITERABLE):
            self._fault(part.over, f"{written(part.over)} is {over}, and only lists and objects have parts to go through", "")
            return ANY
        item = STRING if over.kinds == {Kind.MAP} else (over.items or ANY) if Kind.MAP not in over.kinds else ANY
        initial = self.shape(part.initial, names)
        inside = {**names, part.variable: item, part.accumulator: initial}
        self.shape(part.condition, inside)
        once = join([initial, self.shape(part.step, inside)])
        grown = join([once, self.shape(part.step, {**inside, part.accumulator: once})])
        return self.shape(part.result, {**names, part.accumulator: grown})

    def _call(self, part: Call, arguments: list[Shape]) -> Shape:
        match part.function, arguments:
            case "_&&_" | "_||_", _:
                for place, argument in zip(part.arguments, arguments, strict=True):
                    self._condition(place, argument)
                return BOOL
            case "_?_:_", [condition, one, other]:
                self._condition(part.arguments[0], condition)
                return join([one, other])
            case "_==_" | "_!=_", [one, other]:
                if not can_equal(one, other):
                    self._doubt(part, f"compares {one} with {other}, which are never equal")
                return BOOL
            case "@in", [item, among]:
                return self._among(part, item, among)
            case "_[_]" | "_[?_]" | "_?._", [owner, key]:
                return self._indexed(part, owner, key)
            case "dyn" | "@not_strictly_false", _:
                return ANY
            case "type", _:
                return Shape(kinds=frozenset({Kind.TYPE}))
            case _:
                return self._optional(part, arguments) or self._overloaded(part, arguments)

    def _condition(self, part: Syntax, shape: Shape) -> None:
        if not shape.may_be(Kind.BOOL):
            self._fault(part, f"{written(part)} is {shape}, where true or false belongs", "compare it with something")

    def _among(self, part: Call, item: Shape, among: Shape) -> Shape:
        if not among.may_be(*_ITERABLE):
            self._fault(
                part, f"'in' looks into a list or an object, and {written(part.arguments[1])} is {among}", "use contains(…) for texts"
            )
        elif among.kinds == {Kind.LIST} and among.items is not None and among.items.kinds and not can_equal(item, among.items):
            self._doubt(part, f"looks for {item} among items that are {among.items}")
        return BOOL

    def _indexed(self, part: Call, owner: Shape, key: Shape) -> Shape:
        """`owner[key]`, and the optional forms of it and of `owner.key`."""
        if owner.kinds == {Kind.OPTIONAL}:
            owner = owner.items or ANY
        takes = (Kind.MAP,) if part.function == "_?._" else _ITERABLE
        if not owner.may_be(*takes, Kind.OPTIONAL):
            self._fault(part, f"{written(part.arguments[0])} is {owner} and has no parts", "")
            return ANY
        found = ANY
        if owner.kinds == {Kind.LIST}:
            if not key.may_be(Kind.INT, Kind.UINT, Kind.DOUBLE):
                self._fault(part, f"a list's places are numbers, and the index is {key}", "")
            found = owner.items or ANY
        elif owner.kinds <= {Kind.MAP, Kind.NULL}:
            match part.arguments[1]:
                case Constant(kind="string", value=str(name)):
                    self._known_field(part, owner, part.arguments[0], name)
                    found = field_of(owner, name)
        return found if part.function == "_[_]" else optional_of(found)

    def _optional(self, part: Call, arguments: list[Shape]) -> Shape | None:
        """The functions of optional values; None when it is none of them."""
        match part.function, arguments:
            case "optional.of" | "optional.ofNonZeroValue", [value]:
                return optional_of(value)
            case "optional.none", []:
                return optional_of(join([]))
            case "orValue", [optional, other]:
                return join([_inner(optional), other])
            case "or", [optional, other]:
                return join([optional, other])
            case "value", [optional]:
                return _inner(optional)
            case "hasValue", [_]:
                return BOOL
        return None

    def _overloaded(self, part: Call, arguments: list[Shape]) -> Shape:
        overloads = FUNCTIONS.get(part.function)
        if overloads is None:
            return ANY
        fitting = [
            overload
            for overload in overloads
            if len(overload.takes) == len(arguments)
            and all(argument.may_be(kind) for argument, kind in zip(arguments, overload.takes, strict=True))
        ]
        if not fitting:
            taken = " and ".join(str(argument) for argument in arguments)
            self._fault(part, f"{spoken(part.function)!r} does not take {taken}", "")
            return ANY
        gives = join(overload.gives for overload in fitting)
        if part.function == "_+_" and gives.may_be(Kind.LIST):
            lists = [argument for argument in arguments if Kind.LIST in argument.kinds]
            items = None if len(lists) < 2 or any(one.items is None for one in lists) else join(one.items for one in lists if one.items)
            return Shape(kinds=gives.kinds, items=items)
        return gives

    def _fault(self, part: Syntax, message: str, remedy: str, *, shift: int = 0) -> None:
        offset = self.tree.offsets.get(part.id)
        self.faults[part.id, message] = Fault(message, None if offset is None else offset + shift, remedy)

    def _doubt(self, part: Syntax, message: str) -> None:
        self.doubts[part.id, message] = Fault(message, self.tree.offsets.get(part.id))


def _inner(optional: Shape) -> Shape:
    return (optional.items or ANY) if optional.kinds == {Kind.OPTIONAL} else ANY


def written(part: Syntax) -> str:
    """A part as it was written, when it is short."""
    match part:
        case Name(name=name) if not name.startswith(("@", "#")):
            return name
        case Select(operand=operand, field=name, is_test=False):
            return f"{written(operand)}.{name}"
        case Constant(kind="string", value=str(text)) if len(text) < 30:
            return repr(text)
        case Constant(kind="int" | "double" | "bool" | "null"):
            return str(part.value) if part.value is not None else "null"
        case Call(function="_[_]", arguments=(owner, key)):
            return f"{written(owner)}[{written(key)}]"
        case _:
            return "this"
