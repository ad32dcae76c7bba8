"""What a handler's result may hold."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_tool_dispatcher.adapters.python_handlers.fitness import unfitness

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\0")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_characters="\0")), inner),
)


@given(JSON)
def test_json_is_fit(value: object) -> None:
    assert unfitness(value) == ""


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"a": [1, {"b": "x\0"}]}, "result.a[1].b holds the character U+0000"),
        ({"a\0": 1}, "result has a key with the character U+0000"),
        ([math.nan], "result[0] is a number that is not finite"),
        ({"a": {1: 2}}, "result.a has a key that is not text"),
        ((1, 2), "result is a tuple"),
        (b"x", "result is a bytes"),
    ],
)
def test_what_is_unfit_is_told_with_its_place(value: object, problem: str) -> None:
    assert unfitness(value).startswith(problem)
