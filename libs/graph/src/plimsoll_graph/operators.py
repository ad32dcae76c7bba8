"""What the operators and functions of expressions take, and what they make of it.

An entry says which kinds the arguments of a function may have, together, and of which kind its value is. What a method is called on is its first
argument. A function that is not listed takes anything: whether it exists, the engine has checked.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product

from plimsoll_graph.shapes import NUMBERS, STRING, Kind, Shape, list_of, of_kind

_K = Kind
_SCALARS = (_K.BOOL, _K.INT, _K.UINT, _K.DOUBLE, _K.STRING)


@dataclass(frozen=True, slots=True)
class Overload:
    takes: tuple[Kind, ...]
    gives: Shape


def _each(*kinds: Kind) -> list[Overload]:
    """Two of a kind make one of the kind."""
    return [Overload((kind, kind), of_kind(kind)) for kind in kinds]


def _method(gives: Shape, *forms: tuple[Kind, ...]) -> list[Overload]:
    return [Overload(form, gives) for form in forms]


def _from(gives: Kind, *kinds: Kind) -> list[Overload]:
    return [Overload((kind,), of_kind(gives)) for kind in kinds]


def _comparable() -> Iterable[Overload]:
    for pair in product(sorted(NUMBERS), repeat=2):
        yield Overload(pair, of_kind(_K.BOOL))
    for kind in (_K.STRING, _K.BOOL, _K.BYTES, _K.TIMESTAMP, _K.DURATION):
        yield Overload((kind, kind), of_kind(_K.BOOL))


_COMPARISON = tuple(_comparable())
_NUMBER = _each(_K.INT, _K.UINT, _K.DOUBLE)
_S, _I, _T, _D = _K.STRING, _K.INT, _K.TIMESTAMP, _K.DURATION
_INT, _BOOL = of_kind(_I), of_kind(_K.BOOL)
_PART = _method(_INT, (_T,), (_T, _S), (_D,), (_D, _S))
_TEST = _method(_BOOL, (_S, _S))
_FIND = _method(_INT, (_S, _S), (_S, _S, _I))
_ROUND = _method(of_kind(_K.DOUBLE), (_K.DOUBLE,))

FUNCTIONS: Mapping[str, tuple[Overload, ...]] = {
    name: tuple(overloads)
    for name, overloads in {
        "_+_": [
            *_each(_K.INT, _K.UINT, _K.DOUBLE, _K.STRING, _K.BYTES, _K.LIST, _K.DURATION),
            *_method(of_kind(_T), (_T, _D), (_D, _T)),
        ],
        "_-_": [*_NUMBER, *_each(_D), *_method(of_kind(_T), (_T, _D)), *_method(of_kind(_D), (_T, _T))],
        "_*_": _NUMBER,
        "_/_": _NUMBER,
        "_%_": _each(_K.INT, _K.UINT),
        "-_": [Overload((kind,), of_kind(kind)) for kind in (_K.INT, _K.DOUBLE)],
        "!_": _from(_K.BOOL, _K.BOOL),
        "_<_": _COMPARISON,
        "_<=_": _COMPARISON,
        "_>_": _COMPARISON,
        "_>=_": _COMPARISON,
        "size": _from(_I, _S, _K.BYTES, _K.LIST, _K.MAP),
        "int": _from(_I, *_SCALARS, _T, _D),
        "uint": _from(_K.UINT, *_SCALARS),
        "double": _from(_K.DOUBLE, _K.INT, _K.UINT, _K.DOUBLE, _S),
        "string": _from(_S, *_SCALARS, _K.BYTES, _T, _D),
        "bool": _from(_K.BOOL, _K.BOOL, _S),
        "bytes": _from(_K.BYTES, _S, _K.BYTES),
        "timestamp": _from(_T, _S, _T, _K.INT),
        "duration": _from(_D, _S, _D),
        "contains": _TEST,
        "startsWith": _TEST,
        "endsWith": _TEST,
        "matches": _TEST,
        "charAt": _method(STRING, (_S, _I)),
        "indexOf": _FIND,
        "lastIndexOf": _FIND,
        "join": _method(STRING, (_K.LIST,), (_K.LIST, _S)),
        "split": _method(list_of(STRING), (_S, _S), (_S, _S, _I)),
        "replace": _method(STRING, (_S, _S, _S), (_S, _S, _S, _I)),
        "substring": _method(STRING, (_S, _I), (_S, _I, _I)),
        "format": _method(STRING, (_S, _K.LIST)),
        "lowerAscii": _method(STRING, (_S,)),
        "upperAscii": _method(STRING, (_S,)),
        "trim": _method(STRING, (_S,)),
        "reverse": _method(STRING, (_S,)),
        "strings.quote": _method(STRING, (_S,)),
        "math.ceil": _ROUND,
        "math.floor": _ROUND,
        "math.round": _ROUND,
        "math.trunc": _ROUND,
        "getFullYear": _PART,
        "getMonth": _PART,
        "getDate": _PART,
        "getDayOfMonth": _PART,
        "getDayOfWeek": _PART,
        "getDayOfYear": _PART,
        "getHours": _PART,
        "getMinutes": _PART,
        "getSeconds": _PART,
        "getMilliseconds": _PART,
    }.items()
}

# How people write what the engine names otherwise.
SPOKEN: Mapping[str, str] = {"@in": "in", "math.@max": "math.greatest", "math.@min": "math.least", "-_": "-", "!_": "!", "_[_]": "[ ]"}


def spoken(function: str) -> str:
    """`_+_` is `+`."""
    return SPOKEN.get(function, function.strip("_"))
