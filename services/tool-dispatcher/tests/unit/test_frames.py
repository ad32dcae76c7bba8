"""Frames between the dispatcher and its worker processes."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_tool_dispatcher.adapters.python_handlers import frames
from plimsoll_tool_dispatcher.adapters.python_handlers.fitness import unfitness
from plimsoll_tool_dispatcher.adapters.python_handlers.masking import masked

INTEGERS = st.integers(-(2**63), 2**64 - 1)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | INTEGERS
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8", exclude_characters="\0")), inner),
    max_leaves=10,
)
MESSAGES = st.one_of(
    st.builds(frames.Returned, id=st.integers(1, 1000), value=VALUES),
    st.builds(
        frames.Invoke,
        id=st.just(1),
        function=st.just("f"),
        arguments=st.just({}),
        tenant=st.text("ab"),
        call_key=st.just("k"),
        deadline_s=st.just(1.5),
    ),
    st.builds(frames.Unavailable, id=st.just(1), reason=st.just("R"), message=st.just("m"), retry_after_s=st.none() | st.just(1.5)),
    st.builds(frames.Stop, id=st.just(3)),
    st.just(frames.Ready()),
)


def heard(data: bytes, most_bytes: int = 1024) -> list[frames.Message]:
    return frames.Frames(most_bytes).feed(data)


@given(st.lists(MESSAGES, max_size=5), st.lists(st.integers(0, 400)))
def test_what_is_said_is_heard_in_whatever_pieces_it_comes(messages: list[frames.Message], cuts: list[int]) -> None:
    said = b"".join(map(frames.encode, messages))
    edges = [0, *sorted(cut for cut in cuts if cut < len(said)), len(said)]
    listener = frames.Frames(1_000_000)
    assert [one for start, end in pairwise(edges) for one in listener.feed(said[start:end])] == messages


def test_half_a_frame_is_no_message() -> None:
    assert heard(b"") == []
    assert heard(frames.encode(frames.Ready())[:-1]) == []


@pytest.mark.parametrize(
    "body", [b"garbage", b"[]", b"[99, {}]", b"[0]", b'[2, {"unknown": 1}]', b'["x", {}]', b"{}", b"[2, 5]", b"\xff\xff"]
)
def test_what_is_no_frame_is_noticed(body: bytes) -> None:
    with pytest.raises(frames.TornFrame):
        heard(len(body).to_bytes(4) + body)


def test_a_frame_over_the_limit_is_not_waited_for() -> None:
    with pytest.raises(frames.TornFrame):
        heard((1 << 31).to_bytes(4) + b"x" * 100)


@given(VALUES)
def test_every_json_value_is_fit(value: object) -> None:
    assert unfitness(value) == ""


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"a": [1, {2}]}, "result.a[1] is a set"),
        ((1, 2), "result is a tuple"),
        ({1: 2}, "result has a key that is not text but int"),
        ([math.nan], "result[0] is a number that is not finite"),
        (math.inf, "result is a number that is not finite"),
        (b"bytes", "result is a bytes"),
        (object(), "result is a object"),
    ],
)
def test_what_is_not_json_is_told_with_its_place(value: object, problem: str) -> None:
    assert unfitness(value) == problem


def test_a_value_that_contains_itself_is_not_json() -> None:
    endless: list[object] = []
    endless.append(endless)
    assert "nested deeper" in unfitness(endless)


def test_secrets_are_masked_wherever_they_stand() -> None:
    assert (
        masked("cannot reach postgres://u:pw@h as postgres://u:pw@h", {"db": "postgres://u:pw@h", "pin": "h"}) == "cannot reach ••• as •••"
    )
