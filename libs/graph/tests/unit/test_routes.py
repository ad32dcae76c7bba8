"""Where a graph can go: edges, failure routes, branches and cycles."""

import textwrap

import pytest
from plimsoll_graph.check import check

HEAD = """
agent: routed
input: {type: object}
state: {type: object, properties: {n: {type: integer}, flag: {type: boolean}, list: {type: array}, other: {type: array}}}
start: a
"""


def told(nodes: str, head: str = "") -> dict[str, str]:
    """Path → problem of every mistake in a graph of these nodes."""
    checked = check(f"{HEAD}{head}\nnodes:\n" + textwrap.indent(textwrap.dedent(nodes), "  "), "x.yaml")
    assert not checked.warnings
    return {mistake.path: mistake.problem for mistake in checked.mistakes}


@pytest.mark.parametrize(
    ("nodes", "head", "path", "problem"),
    [
        ("a: {set: {n: 1}, next: ned}", "", "nodes.a.next", "names the unknown node 'ned'"),
        ("a: {set: {n: 1}, next: fail}", "", "nodes.a.next", "leads to 'fail'"),
        ("a: {set: {n: 1}, next: join}", "", "nodes.a.next", "leads to 'join' on the main path"),
        ("a: {set: {n: 1}, next: end}", "on_failure: {any: nobody}", "on_failure.any", "names the unknown node 'nobody'"),
        ("a: {set: {n: 1}, next: end}", "on_failure: {timeout: fail}", "on_failure", "has no route for `any` other failure"),
        ("a: {set: {n: 1}, on_failure: {timeout: b}, next: b}\nb: {set: {n: 1}, next: end}", "", "nodes.a.on_failure", "has no route for"),
        ("a: {set: {n: 1}, on_failure: {any: a}, next: end}", "", "nodes.a.on_failure.any", "leads back to the node that failed"),
        ("a: {set: {n: 1}, on_failure: {bored: fail, any: fail}, next: end}", "", "nodes.a.on_failure.bored", "names the unknown category"),
    ],
)
def test_an_edge_that_leads_nowhere_is_named(nodes: str, head: str, path: str, problem: str) -> None:
    found = told(nodes, head)
    assert list(found) == [path]
    assert found[path].startswith(problem)


@pytest.mark.parametrize(
    ("nodes", "head"),
    [
        ("a: {tool: {name: x}, next: end}", ""),  # no route at all: the run fails, visibly
        ("a: {tool: {name: x}, on_failure: {timeout: b}, next: b}\nb: {set: {n: 1}, next: end}", "on_failure: {any: fail}"),
        ("a: {tool: {name: x}, on_failure: {timeout: b, any: fail}, next: b}\nb: {set: {n: 1}, next: end}", ""),
        ("a: {tool: {name: x}, next: end}\nb: {handle: [{fail: true}]}", "on_failure: {any: b}"),  # reached by failures only
    ],
)
def test_failures_that_have_a_way_are_fine(nodes: str, head: str) -> None:
    assert told(nodes, head) == {}


def test_of_nodes_that_nothing_leads_to_the_first_is_told() -> None:
    nodes = """
    a: {set: {n: 1}, next: end}
    lost: {set: {n: 1}, next: deeper}
    deeper: {set: {n: 1}, next: end}
    round: {wait: {for: 1s}, next: about}
    about: {wait: {for: 1s}, next: round}
    """
    assert list(told(nodes)) == ["nodes.lost", "nodes.round"]


PARALLEL = """
a: {parallel: {branches: {x: b, y: c}MERGE}, next: d}
b: {set: {list: [1]}, next: B}
c: {set: {FIELD: [2]}, on_failure: {any: stop}, next: join}
d: {tool: {name: x}, on_failure: {any: stop}, next: end}
stop: {handle: [{when: failure.retryable, retry: true}, {fail: true}]}
"""


def parallel(*, merge: str = "", field: str = "other", b: str = "join") -> dict[str, str]:
    return told(PARALLEL.replace("MERGE", merge).replace("FIELD", field).replace("next: B", f"next: {b}"))


def test_branches_join_and_may_share_a_handler_that_leads_nowhere() -> None:
    assert parallel() == {}


def test_two_branches_that_write_one_field_need_a_merge() -> None:
    assert parallel(field="list") == {"nodes.a.parallel": "has branches that all write 'list': x (b) and y (c)"}
    assert parallel(field="list", merge=", merge: {list: append}") == {}


@pytest.mark.parametrize(
    ("b", "problem"),
    [
        ("end", "leads to 'end' inside of branch 'x' of 'a'"),
        ("c", "leads to 'c', which lies in branch 'y' of 'a', from branch 'x' of 'a'"),
        ("d", "leads to 'd', which lies in the main path, from branch 'x' of 'a'"),
    ],
)
def test_a_branch_keeps_to_itself(b: str, problem: str) -> None:
    found = parallel(b=b)
    assert problem in found.values() or problem.replace("'c', which lies in branch 'y'", "'c'") in found.values()


def test_a_parallel_inside_of_a_branch_is_fine_and_its_writes_count_outside() -> None:
    nodes = """
    a: {parallel: {branches: {x: b, y: c}}, next: end}
    b: {parallel: {branches: {p: e, q: f}}, next: join}
    c: {set: {FIELD: [2]}, next: join}
    e: {set: {list: [1]}, next: join}
    f: {set: {n: 1}, next: join}
    """
    assert told(nodes.replace("FIELD", "other")) == {}
    assert told(nodes.replace("FIELD", "list")) == {"nodes.a.parallel": "has branches that all write 'list': x (e) and y (c)"}


ROUND = """
a: {set: {n: "state.n + 1"}, next: b}
b: {tool: {name: x}, next: c}
c: {decide: {branches: [{when: "WHEN", next: a}], default: end}}
"""


@pytest.mark.parametrize("when", ["state.n < 3", "state['n'] < 3", "size(state) < 3"])
def test_a_cycle_is_bounded_by_a_decision_over_what_it_writes(when: str) -> None:
    assert told(ROUND.replace("WHEN", when)) == {}


@pytest.mark.parametrize("when", ["state.flag", "true", "run.attempt < 3"])
def test_a_cycle_that_decides_on_what_it_never_writes_is_a_mistake(when: str) -> None:
    assert told(ROUND.replace("WHEN", when)) == {"nodes.a": "can go round for ever: a → b → c → a"}


def test_a_declared_budget_bounds_every_cycle() -> None:
    assert told(ROUND.replace("WHEN", "true"), "budget: {steps: 9}") == {}
    assert "nodes.a" in told(ROUND.replace("WHEN", "true"), "budget: {tokens: 9}")


@pytest.mark.parametrize("pace", ["wait: {for: 1s}", "wait: {signal: go}", "approve: {summary: \"'?'\"}"])
def test_a_cycle_that_waits_or_asks_is_bounded(pace: str) -> None:
    assert told(f"a: {{{pace}, next: b}}\nb: {{set: {{n: 1}}, next: a}}") == {}


def test_a_decision_that_cannot_leave_its_cycle_bounds_nothing() -> None:
    nodes = """
    a: {set: {n: "state.n + 1"}, next: c}
    c: {decide: {branches: [{when: state.n < 3, next: a}], default: d}}
    d: {set: {n: 0}, next: a}
    """
    assert list(told(nodes).values()) == ["can go round for ever: a → c → a"]


def test_a_failure_route_can_close_a_cycle_and_a_retry_cannot() -> None:
    closing = "a: {tool: {name: x}, on_failure: {any: b}, next: end}\nb: {handle: [{next: c}]}\nc: {set: {n: 1}, next: a}"
    assert told(closing) == {"nodes.a": "can go round for ever: a → b → c → a"}
    retrying = (
        "a: {tool: {name: x}, on_failure: {any: b}, next: end}\nb: {handle: [{when: attempts < 5, retry: true, limit: 3}, {fail: true}]}"
    )
    assert told(retrying) == {}


def test_the_graphs_own_failure_route_can_close_a_cycle() -> None:
    nodes = "a: {tool: {name: x}FAIL, next: end}\nagain: {set: {n: 1}, next: a}"
    assert "nodes.a" in told(nodes.replace("FAIL", ""), "on_failure: {any: again}")
    assert told(nodes.replace("FAIL", ", on_failure: {any: fail}"), "on_failure: {any: again}") == {}


def test_what_branches_write_counts_for_the_cycle_around_them() -> None:
    nodes = """
    a: {parallel: {branches: {x: b, y: c}}, next: d}
    b: {set: {n: "state.n + 1"}, next: join}
    c: {set: {list: []}, next: join}
    d: {decide: {branches: [{when: state.n < 3, next: a}], default: end}}
    """
    assert told(nodes) == {}
