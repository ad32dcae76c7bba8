"""Expressions: what they may say, and what they never let through."""

import pytest
from plimsoll_graph.expression import (
    ExpressionBroken,
    ExpressionFailed,
    compile_expression,
    compile_template,
    fill,
    template_source,
)
from plimsoll_runtime.json_types import JsonValue

SCOPE = {"state": {"amount": 120, "tags": ["a", "b"], "name": "Ann"}, "failure": None}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("state.amount + 1", 121),
        ("state.tags + ['c']", ["a", "b", "c"]),
        ("{'n': state.name, 'none': failure}", {"n": "Ann", "none": None}),
        ("has(state.missing) ? 1 : 2", 2),
        ("state.name.lowerAscii().split('n').size()", 3),
        ("math.greatest(state.amount, 7)", 120),
    ],
)
def test_an_expression_has_a_json_value(text: str, value: object) -> None:
    assert compile_expression(text).evaluate(SCOPE) == value


@pytest.mark.parametrize("text", ["state.amount +", "nobody.knows", "1 + 'a'", "size()"])
def test_a_malformed_expression_is_refused_when_compiled(text: str) -> None:
    with pytest.raises(ExpressionBroken):
        compile_expression(text)


@pytest.mark.parametrize(
    "text", ["state.missing", "1 / 0", "1.0 / 0.0", "b'raw'", "duration('1s')", "{1: 'a'}", "state.tags[9]", "state.?name", "[state.?name]"]
)
def test_what_is_not_json_fails_and_never_flows_on(text: str) -> None:
    with pytest.raises(ExpressionFailed):
        compile_expression(text).evaluate(SCOPE)


@pytest.mark.parametrize("text", [r"'a\x00b'", r"{'k\x00': 1}", r"['a', 'b\x00']"])
def test_a_text_that_no_store_takes_fails_where_it_is_made(text: str) -> None:
    with pytest.raises(ExpressionFailed, match=r"U\+0000"):
        compile_expression(text).evaluate(SCOPE)


def test_the_keys_of_a_map_come_in_one_order() -> None:
    value = compile_expression("{'b': 1, 'a': {'z': 1, 'y': 2}, 'c': 3}").evaluate(SCOPE)
    assert str(value) == "{'a': {'y': 2, 'z': 1}, 'b': 1, 'c': 3}"


def test_an_expression_that_never_seems_to_end_fails_in_time() -> None:
    nested = "state.ten" + "".join(f".map(v{depth}, state.ten" for depth in range(8)) + ")" * 8
    with pytest.raises(ExpressionFailed, match="budget"):
        compile_expression(nested).evaluate({"state": {"ten": list(range(10))}})


def test_a_condition_must_be_true_or_false() -> None:
    assert compile_expression("state.amount > 100").holds(SCOPE)
    with pytest.raises(ExpressionFailed):
        compile_expression("state.amount").holds(SCOPE)


def test_string_leaves_are_expressions_and_all_else_is_literal() -> None:
    source = {"n": 1, "list": ["state.name", None], "nested": {"x": "state.amount * 2"}}
    template = compile_template(source)
    assert fill(template, SCOPE) == {"n": 1, "list": ["Ann", None], "nested": {"x": 240}}
    assert template_source(template) == source


@pytest.mark.parametrize("text", ["state.t.replace('', state.t)", "state.t.replace('x', state.t + '!')", "state.l.join(state.t)"])
def test_a_text_that_would_fill_the_memory_is_a_failure_before_it_is_made(text: str) -> None:
    long: dict[str, JsonValue] = {"t": "x" * 100_000, "l": ["x"] * 100_000}
    with pytest.raises(ExpressionFailed, match="too large"):
        compile_expression(text).evaluate({"state": long})


@pytest.mark.parametrize("text", ["state.t.replace('x', 'y').size()", "state.l.join(', ').size()", "state.l.join().size()"])
def test_what_is_written_out_may_be_put_into_long_texts(text: str) -> None:
    long: dict[str, JsonValue] = {"t": "x" * 100_000, "l": ["x"] * 1000}
    assert compile_expression(text).evaluate({"state": long})


def test_a_name_may_be_put_into_a_template() -> None:
    scope: dict[str, JsonValue] = {"state": {"t": "Dear {name}", "name": "Ann"}}
    assert compile_expression("state.t.replace('{name}', state.name)").evaluate(scope) == "Dear Ann"
