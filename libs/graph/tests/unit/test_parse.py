"""Reading graphs: every mistake at once, each with its line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_graph.errors import InvalidGraph
from plimsoll_graph.graph import DecideNode, HandleNode, MapNode, ModelNode
from plimsoll_graph.parse import parse_graph

GOOD = """
agent: good
input: {type: object, properties: {text: {type: string}}}
accepts: {text: text}
state: {type: object, properties: {text: {type: string}, kind: {type: string}, out: {type: array}}}
start: classify
budget: {steps: 10, seconds: 60}
output: {kind: state.kind}
nodes:
  classify:
    model: {prompt: "good-classify@3", variables: {text: state.text}, task: classification, output: {type: object}}
    ensure: ["result.confidence > 0.1"]
    save: {kind: result.output.kind}
    timeout: 500ms
    retry: {attempts: 3, backoff: 1s, on: [timeout]}
    on_failure: {timeout: mend, any: mend}
    next: route
  route: {decide: {branches: [{when: "state.kind == 'x'", next: each}], default: end}}
  each: {map: {over: "[1, 2]", do: {set: {n: item}}}, save: {out: result.items}, next: end}
  mend: {handle: [{when: failure.retryable, retry: true, limit: 3}, {fail: true}]}
"""


def mistakes(text: str) -> dict[str, str]:
    with pytest.raises(InvalidGraph) as refused:
        parse_graph(text, "agent.yaml")
    return {problem.field: problem.problem for problem in refused.value.problems}


def test_a_good_graph_is_read_whole() -> None:
    graph = parse_graph(GOOD, "agent.yaml")
    classify = graph.nodes["classify"]
    assert isinstance(classify.kind, ModelNode)
    assert (classify.kind.prompt.name, classify.kind.prompt.version, classify.timeout_s) == ("good-classify", 3, 0.5)
    assert classify.retry.attempts == 3
    assert [type(graph.nodes[name].kind) for name in ("route", "each", "mend")] == [DecideNode, MapNode, HandleNode]
    assert graph.accepts.text_field == "text"


def test_the_digest_depends_on_content_and_not_on_layout() -> None:
    graph = parse_graph(GOOD, "a.yaml")
    assert parse_graph("# a comment\n" + GOOD.replace("{kind: state.kind}", "\n  kind:   state.kind"), "b.yaml").digest == graph.digest
    assert parse_graph(GOOD.replace("steps: 10", "steps: 11"), "a.yaml").digest != graph.digest


@pytest.mark.parametrize(
    ("old", "new", "field", "problem"),
    [
        ("agent: good", "agent: Not Good", "agent.yaml:2:1: agent", "is 'Not Good'"),
        ("start: classify", "start: nowhere", "agent.yaml:6:1: start", "names the unknown node 'nowhere'"),
        ("default: end", "default: nowhere", "agent.yaml:18:73: nodes.route.decide.default", "names the unknown node 'nowhere'"),
        (", default: end", "", "agent.yaml:18:11: nodes.route.decide.default", "is missing"),
        ("timeout: 500ms", "timeout: soon", "agent.yaml:14:5: nodes.classify.timeout", "is 'soon'"),
        ("on: [timeout]", "on: [tiredness]", "agent.yaml:15:39: nodes.classify.retry.on", "names the unknown category 'tiredness'"),
        ("save: {kind:", "save: {sort:", "agent.yaml:13:12: nodes.classify.save.sort", "is not a field of the state"),
        ("ensure: [", "enshure: [", "agent.yaml:12:5: nodes.classify.enshure", "is not known here"),
        ("limit: 3}, {fail: true}", "limit: 3}", "agent.yaml:20:20: nodes.mend.handle[0].when", "stands on the last case"),
        ("accepts: {text: text}", "accepts: {text: body}", "agent.yaml:4:11: accepts.text", "names the unknown input field 'body'"),
        (
            "  mend: {handle",
            "  lost: {set: {kind: \"'x'\"}, next: end}\n  mend: {handle",
            "agent.yaml:20:3: nodes.lost",
            "cannot be reached from the start",
        ),
    ],
)
def test_a_mistake_is_named_with_its_line_and_column(old: str, new: str, field: str, problem: str) -> None:
    assert old in GOOD
    assert mistakes(GOOD.replace(old, new)).get(field) == problem


def test_all_mistakes_are_told_at_once() -> None:
    text = GOOD.replace("timeout: 500ms", "timeout: soon").replace("state.kind == 'x'", "state.kind ==").replace("steps: 10", "steps: -1")
    assert len(mistakes(text)) == 3


def test_a_broken_expression_tells_where_it_breaks() -> None:
    found = mistakes(GOOD.replace("state.kind == 'x'", "state.kind == nobody"))
    [problem] = [text for field, text in found.items() if field.startswith("agent.yaml:18")]
    assert "undeclared reference to 'nobody'" in problem


@pytest.mark.parametrize(
    "text", ["", "   ", "agent: [", "\t- x", "just a text", "- a\n- b", "a: &x [*x]", "[" * 5000, "a: 1\na: 2", "{: :}"]
)
def test_what_is_no_graph_is_refused_and_never_crashes(text: str) -> None:
    assert mistakes(text)


def test_words_that_other_yaml_takes_for_booleans_stay_words() -> None:
    graph = parse_graph(GOOD, "a.yaml")
    assert graph.nodes["classify"].retry.on  # `on:` is a key, not true


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused_with_a_reason(text: str) -> None:
    assert mistakes(text)  # 300 random characters are no agent


def test_an_alias_bomb_is_refused_before_it_goes_off() -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]" for old, new in zip("abcdefgh", "bcdefghi", strict=True)]
    assert any("values" in problem for problem in mistakes("\n".join(lines)).values())
