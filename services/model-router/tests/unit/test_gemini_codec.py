"""Gemini generateContent, both ways; what all dialects share is in test_codecs."""

from dataclasses import replace
from typing import cast

import pytest
from hypothesis import given
from model_router_asks import ALL, ask, endpoint
from model_router_conversations import INTENTS, LOOKUP, OBJECTS, WORDS, question
from plimsoll_model_router.adapters.providers import gemini_codec as codec
from plimsoll_model_router.domain.conversion import Report
from plimsoll_model_router.domain.endpoints import USUAL, Dialect, ReasoningStyle
from plimsoll_model_router.domain.generation import Question, Reply
from plimsoll_model_router.domain.messages import (
    Effort,
    Message,
    Reasoning,
    Refusal,
    Sampling,
    StopReason,
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

HERE = endpoint(Dialect.GEMINI, features=ALL)
MINE = f"{HERE.full_name}#org-1"
CALL = ToolCall(call_id="a", tool="t", arguments={"x": 1})
FOUND = ToolResult(call_id="a", tool="t", content={"ok": True})


def encoded(what: Question, *, report: Report | None = None, style: ReasoningStyle = ReasoningStyle.EFFORT) -> JsonObject:
    return codec.encode(ask(what, replace(HERE, reasoning_style=style)), report or Report())


def contents(*messages: Message) -> list[JsonObject]:
    return cast("list[JsonObject]", encoded(question(*messages))["contents"])


def decoded(body: JsonObject) -> Reply:
    return codec.decode(body, ask(question(), HERE), Report())


def body(*parts: JsonObject, finish: str = "STOP", usage: JsonObject | None = None) -> JsonObject:
    candidate: JsonObject = {"index": 0, "content": {"role": "model", "parts": list[JsonValue](parts)}, "finishReason": finish}
    return {"candidates": [candidate], "usageMetadata": usage or {"promptTokenCount": 3}, "modelVersion": "m-1-001"}


def test_a_question_is_encoded_as_the_api_wants_it() -> None:
    what = replace(
        question(system("Be brief."), user("Where is it?"), schema=INTENTS),
        max_output_tokens=100,
        sampling=Sampling(temperature=0.5, top_p=0.9, seed=7, stop=("END",)),
        effort=Effort.LOW,
    )
    assert encoded(what) == {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [{"role": "user", "parts": [{"text": "Where is it?"}]}],
        "generationConfig": {
            "maxOutputTokens": 100,
            "temperature": 0.5,
            "topP": 0.9,
            "seed": 7,
            "stopSequences": ["END"],
            "responseMimeType": "application/json",
            "responseJsonSchema": INTENTS,
            "thinkingConfig": {"thinkingLevel": "LOW", "includeThoughts": True},
        },
    }


def test_tools_are_declared_and_a_named_one_is_the_only_one_allowed() -> None:
    what = replace(question(tools=(LOOKUP,)), tool_choice=ToolChoice.NAMED, tool_name="find_account")
    found = encoded(what)
    [declared] = cast("list[JsonObject]", found["tools"])
    assert declared["functionDeclarations"] == [
        {
            "name": "find_account",
            "description": "Finds the account of a customer by e-mail address.",
            "parametersJsonSchema": {
                "type": "object",
                "required": ["email"],
                "properties": {"email": {"type": "string", "format": "email"}},
            },
        }
    ]
    assert found["toolConfig"] == {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["find_account"]}}


def test_tools_and_a_schema_are_not_asked_for_at_once() -> None:
    found = encoded(question(tools=(LOOKUP,), schema=INTENTS))
    assert "generationConfig" not in found
    assert "JSON Schema" in str(found["systemInstruction"])


def test_results_go_by_name_and_id_in_a_user_turn_before_what_the_user_says() -> None:
    failed = ToolResult(call_id="b", tool="t", content="no", is_error=True)
    found = contents(user("Go."), assistant("Looking.", CALL, replace(CALL, call_id="b")), results(FOUND, failed), user("Well?"))
    assert [turn["role"] for turn in found] == ["user", "model", "user"]
    assert found[2]["parts"] == [
        {"functionResponse": {"id": "a", "name": "t", "response": {"output": {"ok": True}}}},
        {"functionResponse": {"id": "b", "name": "t", "response": {"error": "no"}}},
        {"text": "Well?"},
    ]


def test_a_signature_goes_back_on_the_part_that_it_came_with() -> None:
    signed = Reasoning(text="", signature="c2ln", provenance=MINE)
    found = contents(user("?"), assistant(Reasoning(text="hm", provenance=MINE), signed, CALL, replace(CALL, call_id="b")), results(FOUND))
    assert found[1]["parts"] == [
        {"functionCall": {"id": "a", "name": "t", "args": {"x": 1}}, "thoughtSignature": "c2ln"},
        {"functionCall": {"id": "b", "name": "t", "args": {"x": 1}}},
    ]


def test_a_first_call_of_another_model_says_that_it_has_no_signature_and_that_is_told() -> None:
    report = Report()
    found = encoded(question(user("?"), assistant(CALL), results(FOUND)), report=report)
    assert "skip_thought_signature_validator" in str(found["contents"])
    assert [told.subject for told in report.conversions] == ["thought_signature"]
    plain = codec.encode(ask(question(user("?"), assistant(CALL), results(FOUND)), replace(HERE, features=USUAL)), Report())
    assert "Signature" not in str(plain)  # a model that does not think asks for none


@pytest.mark.parametrize(
    ("style", "effort", "config"),
    [
        (ReasoningStyle.EFFORT, Effort.NONE, {"thinkingLevel": "MINIMAL", "includeThoughts": False}),
        (ReasoningStyle.BUDGET, Effort.NONE, {"thinkingBudget": 0, "includeThoughts": False}),
        (ReasoningStyle.BUDGET, Effort.LOW, {"thinkingBudget": 2048, "includeThoughts": True}),
    ],
)
def test_how_much_to_think_is_said_as_the_model_wants_it(style: ReasoningStyle, effort: Effort, config: JsonObject) -> None:
    found = encoded(replace(question(), effort=effort), style=style)
    assert found["generationConfig"] == {"thinkingConfig": config}


@given(spoken=WORDS, arguments=OBJECTS)
def test_a_reply_encoded_again_is_what_the_provider_sent(spoken: str, arguments: JsonObject) -> None:
    parts: list[JsonObject] = [
        {"text": f"{spoken}.", "thoughtSignature": "c2ln"},
        {"functionCall": {"id": "c1", "name": "t", "args": arguments}, "thoughtSignature": "bW9yZQ=="},
        {"functionCall": {"id": "c2", "name": "t", "args": {}}},
        {"executableCode": {"language": "PYTHON", "code": "1"}},
    ]
    reply = decoded(body(*parts))
    answered = [ToolResult(call_id=name, tool="t", content=1) for name in ("c1", "c2")]
    assert contents(user("?"), reply.message, results(*answered))[1]["parts"] == parts
    assert reply.stop_reason is StopReason.TOOL_CALLS


def test_usage_counts_thinking_and_what_tools_brought_in() -> None:
    usage: JsonObject = {
        "promptTokenCount": 90,
        "toolUsePromptTokenCount": 10,
        "cachedContentTokenCount": 80,
        "candidatesTokenCount": 10,
        "thoughtsTokenCount": 20,
    }
    found = decoded(body({"text": "A."}, usage=usage)).usage
    assert (found.input_tokens, found.cached_input_tokens, found.output_tokens, found.reasoning_tokens) == (100, 80, 30, 20)


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("STOP", StopReason.END_TURN),
        ("MAX_TOKENS", StopReason.MAX_TOKENS),
        *((name, StopReason.REFUSAL) for name in ("SAFETY", "RECITATION", "PROHIBITED_CONTENT", "SPII", "BLOCKLIST")),
    ],
)
def test_finish_reasons_keep_their_meaning(finish: str, reason: StopReason) -> None:
    reply = decoded(body({"text": "A."}, finish=finish))
    assert reply.stop_reason is reason
    assert (Refusal(text="") in reply.message.parts) is (reason is StopReason.REFUSAL)


def test_a_blocked_prompt_is_a_refusal() -> None:
    reply = decoded({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}})
    assert (reply.stop_reason, reply.message.parts) == (StopReason.REFUSAL, (Refusal(text=""),))


@pytest.mark.parametrize(
    ("broken", "reason", "remedy"),
    [
        ({}, "MALFORMED_ANSWER", Remedy.RETRY),
        ({"candidates": []}, "MALFORMED_ANSWER", Remedy.RETRY),
        (body({"text": "A."}, finish="MALFORMED_FUNCTION_CALL"), "MALFORMED_ANSWER", Remedy.RETRY),
        (body({"text": "A."}, finish=""), "MALFORMED_ANSWER", Remedy.RETRY),
        (body({"text": "A."}, finish="MISSING_THOUGHT_SIGNATURE"), "REASONING_REFUSED", Remedy.WITHOUT_REASONING),
        ({"error": {"code": 503, "status": "UNAVAILABLE"}}, "PROVIDER_ERROR", Remedy.RETRY),
    ],
)
def test_what_is_no_reply_is_a_failure(broken: JsonObject, reason: str, remedy: Remedy) -> None:
    with pytest.raises(ProviderError) as caught:
        decoded(broken)
    assert (caught.value.failure.reason, caught.value.remedy) == (reason, remedy)


def test_the_details_of_an_error_say_more_than_its_status() -> None:
    spent: JsonObject = {"quotaId": "GenerateRequestsPerDayPerProjectPerModel"}
    told: JsonObject = {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": [{"violations": [spent]}]}}
    assert codec.error_in(told, 429, "g/m").failure.reason == "QUOTA_USED_UP"
    key: JsonObject = {"error": {"code": 400, "status": "INVALID_ARGUMENT", "details": [{"reason": "API_KEY_INVALID"}]}}
    assert codec.error_in(key, 400, "g/m").remedy is Remedy.NEXT_CREDENTIAL
    assert codec.retry_delay({"error": {"details": [{"x": 1}, {"retryDelay": "12s"}]}}) == "12s"
    assert codec.retry_delay({}) == ""
