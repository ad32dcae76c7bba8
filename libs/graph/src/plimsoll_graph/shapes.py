"""What a value can be: the shapes of JSON Schemas and of expressions' results.

A shape never promises too little: whatever a value may turn out to be lies within it. So two shapes that have nothing in common are a mistake
for certain, and anything less is accepted.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from plimsoll_runtime.json_types import JsonValue


class Kind(StrEnum):
    """Kinds of values, with the words that people are told."""

    NULL = "null"
    BOOL = "true or false"
    INT = "a whole number"
    UINT = "an unsigned number"
    DOUBLE = "a decimal number"
    STRING = "a text"
    LIST = "a list"
    MAP = "an object"
    BYTES = "bytes"
    TIMESTAMP = "a timestamp"
    DURATION = "a duration"
    TYPE = "a type"
    OPTIONAL = "an optional value"


EVERY_KIND = frozenset(Kind)
JSON_KINDS = frozenset({Kind.NULL, Kind.BOOL, Kind.INT, Kind.UINT, Kind.DOUBLE, Kind.STRING, Kind.LIST, Kind.MAP})
NUMBERS = frozenset({Kind.INT, Kind.UINT, Kind.DOUBLE})
_WORDS_KEPT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Attributes:
    kinds   what the value may be
    words   the only texts that it may be, when it is a text; None for any text
    fields  the known fields, when it is an object
    sure    fields that an object has for certain
    closed  an object has no other fields
    rest    what fields of other names hold; None for anything
    items   what a list or an optional value holds; None for anything
    """

    kinds: frozenset[Kind]
    words: frozenset[str] | None = None
    fields: Mapping[str, "Shape"] = field(default_factory=dict)
    sure: frozenset[str] = frozenset()
    closed: bool = False
    rest: "Shape | None" = None
    items: "Shape | None" = None

    def may_be(self, *kinds: Kind) -> bool:
        """Whether the value may be of one of these kinds. What does not exist, such as the items of an empty list, may be anything."""
        return not self.kinds or not self.kinds.isdisjoint(kinds)

    def __str__(self) -> str:
        """`a text or null`."""
        if self.kinds >= JSON_KINDS:
            return "a value of any kind"
        kinds = self.kinds
        words = []
        if {Kind.INT, Kind.DOUBLE} <= kinds:
            kinds -= NUMBERS
            words.append("a number")
        if self.words is not None and Kind.STRING in kinds and len(self.words) <= 5:
            kinds -= {Kind.STRING}
            words.append(" or ".join(repr(word) for word in sorted(self.words)))
        words += [kind.value for kind in Kind if kind in kinds]
        return " or ".join(sorted(words, key=lambda word: word == Kind.NULL.value))


ANY = Shape(kinds=EVERY_KIND)
ANY_JSON = Shape(kinds=JSON_KINDS)
NULL, BOOL, INT, UINT, DOUBLE, STRING, BYTES = (
    Shape(kinds=frozenset({kind})) for kind in (Kind.NULL, Kind.BOOL, Kind.INT, Kind.UINT, Kind.DOUBLE, Kind.STRING, Kind.BYTES)
)
NUMBER = Shape(kinds=frozenset({Kind.INT, Kind.DOUBLE}))


def of_kind(kind: Kind) -> Shape:
    return Shape(kinds=frozenset({kind}))


def list_of(items: Shape) -> Shape:
    return Shape(kinds=frozenset({Kind.LIST}), items=items)


def optional_of(inner: Shape) -> Shape:
    return Shape(kinds=frozenset({Kind.OPTIONAL}), items=inner)


def object_of(fields: Mapping[str, Shape], *, sure: Iterable[str] | None = None) -> Shape:
    """An object with these fields and no others; all of them are there unless `sure` says which ones are."""
    return Shape(kinds=frozenset({Kind.MAP}), fields=dict(fields), sure=frozenset(fields if sure is None else sure), closed=True)


def word(text: str) -> Shape:
    return Shape(kinds=frozenset({Kind.STRING}), words=frozenset({text}))


def constant(value: JsonValue) -> Shape:
    """The shape of one JSON value."""
    match value:
        case None:
            return NULL
        case bool():
            return BOOL
        case int():
            return INT
        case float():
            return DOUBLE
        case str():
            return word(value)
        case list():
            return list_of(join(constant(item) for item in value))
        case dict():
            return object_of({key: constant(item) for key, item in value.items()})


def join(shapes: Iterable[Shape]) -> Shape:
    """What any of these may be. Of none at all: nothing, which stands for the items of an empty list."""
    found = list(shapes)
    if len(found) == 1:
        return found[0]
    kinds = frozenset[Kind]().union(*(shape.kinds for shape in found))
    texts = [shape.words for shape in found if Kind.STRING in shape.kinds]
    words = None if any(some is None for some in texts) else frozenset[str]().union(*(some for some in texts if some is not None))
    objects = [shape for shape in found if Kind.MAP in shape.kinds]
    lists = [shape for shape in found if shape.may_be(Kind.LIST, Kind.OPTIONAL)]
    joined = Shape(
        kinds=kinds,
        words=words if words is not None and texts and len(words) <= _WORDS_KEPT else None,
        items=None
        if any(shape.items is None for shape in lists)
        else join(shape.items for shape in lists if shape.items is not None)
        if lists
        else None,
    )
    return _joined_objects(joined, objects) if objects else joined


def _joined_objects(joined: Shape, objects: list[Shape]) -> Shape:
    names = dict.fromkeys(name for shape in objects for name in shape.fields)
    fields = {name: join(field_of(shape, name) for shape in objects if name in shape.fields or not shape.closed) for name in names}
    closed = all(shape.closed for shape in objects)
    rests = [shape.rest for shape in objects if not shape.closed]
    rest = join(rest for rest in rests if rest is not None) if rests and all(rest is not None for rest in rests) else None
    sure = frozenset.intersection(*(shape.sure for shape in objects))
    return replace(joined, fields=fields, closed=closed, rest=rest, sure=sure)


def field_of(shape: Shape, name: str) -> Shape:
    """What a field of an object holds, when it is there."""
    return shape.fields.get(name) or shape.rest or ANY_JSON


def fits(value: Shape, place: Shape) -> str:
    """Why no value of this shape can stand in that place; empty when one can."""
    common = value.kinds & place.kinds
    if not value.kinds or not place.kinds:
        return ""
    if not common and not (value.kinds & NUMBERS and place.kinds & NUMBERS):
        return f"is {value}, where {place} belongs"
    if common == {Kind.STRING} and value.words is not None and place.words is not None and value.words.isdisjoint(place.words):
        return f"is {value}, where {place} belongs"
    if common == {Kind.MAP}:
        return _fits_object(value, place)
    return ""


def _fits_object(value: Shape, place: Shape) -> str:
    for name in sorted(value.sure):
        if place.closed and name not in place.fields:
            return f"has the field {name!r}, which does not belong there"
        why = fits(field_of(value, name), field_of(place, name))
        if why:
            return f"has the field {name!r}, which {why}"
    if value.closed:
        missing = sorted(place.sure - value.fields.keys())
        if missing:
            return f"lacks the field {missing[0]!r}"
    return ""


def can_equal(one: Shape, other: Shape) -> bool:
    """Whether two values of these shapes may be equal."""
    common = one.kinds & other.kinds
    if not one.kinds or not other.kinds or (one.kinds & NUMBERS and other.kinds & NUMBERS):
        return True
    return bool(common) and not (
        common == {Kind.STRING} and one.words is not None and other.words is not None and one.words.isdisjoint(other.words)
    )
