"""Promises about any graph: what is right is accepted, what is wrong is found in its place, and nothing ever crashes."""

import copy
import json
from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st
from plimsoll_graph.check import check
from plimsoll_graph.parse import load_graph, parse_graph
from plimsoll_graph.yaml_source import read_yaml
from plimsoll_graph.yaml_text import yaml_text
from plimsoll_runtime.json_types import JsonObject, JsonValue, canonical
from plimsoll_testkit.graph_mistakes import MISTAKES, Planted, broken_graphs
from plimsoll_testkit.graphs import graphs

_TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
_ODD = st.sampled_from(
    [
        *(
            "state",
            "end",
            "join",
            "fail",
            "any",
            "tool",
            "{'a': 1}",
            "state.x + 1",
            "1e5",
            "null",
            "true",
            "~",
            "on",
            "#/$defs/x",
            "0x1f",
            "1_0",
        ),
        *(
            "é\u2028",
            "\x7f",
            "\x85",
            "😀",
            ": ",
            "- a",
            "a: b",
            "'",
            '"',
            "\n\n x ",
            " ",
            "\ufeff",
            "\\ud83d",
            "%",
            "@",
            "`",
            "!x",
            "&a",
            "*a",
        ),
    ]
)
_LEAF = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), _ODD, _TEXT)
_VALUE: st.SearchStrategy[JsonValue] = st.recursive(
    _LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_ODD | _TEXT, inner, max_size=3), max_leaves=8
)


def _places(value: JsonValue, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if path:
        yield path
    match value:
        case dict():
            for key, item in value.items():
                yield from _places(item, (*path, key))
        case list():
            for index, item in enumerate(value):
                yield from _places(item, (*path, index))


@st.composite
def _mangled(draw: st.DrawFn) -> JsonObject:
    """A graph with some parts replaced, added or taken out at random."""
    graph = copy.deepcopy(draw(graphs()))
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(graph))
        if not places:
            break
        path = draw(st.sampled_from(places))
        holder: JsonValue = graph
        for part in path[:-1]:
            holder = holder[part]  # type: ignore[index, call-overload]
        match holder, draw(st.integers(0, 2)):
            case dict(), 0:
                holder[str(path[-1])] = draw(_VALUE)
            case dict(), 1:
                holder[draw(_ODD)] = draw(_VALUE)
            case dict(), _:
                holder.pop(str(path[-1]))
            case list(), _:
                holder[int(path[-1])] = draw(_VALUE)
    return graph


@settings(max_examples=25)
@given(graphs())
def test_a_graph_that_is_right_has_no_mistake_and_one_digest(graph: JsonObject) -> None:
    read = check(yaml_text(graph), "drawn.yaml")
    assert read.mistakes == ()
    assert read.graph is not None
    assert canonical(read.graph.canonical) == canonical(graph)
    assert parse_graph(canonical(graph), "drawn.json").digest == read.graph.digest
    assert load_graph(read.graph.canonical) == read.graph


@settings(max_examples=90)
@given(broken_graphs())
def test_a_planted_mistake_is_found_at_its_line(planted: Planted) -> None:
    text = yaml_text(planted.graph)
    found = [mistake for mistake in check(text, "x.yaml").mistakes if mistake.path == planted.path]
    assert found, planted.mistake
    assert found[0].place is not None
    line = text.splitlines()[found[0].place.line - 1]
    parts = [part for part in planted.path.replace("[", ".").replace("]", "").split(".") if not part.isdecimal()]
    assert any(f"{part}:" in line.replace('"', "") for part in parts) or line.lstrip().startswith("-"), (planted.path, line)


def test_every_kind_of_mistake_is_found_in_a_small_graph() -> None:
    small: JsonObject = {
        "agent": "small",
        "input": {"type": "object", "properties": {"text": {"type": "string"}}},
        "state": {
            "type": "object",
            "properties": {
                "text": {"type": "string"},
                "number": {"type": "integer"},
                "flag": {"type": "boolean"},
                "items": {"type": "array", "items": {"type": "integer"}},
            },
        },
        "start": "only",
        "budget": {"steps": 10},
        "nodes": {"only": {"tool": {"name": "fetch"}, "next": "end"}},
    }
    assert check(yaml_text(small), "small.yaml").mistakes == ()
    for name, plant in MISTAKES.items():
        graph = copy.deepcopy(small)
        path = plant(graph, "only")
        assert path in [mistake.path for mistake in check(yaml_text(graph), "small.yaml").mistakes], name


@settings(max_examples=40)
@given(_mangled())
def test_whatever_is_declared_is_read_or_refused_alike_as_yaml_and_as_json(graph: JsonObject) -> None:
    as_yaml, as_json = check(yaml_text(graph), "x.yaml"), check(json.dumps(graph), "x.json")
    assert (as_yaml.graph is None) == (as_json.graph is None) == bool(as_yaml.mistakes)
    if as_yaml.graph is not None and as_json.graph is not None:
        assert as_yaml.graph.digest == as_json.graph.digest


@given(st.dictionaries(_ODD | _TEXT.filter(lambda text: "\0" not in text), _VALUE, max_size=4))
def test_a_value_written_as_yaml_reads_back_the_same(value: JsonObject) -> None:

    source = read_yaml(yaml_text(value), "x.yaml")
    assert source.value == value or source.mistakes  # U+0000 is refused wherever it stands


@given(st.text(max_size=400))
def test_any_text_is_read_or_refused_with_a_reason(text: str) -> None:
    assert check(text, "x.yaml").mistakes  # 400 random characters are no agent
