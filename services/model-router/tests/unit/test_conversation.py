"""What all codecs share: ids that every provider accepts, and schemas that a provider can enforce."""

import re
from collections import Counter

import pytest
from hypothesis import given
from model_router_samples import conversations
from plimsoll_model_router.adapters.providers.conversation import call_id, is_closed, with_wire_ids
from plimsoll_model_router.domain.messages import Message, ToolCall, ToolResult, assistant, results, user
from plimsoll_runtime.json_types import JsonObject


@given(conversations())
def test_every_call_gets_an_id_of_its_own_and_every_result_its_calls(messages: tuple[Message, ...]) -> None:
    wired = with_wire_ids(messages)
    ids = [call.call_id for message in wired for call in message.tool_calls]
    assert max(Counter(ids).values(), default=1) == 1
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", one) for one in ids)
    assert [result.call_id for message in wired for result in message.tool_results] == ids
    assert with_wire_ids(wired) == wired


def test_the_same_id_in_two_turns_and_odd_ids_are_told_apart() -> None:
    def turn(call: str) -> tuple[Message, Message]:
        return (
            assistant(ToolCall(call_id=call, tool="t", arguments={})),
            results(ToolResult(call_id=call, tool="t", content=1)),
        )

    wired = with_wire_ids((user("?"), *turn("call_1"), *turn("call_1"), *turn("call:1/é")))
    assert [call.call_id for message in wired for call in message.tool_calls] == ["call_1", "call_1_2", "call_1__"]


def test_missing_and_repeated_ids_of_a_reply_are_replaced() -> None:
    taken = {"a"}
    assert call_id("", 0, taken) == "call_1"
    assert call_id("b", 1, taken) == "b"
    assert call_id("a", 2, taken) == "a_2"


@pytest.mark.parametrize(
    ("schema", "closed"),
    [
        ({"type": "object", "additionalProperties": False, "required": ["a"], "properties": {"a": {"enum": ["x", "y"]}}}, True),
        ({"type": "object", "additionalProperties": False, "required": [], "properties": {"a": {"type": "string"}}}, False),
        ({"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}}, False),
        (
            {
                "type": "object",
                "additionalProperties": False,
                "required": ["a"],
                "properties": {"a": {"type": "array", "items": {"type": "object", "properties": {}}}},
            },
            False,
        ),
        (
            {"type": "object", "additionalProperties": False, "required": ["a"], "properties": {"a": {"type": "string", "pattern": "x"}}},
            False,
        ),
        ({"type": "string"}, True),
        ({"type": "string", "minLength": 3}, False),
    ],
)
def test_only_schemas_that_say_everything_are_left_to_the_provider(schema: JsonObject, closed: bool) -> None:
    assert is_closed(schema) is closed
