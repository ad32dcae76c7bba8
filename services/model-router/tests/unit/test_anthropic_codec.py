"""Anthropic Messages, both ways; what all dialects share is in test_codecs."""

import itertools
from dataclasses import replace
from typing import cast

import pytest
from hypothesis import given
from model_router_asks import ALL, ask, endpoint
from model_router_conversations import INTENTS, LOOKUP, OBJECTS, WORDS, conversations, question
from plimsoll_model_router.adapters.providers import anthropic_codec as codec
from plimsoll_model_router.domain.conversion import Report
from plimsoll_model_router.domain.endpoints import Ask, Dialect, ReasoningStyle
from plimsoll_model_router.domain.generation import Question, Reply
from plimsoll_model_router.domain.messages import (
    Effort,
    Media,
    Message,
    Opaque,
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
from plimsoll_runtime.json_types import JsonObject, JsonValue

CLAUDE = endpoint(Dialect.ANTHROPIC, features=ALL)
MINE = CLAUDE.full_name


def asked(what: Question, *, streaming: bool = False, style: ReasoningStyle = ReasoningStyle.EFFORT) -> Ask:
    return ask(what, replace(CLAUDE, reasoning_style=style), streaming=streaming)


def encoded(what: Question, *, style: ReasoningStyle = ReasoningStyle.EFFORT) -> JsonObject:
    return codec.encode(asked(what, style=style), Report())


def turns(*messages: Message) -> list[JsonObject]:
    return cast("list[JsonObject]", encoded(question(*messages))["messages"])


def decoded(body: JsonObject) -> Reply:
    return codec.decode(body, asked(question()), Report())


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
    what = replace(
        question(system("Be brief."), user("Where is it?"), tools=(LOOKUP,), schema=INTENTS),
        max_output_tokens=100,
        cache_prefix=True,
        sampling=Sampling(stop=("END",)),
    )
    assert codec.encode(asked(what, streaming=True), Report()) == {
        "model": "m-1",
        "max_tokens": 100,
        "output_config": {"format": {"type": "json_schema", "schema": INTENTS}},
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
        "stop_sequences": ["END"],
        "cache_control": {"type": "ephemeral"},
        "stream": True,
    }


def test_results_come_first_in_one_user_turn_with_what_the_user_added() -> None:
    calls = (ToolCall(call_id="a", tool="t", arguments={"x": 1}), ToolCall(call_id="b", tool="t", arguments="not json"))
    late = Message(role=Role.TOOL, parts=(Text(text="And hurry."), ToolResult(call_id="b", tool="t", content="no", is_error=True)))
    found = turns(
        user("Go."),
        assistant("Looking.", *calls),
        results(ToolResult(call_id="a", tool="t", content={"ok": True})),
        late,
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


def test_thinking_goes_back_to_its_maker() -> None:
    mine = Reasoning(text="hm", signature="s", provenance=MINE)
    opaque = Opaque(provenance=MINE, content={"type": "redacted_thinking", "data": "x"})
    assert turns(user("?"), assistant(mine, opaque, "A."))[1]["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "text", "text": "A."},
    ]


@pytest.mark.parametrize(
    ("style", "effort", "thinking", "config"),
    [
        (ReasoningStyle.EFFORT, Effort.NONE, {"type": "disabled"}, None),
        (ReasoningStyle.EFFORT, Effort.HIGH, {"type": "adaptive"}, {"effort": "high"}),
        (ReasoningStyle.BUDGET, Effort.LOW, {"type": "enabled", "budget_tokens": 2048}, None),
    ],
)
def test_how_much_to_think_is_said_as_the_model_wants_it(
    style: ReasoningStyle, effort: Effort, thinking: JsonObject, config: JsonObject | None
) -> None:
    found = encoded(replace(question(), effort=effort), style=style)
    assert (found["thinking"], found.get("output_config")) == (thinking, config)


@pytest.mark.parametrize(("limit", "budget"), [(0, 24576), (4096, 2048), (30_000, 24576), (1500, None)])
def test_a_budget_to_think_with_stays_below_the_limit_of_the_answer(limit: int, budget: int | None) -> None:
    found = encoded(replace(question(), effort=Effort.HIGH, max_output_tokens=limit), style=ReasoningStyle.BUDGET)
    thinking = cast("JsonObject", found.get("thinking", {}))
    assert thinking.get("budget_tokens") == budget
    assert cast("int", found["max_tokens"]) > (budget or 0)


def test_in_the_middle_of_a_loop_without_its_thinking_no_thinking_is_asked_for() -> None:
    loop = question(
        user("?"), assistant(ToolCall(call_id="a", tool="t", arguments={})), results(ToolResult(call_id="a", tool="t", content=1))
    )
    report = Report()
    found = codec.encode(asked(replace(loop, effort=Effort.LOW), style=ReasoningStyle.BUDGET), report)
    assert "thinking" not in found
    assert [told.subject for told in report.conversions] == ["effort"]


def test_a_system_message_from_the_middle_goes_to_the_beginning_and_that_is_told() -> None:
    report = Report()
    found = codec.encode(asked(question(system("One."), user("?"), assistant("A."), system("Two."), user("!"))), report)
    assert found["system"] == "One.\n\nTwo."
    assert [told.subject for told in report.conversions] == ["system"]


def test_media_goes_by_address_and_what_cannot_be_sent_is_refused() -> None:
    picture = Message(role=Role.USER, parts=(Media(media_type="image/png", uri="https://example.com/a.png"),))
    assert turns(picture)[0]["content"] == [{"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}]
    paper = Message(role=Role.USER, parts=(Media(media_type="application/pdf", uri="https://example.com/a.pdf"),))
    assert turns(paper)[0]["content"] == [{"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}}]
    with pytest.raises(ProviderError, match="audio/ogg"):
        turns(Message(role=Role.USER, parts=(Media(media_type="audio/ogg", uri="https://example.com/a.ogg"),)))


@pytest.mark.parametrize(
    ("choice", "single", "wire"),
    [
        (ToolChoice.AUTO, False, {"type": "auto"}),
        (ToolChoice.NONE, True, {"type": "none"}),
        (ToolChoice.REQUIRED, True, {"type": "any", "disable_parallel_tool_use": True}),
        (ToolChoice.NAMED, False, {"type": "tool", "name": "find_account"}),
    ],
)
def test_the_choice_of_tools_is_told(choice: ToolChoice, single: bool, wire: JsonObject) -> None:
    what = replace(question(user("?"), tools=(LOOKUP,)), tool_choice=choice, tool_name="find_account", single_call=single)
    assert encoded(what)["tool_choice"] == wire


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
        {"type": "redacted_thinking", "data": "x"},
        {"type": "text", "text": f"{spoken}."},
        {"type": "tool_use", "id": "toolu_1", "name": "t", "input": arguments},
    ]
    reply = decoded(body(*blocks, stop="tool_use"))
    again = turns(user("?"), reply.message, results(ToolResult(call_id="toolu_1", tool="t", content=1)))
    assert again[1]["content"] == blocks


def test_usage_counts_cached_input_in() -> None:
    usage: JsonObject = {
        "input_tokens": 5,
        "cache_read_input_tokens": 80,
        "cache_creation_input_tokens": 15,
        "output_tokens": 7,
        "output_tokens_details": {"thinking_tokens": 3},
    }
    reply = decoded(body({"type": "text", "text": "A."}, usage=usage))
    found = reply.usage
    assert (found.input_tokens, found.cached_input_tokens, found.output_tokens, found.reasoning_tokens) == (100, 80, 7, 3)
    assert (reply.cache_written_tokens, reply.raw_usage) == (15, usage)


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
    reply = decoded(body({"type": "text", "text": "A."}, stop=stop))
    assert reply.stop_reason is reason
    assert (Refusal(text="") in reply.message.parts) is (reason is StopReason.REFUSAL)


@pytest.mark.parametrize(
    "broken", [{}, {"content": "text"}, {"content": [], "stop_reason": "pause_turn"}, {"content": [], "stop_reason": None}]
)
def test_what_makes_no_sense_is_malformed(broken: JsonObject) -> None:
    with pytest.raises(ProviderError) as caught:
        decoded(broken)
    assert caught.value.failure.category is Category.MODEL_MALFORMED
