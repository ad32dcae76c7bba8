"""Chat Completions, both ways, at OpenAI and at compatible servers; what all dialects share is in test_codecs."""

from dataclasses import replace
from typing import cast

import orjson
import pytest
from hypothesis import given
from model_router_asks import ALL, ask, endpoint
from model_router_conversations import INTENTS, LOOKUP, OBJECTS, WORDS, question
from plimsoll_model_router.adapters.providers import openai_chat_codec as codec
from plimsoll_model_router.domain.conversion import Report
from plimsoll_model_router.domain.endpoints import USUAL, Dialect, Endpoint, Feature
from plimsoll_model_router.domain.generation import Question, Reply
from plimsoll_model_router.domain.messages import (
    Effort,
    Media,
    Message,
    Reasoning,
    Refusal,
    Role,
    Sampling,
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

OPENAI, COMPATIBLE = endpoint(Dialect.OPENAI_CHAT, features=ALL), endpoint(Dialect.OPENAI_COMPATIBLE)


def encoded(what: Question, where: Endpoint = OPENAI, *, streaming: bool = False) -> JsonObject:
    return codec.encode(ask(what, where, streaming=streaming), Report())


def wire(*messages: Message) -> list[JsonObject]:
    return cast("list[JsonObject]", encoded(question(*messages))["messages"])


def decoded(body: JsonObject) -> Reply:
    return codec.decode(body, ask(question(), OPENAI), Report())


def body(message: JsonObject, finish: str | None = "stop", usage: JsonObject | None = None) -> JsonObject:
    found: JsonObject = {"model": "m-1-2026", "choices": [{"index": 0, "message": message, "finish_reason": finish}]}
    return {**found, "usage": usage} if usage is not None else found


def test_a_question_is_encoded_as_the_api_wants_it() -> None:
    what = replace(
        question(system("Be brief."), user("Where is it?"), tools=(LOOKUP,), schema=INTENTS),
        max_output_tokens=100,
        sampling=Sampling(temperature=0.5, top_p=0.9, seed=7, stop=("END",)),
        effort=Effort.LOW,
        single_call=True,
    )
    assert encoded(what, streaming=True) == {
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
        "parallel_tool_calls": False,
        "response_format": {"type": "json_schema", "json_schema": {"name": "output", "schema": INTENTS, "strict": True}},
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 7,
        "stop": ["END"],
        "reasoning_effort": "low",
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_compatible_servers_are_told_the_limit_by_its_old_name() -> None:
    assert encoded(replace(question(), max_output_tokens=5), COMPATIBLE)["max_tokens"] == 5


def test_a_server_that_only_knows_json_is_asked_for_json_and_told_the_schema() -> None:
    features = USUAL - {Feature.OUTPUT_SCHEMA}
    found = encoded(question(schema=INTENTS), replace(COMPATIBLE, features=features))
    assert found["response_format"] == {"type": "json_object"}
    assert "JSON Schema" in str(found["messages"])


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


def test_a_refusal_goes_back_as_one_where_the_dialect_knows_it_and_as_text_elsewhere() -> None:
    refused = question(user("?"), assistant(Refusal(text="No.")), user("Why?"))
    told = cast("list[JsonObject]", encoded(refused)["messages"])[1]
    assert told == {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    assert cast("list[JsonObject]", encoded(refused, COMPATIBLE)["messages"])[1] == {"role": "assistant", "content": "No."}


def test_a_named_tool_is_named() -> None:
    what = replace(question(tools=(LOOKUP,)), tool_choice=ToolChoice.NAMED, tool_name="find_account")
    assert encoded(what)["tool_choice"] == {"type": "function", "function": {"name": "find_account"}}


@given(spoken=WORDS, arguments=OBJECTS)
def test_a_reply_encoded_again_is_what_the_provider_sent(spoken: str, arguments: JsonObject) -> None:
    call: JsonObject = {"id": "c1", "type": "function", "function": {"name": "t", "arguments": orjson.dumps(arguments).decode()}}
    message: JsonObject = {"role": "assistant", "content": f"{spoken}.", "tool_calls": [call]}
    reply = decoded(body(message, "tool_calls"))
    assert wire(user("?"), reply.message, results(ToolResult(call_id="c1", tool="t", content=1)))[1] == message


def test_usage_is_taken_over_and_estimated_when_there_is_none() -> None:
    usage: JsonObject = {
        "prompt_tokens": 100,
        "completion_tokens": 30,
        "prompt_tokens_details": {"cached_tokens": 80, "cache_write_tokens": 15},
        "completion_tokens_details": {"reasoning_tokens": 20},
    }
    told = decoded(body({"content": "A."}, usage=usage))
    found = told.usage
    assert (found.input_tokens, found.cached_input_tokens, found.output_tokens, found.reasoning_tokens) == (100, 80, 30, 20)
    assert (told.cache_written_tokens, told.estimated, told.raw_usage) == (15, False, usage)
    guessed = decoded(body({"content": "An answer of some words."}))
    assert guessed.estimated
    assert min(guessed.usage.input_tokens, guessed.usage.output_tokens) > 0


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
    reply = decoded(body(message, finish))
    assert reply.stop_reason is reason
    assert any(isinstance(part, Refusal) for part in reply.message.parts) is (reason is StopReason.REFUSAL)


def test_reasoning_of_compatible_servers_is_kept_apart_from_the_answer() -> None:
    for name in ("reasoning_content", "reasoning"):
        reply = decoded(body({"content": "A.", name: "hm"}))
        assert reply.message.parts == (Reasoning(text="hm", provenance="openai-chat/m-1"), Text(text="A."))


@pytest.mark.parametrize("broken", [{}, {"choices": []}, {"choices": "none"}, body({"content": "A."}, None)])
def test_what_makes_no_sense_is_malformed(broken: JsonObject) -> None:
    with pytest.raises(ProviderError) as caught:
        decoded(broken)
    assert caught.value.failure.category is Category.MODEL_MALFORMED


@pytest.mark.parametrize("error", ["overloaded", {"message": "no", "code": 500}, {"type": "server_error", "message": "no"}])
def test_an_error_inside_an_answer_is_an_error_in_every_form(error: object) -> None:
    with pytest.raises(ProviderError) as caught:
        decoded(cast("JsonObject", {"error": error}))
    assert caught.value.failure.category is Category.UPSTREAM_UNAVAILABLE
