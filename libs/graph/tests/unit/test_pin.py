"""Pinning: a registered graph names the exact versions of the graphs it runs."""

import pytest
from plimsoll_graph.check import check
from plimsoll_graph.errors import InvalidGraph
from plimsoll_graph.graph import MapNode, SubgraphNode
from plimsoll_graph.parse import load_graph, parse_graph
from plimsoll_graph.pin import pinned, unknown_agents, unpinned

OLD, NEW = "0" * 64, "1" * 64
GRAPH = f"""
agent: parent
input: {{type: object}}
state: {{type: object, properties: {{n: {{type: integer}}}}}}
start: a
nodes:
  a: {{subgraph: {{agent: child}}, next: b}}
  b: {{subgraph: {{agent: child, digest: "{OLD}"}}, next: c}}
  c: {{map: {{over: "[1]", mode: distributed, do: {{subgraph: {{agent: worker}}}}}}, next: end}}
"""


def test_what_names_no_version_gets_the_one_that_is_given() -> None:
    graph = parse_graph(GRAPH, "p.yaml")
    assert unpinned(graph) == {"child", "worker"}
    again = load_graph(pinned(graph.canonical, {"child": NEW, "worker": NEW}))
    kinds = [again.nodes[name].kind for name in "abc"]
    assert isinstance(kinds[0], SubgraphNode)
    assert isinstance(kinds[1], SubgraphNode)
    assert isinstance(kinds[2], MapNode)
    assert isinstance(kinds[2].body, SubgraphNode)
    assert (kinds[0].digest, kinds[1].digest, kinds[2].body.digest) == (NEW, OLD, NEW)
    assert not unpinned(again)


def test_the_digest_of_a_graph_tells_its_childrens_versions() -> None:
    canonical = parse_graph(GRAPH, "p.yaml").canonical
    one = load_graph(pinned(canonical, {"child": NEW, "worker": NEW}))
    other = load_graph(pinned(canonical, {"child": OLD, "worker": NEW}))
    assert one.digest != other.digest


def test_pinning_twice_changes_nothing_and_never_what_was_declared() -> None:
    canonical = parse_graph(GRAPH, "p.yaml").canonical
    once = pinned(canonical, {"child": NEW, "worker": NEW})
    assert pinned(once, {}) == once
    assert canonical == parse_graph(GRAPH, "p.yaml").canonical


def test_an_agent_that_is_not_there_is_named_with_its_line() -> None:
    checked = check(GRAPH, "p.yaml")
    assert checked.graph is not None
    [mistake] = unknown_agents(checked.graph, checked.source, {"child": NEW})
    assert str(mistake.field_problem) == "p.yaml:9:61: nodes.c.map.do.subgraph.agent: names the unknown agent 'worker' (register it first)"
    with pytest.raises(InvalidGraph, match="worker"):
        pinned(checked.graph.canonical, {"child": NEW})
