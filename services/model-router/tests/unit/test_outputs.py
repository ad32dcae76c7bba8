"""Answers that were asked for as JSON: they satisfy the schema, or they are failures that hold nothing of the answer."""

from dataclasses import replace

import pytest
from model_router_samples import INTENTS, reply
from plimsoll_model_router.domain.messages import Reasoning, StopReason, ToolCall, assistant
from plimsoll_model_router.domain.outputs import checked, output_of
from plimsoll_model_router.domain.schemas import compiled
from plimsoll_model_router.errors import InvalidGeneration, ProviderError, Remedy
from plimsoll_runtime.failures import Category
from plimsoll_runtime.json_types import JsonObject, JsonValue


@pytest.mark.parametrize("text", ['{"intent": "refund"}', '```json\n{"intent": "refund"}\n```', ' \n{"intent":"refund"}\n'])
def test_json_is_read_also_out_of_a_code_fence(text: str) -> None:
    assert output_of(reply(text), compiled(INTENTS), "p/m") == {"intent": "refund"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("The intent is a secret refund.", "OUTPUT_NOT_JSON"),
        ('{"intent": "secret"}', "OUTPUT_INVALID"),
        ('{"secret": 1}', "OUTPUT_INVALID"),
        ("", "OUTPUT_NOT_JSON"),
    ],
)
def test_an_answer_that_breaks_its_schema_is_a_failure_without_a_word_of_it(text: str, reason: str) -> None:
    with pytest.raises(ProviderError) as caught:
        output_of(reply(text), compiled(INTENTS), "p/m")
    assert (caught.value.failure.category, caught.value.failure.reason) == (Category.MODEL_MALFORMED, reason)
    assert "secret" not in caught.value.failure.message
    assert caught.value.usage == reply().usage


def test_the_failure_says_where_the_schema_is_broken() -> None:
    with pytest.raises(ProviderError, match=r"intent: breaks `enum`"):
        output_of(reply('{"intent": "x"}'), compiled(INTENTS), "p/m")
    with pytest.raises(ProviderError, match='"intent" is a required property'):
        output_of(reply("{}"), compiled(INTENTS), "p/m")


def test_json_cut_at_the_limit_is_a_failure_that_repeating_does_not_mend() -> None:
    with pytest.raises(ProviderError) as caught:
        output_of(reply('{"intent": "refund"}', stop=StopReason.MAX_TOKENS), compiled(INTENTS), "p/m")
    assert (caught.value.failure.reason, caught.value.remedy) == ("OUTPUT_TRUNCATED", Remedy.NEVER)


def test_refusals_empty_answers_and_cut_tool_calls_are_no_answers() -> None:
    call = ToolCall(call_id="a", tool="t", arguments='{"x": 1')
    cases = (
        (reply(stop=StopReason.REFUSAL), Category.MODEL_REFUSED, Remedy.NEVER),
        (replace(reply(), message=assistant()), Category.MODEL_MALFORMED, Remedy.RETRY),
        (replace(reply(), message=assistant(Reasoning(text="hm"))), Category.MODEL_MALFORMED, Remedy.RETRY),
        (replace(reply(stop=StopReason.MAX_TOKENS), message=assistant(call)), Category.MODEL_MALFORMED, Remedy.NEVER),
    )
    for odd, category, remedy in cases:
        with pytest.raises(ProviderError) as caught:
            checked(odd, "p/m")
        assert (caught.value.failure.category, caught.value.remedy) == (category, remedy)
    assert checked(reply(), "p/m") == reply()


def test_what_nobody_behind_could_store_is_no_answer() -> None:
    deep: JsonValue = 1
    for _ in range(101):
        deep = [deep]
    odd = (
        assistant("a\x00b"),
        assistant(ToolCall(call_id="a", tool="t", arguments={"\x00": 1})),
        assistant(ToolCall(call_id="a", tool="t", arguments=deep)),
    )
    for message in odd:
        with pytest.raises(ProviderError) as caught:
            checked(replace(reply(), message=message), "p/m")
        assert caught.value.failure.reason == "UNFIT_ANSWER"
    with pytest.raises(ProviderError, match=r"U\+0000"):
        output_of(reply('{"intent": "\\u0000"}'), compiled({}), "p/m")


@pytest.mark.parametrize("schema", [{"type": "nonsense"}, {"$ref": "https://example.com/schema.json"}, {"type": "string", "pattern": "("}])
def test_a_schema_that_cannot_be_used_is_refused_and_nothing_is_fetched(schema: JsonObject) -> None:
    with pytest.raises(InvalidGeneration, match="output_schema"):
        compiled(schema)
