"""OpenAI Chat Completions, both ways."""

from dataclasses import replace
from typing import cast

import orjson
import pytest
from hypothesis import given
from model_router_samples import INTENTS, LOOKUP, OBJECTS, WORDS, conversations, question
from plimsoll_model_router.adapters.providers import openai_codec as codec
from plimsoll_model_router.domain.messages import (
    Media,
    Message,
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
from plimsoll_runtime.json_types import JsonObject

W = "openai/m-1"


def wire(*messages: Message) -> list[JsonObject]:
    return cast("list[JsonObject]", codec.encode(question(*messages), W, stream=False, limit_field="max_tokens").body["messages"])


def body(message: JsonObject, finish: str | None = "stop", usage: JsonObject | None = None) -> JsonObject:
    found: JsonObject = {"model": "m-1-2026", "choices": [{"index": 0, "message": message, "finish_reason": finish}]}
    return {**found, "usage": usage} if usage is not None else found


def test_a_question_is_encoded_as_the_api_wants_it() -> None:
    asked = replace(question(system("Be brief."), user("Where is it?"), tools=(LOOKUP,), schema=INTENTS), max_output_tokens=100)
    assert codec.encode(asked, W, stream=True, limit_field="max_completion_tokens").body == {
        "model": "m-1",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where is it?"}],
        "max_completion_tokens": 100,
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "find_account",
                    "description": "Finds the account of a customer by e-mail address.",
                    "parameters": {"type": "object", "required": ["email"], "properties": {"email": {"type": "string", "format": "email"}}},
                },
            }
        ],
        "tool_choice": "auto",
        "response_format": {"type": "json_schema", "json_schema": {"name": "output", "schema": INTENTS, "strict": True}},
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_every_result_is_a_message_of_its_own_and_an_error_says_so() -> None:
    calls = (ToolCall(call_id="a", tool="t", arguments={"x": 1}), ToolCall(call_id="b", tool="t", arguments="not json"))
    found = wire(
        user("Go."),
        assistant("Looking.", *calls),
        results(ToolResult(call_id="a", tool="t", content={"ok": True}), ToolResult(call_id="b", tool="t", content="no", is_error=True)),
    )
    assert found[1] == {
        "role": "assistant",
        "content": "Looking.",
        "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "t", "arguments": '{"x":1}'}},
            {"id": "b", "type": "function", "function": {"name": "t", "arguments": "not json"}},
        ],
    }
    assert found[2:] == [
        {"role": "tool", "tool_call_id": "a", "content": '{"ok":true}'},
        {"role": "tool", "tool_call_id": "b", "content": '{"error":"no"}'},
    ]


def test_images_go_by_address_and_what_cannot_be_sent_is_refused() -> None:
    picture = Message(role=Role.USER, parts=(Text(text="What is it?"), Media(media_type="image/png", uri="https://example.com/a.png")))
    assert wire(picture)[0]["content"] == [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ]
    with pytest.raises(ProviderError, match="media"):
        wire(Message(role=Role.USER, parts=(Media(media_type="application/pdf", uri="https://example.com/a.pdf"),)))


def test_reasoning_is_not_sent_back_and_that_is_noted() -> None:
    encoded = codec.encode(
        question(user("?"), assistant(Reasoning(text="hm", provenance="openai/m-1"), "A.")), W, stream=False, limit_field="max_tokens"
    )
    assert cast("list[JsonObject]", encoded.body["messages"])[1] == {"role": "assistant", "content": "A."}
    assert len(encoded.notes) == 1


def test_a_schema_that_cannot_be_enforced_strictly_is_also_put_into_words() -> None:
    encoded = codec.encode(question(user("?"), schema={"type": "object"}), W, stream=False, limit_field="max_tokens")
    format_told = cast("JsonObject", cast("JsonObject", encoded.body["response_format"])["json_schema"])
    assert format_told["strict"] is False
    assert cast("list[JsonObject]", encoded.body["messages"])[0]["role"] == "system"


@pytest.mark.parametrize(("choice", "told"), [(ToolChoice.AUTO, "auto"), (ToolChoice.NONE, "none"), (ToolChoice.REQUIRED, "required")])
def test_the_choice_of_tools_is_told(choice: ToolChoice, told: str) -> None:
    asked = replace(question(user("?"), tools=(LOOKUP,)), tool_choice=choice)
    assert codec.encode(asked, W, stream=False, limit_field="max_tokens").body["tool_choice"] == told


@given(conversations())
def test_in_any_conversation_every_call_is_answered_right_behind_it(messages: tuple[Message, ...]) -> None:
    found = wire(*messages)
    asked: list[object] = []
    for message in found:
        if message["role"] == "tool":
            assert asked.pop(0) == message["tool_call_id"]
        else:
            assert not asked
            asked = [call["id"] for call in cast("list[JsonObject]", message.get("tool_calls", []))]
    assert not asked


@given(spoken=WORDS, arguments=OBJECTS)
def test_a_reply_encoded_again_is_what_the_provider_sent(spoken: str, arguments: JsonObject) -> None:
    call: JsonObject = {"id": "c1", "type": "function", "function": {"name": "t", "arguments": orjson.dumps(arguments).decode()}}
    message: JsonObject = {"role": "assistant", "content": f"{spoken}.", "tool_calls": [call]}
    reply = codec.decode(body(message, "tool_calls"), question(), W)
    assert wire(user("?"), reply.message, results(ToolResult(call_id="c1", tool="t", content=1)))[1] == message


def test_usage_is_taken_over_and_estimated_when_there_is_none() -> None:
    usage: JsonObject = {
        "prompt_tokens": 100,
        "completion_tokens": 30,
        "prompt_tokens_details": {"cached_tokens": 80},
        "completion_tokens_details": {"reasoning_tokens": 20},
    }
    found = codec.decode(body({"content": "A."}, usage=usage), question(), W).usage
    assert (found.input_tokens, found.cached_input_tokens, found.output_tokens, found.reasoning_tokens) == (100, 80, 30, 20)
    estimated = codec.decode(body({"content": "An answer of some words."}), question(), W).usage
    assert estimated.input_tokens > 0
    assert estimated.output_tokens > 0


@pytest.mark.parametrize(
    ("message", "finish", "reason"),
    [
        ({"content": "A."}, "stop", StopReason.END_TURN),
        ({"content": "A."}, "length", StopReason.MAX_TOKENS),
        ({"content": "A."}, "content_filter", StopReason.REFUSAL),
        ({"content": None, "refusal": "No."}, "stop", StopReason.REFUSAL),
        ({"content": None, "tool_calls": [{"function": {"name": "t", "arguments": ""}}]}, "stop", StopReason.TOOL_CALLS),
    ],
)
def test_finish_reasons_keep_their_meaning(message: JsonObject, finish: str, reason: StopReason) -> None:
    reply = codec.decode(body(message, finish), question(), W)
    assert reply.stop_reason is reason
    assert any(isinstance(part, Refusal) for part in reply.message.parts) is (reason is StopReason.REFUSAL)


def test_reasoning_of_compatible_servers_is_kept_apart_from_the_answer() -> None:
    for name in ("reasoning_content", "reasoning"):
        reply = codec.decode(body({"content": "A.", name: "hm"}), question(), W)
        assert reply.message.parts == (Reasoning(text="hm", provenance="openai/m-1"), Text(text="A."))


@pytest.mark.parametrize("broken", [{}, {"choices": []}, {"choices": "none"}, body({"content": "A."}, None)])
def test_what_makes_no_sense_is_malformed(broken: JsonObject) -> None:
    with pytest.raises(ProviderError) as caught:
        codec.decode(broken, question(), W)
    assert caught.value.failure.category is Category.MODEL_MALFORMED


@pytest.mark.parametrize("error", ["overloaded", {"message": "no", "code": 500}, {"type": "server_error", "message": "no"}])
def test_an_error_inside_an_answer_is_an_error_in_every_form(error: object) -> None:
    with pytest.raises(ProviderError) as caught:
        codec.decode(cast("JsonObject", {"error": error}), question(), W)
    assert caught.value.failure.category is Category.UPSTREAM_UNAVAILABLE


@given(OBJECTS)
def test_no_answer_however_odd_is_anything_but_a_reply_or_a_provider_error(odd: JsonObject) -> None:
    for candidate in (odd, {"choices": [odd], "usage": odd}, {"choices": [{"message": odd, "finish_reason": "stop"}]}, {"error": odd}):
        try:
            codec.decode(cast("JsonObject", candidate), question(), W)
        except ProviderError:
            continue
