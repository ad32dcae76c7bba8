"""Checking as a whole: all at once, in the order of the lines, within bounds, and never a crash."""

import pytest
from plimsoll_graph.check import check
from plimsoll_graph.yaml_source import SOURCE_CAP

GOOD = """\
agent: good
input: {type: object, properties: {n: {type: integer}}}
state: {type: object, properties: {n: {type: integer}}}
start: a
nodes:
  a: {set: {n: state.n + 1}, next: end}
"""


def test_a_good_graph_has_no_mistakes_and_no_warnings() -> None:
    found = check(GOOD, "good.yaml")
    assert (found.mistakes, found.warnings) == ((), ())
    assert found.graph is not None
    assert found.graph.agent == "good"


def test_mistakes_of_all_sorts_are_told_at_once_in_the_order_of_their_lines() -> None:
    text = (
        GOOD.replace("start: a", "start: b")
        .replace("{type: integer}}}\nstart", "{type: integre}}}\nstart")
        .replace("agent: good", "agent: G")
    )
    text = text.replace("next: end", "next: nowhere, timeout: soon")
    found = check(text, "bad.yaml")
    assert found.graph is None
    lines = [mistake.place.line for mistake in found.mistakes if mistake.place]
    assert lines == sorted(lines) == [1, 3, 4, 6, 6]


def test_a_mistake_has_a_line_a_field_and_a_remedy() -> None:
    [mistake] = check(GOOD.replace("next: end", "next: b"), "bad.yaml").mistakes
    assert str(mistake.field_problem) == "bad.yaml:6:30: nodes.a.next: names the unknown node 'b' (known: a, end, join)"


def test_every_fault_of_an_expression_is_told() -> None:
    found = check(GOOD.replace("state.n + 1", "nobody + nothing"), "bad.yaml")
    assert [mistake.problem for mistake in found.mistakes] == [
        "is not a valid expression: undeclared reference to 'nobody'",
        "is not a valid expression: undeclared reference to 'nothing'",
    ]
    columns = [mistake.place.column for mistake in found.mistakes if mistake.place]
    line = GOOD.splitlines()[5]
    assert columns == [line.index("state.n") + 1, line.index("state.n") + 1 + len("nobody + ")]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: " + "x" * SOURCE_CAP, "characters"),
        ("a: " + "[" * 100 + "]" * 100, "deeper"),
        ("{" * 5000, "deeper"),
        ('{"a": ' * 500 + "1" + "}" * 500, "deeper"),
        ("a: 1e400", "finite"),
        ("a: .nan", "finite"),
        ("a: " + "9" * 5000, "digits"),
        ("a: 99999999999999999999", "is 99999999999999999999"),
        ('a: "\\ud83d"', "surrogate"),
        ('a: "\\0"', "U+0000"),
        ('{"a\\u0000": 1, "b": "\x7f"}', "U+0000"),
        ('a: "\\UFFFFFFFF"', "is not YAML"),
        ("a: 1\n---\na: 2", "is not YAML"),
        ("a: *nobody", "is not YAML"),
        ("[1, 2]", "is not a mapping"),
        ("", "is empty"),
        ("# only a comment", "is empty"),
        ("a: x\x01", "U+0001"),
    ],
)
def test_what_is_too_much_or_no_text_is_refused(text: str, problem: str) -> None:
    assert any(problem in mistake.problem for mistake in check(text, "x.yaml").mistakes)


def test_an_expression_has_a_bound_too() -> None:
    found = check(GOOD.replace("state.n + 1", "state.n + 1" * 1000), "x.yaml")
    assert ["characters" in mistake.problem for mistake in found.mistakes] == [True]


def test_a_graph_may_have_a_thousand_nodes_and_no_more() -> None:
    head, _, _ = GOOD.replace("start: a", "start: n0").partition("  a:")
    chain = "".join(f"  n{index}: {{set: {{n: state.n + {index}}}, next: n{index + 1}}}\n" for index in range(999))
    assert check(f"{head}{chain}  n999: {{set: {{n: 1}}, next: end}}\n", "x.yaml").graph
    more = check(f"{head}{chain}  n999: {{set: {{n: 1}}, next: one_more}}\n  one_more: {{set: {{n: 1}}, next: end}}\n", "x.yaml")
    assert [mistake.problem for mistake in more.mistakes] == ["has 1001 entries"]


def test_no_more_mistakes_are_told_than_anybody_reads() -> None:
    crowd = "".join(f"  n{index}: {{set: {{m: 1}}, next: n{index + 1}}}\n" for index in range(300))
    found = check(GOOD.replace("start: a", "start: n0") + crowd, "x.yaml")
    assert len(found.mistakes) == 101
    assert found.mistakes[-1].problem == "has 202 more of these"
    fields = "".join(f"f{index}: 1\n" for index in range(5000))
    assert [mistake.problem for mistake in check(GOOD + fields, "x.yaml").mistakes] == ["has 5000 unknown fields"]


def test_a_pair_of_escapes_is_one_character() -> None:
    found = check(GOOD.replace("agent: good", 'agent: good\ndescription: "\\ud83d\\ude00"'), "x.yaml")
    assert found.graph is not None
    assert found.graph.description == "😀"
