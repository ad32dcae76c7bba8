"""YAML (1.2 core schema, of which JSON is a part) as JSON values that remember their lines."""

import re
from dataclasses import dataclass
from typing import TypeAlias

import yaml
from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.json_types import JsonObject, JsonValue

Path: TypeAlias = tuple[str | int, ...]

_DEPTH_CAP = 64
_NODES_CAP = 50_000  # aliases multiply; a graph that is larger than this is an attack or a mistake
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, bool | None] = {
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
class Source:
    """A document, the line of each place in it, and what is wrong with it as YAML."""

    name: str
    value: JsonValue
    lines: dict[Path, int]
    problems: tuple[FieldProblem, ...]

    def problem(self, path: Path, problem: str, remedy: str = "") -> FieldProblem:
        """A mistake at `path`, with its line."""
        line = next((self.lines[path[:end]] for end in range(len(path), -1, -1) if path[:end] in self.lines), 1)
        return FieldProblem(f"{self.name}:{line}: {dotted(path)}".removesuffix(": "), problem, remedy)


def dotted(path: Path) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else (f".{part}" if index else part) for index, part in enumerate(path))


def read_yaml(text: str, name: str) -> Source:
    """Read one document. Never raises: a text that is no YAML yields its problem."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        return Source(
            name, None, {}, (FieldProblem(where, f"is not YAML: {error.problem or error.context}", "check indentation and quotes"),)
        )
    except RecursionError:
        return Source(name, None, {}, (FieldProblem(name, f"is nested deeper than {_DEPTH_CAP}", "flatten it"),))
    except yaml.YAMLError as error:
        return Source(name, None, {}, (FieldProblem(name, f"is not YAML: {error}", "save it as UTF-8 text"),))
    if root is None:
        return Source(name, None, {}, (FieldProblem(name, "is empty", "declare an agent"),))
    walk = _Walk(name)
    value = walk.value(root, ())
    return Source(name, value, walk.lines, tuple(walk.problems))


class _Walk:
    def __init__(self, name: str) -> None:
        self._name = name
        self.lines: dict[Path, int] = {}
        self.problems: list[FieldProblem] = []

    def value(self, node: yaml.Node, path: Path) -> JsonValue:
        self.lines[path] = node.start_mark.line + 1
        if len(self.lines) > _NODES_CAP:
            if len(self.lines) == _NODES_CAP + 1:
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
            key = key_node.value
            if key in result:
                self._note(key_node, (*path, key), "is given twice", "keep one of them")
                continue
            result[key] = self.value(value_node, (*path, key))
            self.lines[(*path, key)] = key_node.start_mark.line + 1
        return result

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> JsonValue:
        text = node.value
        if node.style is not None or node.tag == "tag:yaml.org,2002:binary":
            return str(text)
        if text in _WORDS:
            return _WORDS[text]
        if _INT.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
        if text in {".inf", "-.inf", ".nan", ".NaN", ".Inf"}:
            self._note(node, path, "is not a finite number", "write a finite number")
            return None
        return str(text)

    def _note(self, node: yaml.Node, path: Path, problem: str, remedy: str) -> None:
        self.problems.append(FieldProblem(f"{self._name}:{node.start_mark.line + 1}: {dotted(path)}".removesuffix(": "), problem, remedy))
