"""What providers say that an answer consumed: never believed below nothing, above reason, or in silence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_router_asks import HTTP_DIALECTS, endpoint
from model_router_conversations import question
from plimsoll_model_router.adapters.providers.conversation import conform
from plimsoll_model_router.adapters.providers.dialects import codecs
from plimsoll_model_router.domain.conversion import Report
from plimsoll_model_router.domain.endpoints import Ask, Dialect
from plimsoll_model_router.domain.generation import Reply
from plimsoll_model_router.domain.pricing import Price
from plimsoll_model_router.domain.tokens import count_tokens, question_tokens
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_runtime.usage import Usage, usage_to_proto

TEXT = "The parcel is on its way."
DEAR = Price(input_micros=10**9, output_micros=10**9, cached_input_micros=0)
BIGINT = 2**63 - 1
ODD = st.one_of(st.none(), st.booleans(), st.text(max_size=3), st.integers(min_value=-(10**18), max_value=10**18), st.floats(-1e40, 1e40))


def body(dialect: Dialect, read: JsonValue, written: JsonValue, cached: JsonValue, thought: JsonValue) -> JsonObject:
    match dialect:
        case Dialect.ANTHROPIC:
            usage: JsonObject = {"input_tokens": read, "output_tokens": written, "cache_read_input_tokens": cached}
            usage["output_tokens_details"] = {"thinking_tokens": thought}
            return {"content": [{"type": "text", "text": TEXT}], "stop_reason": "end_turn", "usage": usage}
        case Dialect.GEMINI:
            counts: JsonObject = {"promptTokenCount": read, "candidatesTokenCount": written}
            counts |= {"cachedContentTokenCount": cached, "thoughtsTokenCount": thought}
            return {"candidates": [{"content": {"parts": [{"text": TEXT}]}, "finishReason": "STOP"}], "usageMetadata": counts}
        case Dialect.OPENAI_RESPONSES:
            told: JsonObject = {"input_tokens": read, "output_tokens": written, "input_tokens_details": {"cached_tokens": cached}}
            told["output_tokens_details"] = {"reasoning_tokens": thought}
            said: JsonObject = {"type": "message", "content": [{"type": "output_text", "text": TEXT}]}
            return {"status": "completed", "output": [said], "usage": told}
        case _:
            spent: JsonObject = {"prompt_tokens": read, "completion_tokens": written, "prompt_tokens_details": {"cached_tokens": cached}}
            spent["completion_tokens_details"] = {"reasoning_tokens": thought}
            return {"choices": [{"message": {"content": TEXT}, "finish_reason": "stop"}], "usage": spent}


def reply_to(dialect: Dialect, told: JsonObject) -> Reply:
    ask, report = Ask(question=question(), endpoint=endpoint(dialect)), Report()
    return conform(codecs()[dialect].decode(told, ask, report), ask, report)


@given(st.sampled_from(HTTP_DIALECTS), ODD, ODD, ODD, ODD)
def test_no_count_however_odd_costs_less_than_nothing_or_more_than_the_ledger_holds(
    dialect: Dialect, read: JsonValue, written: JsonValue, cached: JsonValue, thought: JsonValue
) -> None:
    usage = reply_to(dialect, body(dialect, read, written, cached, thought)).usage
    assert 0 <= usage.cached_input_tokens <= usage.input_tokens
    assert 0 <= usage.reasoning_tokens <= usage.output_tokens
    assert min(usage.input_tokens, usage.output_tokens) > 0
    cost = DEAR.of(usage)
    assert 0 < usage.tokens + cost < BIGINT // 1000
    usage_to_proto(usage)


@pytest.mark.parametrize("dialect", HTTP_DIALECTS)
@pytest.mark.parametrize("nothing", [None, 0, -5, "many"])
def test_an_answer_whose_use_nobody_told_is_estimated_and_that_is_told(dialect: Dialect, nothing: JsonValue) -> None:
    reply = reply_to(dialect, body(dialect, nothing, nothing, nothing, nothing))
    assert reply.usage == Usage(input_tokens=question_tokens(question()), output_tokens=count_tokens(TEXT))
    assert reply.estimated
    assert [told.subject for told in reply.report] == ["usage"]


@pytest.mark.parametrize("dialect", HTTP_DIALECTS)
def test_what_was_told_is_taken_as_it_is(dialect: Dialect) -> None:
    reply = reply_to(dialect, body(dialect, 20, 9, 0, 0))
    assert (reply.usage, reply.estimated, reply.report) == (Usage(input_tokens=20, output_tokens=9), False, ())
