"""What all dialects promise of their codecs, tried with conversations and answers of every kind."""

import re
from collections import Counter
from dataclasses import replace
from typing import cast

import orjson
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from model_router_asks import ALL, HTTP_DIALECTS, KEY, endpoint
from model_router_conversations import ANY_CONVERSATION, CLOSE, INTENTS, LOOKUP, OBJECTS, conversations, question
from plimsoll_model_router.adapters.providers.dialects import codecs
from plimsoll_model_router.adapters.providers.sse import SseEvent
from plimsoll_model_router.domain.conversion import ConversionKind, Report
from plimsoll_model_router.domain.endpoints import USUAL, Ask, Dialect, Feature
from plimsoll_model_router.domain.generation import Question
from plimsoll_model_router.domain.messages import (
    Effort,
    Media,
    Message,
    Opaque,
    Reasoning,
    Role,
    Sampling,
    ToolCall,
    ToolChoice,
    ToolResult,
    assistant,
    results,
    user,
)
from plimsoll_model_router.errors import ProviderError, Remedy
from plimsoll_runtime.json_types import JsonObject
from plimsoll_testkit.upstream import anthropic, chat, gemini, responses

DIALECTS = st.sampled_from(HTTP_DIALECTS)
EACH = pytest.mark.parametrize("dialect", HTTP_DIALECTS)
JUDGES = {
    Dialect.ANTHROPIC: anthropic.problem,
    Dialect.OPENAI_CHAT: chat.problem,
    Dialect.OPENAI_COMPATIBLE: chat.problem,
    Dialect.OPENAI_RESPONSES: responses.problem,
    Dialect.GEMINI: gemini.problem,
}
SPOKEN = {
    Dialect.ANTHROPIC: "messages",
    Dialect.OPENAI_CHAT: "messages",
    Dialect.OPENAI_COMPATIBLE: "messages",
    Dialect.OPENAI_RESPONSES: "input",
    Dialect.GEMINI: "contents",
}


def encoded(dialect: Dialect, asked: Question, *, features: frozenset[Feature] = ALL, streaming: bool = False) -> tuple[JsonObject, Report]:
    report = Report()
    ask = Ask(question=asked, endpoint=endpoint(dialect, features=features), credential=KEY, streaming=streaming)
    return codecs()[dialect].request(ask, report).body, report


def subjects(report: Report, kind: ConversionKind) -> set[str]:
    return {told.subject for told in report.conversions if told.kind is kind}


@given(DIALECTS, ANY_CONVERSATION)
def test_whatever_the_conversation_the_provider_accepts_its_form(dialect: Dialect, messages: tuple[Message, ...]) -> None:
    try:
        body, _ = encoded(dialect, question(*messages, user("And now?"), tools=(LOOKUP,)))
    except ProviderError:  # only what tells its reason: media where none can be sent
        assume(False)
    assert JUDGES[dialect](body) == ""


@given(DIALECTS, conversations())
def test_a_well_formed_conversation_loses_nothing(dialect: Dialect, messages: tuple[Message, ...]) -> None:
    body, report = encoded(dialect, question(*messages, tools=(LOOKUP,)))
    raw = orjson.dumps(body).decode()
    assert subjects(report, ConversionKind.DROPPED) == set()
    for call in (call for message in messages for call in message.tool_calls):
        assert call.tool in raw


@given(DIALECTS, conversations(), conversations())
def test_what_was_said_before_is_sent_as_it_was_so_that_caches_hit(
    dialect: Dialect, begun: tuple[Message, ...], more: tuple[Message, ...]
) -> None:
    spoken = tuple(message for message in more if message.role is not Role.SYSTEM)
    before, _ = encoded(dialect, question(*begun, assistant("Well."), user("Go on."), tools=(LOOKUP, CLOSE)))
    after, _ = encoded(dialect, question(*begun, assistant("Well."), user("Go on."), assistant("Yes."), *spoken, tools=(LOOKUP, CLOSE)))
    said = cast("list[JsonObject]", before.pop(SPOKEN[dialect]))
    longer = cast("list[JsonObject]", after.pop(SPOKEN[dialect]))
    assert orjson.dumps(before) == orjson.dumps(after)
    assert orjson.dumps(longer[: len(said)]) == orjson.dumps(said)


@given(DIALECTS, conversations())
def test_call_ids_are_unique_plain_and_matched_by_their_results(dialect: Dialect, messages: tuple[Message, ...]) -> None:
    body, _ = encoded(dialect, question(*messages, *messages))  # every id twice
    raw = orjson.dumps(body).decode()
    used = re.findall(r'"type":"tool_use","id":"([^"]*)"|"id":"([^"]*)","type":"function"|"type":"function_call","call_id":"([^"]*)"', raw)
    ids = ["".join(one) for one in used]
    assert max(Counter(ids).values(), default=1) == 1
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", one) for one in ids)


@EACH
def test_thinking_of_another_model_is_dropped_and_told(dialect: Dialect) -> None:
    others = assistant(
        Reasoning(text="a secret thought", signature="sealed", provenance="elsewhere/m"),
        Opaque(provenance="elsewhere/m", content={"x": "sealed"}),
        "A.",
    )
    body, report = encoded(dialect, question(user("?"), others, user("And?")))
    assert "secret" not in str(body)
    assert "sealed" not in str(body)
    assert subjects(report, ConversionKind.DROPPED) == {"reasoning", "opaque"}


@EACH
def test_thinking_sealed_under_another_organisations_key_is_not_sent_where_it_cannot_be_opened(dialect: Dialect) -> None:
    where = endpoint(dialect, features=ALL)
    sealed = Opaque(provenance=f"{where.full_name}#org-2", content={"type": "reasoning", "encrypted_content": "sealed"})
    body, report = encoded(dialect, question(user("?"), assistant(sealed, "A."), user("And?")))
    assert "sealed" not in str(body)
    assert report.conversions


@EACH
def test_results_whose_calls_are_gone_and_calls_without_results_are_mended_and_told(dialect: Dialect) -> None:
    torn = question(
        user("?"),
        results(ToolResult(call_id="gone", tool="find_account", content="Ann")),
        assistant(ToolCall(call_id="c", tool="find_account", arguments={})),
        user("Never mind."),
    )
    body, report = encoded(dialect, torn)
    assert JUDGES[dialect](body) == ""
    assert "Ann" in str(body)
    assert {told.subject for told in report.conversions} - {"thought_signature"} == {"tool_result"}


@EACH
def test_only_what_a_model_takes_is_sent_and_the_rest_is_told(dialect: Dialect) -> None:
    asked = replace(question(), sampling=Sampling(temperature=0.3, top_p=0.9, seed=7), effort=Effort.HIGH)
    body, report = encoded(dialect, asked, features=USUAL - {Feature.SAMPLING})
    raw = str(body).lower()
    assert "temperature" not in raw
    assert "top" not in raw.replace("stop", "")
    assert "effort" not in raw
    assert "think" not in raw
    assert subjects(report, ConversionKind.DROPPED) >= {"temperature", "top_p", "effort"}


@EACH
def test_a_schema_is_enforced_where_the_model_can_and_put_into_words_where_not(dialect: Dialect) -> None:
    asked = question(user("Sort it."), schema=INTENTS)
    enforced, report = encoded(dialect, asked)
    assert report.conversions == ()
    assert "JSON Schema" not in str(enforced)
    told, report = encoded(dialect, asked, features=USUAL - {Feature.OUTPUT_SCHEMA, Feature.JSON_OUTPUT})
    assert "JSON Schema" in str(told)
    assert subjects(report, ConversionKind.EMULATED) == {"output_schema"}


@EACH
def test_a_schema_that_is_more_than_the_provider_can_enforce_is_both_enforced_and_told(dialect: Dialect) -> None:
    longer: JsonObject = {**INTENTS, "properties": {"intent": {"type": "string", "minLength": 3}}}
    body, report = encoded(dialect, question(user("Sort it."), schema=longer))
    assert "json_schema" in str(body) or "responseJsonSchema" in body.get("generationConfig", {})  # type: ignore[operator]
    assert "JSON Schema" in str(body)
    assert subjects(report, ConversionKind.APPROXIMATED) == {"output_schema"}


@EACH
@pytest.mark.parametrize("choice", ToolChoice)
def test_every_choice_of_tools_has_its_own_words(dialect: Dialect, choice: ToolChoice) -> None:
    asked = replace(question(tools=(LOOKUP, CLOSE)), tool_choice=choice, tool_name="close_account")
    words = {other: orjson.dumps(encoded(dialect, replace(asked, tool_choice=other))[0]) for other in ToolChoice}
    assert Counter(words.values())[words[choice]] == 1


@EACH
def test_media_that_is_no_address_is_refused_and_nothing_is_sent(dialect: Dialect) -> None:
    inline = Message(role=Role.USER, parts=(Media(media_type="image/png", uri="data:image/png;base64,xx"),))
    with pytest.raises(ProviderError, match="media") as caught:
        encoded(dialect, question(inline))
    assert (caught.value.remedy, caught.value.sent) == (Remedy.NEXT_PROVIDER, False)


@given(DIALECTS, OBJECTS, st.booleans())
def test_no_answer_however_odd_is_anything_but_a_reply_or_a_provider_error(dialect: Dialect, odd: JsonObject, wrapped: bool) -> None:
    bodies: list[JsonObject] = [odd, {"error": odd}]
    if wrapped:
        bodies += [
            {"content": [odd], "stop_reason": "end_turn", "usage": odd},
            {"choices": [{"message": {**odd, "tool_calls": [odd]}, "finish_reason": "stop"}], "usage": odd},
            {"status": "completed", "output": [odd, {"type": "message", "content": [odd]}, {"type": "reasoning", "summary": [odd]}]},
            {"candidates": [{"content": {"parts": [odd, {"functionCall": odd}]}, "finishReason": "STOP"}], "usageMetadata": odd},
        ]
    ask = Ask(question=question(), endpoint=endpoint(dialect))
    for body in bodies:
        try:
            codecs()[dialect].decode(body, ask, Report())
        except ProviderError:
            continue


@given(DIALECTS, st.lists(OBJECTS, max_size=4))
def test_no_stream_however_odd_is_anything_but_chunks_or_a_provider_error(dialect: Dialect, odd: list[JsonObject]) -> None:
    kinds = (
        *("message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "error"),
        *("response.output_item.added", "response.function_call_arguments.delta", "response.output_item.done", "response.completed"),
    )
    wrapped: list[JsonObject] = [
        {**one, "type": kind, "choices": [one], "candidates": [{"content": {"parts": [one]}}], "item": one, "response": one}
        for one in odd
        for kind in kinds
    ]
    decoder = codecs()[dialect].decoder(Ask(question=question(), endpoint=endpoint(dialect), streaming=True), Report())
    try:
        for event in (*odd, *wrapped):
            list(decoder.feed(SseEvent(name="", data=orjson.dumps(event).decode())))
        list(decoder.end())
    except ProviderError:
        return
