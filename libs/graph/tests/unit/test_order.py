"""The order of branches is part of what a graph means, wherever it decides."""

import pytest
from plimsoll_graph.errors import InvalidGraph
from plimsoll_graph.graph import Graph, ParallelNode
from plimsoll_graph.parse import load_graph, parse_graph
from plimsoll_runtime.json_types import dump_json, parse_object

SOURCE = """
agent: branches
input: {type: object}
state: {type: object, properties: {seen: {type: array, items: {type: string}}, most: {type: number}}}
start: both
output: {}
nodes:
  both: {parallel: {branches: BRANCHES, merge: {seen: append, most: greatest}}, next: end}
  one: {set: {seen: ["'one'"]}, next: join}
  two: {set: {seen: ["'two'"]}, next: join}
"""


def graph(branches: str, source: str = SOURCE) -> Graph:
    return parse_graph(source.replace("BRANCHES", branches), "agent.yaml")


def order(one: Graph) -> list[str]:
    kind = one.nodes["both"].kind
    assert isinstance(kind, ParallelNode)
    return list(kind.branches)


def test_graphs_that_join_in_another_order_are_different_graphs() -> None:
    forward, backward = graph("{a: one, b: two}"), graph("{b: two, a: one}")
    assert (order(forward), order(backward)) == (["a", "b"], ["b", "a"])
    assert forward.digest != backward.digest


def test_an_order_may_be_stated_and_is_the_same_graph() -> None:
    assert graph("{a: one, b: two}, order: [b, a]").digest == graph("{b: two, a: one}").digest
    assert graph("{b: two, a: one}, order: [a, b]").digest == graph("{a: one, b: two}").digest


def test_an_order_that_decides_nothing_makes_no_difference() -> None:
    source = SOURCE.replace("{type: array, items: {type: string}}", "{type: number}").replace("seen: append", "seen: sum")
    source = source.replace("\"'one'\"", "1").replace("\"'two'\"", "2").replace("[1]", "1").replace("[2]", "2")
    assert graph("{b: two, a: one}", source).digest == graph("{a: one, b: two}", source).digest


@pytest.mark.parametrize("branches", ["{b: two, a: one}", "{a: one, b: two}", "{b: two, a: one}, order: [a, b]"])
def test_the_canonical_form_means_the_same_whoever_sorts_its_keys(branches: str) -> None:
    one = graph(branches)
    for text in (dump_json(one.canonical), dump_json(sorted_keys(one.canonical))):
        again = load_graph(parse_object(text))
        assert (order(again), again.digest) == (order(one), one.digest)
        assert parse_graph(text, "again.json").digest == one.digest


def sorted_keys(value: object) -> object:
    if isinstance(value, dict):
        return {key: sorted_keys(value[key]) for key in sorted(value)}
    return [sorted_keys(item) for item in value] if isinstance(value, list) else value


def test_a_graph_that_was_registered_before_keeps_its_digest() -> None:
    value = parse_object(dump_json({**graph("{a: one, b: two}").canonical}))
    nodes = value["nodes"]
    assert isinstance(nodes, dict)
    nodes["both"] = {"parallel": {"branches": {"b": "two", "a": "one"}, "merge": {"seen": "append", "most": "greatest"}}, "next": "end"}
    stored = load_graph(value)
    assert order(stored) == ["b", "a"]
    assert stored.canonical == value


@pytest.mark.parametrize("wrong", ["[a]", "[a, a]", "[a, b, c]", "[]"])
def test_an_order_names_every_branch_once(wrong: str) -> None:
    with pytest.raises(InvalidGraph, match="does not name every branch once"):
        graph(f"{{a: one, b: two}}, order: {wrong}")
