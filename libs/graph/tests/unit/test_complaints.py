"""An expression that fails says what is wrong and what to do, in words; the engine's own never show."""

import pytest
from plimsoll_graph.complaints import in_words
from plimsoll_graph.expression import ExpressionFailed, compile_expression

SCOPE = {
    "state": {"n": 1, "text": "x", "list": [1, 2], "map": {"k": 1}, "none": None},
    **dict.fromkeys(("input", "run", "result", "item", "index", "failure", "attempts", "signal", "acc")),
}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("state.gone", 'there is no "gone" where it looks; ask has(…) before it'),
        ("1 / (state.n - 1) == 1", "it divides by zero; test the divisor before"),
        ("state.n % (state.n - 1)", "it divides by zero"),
        ("state.list[7]", "it asks for item 7 of a list of 2, counted from 0; test size(…) before"),
        ("state.n + state.text", "`+` does not take a whole number and a text; convert one"),
        ("state.text > 1", "`>` does not take a text and a whole number"),
        ("size(state.n)", "size(…) does not take a whole number"),
        ("state.text ? 1 : 2", "what stands before `?` is not true or false"),
        ("state.none.field", "it looks for a field in what is no object but null, a text, a number or a list; test it with != null before"),
        ("int(state.text)", "the text is not a whole number; test it with matches(…) before"),
        ("double(state.text)", "the text is not a decimal number"),
        ("timestamp(state.text)", "the text is no time such as 2030-01-31T09:00:00Z"),
        ("duration(state.text)", "the text is no duration such as 90s"),
        ("9223372036854775807 + state.n", "a whole number becomes larger than 64 bits hold; use double(…)"),
        ("state.text.matches('(')", "the pattern is no regular expression: missing )"),
    ],
)
def test_what_goes_wrong_is_said_in_words_with_the_expression(text: str, said: str) -> None:
    with pytest.raises(ExpressionFailed) as failed:
        compile_expression(text).evaluate(SCOPE)
    assert str(failed.value).startswith(f"{text!r}: {said}")


def test_what_is_not_known_keeps_the_engines_words_without_its_code() -> None:
    assert in_words("RESOURCE_EXHAUSTED: Iteration budget exceeded") == "Iteration budget exceeded"
    assert in_words("anything else") == "anything else"
