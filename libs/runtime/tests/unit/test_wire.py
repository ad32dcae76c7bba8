"""Small values on the wire: what one service sends, every other can hold."""

import pytest
from plimsoll.common.v1 import json_pb2
from plimsoll_runtime.errors import Invalid
from plimsoll_runtime.wire import json_from_proto, json_to_proto, object_from_proto


@pytest.mark.parametrize("value", [None, 1, 2**63, "text", r"a\u0000b as a text with a backslash", {"a": [1, {"b": None}]}])
def test_a_json_value_arrives_as_it_was_sent(value: object) -> None:
    assert json_from_proto(json_to_proto(value), "x") == value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "is not JSON"),
        (r'{"a": "b\u0000"}', r"U\+0000"),
        (r'{"a\u0000": 1}', r"U\+0000"),
        (r'["\\\u0000"]', r"U\+0000"),
        ("[" * 101 + "]" * 101, "deeper"),
        ('{"a":' * 900 + "1" + "}" * 900, "deeper"),
        ("[" * 100_000 + "]" * 100_000, "is not JSON"),
    ],
)
def test_json_that_a_store_or_a_reader_behind_cannot_hold_is_refused_with_its_field(text: str, problem: str) -> None:
    with pytest.raises(Invalid, match=problem) as refused:
        json_from_proto(json_pb2.JsonValue(text=text), "input")
    assert refused.value.problems[0].field == "input"


def test_many_lists_side_by_side_are_not_deep() -> None:
    assert json_from_proto(json_to_proto([[]] * 1000), "x") == [[]] * 1000


def test_an_empty_text_is_nothing_and_an_empty_object() -> None:
    assert json_from_proto(json_pb2.JsonValue(), "x") is None
    assert object_from_proto(json_pb2.JsonValue(), "x") == {}
