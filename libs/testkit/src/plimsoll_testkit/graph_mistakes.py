"""Random graphs with one mistake planted in them, and where it is."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from hypothesis import strategies as st
from plimsoll_runtime.json_types import JsonObject, JsonValue

from plimsoll_testkit.graphs import World, graphs


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """Attributes:
    graph    the broken graph, as declared
    mistake  what kind of mistake it is
    path     the field that has to be named, such as nodes.n3.next
    """

    graph: JsonObject
    mistake: str
    path: str


def broken_graphs(world: World | None = None) -> st.SearchStrategy[Planted]:
    """A strategy for graphs that are wrong in exactly one way that must be found."""

    @st.composite
    def drawn(draw: st.DrawFn) -> Planted:
        graph = copy.deepcopy(draw(graphs(world)))
        name = draw(st.sampled_from(sorted(MISTAKES)))
        node = draw(st.sampled_from(sorted(_chained(graph))))
        return Planted(graph=graph, mistake=name, path=MISTAKES[name](graph, node))

    return drawn()


def nodes_of(graph: JsonObject) -> dict[str, JsonObject]:
    """The nodes of a declared graph."""
    return cast("dict[str, JsonObject]", graph["nodes"])


def _chained(graph: JsonObject) -> list[str]:
    """Nodes that go on to another one, or to the end."""
    return [name for name, node in nodes_of(graph).items() if "next" in node] or ["spare"]


def _insert(graph: JsonObject, kind: JsonObject) -> str:
    """A new first node, before all others."""
    nodes_of(graph)["planted"] = kind | {"next": graph["start"]} if "next" not in kind else kind
    graph["start"] = "planted"
    return "nodes.planted"


def _fields(graph: JsonObject) -> dict[str, JsonValue]:
    return cast("dict[str, dict[str, JsonValue]]", graph["state"])["properties"]


def _field(name: str, value: JsonValue, *, told: str | None = None) -> Callable[[JsonObject, str], str]:
    """Give a node a field; `told` is the field that has to be named, when it is another one."""

    def plant(graph: JsonObject, node: str) -> str:
        nodes_of(graph)[node][name] = value
        return f"nodes.{node}.{name if told is None else told}"

    return plant


def _kind(kind: JsonObject, told: str) -> Callable[[JsonObject, str], str]:
    """Put a node of a broken kind before all others."""

    def plant(graph: JsonObject, _: str) -> str:
        return f"{_insert(graph, copy.deepcopy(kind))}{told}"

    return plant


def _of_graph(name: str, value: JsonValue, told: str) -> Callable[[JsonObject, str], str]:
    def plant(graph: JsonObject, _: str) -> str:
        graph[name] = value
        return told

    return plant


def _unreachable(graph: JsonObject, _: str) -> str:
    nodes_of(graph)["lost"] = {"set": {"number": 1}, "next": "end"}
    return "nodes.lost"


def _reserved(graph: JsonObject, _: str) -> str:
    nodes_of(graph)["join"] = {"set": {"number": 1}, "next": "end"}
    return "nodes.join"


def _endless(graph: JsonObject, _: str) -> str:
    del graph["budget"]
    first = graph["start"]
    _insert(graph, {"set": {"number": 1}, "next": "turn"})
    nodes_of(graph)["turn"] = {"decide": {"branches": [{"when": "state.flag", "next": "planted"}], "default": first}}
    return "nodes.planted"


def _fork(left: JsonObject, right: JsonObject, told: str) -> Callable[[JsonObject, str], str]:
    """A parallel node with these two branches before all others."""

    def plant(graph: JsonObject, _: str) -> str:
        path = _insert(graph, {"parallel": {"branches": {"one": "left", "two": "right"}}})
        nodes_of(graph).update(left=copy.deepcopy(left), right=copy.deepcopy(right))
        return told or f"{path}.parallel"

    return plant


def _open_failure(graph: JsonObject, node: str) -> str:
    graph.pop("on_failure", None)
    nodes_of(graph)[node]["on_failure"] = {"timeout": "fail"}
    return f"nodes.{node}.on_failure"


def _state_schema(name: str, schema: JsonObject, told: str) -> Callable[[JsonObject, str], str]:
    def plant(graph: JsonObject, _: str) -> str:
        _fields(graph)[name] = schema
        return f"state.properties.{name}{told}"

    return plant


def _deep(graph: JsonObject, _: str) -> str:
    schema: JsonObject = {"type": "string"}
    for _level in range(20):
        schema = {"type": "array", "items": schema, "contains": {"type": "array"}}
    for _level in range(20):
        schema = {"allOf": [schema]}
    _fields(graph)["deep"] = schema
    return "state"


_TWO_LISTS: JsonObject = {"set": {"items": [1]}, "next": "join"}

MISTAKES: Mapping[str, Callable[[JsonObject, str], str]] = {
    "unknown next": _field("next", "nowhere"),
    "join on the main path": _kind({"set": {"number": 1}, "next": "join"}, ".next"),
    "unknown start": _of_graph("start", "nowhere", "start"),
    "unknown field": _field("nonsense", 1),
    "unknown category": _field("on_failure", {"tiredness": "fail", "any": "fail"}, told="on_failure.tiredness"),
    "failure to an unknown node": _field("on_failure", {"any": "nowhere"}, told="on_failure.any"),
    "failures left open": _open_failure,
    "not a duration": _kind({"tool": {"name": "fetch"}, "timeout": "soon"}, ".timeout"),
    "two kinds": _kind({"set": {"number": 1}, "wait": {"for": "1s"}}, ""),
    "no kind": _kind({"timeout": "5s"}, ""),
    "timeout of a question": _kind({"approve": {"summary": "'?'"}, "timeout": "5s"}, ".timeout"),
    "unreachable node": _unreachable,
    "reserved name": _reserved,
    "endless cycle": _endless,
    "keeps an unknown field": _of_graph("keep", ["nothing"], "keep[0]"),
    "saves into an unknown field": _kind({"tool": {"name": "fetch"}, "save": {"nothing": "result.x"}}, ".save.nothing"),
    "undeclared name": _kind({"set": {"number": "nobody + 1"}}, ".set.number"),
    "not an expression": _kind({"set": {"number": "state.number +"}}, ".set.number"),
    "unknown state field": _kind({"set": {"number": "state.nothing"}}, ".set.number"),
    "unknown input field": _kind({"set": {"number": "input.nothing"}}, ".set.number"),
    "item outside of a map": _kind({"set": {"number": "item"}}, ".set.number"),
    "result before there is one": _field("require", ["result == 1"], told="require[0]"),
    "condition that is none": _field("require", ["state.text"], told="require[0]"),
    "wrong types": _kind({"set": {"number": "state.text + state.flag"}}, ".set.number"),
    "text into a number": _kind({"set": {"number": "'one'"}}, ".set.number"),
    "word that the schema does not know": _kind(
        {"set": {"number": 1}, "require": ["state.text.size() > 'x'.size() && state.items[0].name == 'x'"]}, ".require[0]"
    ),
    "unknown field of a result": _kind({"wait": {"for": "1s"}, "save": {"text": "result.when"}}, ".save.text"),
    "no default": _kind({"decide": {"branches": [{"when": "state.flag", "next": "end"}]}, "next": "end"}, ".decide.default"),
    "map over a text": _kind({"map": {"over": "state.text", "do": {"set": {"n": "item"}}}}, ".map.over"),
    "map with a foreign body": _kind({"map": {"over": "[1]", "mode": "distributed", "do": {"set": {"n": "item"}}}}, ".map.do"),
    "quorum without a share": _kind({"map": {"over": "[1]", "on_item_failure": "quorum", "do": {"set": {"n": "item"}}}}, ".map.quorum"),
    "branch to the end": _fork({"set": {"text": "'x'"}, "next": "end"}, _TWO_LISTS, "nodes.left.next"),
    "branches that write one field": _fork(_TWO_LISTS, _TWO_LISTS, ""),
    "branch into the other": _fork({"set": {"number": 1}, "next": "right"}, _TWO_LISTS, "nodes.left.next"),
    "undo of no tool": _kind({"set": {"number": 1}, "undo": {"name": "cancel"}}, ".undo"),
    "waits for two things": _kind({"wait": {"for": "1s", "signal": "go"}}, ".wait"),
    "signal condition that is none": _kind({"wait": {"signal": "go", "where": "signal.name"}}, ".wait.where"),
    "remembers nothing": _kind({"remember": {"thread": True}}, ".remember"),
    "last case has a condition": _kind({"handle": [{"when": "attempts > 1", "fail": True}], "next": "end"}, ".handle[0].when"),
    "remote reference": _state_schema("far", {"$ref": "https://schemas.example/x.json"}, ".$ref"),
    "broken default": _state_schema("odd", {"type": "integer", "default": "x"}, ".default"),
    "not a schema": _state_schema("odd", {"type": "integre"}, ".type"),
    "deep schema": _deep,
    "not a digest": _kind({"subgraph": {"agent": "child", "digest": "latest"}}, ".subgraph.digest"),
    "agent name": _of_graph("agent", "Not A Name", "agent"),
}
