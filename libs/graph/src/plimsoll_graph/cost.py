"""How much an expression can blow up what it reads.

The engine ends an evaluation after 10,000 rounds of its loops, and nests no deeper than 32. Neither keeps a short text from doubling a value with
each of its loops, so an expression whose value could be many times as large as all it reads is refused before it is ever evaluated.
"""

from collections.abc import Mapping

from plimsoll_graph.syntax import Call, Constant, ListOf, Loop, MapOf, Name, Select, Syntax, Tree

GROWTH_CAP = 4096
_UNKNOWN_TEXT = 16.0  # by how much a text that is not written out may lengthen what it is put into


def growth(tree: Tree) -> float:
    """An upper bound for how many times as large as the scope the value is, where no loop repeats what lies outside of it."""
    return _growth(tree.root, {})


def _growth(part: Syntax, names: Mapping[str, float]) -> float:
    match part:
        case Constant():
            return 1.0
        case Name(name=name):
            return names.get(name, 1.0)
        case Select(operand=operand):
            return _growth(operand, names)
        case ListOf(items=items):
            return max(1.0, sum(_growth(item, names) for item in items))
        case MapOf(entries=entries):
            return max(1.0, sum(_growth(entry.value, names) for entry in entries))
        case Loop():
            over = _growth(part.over, names)
            initial = _growth(part.initial, names)
            inside = {**names, part.variable: over, part.accumulator: 0.0}
            return _growth(part.result, {**names, part.accumulator: max(initial, _growth(part.step, inside))})
        case Call():
            return _call(part, [_growth(argument, names) for argument in part.arguments])


def _call(part: Call, sizes: list[float]) -> float:
    match part.function, sizes:
        case "_?_:_", [_, one, other]:
            return max(one, other)
        case "replace", [text, *_]:
            return text * _lengthened(part.arguments[1], part.arguments[2])
        case "join", [items, *_]:
            return items * (_UNKNOWN_TEXT if len(sizes) > 1 and not isinstance(part.arguments[1], Constant) else 1.0)
        case "_+_" | "format", _:
            return sum(sizes)
        case _:
            return max([1.0, *sizes])


def _lengthened(old: Syntax, new: Syntax) -> float:
    match old, new:
        case Constant(value=str(before)), Constant(value=str(after)):
            return max(1.0, len(after) / len(before) if before else 1.0 + len(after))
        case _, Constant(value=str(after)):
            return 1.0 + len(after)
        case _:
            return _UNKNOWN_TEXT
