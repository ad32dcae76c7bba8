"""YAML (1.2 core schema, of which JSON is a part) as JSON values that remember where they stand."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import yaml
from plimsoll_runtime.errors import FieldProblem, Invalid
from plimsoll_runtime.json_types import JsonObject, JsonValue, parse_json

Path: TypeAlias = tuple[str | int, ...]

SOURCE_CAP = 256 * 1024  # characters
_DEPTH_CAP = 64
_NODES_CAP = 20_000  # aliases multiply; a graph that is larger than this is an attack or a mistake
_DIGITS_CAP = 300
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: Mapping[str, bool | None] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
} | dict.fromkeys(("false", "False", "FALSE"), False)


@dataclass(frozen=True, slots=True)
class Place:
    """A line and a column, both from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """Something that is wrong in a source, or doubtful when it is a warning.

    Attributes:
    source   name of the document
    place    None when there is no line to name
    path     the field, such as nodes.classify.save.kind; empty for the whole document
    """

    source: str
    place: Place | None
    path: str
    problem: str
    remedy: str

    @property
    def field_problem(self) -> FieldProblem:
        where = self.source if self.place is None else f"{self.source}:{self.place.line}:{self.place.column}"
        return FieldProblem(f"{where}: {self.path}" if self.path else where, self.problem, self.remedy)


@dataclass(frozen=True, slots=True)
class Source:
    """A document, where each place in it stands, and what is wrong with it as YAML.

    Attributes:
    keys    where a field's name stands, or a list's item
    values  where the text of a value begins, when it stands in the source just as it reads: a column inside of it can then be named
    """

    name: str
    value: JsonValue
    keys: Mapping[Path, Place] = field(default_factory=dict)
    values: Mapping[Path, Place] = field(default_factory=dict)
    mistakes: tuple[Mistake, ...] = ()

    def mistake(self, path: Path, problem: str, remedy: str = "", *, offset: int | None = None) -> Mistake:
        """A mistake at `path`; `offset` is the character of the value where it lies, when that is known."""
        place = next((self.keys[path[:end]] for end in range(len(path), -1, -1) if path[:end] in self.keys), None)
        inside = self.values.get(path)
        if offset is not None and inside is not None:
            place = Place(inside.line, inside.column + offset)
        if place is None and self.keys:
            place = Place(1, 1)
        return Mistake(source=self.name, place=place, path=dotted(path), problem=problem, remedy=remedy)


def dotted(path: Path) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else (f".{part}" if index else part) for index, part in enumerate(path))


def read_yaml(text: str, name: str) -> Source:
    """Read one document of YAML or JSON. Never raises: a text that is neither yields its mistake."""
    if len(text) > SOURCE_CAP:
        return _refused(name, None, f"has {len(text):,} characters", f"a graph may have {SOURCE_CAP:,}; put long texts into prompts")
    source = _composed(text, name)
    exact = _as_json(text) if text.lstrip()[:1] == "{" else None
    if exact is None or exact == source.value:
        return source
    # JSON is YAML but for a few characters, such as U+2028 in a text: JSON's own reader is right about those.
    return source if source.mistakes and source.value is not None else replace(source, value=exact, mistakes=tuple(_unfit(exact, name)))


def _as_json(text: str) -> JsonValue:
    try:
        return parse_json(text)
    except Invalid:
        return None


def _unfit(value: JsonValue, name: str) -> Iterator[Mistake]:
    """What YAML's reader would have refused."""
    waiting: list[tuple[JsonValue, int]] = [(value, 0)]
    count = 0
    while waiting:
        item, depth = waiting.pop()
        count += 1
        texts: list[str] = []
        match item:
            case str():
                texts = [item]
            case dict():
                texts = list(item)
                waiting += [(inner, depth + 1) for inner in item.values()]
            case list():
                waiting += [(inner, depth + 1) for inner in item]
        if any("\0" in text for text in texts):
            yield _mistake(name, None, "holds the character U+0000, which no store takes", "take it out")
            return
        if depth > _DEPTH_CAP or count > _NODES_CAP:
            yield _mistake(name, None, f"is nested deeper than {_DEPTH_CAP}, or has more than {_NODES_CAP} values", "flatten it")
            return


def _composed(text: str, name: str) -> Source:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(mark.line + 1, mark.column + 1) if mark else None
        return _refused(name, place, f"is not YAML: {error.problem or error.context}", "check indentation and quotes")
    except RecursionError:
        return _refused(name, None, f"is nested deeper than {_DEPTH_CAP}", "flatten it")
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problem = f"holds the character U+{ord(text[error.position]):04X}, which is not text"
        return _refused(
            name, Place(line, error.position - text.rfind("\n", 0, error.position)), problem, "save it as UTF-8 text without it"
        )
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # such as an escape beyond Unicode
        return _refused(name, None, f"is not YAML: {error}", "save it as UTF-8 text")
    if root is None:
        return _refused(name, None, "is empty", "declare an agent")
    walk = _Walk(name, text.splitlines())
    value = walk.value(root, ())
    return Source(name, value, walk.keys, walk.values, tuple(walk.mistakes))


def _refused(name: str, place: Place | None, problem: str, remedy: str) -> Source:
    return Source(name, None, mistakes=(_mistake(name, place, problem, remedy),))


def _mistake(name: str, place: Place | None, problem: str, remedy: str) -> Mistake:
    return Mistake(source=name, place=place, path="", problem=problem, remedy=remedy)


class _Walk:
    def __init__(self, name: str, lines: list[str]) -> None:
        self._name = name
        self._lines = lines
        self._count = 0
        self.keys: dict[Path, Place] = {}
        self.values: dict[Path, Place] = {}
        self.mistakes: list[Mistake] = []

    def value(self, node: yaml.Node, path: Path) -> JsonValue:
        self.keys.setdefault(path, _place(node))
        self._count += 1
        if self._count > _NODES_CAP:
            if self._count == _NODES_CAP + 1:
                self._note(node, path, f"has more than {_NODES_CAP} values", "use fewer aliases")
            return None
        if len(path) > _DEPTH_CAP:
            self._note(node, path[:3], f"is nested deeper than {_DEPTH_CAP}", "flatten it")
            return None
        match node:
            case yaml.MappingNode():
                return self._mapping(node, path)
            case yaml.SequenceNode():
                return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
            case yaml.ScalarNode():
                return self._scalar(node, path)
        raise TypeError(type(node).__name__)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> JsonObject:
        result: JsonObject = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._note(key_node, path, "has a key that is not a word", "use a plain word as the key")
                continue
            key = self._text(key_node, path)
            if key in result:
                self._note(key_node, (*path, key), "is given twice", "keep one of them")
                continue
            self.keys[(*path, key)] = _place(key_node)
            result[key] = self.value(value_node, (*path, key))
        return result

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> JsonValue:
        text = self._text(node, path)
        if self._verbatim(node, text):
            self.values[path] = Place(node.start_mark.line + 1, node.start_mark.column + (2 if node.style else 1))
        if node.style is not None or node.tag == "tag:yaml.org,2002:binary":
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _INT.fullmatch(text) or _FLOAT.fullmatch(text):
            return self._number(node, path, text)
        if text in {".inf", "-.inf", ".nan", ".NaN", ".Inf"}:
            self._note(node, path, "is not a finite number", "write a finite number")
            return None
        return text

    def _number(self, node: yaml.ScalarNode, path: Path, text: str) -> JsonValue:
        if len(text) > _DIGITS_CAP:
            self._note(node, path, f"is a number with {len(text)} digits", f"a number may have {_DIGITS_CAP}")
            return None
        number = int(text) if _INT.fullmatch(text) else float(text)
        if isinstance(number, int) and not -(2**63) <= number < 2**63:
            self._note(node, path, f"is {number}", "a whole number has to fit into 64 bits")
            return None
        if not math.isfinite(number):
            self._note(node, path, "is not a finite number", "write a finite number")
            return None
        return number

    def _text(self, node: yaml.ScalarNode, path: Path) -> str:
        """The text of a scalar, with the surrogate pairs of JSON's escapes put together."""
        text = str(node.value)
        if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            if "\ufffd" in text:
                self._note(node, path, "holds half a surrogate pair", "write both halves, or the character itself")
        if "\0" in text:
            self._note(node, path, "holds the character U+0000, which no store takes", "take it out")
        return text

    def _verbatim(self, node: yaml.ScalarNode, text: str) -> bool:
        start = node.start_mark
        if start.line != node.end_mark.line or node.style in {"|", ">"} or start.line >= len(self._lines):
            return False
        return self._lines[start.line].startswith(text, start.column + (1 if node.style else 0))

    def _note(self, node: yaml.Node, path: Path, problem: str, remedy: str) -> None:
        self.mistakes.append(Mistake(source=self._name, place=_place(node), path=dotted(path), problem=problem, remedy=remedy))


def _place(node: yaml.Node) -> Place:
    return Place(node.start_mark.line + 1, node.start_mark.column + 1)
