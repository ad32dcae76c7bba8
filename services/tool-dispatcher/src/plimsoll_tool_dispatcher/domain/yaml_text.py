"""YAML text as JSON values: no type is guessed that JSON lacks, no key is given twice, no alias grows without bound."""

import math
import re

import yaml
from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.json_types import JsonValue

_MAX_CHARS = 256 * 1024
_MAX_VALUES = 50_000
_MAX_BRACKETS = 100  # the library takes minutes over thousands


class UnreadableYaml(Exception):
    """The text is not YAML, or holds what JSON cannot."""

    def __init__(self, problem: FieldProblem) -> None:
        super().__init__(str(problem))
        self.problem = problem


_LEAST_INTEGER, _MOST_INTEGER = -(2**63), 2**64 - 1  # what travels as JSON to the last digit
_SURROGATE = re.compile(r"[\ud800-\udfff]")  # half a character, which UTF-8 cannot carry
_WORDS = (
    ("null", re.compile(r"^(?:~|null|)$"), ("~", "n", "")),
    ("bool", re.compile(r"^(?:true|false)$"), ("t", "f")),
    ("int", re.compile(r"^-?(?:0|[1-9][0-9]*)$"), tuple("-0123456789")),
    ("float", re.compile(r"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?$"), tuple("-0123456789")),
)


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core words for plain values: `yes`, `010` and `2026-01-01` stay text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the library declares it so
        first: [(f"tag:yaml.org,2002:{kind}", pattern) for kind, pattern, firsts in _WORDS if first in firsts]
        for first in ("", *"~ntf-0123456789")
    }


def read_yaml(text: str) -> JsonValue:
    """The one document in `text`. Raises UnreadableYaml with the line."""
    if len(text) > _MAX_CHARS:
        raise UnreadableYaml(FieldProblem("file", f"is longer than {_MAX_CHARS // 1024} KiB", "split it"))
    if _brackets(text) > _MAX_BRACKETS:
        raise UnreadableYaml(FieldProblem("file", f"opens more than {_MAX_BRACKETS} brackets inside each other", "nest less"))
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            return None if node is None else _Reading().value(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "file"
        raise UnreadableYaml(FieldProblem(where, f"is not YAML: {error.problem}", "mend the syntax there")) from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UnreadableYaml(FieldProblem("file", f"is not YAML: {type(error).__name__}", "write plain YAML in UTF-8")) from error


def _brackets(text: str) -> int:
    """The most brackets that are open at once, those inside quotes included."""
    depth = deepest = 0
    for bracket in re.findall(r"[\[{}\]]", text):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


class _Reading:
    """One document on its way from nodes to values."""

    def __init__(self) -> None:
        self._values = 0
        self._open: set[int] = set()

    def value(self, node: yaml.Node) -> JsonValue:
        self._values += 1
        if self._values > _MAX_VALUES:
            raise UnreadableYaml(_at(node, f"grows to more than {_MAX_VALUES} values", "use fewer aliases"))
        if id(node) in self._open:
            raise UnreadableYaml(_at(node, "contains itself", "remove the alias"))
        self._open.add(id(node))
        try:
            match node:
                case yaml.MappingNode(tag="tag:yaml.org,2002:map"):
                    return self._mapping(node)
                case yaml.SequenceNode(tag="tag:yaml.org,2002:seq"):
                    return [self.value(item) for item in node.value]
                case _:
                    return _scalar(node)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.MappingNode) -> dict[str, JsonValue]:
        mapping: dict[str, JsonValue] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or _SURROGATE.search(key_node.value):
                raise UnreadableYaml(_at(key_node, "is a key that is not text", "use plain words as keys"))
            key = str(key_node.value)
            if key in mapping:
                raise UnreadableYaml(_at(key_node, f"gives {key!r} a second time", "keep one of them"))
            mapping[key] = self.value(value_node)
        return mapping


def _scalar(node: yaml.Node) -> JsonValue:
    match node.tag.removeprefix("tag:yaml.org,2002:"):
        case "str" if not _SURROGATE.search(node.value):
            return str(node.value)
        case "null":
            return None
        case "bool":
            return bool(node.value == "true")
        case "int" if _LEAST_INTEGER <= int(node.value) <= _MOST_INTEGER:
            return int(node.value)
        case "float" if math.isfinite(float(node.value)):
            return float(node.value)
    raise UnreadableYaml(_at(node, "is a value that cannot travel as JSON", "write plain text, numbers of ordinary size, lists and maps"))


def _at(node: yaml.Node, problem: str, remedy: str) -> FieldProblem:
    return FieldProblem(f"line {node.start_mark.line + 1}, column {node.start_mark.column + 1}", problem, remedy)
