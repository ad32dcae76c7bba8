"""Anthropic Messages, both ways."""

import itertools
from dataclasses import replace
from typing import cast

import pytest
from hypothesis import given
from model_router_samples import INTENTS, LOOKUP, OBJECTS, WORDS, conversations, question
from plimsoll_model_router.adapters.providers import anthropic_codec as codec
from plimsoll_model_router.domain.messages import (
    Media,
    Message,
    Opaque,
    Reasoning,
    Refusal,
    Role,
    StopReason,
    Text,
    ToolCall,
    ToolChoice,
    ToolResult,
    assistant,
    results,
    system,
    user,
)
from plimsoll_model_router.errors import ProviderError
from plimsoll_runtime.failures import Category
from plimsoll_runtime.json_types import JsonObject, JsonValue

W = "anthropic/m-1"
MINE = "anthropic/m-1"


def turns(*messages: Message) -> list[JsonObject]:
    return cast("list[JsonObject]", codec.encode(question(*messages), W, stream=False).body["messages"])


def body(*blocks: JsonObject, stop: str = "end_turn", usage: JsonObject | None = None) -> JsonObject:
    content: list[JsonValue] = [*blocks]
    return {
        "type": "message",
        "role": "assistant",
        "model": "m-1-20260101",
        "content": content,
        "stop_reason": stop,
        "usage": usage or {"input_tokens": 3, "output_tokens": 2},
    }


def test_a_question_is_encoded_as_the_api_wants_it() -> None:
    asked = replace(question(system("Be brief."), user("Where is it?"), tools=(LOOKUP,), schema=INTENTS), max_output_tokens=100)
    assert codec.encode(asked, W, stream=True).body == {
        "model": "m-1",
        "max_tokens": 100,
        "output_config": {
            "format": {
                "type": "json_schema",
                "schema": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["intent"],
                    "properties": {"intent": {"enum": ["delivery", "refund"]}},
                },
            }
        },
        "system": "Be brief.",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Where is it?"}]}],
        "tools": [
            {
                "name": "find_account",
                "description": "Finds the account of a customer by e-mail address.",
                "input_schema": {"type": "object", "required": ["email"], "properties": {"email": {"type": "string", "format": "email"}}},
            }
        ],
        "tool_choice": {"type": "auto"},
        "stream": True,
    }


def test_results_come_first_in_one_user_turn_with_what_the_user_added() -> None:
    calls = (ToolCall(call_id="a", tool="t", arguments={"x": 1}), ToolCall(call_id="b", tool="t", arguments="not json"))
    found = turns(
        user("Go."),
        assistant("Looking.", *calls),
        Message(role=Role.TOOL, parts=(ToolResult(call_id="a", tool="t", content={"ok": True}),)),
        Message(
            role=Role.USER,
            parts=(Text(text="And hurry."), ToolResult(call_id="b", tool="t", content="no", is_error=True)),
        ),
    )
    assert [turn["role"] for turn in found] == ["user", "assistant", "user"]
    assert found[1]["content"] == [
        {"type": "text", "text": "Looking."},
        {"type": "tool_use", "id": "a", "name": "t", "input": {"x": 1}},
        {"type": "tool_use", "id": "b", "name": "t", "input": {"malformed": "not json"}},
    ]
    assert found[2]["content"] == [
        {"type": "tool_result", "tool_use_id": "a", "content": '{"ok":true}', "is_error": False},
        {"type": "tool_result", "tool_use_id": "b", "content": "no", "is_error": True},
        {"type": "text", "text": "And hurry."},
    ]


def test_thinking_goes_back_to_its_maker_only() -> None:
    mine = Reasoning(text="hm", signature="s", provenance=MINE)
    opaque = Opaque(provenance=MINE, content={"type": "redacted_thinking", "data": "x"})
    assert turns(user("?"), assistant(mine, opaque, "A."))[1]["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "text", "text": "A."},
    ]
    others = codec.encode(
        question(user("?"), assistant(replace(mine, provenance="openai/x"), replace(opaque, provenance="anthropic/m-2"), "A.")),
        W,
        stream=False,
    )
    assert cast("list[JsonObject]", others.body["messages"])[1]["content"] == [{"type": "text", "text": "A."}]
    assert len(others.notes) == 2


def test_a_schema_that_cannot_be_enforced_is_put_into_words() -> None:
    encoded = codec.encode(question(user("?"), schema={"type": "object", "properties": {"a": {"minimum": 3}}}), W, stream=False)
    assert "output_config" not in encoded.body
    assert '"minimum":3' in str(encoded.body["system"])
    assert len(encoded.notes) == 1


def test_media_goes_by_address_and_what_cannot_be_sent_is_refused() -> None:
    picture = Message(role=Role.USER, parts=(Media(media_type="image/png", uri="https://example.com/a.png"),))
    assert turns(picture)[0]["content"] == [{"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}]
    with pytest.raises(ProviderError, match="audio/ogg"):
        turns(Message(role=Role.USER, parts=(Media(media_type="audio/ogg", uri="https://example.com/a.ogg"),)))
    with pytest.raises(ProviderError, match="address"):
        turns(Message(role=Role.USER, parts=(Media(media_type="image/png", uri="data:image/png;base64,xx"),)))


@pytest.mark.parametrize(("choice", "wire"), [(ToolChoice.AUTO, "auto"), (ToolChoice.NONE, "none"), (ToolChoice.REQUIRED, "any")])
def test_the_choice_of_tools_is_told(choice: ToolChoice, wire: str) -> None:
    asked = replace(question(user("?"), tools=(LOOKUP,)), tool_choice=choice)
    assert codec.encode(asked, W, stream=False).body["tool_choice"] == {"type": wire}


@given(conversations())
def test_any_conversation_becomes_alternating_turns_with_every_call_answered(messages: tuple[Message, ...]) -> None:
    found = turns(*messages)
    assert all(one["role"] != other["role"] for one, other in itertools.pairwise(found))
    for turn, following in itertools.pairwise(found):
        blocks = cast("list[JsonObject]", turn["content"])
        used = [block["id"] for block in blocks if block["type"] == "tool_use"]
        answered = [b["tool_use_id"] for b in cast("list[JsonObject]", following["content"]) if b["type"] == "tool_result"]
        assert used == answered


@given(spoken=WORDS, arguments=OBJECTS)
def test_a_reply_encoded_again_is_what_the_provider_sent(spoken: str, arguments: JsonObject) -> None:
    blocks: list[JsonObject] = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "text", "text": f"{spoken}."},
        {"type": "tool_use", "id": "toolu_1", "name": "t", "input": arguments},
    ]
    reply = codec.decode(body(*blocks, stop="tool_use"), question(), W)
    again = turns(user("?"), reply.message, results(ToolResult(call_id="toolu_1", tool="t", content=1)))
    assert again[1]["content"] == blocks


def test_usage_counts_cached_input_in() -> None:
    usage: JsonObject = {"input_tokens": 5, "cache_read_input_tokens": 80, "cache_creation_input_tokens": 15, "output_tokens": 7}
    found = codec.decode(body({"type": "text", "text": "A."}, usage=usage), question(), W).usage
    assert (found.input_tokens, found.cached_input_tokens, found.output_tokens) == (100, 80, 7)


@pytest.mark.parametrize(
    ("stop", "reason"),
    [
        ("end_turn", StopReason.END_TURN),
        ("max_tokens", StopReason.MAX_TOKENS),
        ("model_context_window_exceeded", StopReason.MAX_TOKENS),
        ("stop_sequence", StopReason.STOP_SEQUENCE),
        ("refusal", StopReason.REFUSAL),
    ],
)
def test_stop_reasons_keep_their_meaning(stop: str, reason: StopReason) -> None:
    reply = codec.decode(body({"type": "text", "text": "A."}, stop=stop), question(), W)
    assert reply.stop_reason is reason
    assert (Refusal(text="") in reply.message.parts) is (reason is StopReason.REFUSAL)


@pytest.mark.parametrize(
    "broken", [{}, {"content": "text"}, {"content": [], "stop_reason": "pause_turn"}, {"content": [], "stop_reason": None}]
)
def test_what_makes_no_sense_is_malformed(broken: JsonObject) -> None:
    with pytest.raises(ProviderError) as caught:
        codec.decode(broken, question(), W)
    assert caught.value.failure.category is Category.MODEL_MALFORMED


@given(OBJECTS)
def test_no_answer_however_odd_is_anything_but_a_reply_or_a_provider_error(odd: JsonObject) -> None:
    for candidate in (odd, {"content": [odd], "stop_reason": "end_turn", "usage": odd}, {"type": "error", "error": odd}):
        try:
            codec.decode(cast("JsonObject", candidate), question(), W)
        except ProviderError:
            continue
