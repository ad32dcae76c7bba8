"""YAML text into plain JSON values that remember their lines; refuses what YAML allows and JSON has no room for."""

from dataclasses import dataclass

import yaml
from plimsoll_runtime.json_types import JsonObject, JsonValue

MAX_NODES = 200_000
"""Aliases can make a small text enormous; nothing we read comes near this."""

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong, and where."""

    line: int
    problem: str
    remedy: str = ""


class NotReadable(Exception):
    """The text cannot be read at all."""

    def __init__(self, line: int, problem: str, remedy: str = "") -> None:
        super().__init__(problem)
        self.mistake = Mistake(line, problem, remedy)


@dataclass(frozen=True, slots=True, kw_only=True)
class YamlDocument:
    """The top-level mapping of a text, and the line of every field in it."""

    value: JsonObject
    lines: dict[Path, int]

    def line(self, *path: str | int) -> int:
        """The line of a field, or of the nearest one around it."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return 1


def parse_yaml(text: str) -> YamlDocument:
    """Read one YAML mapping. Raises NotReadable for the first thing that is not one."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" (column {mark.column + 1})" if mark else ""
        raise NotReadable(mark.line + 1 if mark else 1, f"is not YAML: {error.problem or error.context}{where}") from error
    except yaml.YAMLError as error:
        raise NotReadable(1, f"is not YAML: {error}") from error
    if not isinstance(node, yaml.MappingNode):
        raise NotReadable(1, "is not a mapping of fields to values", "Begin with a field, such as `name: value`")
    reader = _Reader()
    return YamlDocument(value=reader.mapping(node, ()), lines=reader.lines)


class _Reader:
    def __init__(self) -> None:
        self.lines: dict[Path, int] = {}
        self._nodes = 0
        self._scalars = yaml.SafeLoader("")

    def mapping(self, node: yaml.MappingNode, path: Path) -> JsonObject:
        found: JsonObject = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise NotReadable(line, "has a key that is not a word", "Use a plain word as the key")
            key = str(key_node.value)  # as written: YAML itself would read `on` as true
            if key in found:
                raise NotReadable(line, f"has {key} twice", "Keep one of the two")
            self.lines[(*path, key)] = line
            found[key] = self._value(value_node, (*path, key))
        return found

    def _value(self, node: yaml.Node, path: Path) -> JsonValue:
        self._nodes += 1
        line = node.start_mark.line + 1
        if self._nodes > MAX_NODES:
            raise NotReadable(line, f"has more than {MAX_NODES} values", "Use fewer aliases")
        self.lines.setdefault(path, line)
        match node:
            case yaml.MappingNode():
                return self.mapping(node, path)
            case yaml.SequenceNode():
                return [self._value(item, (*path, index)) for index, item in enumerate(node.value)]
            case _:
                return self._scalar(node, line)

    def _scalar(self, node: yaml.Node, line: int) -> JsonValue:
        try:
            value = self._scalars.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            raise NotReadable(line, f"has a value that cannot be read: {node.value}", "Put it in quotes") from error
        if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and value - value == 0):
            return value
        raise NotReadable(line, f"has {node.value}, which YAML reads as a {type(value).__name__}", "Put it in quotes")
