"""OpenAI Responses, both ways; what all dialects share is in test_codecs."""

from dataclasses import replace
from typing import cast

import orjson
import pytest
from hypothesis import given
from model_router_asks import ALL, ask, endpoint
from model_router_conversations import INTENTS, LOOKUP, OBJECTS, PICTURE, WORDS, question
from plimsoll_model_router.adapters.providers import openai_responses_codec as codec
from plimsoll_model_router.domain.conversion import Report
from plimsoll_model_router.domain.endpoints import Dialect
from plimsoll_model_router.domain.generation import Question, Reply
from plimsoll_model_router.domain.messages import (
    Effort,
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
from plimsoll_model_router.errors import ProviderError, Remedy
from plimsoll_runtime.json_types import JsonObject, JsonValue

HERE = endpoint(Dialect.OPENAI_RESPONSES, features=ALL)
MINE = f"{HERE.full_name}#org-1"


def encoded(what: Question, *, streaming: bool = False) -> JsonObject:
    return codec.encode(ask(what, HERE, streaming=streaming), Report())


def items(*messages: Message) -> list[JsonObject]:
    return cast("list[JsonObject]", encoded(question(*messages))["input"])


def decoded(body: JsonObject) -> Reply:
    return codec.decode(body, ask(question(), HERE), Report())


def body(*output: JsonObject, status: str = "completed", **more: JsonValue) -> JsonObject:
    return {"object": "response", "model": "m-1-2026", "status": status, "error": None, "output": [*output], **more}


def said(text: str) -> JsonObject:
    return {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [{"type": "output_text", "text": text}]}


def test_a_question_is_encoded_as_the_api_wants_it() -> None:
    what = replace(
        question(system("Be brief."), user("Where is it?"), tools=(LOOKUP,), schema=INTENTS), max_output_tokens=100, effort=Effort.HIGH
    )
    assert encoded(what, streaming=True) == {
        "model": "m-1",
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "Where is it?"}]}],
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "max_output_tokens": 100,
        "tools": [
            {
                "type": "function",
                "name": "find_account",
                "description": "Finds the account of a customer by e-mail address.",
                "parameters": {"type": "object", "required": ["email"], "properties": {"email": {"type": "string", "format": "email"}}},
                "strict": False,
            }
        ],
        "tool_choice": "auto",
        "text": {"format": {"type": "json_schema", "name": "output", "schema": INTENTS, "strict": True}},
        "reasoning": {"effort": "high", "summary": "auto"},
        "instructions": "Be brief.",
        "stream": True,
    }


def test_a_conversation_is_a_flat_list_of_items() -> None:
    call = ToolCall(call_id="a", tool="t", arguments={"x": 1})
    assert items(user("Go."), assistant("Looking.", call), results(ToolResult(call_id="a", tool="t", content={"ok": True}))) == [
        {"role": "user", "content": [{"type": "input_text", "text": "Go."}]},
        {"role": "assistant", "content": "Looking."},
        {"type": "function_call", "call_id": "a", "name": "t", "arguments": '{"x":1}'},
        {"type": "function_call_output", "call_id": "a", "output": '{"ok":true}'},
    ]


def test_media_goes_by_address() -> None:
    paper = Media(media_type="application/pdf", uri="https://example.com/a.pdf")
    [item] = items(Message(role=Role.USER, parts=(PICTURE, paper)))
    assert item["content"] == [
        {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "auto"},
        {"type": "input_file", "file_url": "https://example.com/a.pdf"},
    ]


def test_a_named_tool_is_named() -> None:
    what = replace(question(tools=(LOOKUP,)), tool_choice=ToolChoice.NAMED, tool_name="find_account")
    assert encoded(what)["tool_choice"] == {"type": "function", "name": "find_account"}


@given(spoken=WORDS, arguments=OBJECTS)
def test_a_reply_encoded_again_is_what_the_provider_sent(spoken: str, arguments: JsonObject) -> None:
    thought: JsonObject = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "x"}
    call: JsonObject = {"type": "function_call", "call_id": "c1", "name": "t", "arguments": orjson.dumps(arguments).decode()}
    reply = decoded(body(thought, said(f"{spoken}."), {**call, "id": "fc_1", "status": "completed"}))
    again = items(user("?"), reply.message, results(ToolResult(call_id="c1", tool="t", content=1)))
    assert again[1:4] == [thought, {"role": "assistant", "content": f"{spoken}."}, call]
    assert reply.stop_reason is StopReason.TOOL_CALLS
    assert reply.message.parts[:2] == (Reasoning(text="hm", provenance=MINE), Opaque(provenance=MINE, content=thought))


@pytest.mark.parametrize(
    ("status", "why", "reason"),
    [
        ("completed", None, StopReason.END_TURN),
        ("incomplete", "max_output_tokens", StopReason.MAX_TOKENS),
        ("incomplete", "content_filter", StopReason.REFUSAL),
    ],
)
def test_a_status_keeps_its_meaning(status: str, why: str | None, reason: StopReason) -> None:
    reply = decoded(body(said("A."), status=status, incomplete_details={"reason": why} if why else None))
    assert reply.stop_reason is reason
    assert (Refusal(text="") in reply.message.parts) is (reason is StopReason.REFUSAL)


def test_a_refusal_is_told_in_the_models_words() -> None:
    refused = {**said("x"), "content": [{"type": "refusal", "refusal": "No."}]}
    reply = decoded(body(refused))
    assert (reply.stop_reason, reply.message.parts) == (StopReason.REFUSAL, (Refusal(text="No."),))


def test_usage_is_taken_over() -> None:
    usage: JsonObject = {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 80, "cache_write_tokens": 15},
        "output_tokens": 30,
        "output_tokens_details": {"reasoning_tokens": 20},
    }
    reply = decoded(body(said("A."), usage=usage))
    found = reply.usage
    assert (found.input_tokens, found.cached_input_tokens, found.output_tokens, found.reasoning_tokens) == (100, 80, 30, 20)
    assert reply.cache_written_tokens == 15
    assert reply.message.parts == (Text(text="A."),)


@pytest.mark.parametrize(
    ("broken", "reason", "remedy"),
    [
        ({}, "MALFORMED_ANSWER", Remedy.RETRY),
        (body(said("A."), status="in_progress"), "MALFORMED_ANSWER", Remedy.RETRY),
        (body(said("A."), status="incomplete", incomplete_details={"reason": "steered"}), "MALFORMED_ANSWER", Remedy.RETRY),
        (body(status="failed", error={"code": "server_error", "message": "x"}), "PROVIDER_ERROR", Remedy.RETRY),
        (body(status="failed", error={"code": "rate_limit_exceeded", "message": "x"}), "RATE_LIMITED", Remedy.RETRY),
        (body(status="failed", error={"code": "invalid_prompt", "message": "x"}), "REFUSED", Remedy.NEVER),
        (body(status="failed"), "PROVIDER_ERROR", Remedy.RETRY),
    ],
)
def test_what_is_not_finished_is_no_reply(broken: JsonObject, reason: str, remedy: Remedy) -> None:
    with pytest.raises(ProviderError) as caught:
        decoded(broken)
    assert (caught.value.failure.reason, caught.value.remedy) == (reason, remedy)
